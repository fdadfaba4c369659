package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"earworm/internal/config"
	"earworm/internal/run"
)

// execute runs one command line and returns the exit code of the process.
func execute(ctx context.Context, args []string, s streams, environ []string) int {
	root := newRootCommand(&app{streams: s, environ: environ}) //nolint:contextcheck // Commands get it from ExecuteContext.
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	report(s.err, err)
	return run.ExitCode(err)
}

// report prints why the process ends, one line per problem.
func report(w io.Writer, err error) {
	if err == nil || run.ExitCode(err) == run.CodeOK {
		return
	}
	problems := config.Problems(err)
	if len(problems) < 2 {
		_, _ = fmt.Fprintln(w, "earworm:", err)
		return
	}
	for _, p := range problems {
		text := p.Text
		if p.Key != "" {
			text = p.Error()
		}
		_, _ = fmt.Fprintln(w, "earworm:", text)
	}
}

// usage marks err as a mistake in the command line.
func usage(err error) error { return run.WithCode(run.CodeUsage, err) }

// exactArgs is cobra.ExactArgs with the exit code for usage and the names of what is missing.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return usage(fmt.Errorf("missing argument %s", names[len(args)]))
		}
		if len(args) > len(names) {
			return usage(fmt.Errorf("unexpected argument %q", args[len(names)]))
		}
		return nil
	}
}
