package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"earworm/internal/bench"
	"earworm/internal/run"
)

// newBenchCommand measures the whole path.
func newBenchCommand(a *app) *cobra.Command {
	o := bench.Options{Workload: bench.DefaultWorkload()}
	external, asJSON := false, false
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure events a second, latency and processor time, on an embedded broker or on Kafka",
		Long: "Plays are put into the events topic while nothing runs; then the time until all of them are committed state is taken.\n" +
			"With --external the brokers of the configuration are used, with topics of their own (they are left behind).",
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Config, o.Logger, o.Log = a.config, a.log, a.err
			if external {
				o.Brokers = a.config.Kafka.Brokers
			}
			keep := o.Dir != ""
			if !keep {
				dir, err := os.MkdirTemp("", "earworm-bench-")
				if err != nil {
					return run.WithCode(run.CodeIO, fmt.Errorf("making a directory: %w", err))
				}
				o.Dir = dir
				defer func() { _ = os.RemoveAll(dir) }()
			}
			r, err := bench.Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			return printBench(a, r, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "data", "", "directory to keep broker, state and cpu.pprof in; empty: a temporary one")
	f.BoolVar(&external, "external", false, "use the brokers of the configuration instead of an embedded one")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	f.IntVar(&o.Workload.Events, "events", o.Workload.Events, "events")
	f.IntVar(&o.Workload.Listeners, "listeners", o.Workload.Listeners, "listeners")
	f.IntVar(&o.Workload.Songs, "songs", o.Workload.Songs, "songs")
	f.Float64Var(&o.Workload.Exponent, "zipf", o.Workload.Exponent, "exponent of the songs' popularity")
	f.Float64Var(&o.Workload.Repeats, "repeats", o.Workload.Repeats, "share of plays that repeat a song of the listener's")
	f.DurationVar(&o.Workload.Span, "span", o.Workload.Span, "event time that the events cover")
	f.IntVar(&o.Partitions, "partitions", 8, "partitions")
	f.IntVar(&o.Rate, "rate", 0, "also measure latency at this many events a second")
	f.DurationVar(&o.Hold, "hold", 20*time.Second, "how long the latency is measured")
	f.BoolVar(&o.Emit, "emit", false, "also measure playlists a second")
	f.BoolVar(&o.Restore, "restore", false, "also measure the start without local state")
	f.BoolVar(&o.Handover, "handover", false, "also measure how long a second instance takes to get half of the partitions")
	f.Float64Var(&o.Workload.Hot, "hot", o.Workload.Hot, "share of plays that go to one song")
	return cmd
}

func printBench(a *app, r *bench.Result, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(a.out)
		enc.SetIndent("", "  ")
		return run.WithCode(run.CodeIO, enc.Encode(r))
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		_, _ = fmt.Fprintf(w, "%s\t"+format+"\n", append([]any{name}, args...)...)
	}
	line("processors", "%d (GOMAXPROCS %d)", runtime.NumCPU(), runtime.GOMAXPROCS(0))
	line("events", "%d in %.1f s", r.Events, r.Seconds)
	line("events/s", "%.0f", r.EventsPerSecond)
	line("CPU µs/event", "%.2f", r.CPU)
	for _, p := range r.Parts {
		if p.CPU >= .05 {
			line("  "+p.Name, "%.2f", p.CPU)
		}
	}
	line("transactions", "%d", r.Transactions)
	line("records/event", "%.2f changes of rows, %.2f rows published", r.Updates, r.Published)
	line("heap", "%d MiB", r.PeakHeap>>20)
	if l := r.Latency; l != nil {
		line("latency", "p50 %.0f, p90 %.0f, p99 %.0f, longest %.0f ms at %d events/s", l.P50, l.P90, l.P99, l.Longest, l.Rate)
	}
	if r.Playlists > 0 {
		line("playlists/s", "%.0f (%d)", r.PlaylistsPerSec, r.Playlists)
	}
	if r.Restored > 0 {
		line("restored/s", "%.0f (%d records, %.2f CPU µs each)", r.RestoredPerSec, r.Restored, r.RestoredCPU)
	}
	if h := r.Handover; h != nil {
		line("hand-over", "%.2f s for %d partitions with %d listeners each, %.2f s of it nobody's (%d records, %.2f s of CPU)", h.Seconds, h.Partitions,
			h.Listeners, h.Idle, h.Records, h.CPU)
	}
	return run.WithCode(run.CodeIO, w.Flush())
}
