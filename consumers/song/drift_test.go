package song_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"earworm/consumers/song"
	"earworm/consumers/stream"
	"earworm/schemas"
	"earworm/state"
)

const (
	speakers = 4 // listens partitions
	songs    = 40
	driftFor = 8 * 24 * 60 // minutes
	step     = 5           // minutes of a bucket
)

// told is what the listens partitions hear in five minutes each: listens[partition][n] are the updates of the n-th.
type told [speakers][][]schemas.SongUpdate

// world makes days of listens of a few songs, by day and by night; some of the songs go viral.
func world(t *testing.T) *told {
	t.Helper()
	t.Logf("seed %d", *seed)
	rng := rand.New(rand.NewPCG(*seed, 11))
	var w told
	for m := 0; m < driftFor; m += step {
		season := 1 + .8*math.Sin(2*math.Pi*float64(m)/(24*60))
		for p := range w {
			var updates []schemas.SongUpdate
			for n := range songs {
				mean := .04 * season / (1 + float64(n)/10)
				if begins := (3 + n%4) * 24 * 60; n%10 == 3 && m > begins && m < begins+36*60 {
					mean *= math.Min(30, math.Exp2(float64(m-begins)/(3*60)))
				}
				var listens []schemas.ListenBucket
				for _, region := range []string{"DE", "JP"} {
					if plays := poisson(rng, mean); plays > 0 {
						b := bucket(region, minute(m), plays, plays)
						b.TopPlays = 1
						listens = append(listens, b)
					}
				}
				if len(listens) > 0 {
					updates = append(updates, update(fmt.Sprintf("s%02d", n), int32(p), int64(m), nil, listens...))
				}
			}
			w[p] = append(w[p], updates)
		}
	}
	return &w
}

func poisson(rng *rand.Rand, mean float64) uint32 {
	n, p := uint32(0), rng.Float64()
	for limit := math.Exp(-mean); p > limit; n++ {
		p *= rng.Float64()
	}
	return n
}

// newSpeakersRig is a task that knows of how many listens partitions there are.
func newSpeakersRig(tb testing.TB) *rig {
	tb.Helper()
	r := newRig(tb)
	r.cfg.Partitions = speakers
	r.open()
	return r
}

// tell hands a task one transaction of a listens partition: what it heard from one step to another.
func (w *told) tell(r *rig, p, from, to int, produced time.Time) {
	r.tb.Helper()
	var value []byte
	for _, updates := range w[p][from:to] {
		for i := range updates {
			value = schemas.AppendSongUpdate(value, &updates[i])
		}
	}
	value = schemas.MarkSongUpdates(value, schemas.SongMark{Partition: int32(p), At: minute(to*step) - 1})
	if outcome, err := r.run.Process(&stream.Record{Topic: "updates", Value: value, At: produced}); err != nil || outcome != stream.OutcomeApplied {
		r.tb.Fatalf("%s, %v", outcome, err)
	}
}

// inStep lets all partitions hear the same minutes in every transaction.
func (w *told) inStep(r *rig) {
	for n := range w[0] {
		for p := range w {
			w.tell(r, p, n, n+1, time.Time{})
		}
		r.commit()
	}
}

// drifting lets the partitions run ahead of each other by up to a day and a half, in transactions of minutes to hours, and the task
// commit where it likes.
func (w *told) drifting(r *rig, rng *rand.Rand, between func()) {
	const apart = 36 * 60 / step
	var at [speakers]int
	for slices.Min(at[:]) < len(w[0]) {
		p := rng.IntN(speakers)
		to := min(len(w[p]), at[p]+1+rng.IntN(5*60/step), slices.Min(at[:])+apart)
		if to > at[p] {
			w.tell(r, p, at[p], to, time.Time{})
			at[p] = to
		}
		if rng.IntN(3) == 0 {
			r.commit()
			between()
		}
	}
	r.commit()
}

