package main

import (
	"github.com/spf13/cobra"

	"earworm/internal/demo"
	"earworm/internal/run"
)

// newDemoCommand runs the whole system on a simulated world, with a broker of its own.
func newDemoCommand(a *app) *cobra.Command {
	o := demo.Options{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run everything on a simulated world with an embedded broker, and compare with the truth",
		Long: "Months of listening of simulated people, whose true tastes are known, go through the real path: Kafka protocol,\n" +
			"transactions, local stores. Then one playlist, the trends against the truth and the recall of all playlists are printed.\n" +
			"The data directory is the demo's own: each run begins it anew.",
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			progress := newProgress(a.err, "listening", "events", 0)
			defer progress.Done()
			o.Config, o.Logger, o.Registry, o.Build = a.config, a.log, a.registry, a.build
			o.Progress, o.Total = progress.Set, progress.Total
			result, err := demo.Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			progress.Done()
			if err := printDemo(a.out, result); err != nil {
				return run.WithCode(run.CodeIO, err)
			}
			return result.Stay(cmd.Context(), a.out)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Dir, "data", "earworm-demo", "data directory, made anew at each run")
	flags.StringVar(&o.Report, "report", "", "write the figures to this file, as JSON")
	flags.Uint64Var(&o.Seed, "seed", 1, "seed of the world")
	flags.IntVar(&o.Weeks, "weeks", 0, "weeks of listening; 0 is the demo's own number")
	flags.IntVar(&o.Listeners, "listeners", 0, "listeners; 0 is the demo's own number")
	flags.BoolVar(&o.Stay, "stay", false, "keep running at the end, for metrics, playlist and inspect")
	return cmd
}
