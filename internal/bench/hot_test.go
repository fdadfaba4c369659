package bench

import (
	"cmp"
	"flag"
	"log/slog"
	"slices"
	"testing"

	"earworm/internal/config"
)

// hotFlag makes a measurement of the test: make hot-song.
var (
	hotFlag  = flag.Int("hot", 0, "events of each run of TestHotSong; 0 is what it takes in CI, where nothing is timed")
	seedFlag = flag.Uint64("seed", 1, "seed of the events of TestHotSong")
)

const (
	hotShare = .5
	// hotLoss is the share of the throughput that a hot song may cost.
	hotLoss = .1
	// hotRuns is how often each of the two is measured, in turn.
	hotRuns = 3
)

// TestHotSong gives one song half of all plays: every listener task changes its row, and one song task owns it.
func TestHotSong(t *testing.T) {
	w := DefaultWorkload()
	w.Events, w.Listeners, w.Songs = cmp.Or(*hotFlag, 6000), cmp.Or(*hotFlag/3, 2000), cmp.Or(min(*hotFlag/10, 50_000), 600)
	w.Seed = *seedFlag
	t.Logf("seed %d", w.Seed)
	measure := func(share float64) *Result {
		w := w
		w.Hot = share
		r, err := Run(t.Context(), Options{
			Workload: w, Dir: t.TempDir(), Partitions: 4, Config: config.Default(), Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err) // an event that was lost, or counted twice, too
		}
		t.Logf("%.0f %% on one song: %.0f events/s, %.2f µs of processor time and %.2f changes of rows an event", 100*share, r.EventsPerSecond, r.CPU, r.Updates)
		return r
	}
	runs := 1
	if *hotFlag > 0 {
		runs = hotRuns
	}
	var even, hot []*Result
	for range runs {
		even, hot = append(even, measure(0)), append(hot, measure(hotShare))
	}
	processed := int64(0)
	for _, r := range slices.Concat(even, hot) {
		processed += r.Events
	}
	if hot[0].Updates >= even[0].Updates {
		t.Errorf("%.3f changes of rows an event with a hot song, %.3f without: they are not combined", hot[0].Updates, even[0].Updates)
	}
	median := func(of []*Result, value func(*Result) float64) float64 {
		values := make([]float64, len(of))
		for i, r := range of {
			values[i] = value(r)
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	cpu := func(r *Result) float64 { return r.CPU }
	rate := func(r *Result) float64 { return r.EventsPerSecond }
	// By processor time, which other work on the machine changes less than the rate.
	loss := 1 - median(even, cpu)/median(hot, cpu)
	t.Logf("median of %d runs: %.2f µs of processor time an event against %.2f, a loss of %.1f %%; %.0f events/s against %.0f", runs,
		median(hot, cpu), median(even, cpu), 100*loss, median(hot, rate), median(even, rate))
	if *hotFlag > 0 && loss > hotLoss {
		t.Errorf("a hot song costs %.1f %% of the throughput", 100*loss)
	}
	t.Logf("%d lost, 0 duplicated, 0 wrong of %d", int64(2*runs*w.Events)-processed, 2*runs*w.Events)
}
