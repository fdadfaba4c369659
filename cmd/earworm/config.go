package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"earworm/internal/config"
	"earworm/internal/run"
)

// newConfigCommand returns "config print" and "config check".
func newConfigCommand(a *app) *cobra.Command {
	parent := &cobra.Command{
		Use:   "config",
		Short: "Show or check the settings",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(fmt.Errorf("unknown command \"config %s\": use config print or config check", args[0]))
			}
			return cmd.Help()
		},
		Annotations: map[string]string{noConfig: ""},
	}
	parent.AddCommand(newConfigPrintCommand(a), newConfigCheckCommand(a))
	return parent
}

func newConfigPrintCommand(a *app) *cobra.Command {
	var withOrigins bool
	cmd := &cobra.Command{
		Use:   "print",
		Short: "Print the settings in force as a configuration file, secrets redacted",
		Args:  exactArgs(),
		RunE: func(*cobra.Command, []string) error {
			origins := a.origins
			if !withOrigins {
				origins = nil
			}
			return config.Print(a.out, a.config, origins)
		},
	}
	cmd.Flags().BoolVar(&withOrigins, "origins", false, "say where each value comes from: flag, env, file or default")
	return cmd
}

func newConfigCheckCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:         "check",
		Short:       "Report every problem of the settings",
		Args:        exactArgs(),
		Annotations: map[string]string{noConfig: ""},
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, _, err := a.readConfig(cmd)
			if err != nil {
				return run.WithCode(run.CodeConfig, err)
			}
			for _, warning := range cfg.Kafka.Warnings() {
				_, _ = fmt.Fprintln(a.err, "warning:", warning)
			}
			_, err = fmt.Fprintln(a.out, "the configuration is valid")
			return err
		},
	}
}
