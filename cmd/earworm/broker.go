package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"earworm/internal/broker"
	"earworm/internal/run"
)

// newBrokerCommand runs the embedded broker alone, for trying things without Kafka.
func newBrokerCommand(a *app) *cobra.Command {
	var dir string
	var port int
	cmd := &cobra.Command{
		Use:   "broker",
		Short: "Run the embedded broker alone, to try earworm without Kafka; not for production",
		Args:  exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := broker.Start(cmd.Context(), broker.Config{Dir: dir, Port: port, Logger: a.log})
			if err != nil && cmd.Context().Err() != nil {
				return err // interrupted
			}
			if err != nil {
				return run.WithCode(run.CodeIO, err)
			}
			if _, err := fmt.Fprintln(a.out, b.Addrs()[0]); err != nil {
				return run.WithCode(run.CodeIO, b.Close())
			}
			<-cmd.Context().Done()
			return run.WithCode(run.CodeIO, b.Close())
		},
	}
	cmd.Flags().StringVar(&dir, "data", "earworm-broker", "data directory; empty keeps everything in memory")
	cmd.Flags().IntVar(&port, "port", 9092, "port on 127.0.0.1; 0 takes a free one")
	return cmd
}
