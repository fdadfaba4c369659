package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"earworm/internal/config"
	"earworm/internal/obs"
	"earworm/internal/run"
)

// version is set by the linker for a release: -ldflags "-X main.version=v1.2.3".
var version string

// streams are the standard streams of the process.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// app is what every command gets. The settings, the logger and the registry are there when a command runs (load).
type app struct {
	streams
	environ    []string
	configFile string // --config

	config   config.Config
	origins  config.Origins
	log      *slog.Logger
	registry *prometheus.Registry
	build    obs.Build
}

// noConfig marks commands that must work whatever the settings are.
const noConfig = "no-config"

// newRootCommand returns the command line.
func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "earworm",
		Short: "Learns taste from Kafka, flags viral songs, writes weekly playlists",
		Long: "earworm reads listening events from Kafka, learns each listener's taste as they come, flags songs that go viral\n" +
			"and writes one playlist per listener and week, exactly once.\n\n" +
			"Every setting has a flag, a variable and a key in the file; docs/configuration.md lists them all.",
		Args:              cobra.ArbitraryArgs,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if _, skip := cmd.Annotations[noConfig]; skip {
				return nil
			}
			return a.load(cmd)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(fmt.Errorf("unknown command %q; earworm --help lists them", args[0]))
			}
			return cmd.Help()
		},
		Annotations: map[string]string{noConfig: ""},
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	root.PersistentFlags().StringVar(&a.configFile, "config", "", "configuration file, YAML (EARWORM_CONFIG)")
	config.RegisterFlags(root.PersistentFlags())
	root.AddCommand(commands(a)...)
	return root
}

// commands lists the subcommands in the order of --help.
func commands(a *app) []*cobra.Command {
	return []*cobra.Command{
		newServeCommand(a),
		newDemoCommand(a),
		newBrokerCommand(a),
		newBenchCommand(a),
		newBacktestCommand(a),
		newProduceCommand(a),
		newImportCommand(a),
		newEmitCommand(a),
		newPlaylistCommand(a),
		newPlaylistsCommand(a),
		newTrendsCommand(a),
		newInspectCommand(a),
		newVerifyCommand(a),
		newDLQCommand(a),
		newEraseCommand(a),
		newRefitCommand(a),
		newReshardCommand(a),
		newConfigCommand(a),
		newHealthCommand(a),
		newVersionCommand(a),
	}
}

// load reads the settings and makes the logger and the registry.
func (a *app) load(cmd *cobra.Command) error {
	var err error
	if a.config, a.origins, err = a.readConfig(cmd); err != nil {
		return run.WithCode(run.CodeConfig, err)
	}
	a.log, err = obs.NewLogger(obs.LogConfig{Level: a.config.Log.Level, Format: a.config.Log.Format}, a.err)
	if err != nil {
		return run.WithCode(run.CodeConfig, err)
	}
	a.build = obs.ReadBuild(version)
	a.registry, err = obs.NewRegistry(a.build)
	return err
}

func (a *app) readConfig(cmd *cobra.Command) (config.Config, config.Origins, error) {
	return config.Load(config.Source{File: a.configFile, Environ: a.environ, Flags: cmd.Flags()})
}

// instance returns the stable id of this process: the setting, else the host name.
func (a *app) instance() (string, error) {
	if a.config.Instance != "" {
		return a.config.Instance, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", run.WithCode(run.CodeConfig, fmt.Errorf("naming this instance (set instance): %w", err))
	}
	return host, nil
}