// announced is what a rig said of trends: the time of each by song, region, status and how often it was said.
func announced(r *rig) map[string]int64 {
	r.tb.Helper()
	said := map[string]int64{}
	for _, m := range r.sent {
		var trend schemas.Trend
		if err := json.Unmarshal(m.Value, &trend); err != nil {
			r.tb.Fatal(err)
		}
		for n := 1; ; n++ {
			what := fmt.Sprintf("%s %q %s %d", trend.Song, trend.Region, trend.Status, n)
			if _, again := said[what]; !again {
				said[what] = trend.At
				break
			}
		}
	}
	return said
}

// differences lists what one rig announced and the other did not, or did at another time.
func differences(want, got map[string]int64) []string {
	var out []string
	for what, at := range want {
		other, ok := got[what]
		if !ok {
			out = append(out, what+" is missing")
		} else if other != at {
			out = append(out, fmt.Sprintf("%s comes %s late", what, time.Duration(other-at)*time.Millisecond))
		}
	}
	for what := range got {
		if _, ok := want[what]; !ok {
			out = append(out, what+" is too much")
		}
	}
	slices.Sort(out)
	return out
}

// TestDriftChangesNoTrend: the same listens make the same trends however far the listens partitions run ahead of each other, however large
// their transactions are and whatever is abandoned or restarted meanwhile.
func TestDriftChangesNoTrend(t *testing.T) {
	t.Parallel()
	w := world(t)
	ordered := newSpeakersRig(t)
	w.inStep(ordered)
	want := announced(ordered)
	if len(want) < 8 {
		t.Fatalf("only %d announcements: %v", len(want), want)
	}
	if rows := ordered.store.Keys(state.AppendHeldKey(nil, 0)[:1]); len(rows) > 1 {
		t.Errorf("%d records of listens wait although nobody drifted", len(rows))
	}
	for n := range uint64(3) {
		r := newSpeakersRig(t)
		rng := rand.New(rand.NewPCG(*seed, n))
		w.drifting(r, rng, func() {
			switch rng.IntN(10) {
			case 0:
				r.open()
			case 1:
				w.tell(r, rng.IntN(speakers), 0, 300, time.Time{})
				r.run.Abandon()
			}
		})
		if got := differences(want, announced(r)); len(got) > 0 {
			t.Errorf("drift %d: of %d announcements\n%s", n, len(want), strings.Join(got, "\n"))
		}
		if rows := r.store.Keys(state.AppendHeldKey(nil, 0)[:1]); len(rows) > 1 {
			t.Errorf("drift %d: %d records of listens still wait at the end", n, len(rows))
		}
	}
	// That the task waits is what makes it so: one that cannot hold anything back follows the partition that is ahead.
	r := newSpeakersRig(t)
	r.cfg.HeldMax = 1
	r.open()
	w.drifting(r, rand.New(rand.NewPCG(*seed, 0)), func() {})
	if got := differences(want, announced(r)); len(got) < len(want)/4 {
		t.Errorf("without waiting only %d of %d announcements differ: the test shows little", len(got), len(want))
	}
}

// value reads a metric without labels.
func (r *rig) value(name string) float64 {
	r.tb.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.tb.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	r.tb.Fatalf("no metric %s", name)
	return 0
}

// TestSilentPartitionHoldsTrendsForAWhile: a listens partition that says nothing is waited for while others speak for as long as is
// configured, and no longer; time in which nobody speaks does not count.
func TestSilentPartitionHoldsTrendsForAWhile(t *testing.T) {
	t.Parallel()
	w := world(t)
	const day = 24 * 60 / step
	for name, row := range map[string]struct {
		silent []int         // partitions that end after a day
		pause  time.Duration // of everybody, after it
		speak  time.Duration // of the others, after that
		waits  bool
	}{
		"speaks":                  {nil, 0, 2 * time.Minute, false},
		"silent for a while":      {[]int{1}, 0, 50 * time.Second, true},
		"silent for too long":     {[]int{1}, 0, 2 * time.Minute, false},
		"two silent for too long": {[]int{1, 3}, 0, 2 * time.Minute, false},
		"nobody speaks":           {[]int{1}, time.Hour, 30 * time.Second, true},
	} {
		r := newSpeakersRig(t)
		produced := start()
		for p := range w {
			w.tell(r, p, 0, day, produced)
		}
		r.commit()
		produced = produced.Add(row.pause)
		for n := day; n < 2*day; n++ {
			produced = produced.Add(row.speak / day)
			for p := range w {
				if !slices.Contains(row.silent, p) {
					w.tell(r, p, n, n+1, produced)
				}
			}
			r.commit()
			if n%50 == 0 {
				r.open()
			}
		}
		if got := r.store.Keys(state.AppendHeldKey(nil, 0)[:1]); (len(got) > 1) != row.waits {
			t.Errorf("%s: %d records of listens wait, want some: %t", name, len(got), row.waits)
		}
	}
}

