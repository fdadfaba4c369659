package song_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"earworm/consumers/stream"
	"earworm/model/factor"
	"earworm/schemas"
)

// refit is an update that a refit sends.
func refit(id string, base, epoch uint32, vector ...float32) schemas.SongUpdate {
	return schemas.SongUpdate{Kind: byte(factor.KindSong), ID: []byte(id), Base: base, Epoch: epoch, Vector: vector}
}

// refitted hands refits to the task in one record, as the command sends them.
func (r *rig) refitted(updates ...schemas.SongUpdate) {
	r.tb.Helper()
	var value []byte
	for i := range updates {
		value = schemas.AppendSongUpdate(value, &updates[i])
	}
	value = schemas.MarkSongUpdates(value, schemas.SongMark{Partition: schemas.NoPartition})
	if _, err := r.run.Process(&stream.Record{Topic: "updates", Partition: partition, Value: value}); err != nil {
		r.tb.Fatal(err)
	}
}

func (r *rig) wantRefits(applied, refused string) {
	r.tb.Helper()
	var want strings.Builder
	want.WriteString("# HELP earworm_song_refits_total Rows of refits: applied, or refused because the row had taken in this or another refit since it was read.\n" +
		"# TYPE earworm_song_refits_total counter\n")
	for outcome, n := range map[string]string{"applied": applied, "refused": refused} {
		if n != "0" {
			fmt.Fprintf(&want, "earworm_song_refits_total{outcome=%q} %s\n", outcome, n)
		}
	}
	if err := testutil.GatherAndCompare(r.reg, strings.NewReader(want.String()), "earworm_song_refits_total"); err != nil {
		r.tb.Error(err)
	}
}

func near(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return x-y < 1e-6 && y-x < 1e-6 })
}

// TestRefitCountsOnce: in the same transaction, in a later one, and after a restart, which a duplicate of the whole refit comes down to.
func TestRefitCountsOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.apply(update("s", 0, 10, []float32{.1, 0, 0, 0}))
	before := r.row(factor.KindSong, "s")
	moved := refit("s", 0, 1, .5, .25, 0, 0)
	r.refitted(moved, moved)
	r.commit()
	r.refitted(moved)
	r.commit()
	r.open()
	r.refitted(moved)
	r.commit()
	got := r.row(factor.KindSong, "s")
	want := []float32{before.Vector[0] + .5, before.Vector[1] + .25, before.Vector[2], before.Vector[3]}
	if !near(got.Vector, want) || got.Epoch != 1 {
		t.Errorf("epoch %d with %v, want 1 with %v", got.Epoch, got.Vector, want)
	}
	r.wantRefits("1", "3")
}

// TestRefitKeepsEverythingElse: counters, evidence, acknowledgements, popularity and neighbours are what they were.
func TestRefitKeepsEverythingElse(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	heard := update("s", 3, 10, []float32{.1, 0, 0, 0}, bucket("DE", minute(1), 7, 5))
	heard.Evidence, heard.Listeners, heard.PairsAt, heard.Pairs = 2, 1, minute(1), []schemas.Pair{{Song: 9, Weight: 1}}
	r.apply(heard)
	before := r.row(factor.KindSong, "s")
	rows := len(r.store.Rows())
	r.refitted(refit("s", 0, 4, .5, 0, 0, 0))
	r.commit()
	got := r.row(factor.KindSong, "s")
	if got.Epoch != 4 || near(got.Vector, before.Vector) {
		t.Fatalf("the refit did not count: epoch %d", got.Epoch)
	}
	got.Epoch, got.Vector = before.Epoch, before.Vector
	if a, b := got.AppendBinary(nil), before.AppendBinary(nil); !slices.Equal(a, b) {
		t.Errorf("more than vector and epoch changed:\n%+v\n%+v", got, before)
	}
	if now := len(r.store.Rows()); now != rows {
		t.Errorf("%d rows are stored, were %d", now, rows)
	}
}

// TestRefitAndUpdatesInAnyOrder: what was learnt since the refit's cut stays on top of it, whichever comes first.
func TestRefitAndUpdatesInAnyOrder(t *testing.T) {
	t.Parallel()
	learnt := []schemas.SongUpdate{update("s", 0, 11, []float32{0, .3, 0, 0}), update("s", 2, 5, []float32{0, 0, -.2, 0})}
	moved := refit("s", 0, 1, .5, -.5, .125, 0)
	var want []float32
	for order := range 3 {
		r := newRig(t)
		r.apply(update("s", 0, 10, []float32{.1, 0, 0, 0}))
		for i := range 3 {
			if i == order {
				r.refitted(moved)
			} else {
				r.process(learnt[i-map[bool]int{true: 1}[i > order]])
			}
			if i == 1 {
				r.commit()
			}
		}
		r.commit()
		got := r.row(factor.KindSong, "s")
		if want == nil {
			want = slices.Clone(got.Vector)
		}
		if !near(got.Vector, want) || got.Epoch != 1 || len(got.Acks) != 2 {
			t.Errorf("refit at place %d: epoch %d, %d acknowledgements, %v, want %v", order, got.Epoch, len(got.Acks), got.Vector, want)
		}
	}
}

