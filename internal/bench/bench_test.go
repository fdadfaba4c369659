package bench

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"earworm/internal/config"
)

// TestRunMeasuresEverything runs a small workload through the real path: it fails when an event is lost or counted twice on the way.
func TestRunMeasuresEverything(t *testing.T) {
	w := DefaultWorkload()
	w.Events, w.Listeners, w.Songs = 4000, 300, 200
	r, err := Run(t.Context(), Options{
		Workload: w, Dir: t.TempDir(), Partitions: 2, Rate: 500, Hold: time.Second, Emit: true, Restore: true, Handover: true,
		Config: config.Default(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Events != 4000 || r.EventsPerSecond <= 0 || r.CPU <= 0 || r.Updates <= 0 || r.Published <= 0 || r.Transactions < 3 {
		t.Errorf("throughput: %+v", r)
	}
	if r.Latency == nil || r.Latency.Events == 0 || r.Latency.P50 <= 0 || r.Latency.P50 > r.Latency.P99 {
		t.Errorf("latency: %+v", r.Latency)
	}
	if h := r.Handover; h == nil || h.Partitions != 1 || h.Records == 0 || h.Idle <= 0 || h.Idle > h.Seconds {
		t.Errorf("hand-over: %+v", h)
	}
	if r.Playlists == 0 || r.Playlists > 300 || r.Restored < 300 {
		t.Errorf("%d playlists, %d records restored", r.Playlists, r.Restored)
	}
}

func TestWorkloadIsTheSameEachTime(t *testing.T) {
	w := DefaultWorkload()
	w.Events, w.Listeners, w.Songs = 20_000, 100, 1000
	a, b := newSource(w, time0), newSource(w, time0)
	songs, ids := map[string]int{}, map[[16]byte]bool{}
	for i := range w.Events {
		x, y := a.next(0), b.next(0)
		if string(x.AppendJSON(nil)) != string(y.AppendJSON(nil)) {
			t.Fatalf("event %d differs", i)
		}
		songs[x.Song]++
		ids[x.ID] = true
	}
	if len(ids) != w.Events {
		t.Errorf("%d ids of %d events", len(ids), w.Events)
	}
	first, hundredth := songs[songID(0)], songs[songID(99)]
	if first < 20*max(1, hundredth) {
		t.Errorf("the first song has %d plays and the hundredth %d: no law of Zipf", first, hundredth)
	}
	if err := (Workload{Exponent: -1}).Validate(); err == nil {
		t.Error("a workload without anything is valid")
	}
}

func TestPartOf(t *testing.T) {
	sample := func(part string, functions ...string) *profile.Sample {
		s := &profile.Sample{Label: map[string][]string{}}
		if part != "" {
			s.Label[partLabel] = []string{part}
		}
		for _, f := range functions {
			s.Location = append(s.Location, &profile.Location{Line: []profile.Line{{Function: &profile.Function{Name: f}}}})
		}
		return s
	}
	for want, s := range map[string]*profile.Sample{
		"garbage collector": sample("", "runtime.scanobject", "runtime.gcBgMarkWorker"),
		"listener: SGD":     sample("listener", "earworm/model/factor.dot", "earworm/model/factor.(*Learner).pull", "earworm/consumers/listener.(*Task).learn"),
		"song: Pebble":      sample("song", "runtime.memmove", "github.com/cockroachdb/pebble/v2.(*DB).Apply"),
		"embedded broker":   sample("broker", "github.com/twmb/franz-go/pkg/kfake.(*Cluster).run"),
		"runtime and other": sample("", "runtime.mcall"),
	} {
		if got := partOf(s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
