package listener_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"earworm/consumers/listener"
	"earworm/model/factor"
)

// watched is a rig that ranks every first listen, and its metrics.
func watched(t *testing.T, cfg listener.Config) (*rig, *prometheus.Registry) {
	t.Helper()
	cfg.PrequentialEvery = 1
	r := newRig(t, cfg)
	reg := prometheus.NewPedanticRegistry()
	var err error
	if r.metrics, err = listener.NewMetrics(reg); err != nil {
		t.Fatal(err)
	}
	r.open()
	return r, reg
}

// TestPrequentialRecallBySegment: each ranked first listen counts for its part of the listeners and of the songs; of the others nothing is
// known.
func TestPrequentialRecallBySegment(t *testing.T) {
	t.Parallel()
	r, reg := watched(t, exact())
	r.songs(14) // few enough for all to be among 30; first heard 41 days ago
	recent := r.table.Meta(r.table.Song("s000"))
	recent.ReleasedAt = monday().AddDate(0, 0, -10).UnixMilli()
	r.table.Describe(r.table.Song("s005"), recent)
	for n := range 6 { // the first is not ranked: nobody can know what a listener without songs will like
		r.apply(event("ann", fmt.Sprintf("s%03d", n), monday().Add(time.Duration(n)*time.Minute)))
	}
	want := `
# HELP earworm_listener_prequential_examples_total First listens that were ranked before they were learnt.
# TYPE earworm_listener_prequential_examples_total counter
earworm_listener_prequential_examples_total 5
# HELP earworm_listener_prequential_recall_at_30 Sliding share of first listens that were among the 30 best before they were learnt.
# TYPE earworm_listener_prequential_recall_at_30 gauge
earworm_listener_prequential_recall_at_30 1
# HELP earworm_listener_prequential_recall_at_30_by_history The same by what the listener knew: new is at most 3 songs, growing at most 20, settled more.
# TYPE earworm_listener_prequential_recall_at_30_by_history gauge
earworm_listener_prequential_recall_at_30_by_history{history="growing"} 1
earworm_listener_prequential_recall_at_30_by_history{history="new"} 1
earworm_listener_prequential_recall_at_30_by_history{history="settled"} NaN
# HELP earworm_listener_prequential_recall_at_30_by_song_age The same by the time since the song's release, or else since it was first heard.
# TYPE earworm_listener_prequential_recall_at_30_by_song_age gauge
earworm_listener_prequential_recall_at_30_by_song_age{song_age="older"} 1
earworm_listener_prequential_recall_at_30_by_song_age{song_age="under_28_days"} 1
earworm_listener_prequential_recall_at_30_by_song_age{song_age="under_7_days"} NaN
`
	names := []string{
		"earworm_listener_prequential_examples_total", "earworm_listener_prequential_recall_at_30",
		"earworm_listener_prequential_recall_at_30_by_history", "earworm_listener_prequential_recall_at_30_by_song_age",
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

// TestSegmentsOfListeners: the fifth song is that of one who knows four, and the twenty-second of one who knows twenty-one.
func TestSegmentsOfListeners(t *testing.T) {
	t.Parallel()
	r, reg := watched(t, exact())
	r.songs(24)
	for n := range 22 {
		r.apply(event("ann", fmt.Sprintf("s%03d", n), monday().Add(time.Duration(n)*time.Minute)))
		for segment, from := range map[string]int{"new": 2, "growing": 5, "settled": 22} {
			if v := gauges(t, reg, "earworm_listener_prequential_recall_at_30_by_history")[segment]; math.IsNaN(v) != (n+1 < from) {
				t.Errorf("after %d songs the recall of %s is %v, want one from %d on", n+1, segment, v, from)
			}
		}
	}
}

// gauges reads a metric by the value of its only label.
func gauges(t *testing.T, reg *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, family := range families {
		if family.GetName() == name {
			for _, m := range family.GetMetric() {
				out[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	return out
}

// TestPrequentialMissesCountForTheirSegment: of two songs one is the first of the list and the other is not.
func TestPrequentialMissesCountForTheirSegment(t *testing.T) {
	t.Parallel()
	cfg := exact()
	cfg.Playlist.Length, cfg.Playlist.TrendSlots, cfg.Playlist.ExploreSlots, cfg.Playlist.SafePlaces = 1, 0, 0, 0
	r, reg := watched(t, cfg)
	r.songs(12)
	for n := range 10 {
		r.apply(event("ann", fmt.Sprintf("s%03d", n), monday().Add(time.Duration(n)*time.Minute)))
	}
	before := gauges(t, reg, "earworm_listener_prequential_recall_at_30_by_history")
	for _, song := range []string{"s010", "s011"} { // from the same state: a transaction that is lost was measured all the same
		r.process(r.record(event("ann", song, monday().Add(time.Hour))))
		r.open()
	}
	after := gauges(t, reg, "earworm_listener_prequential_recall_at_30_by_history")
	const growing = 6. // examples before: the fifth song to the tenth
	hits := after["growing"]*(growing+2) - before["growing"]*growing
	if math.Abs(hits-1) > .05 || !math.IsNaN(after["settled"]) || after["new"] != before["new"] {
		t.Errorf("%.2f hits of two, want one; before %v, after %v", hits, before, after)
	}
}

// TestSegmentsOfSongs: a song is as old as its release, or else as its first listen, and new where neither is known.
func TestSegmentsOfSongs(t *testing.T) {
	t.Parallel()
	const name = "earworm_listener_prequential_recall_at_30_by_song_age"
	for _, c := range []struct {
		name              string
		released, firstAt int // days before the listen; 0 is unknown
		want              string
	}{
		{"of which nothing is known", 0, 0, "under_7_days"},
		{"first heard yesterday", 0, 1, "under_7_days"},
		{"first heard a week ago", 0, 7, "under_28_days"},
		{"first heard four weeks ago", 0, 28, "older"},
		{"old, and first heard yesterday", 500, 1, "older"},
		{"not out yet", -3, 0, "under_7_days"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, reg := watched(t, exact())
			r.songs(4)
			song := factor.Published{Kind: factor.KindSong, ID: "it", Vector: make([]float32, r.cfg.Learn.Dim)}
			if c.firstAt != 0 {
				song.FirstAt = monday().AddDate(0, 0, -c.firstAt).UnixMilli()
			}
			r.table.Load(song)
			if c.released != 0 {
				r.table.Describe(r.table.Song("it"), factor.Meta{ReleasedAt: monday().AddDate(0, 0, -c.released).UnixMilli()})
			}
			r.apply(event("ann", "s000", monday()), event("ann", "it", monday()))
			for segment, v := range gauges(t, reg, name) {
				if math.IsNaN(v) == (segment == c.want) {
					t.Errorf("recall of %s is %v", segment, v)
				}
			}
		})
	}
}