// TestRefitOfAnotherEpochIsRefused: a row of an earlier refit that comes late does not mix into a later one, one whose base the row has
// never been in does not count, and neither does one that leads back.
func TestRefitOfAnotherEpochIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.apply(update("s", 0, 10, []float32{.1, 0, 0, 0}))
	r.refitted(refit("s", 0, 2, .5, 0, 0, 0))
	r.commit()
	before := r.row(factor.KindSong, "s")
	sent := len(r.store.Rows())
	r.refitted(refit("s", 0, 1, 1, 1, 1, 1), refit("s", 1, 3, 1, 1, 1, 1), refit("s", 2, 2, 1, 1, 1, 1), refit("s", 2, 1, 1, 1, 1, 1))
	r.commit()
	if got := r.row(factor.KindSong, "s"); !near(got.Vector, before.Vector) || got.Epoch != 2 || len(r.store.Rows()) != sent {
		t.Errorf("epoch %d with %v, want 2 with %v", got.Epoch, got.Vector, before.Vector)
	}
	r.wantRefits("1", "4")
	r.refitted(refit("s", 2, 3, 0, 0, 0, .5))
	r.commit()
	if got := r.row(factor.KindSong, "s"); got.Epoch != 3 || near(got.Vector, before.Vector) {
		t.Errorf("the next refit did not count: epoch %d", got.Epoch)
	}
}

// TestRefitAndErasure: who is erased while a refit is under way is taken out of the counts as ever, before the refit's row or after it.
func TestRefitAndErasure(t *testing.T) {
	t.Parallel()
	var want []byte
	for _, first := range []bool{true, false} {
		r := newRig(t)
		heard := update("s", 3, 10, []float32{.1, 0, 0, 0}, bucket("DE", minute(1), 1, 1))
		heard.Listeners, heard.PairsAt, heard.Pairs = 1, minute(1), []schemas.Pair{{Song: 9, Weight: 1}}
		r.apply(heard)
		erased := update("s", 3, 11, nil, bucket("DE", minute(1), 0, 1))
		erased.Withdraws, erased.Listeners, erased.CameAt, erased.PairsAt, erased.Pairs = true, 1, minute(1), minute(1), heard.Pairs
		if first {
			r.process(erased)
		}
		r.refitted(refit("s", 0, 1, .5, 0, 0, 0))
		if !first {
			r.process(erased)
		}
		r.commit()
		got := r.row(factor.KindSong, "s")
		if got.Popularity.Value7d > 1e-9 || got.Epoch != 1 {
			t.Errorf("erased first %v: popularity %v, epoch %d", first, got.Popularity.Value7d, got.Epoch)
		}
		if value := got.AppendBinary(nil); want == nil {
			want = value
		} else if !slices.Equal(value, want) {
			t.Errorf("the order of refit and erasure shows in the row")
		}
	}
}

// TestRefitIsNoVoice: a refit says nothing of how far the listens partitions have come, so trends neither wait for it nor go on by it.
func TestRefitIsNoVoice(t *testing.T) {
	t.Parallel()
	plain, mixed := newRig(t), newRig(t)
	for _, r := range []*rig{plain, mixed} {
		r.apply(update("s", 0, 10, []float32{.1, 0, 0, 0}, bucket("DE", minute(1), 1, 1)))
	}
	mixed.refitted(refit("s", 0, 1, .5, 0, 0, 0))
	mixed.commit()
	for key, value := range plain.store.Rows() {
		if key[0] != 'f' && !slices.Equal(value, mixed.store.Rows()[key]) {
			t.Errorf("row %q differs", key)
		}
	}
}

// TestRefitOfOtherKindsIsPoison: there is no refit of the blend.
func TestRefitOfOtherKindsIsPoison(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, kind := range []factor.Kind{factor.KindBlend, factor.KindListener, 'x'} {
		u := refit("s", 0, 1, .5, 0, 0, 0)
		u.Kind = byte(kind)
		if got := r.process(u); got != stream.OutcomeDeadLettered {
			t.Errorf("%s: %s", kind, got)
		}
	}
}