// TestWhoIsNotHeardYetIsWaitedFor: in the beginning nothing is judged before every listens partition has said something, or has had its
// time to.
func TestWhoIsNotHeardYetIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := world(t)
	r := newSpeakersRig(t)
	evaluated := func() bool { return len(r.store.Keys(state.AppendSeasonKey(nil, [2]byte{})[:1])) > 0 }
	for p := range speakers - 1 {
		w.tell(r, p, 0, 100, start())
		r.commit()
	}
	if evaluated() {
		t.Error("judged before the last partition was heard")
	}
	w.tell(r, speakers-1, 0, 10, start())
	r.commit()
	if !evaluated() {
		t.Error("not judged although all were heard")
	}
	r = newSpeakersRig(t)
	for n := range 20 {
		w.tell(r, 0, n, n+1, start().Add(time.Duration(n)*4*time.Second))
		r.commit()
	}
	if !evaluated() {
		t.Error("partitions that never speak hold the trends for ever")
	}
}

// TestHeldListensAreBounded: a partition that is alive but far behind is not waited for when the listens of the others fill the memory.
func TestHeldListensAreBounded(t *testing.T) {
	t.Parallel()
	w := world(t)
	r := newSpeakersRig(t)
	r.cfg.HeldMax = 2000
	r.open()
	w.tell(r, 0, 0, 1, time.Time{})
	for n := range len(w[1]) / 12 {
		for p := 1; p < speakers; p++ {
			w.tell(r, p, 12*n, 12*(n+1), time.Time{})
		}
		r.commit()
		if n%30 == 0 {
			r.open()
		}
		if got := r.value("earworm_song_listens_held"); got > 2000 {
			t.Fatalf("%g listens are held", got)
		}
	}
	if rows := len(r.store.Keys(state.AppendHeldKey(nil, 0)[:1])); rows > len(w[1])/12/2 {
		t.Errorf("%d records of listens are stored", rows)
	}
	if r.value("earworm_song_listens_crowded_total") == 0 {
		t.Error("nothing was held back for the partition that is behind: the test shows nothing")
	}
}

// TestStoreWithoutAClock: a store that was written before the clock had a row goes on from its last evaluation.
func TestStoreWithoutAClock(t *testing.T) {
	t.Parallel()
	w := world(t)
	r := newSpeakersRig(t)
	for p := range w {
		w.tell(r, p, 0, 400, time.Time{})
	}
	r.commit()
	if err := r.store.Apply([]stream.Change{{Key: state.ClockKey()}}, r.store.Offset()+1); err != nil {
		t.Fatal(err)
	}
	r.sent = nil
	r.open()
	for p := range w {
		w.tell(r, p, 0, 400, time.Time{}) // all of it once more: late now
	}
	r.commit()
	if len(r.sent) > 0 {
		t.Errorf("judged again: %d announcements", len(r.sent))
	}
	for name, value := range map[string][]byte{"of another version": {9}, "cut": {1, 2}, "cut in a partition": {1, 2, 2, 2, 2, 2}} {
		if err := r.store.Apply([]stream.Change{{Key: state.ClockKey(), Value: value}}, r.store.Offset()+1); err != nil {
			t.Fatal(err)
		}
		if _, err := song.New(r.cfg, r.metrics, r.store); !errors.Is(err, state.ErrRow) {
			t.Errorf("a clock %s: %v", name, err)
		}
	}
}
