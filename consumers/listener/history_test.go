package listener

import (
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"earworm/model/factor"
	"earworm/state"
)

// naiveRow is what a history is meant to be: per song a list of ids, forgotten one by one.
type naiveRow struct {
	ids     []seen
	horizon uint32
	plays   uint32
}

func (r *naiveRow) forget(before uint32) {
	had := len(r.ids)
	r.ids = slices.DeleteFunc(r.ids, func(s seen) bool { return s.at < before })
	if len(r.ids) < had {
		r.horizon = max(r.horizon, before)
	}
}

func (r *naiveRow) remember(s seen) {
	if len(r.ids) >= state.MaxRemembered {
		times := make([]uint32, 0, len(r.ids))
		for _, s := range r.ids {
			times = append(times, s.at)
		}
		slices.Sort(times)
		r.forget(times[len(times)/2] + 1)
	}
	r.ids = append(r.ids, s)
}

// TestHistoryIsAMapOfLists plays random events against a map of lists, and takes the history through its rows now and then.
func TestHistoryIsAMapOfLists(t *testing.T) {
	for _, songs := range []int{3, 40, 3000} {
		rng := rand.New(rand.NewPCG(7, uint64(songs)))
		naive, want := map[factor.Key]*naiveRow{}, []factor.Key(nil)
		h, core := &history{}, &recall{}
		naiveCore := &naiveRow{}
		for step := range 20_000 {
			at := uint32(step) + rng.Uint32N(300)
			key := factor.Key(rng.Uint64N(uint64(songs)) * 0x9e3779b97f4a7c15)
			n, known := h.find(key)
			if (naive[key] != nil) != known {
				t.Fatalf("song %x: known %v", key, known)
			}
			if !known {
				n = h.add(heard{song: key})
				naive[key], want = &naiveRow{}, append(want, key)
			}
			h.entries[n].Plays++
			naive[key].plays++
			r, row, of := &h.entries[n].recall, naive[key], n
			if rng.IntN(10) == 0 {
				r, row, of = core, naiveCore, noSong
			}
			id := rng.Uint64N(8) // the same ids for different songs
			if row2 := slices.ContainsFunc(row.ids, func(s seen) bool { return s.id == id }); row2 != h.knows(r, of, id) {
				t.Fatalf("step %d: id %d of song %d is known: %v", step, id, of, row2)
			}
			if before := at - min(at, 200); rng.IntN(3) == 0 {
				h.forget(r, of, before)
				row.forget(before)
			}
			h.remember(r, of, id, at)
			row.remember(seen{id: id, at: at, of: of})
			if step%4000 == 3999 {
				h, core = reloaded(t, h, core)
			}
		}
		if len(h.entries) != len(want) {
			t.Fatalf("%d songs, want %d", len(h.entries), len(want))
		}
		var entry state.HistoryEntry
		for n, key := range want {
			e := &h.entries[n]
			if h.exportEntry(uint32(n), &entry); e.song != key || entry.Plays != naive[key].plays {
				t.Fatalf("song %d is %x with %d plays, want %x with %d", n, e.song, entry.Plays, key, naive[key].plays)
			}
			same(t, &entry.Remembered, naive[key])
		}
		h.export(core, noSong, &entry.Remembered)
		same(t, &entry.Remembered, naiveCore)
	}
}

// reloaded returns a history that was made from the rows of another.
func reloaded(t *testing.T, h *history, core *recall) (*history, *recall) {
	t.Helper()
	next, nextCore := &history{}, &recall{}
	var entry state.HistoryEntry
	for n := range h.entries {
		h.exportEntry(uint32(n), &entry)
		var read state.HistoryEntry
		if err := read.UnmarshalBinary(entry.AppendBinary(nil)); err != nil {
			t.Fatal(err)
		}
		next.restoreEntry(h.entries[n].song, &read)
	}
	h.export(core, noSong, &entry.Remembered)
	next.restore(nextCore, noSong, &entry.Remembered)
	return next, nextCore
}

func same(t *testing.T, got *state.Remembered, want *naiveRow) {
	t.Helper()
	if len(got.IDs) != len(want.ids) || got.Horizon != want.horizon {
		t.Fatalf("%d ids behind %d, want %d behind %d", len(got.IDs), got.Horizon, len(want.ids), want.horizon)
	}
	for i, s := range want.ids {
		if got.IDs[i] != s.id || got.Times[i] != s.at {
			t.Fatalf("id %d is %d at %d, want %d at %d", i, got.IDs[i], got.Times[i], s.id, s.at)
		}
	}
}

// TestRecallIsBounded says that one song played over and over does not grow without end, and that what was forgotten lies below the
// horizon.
func TestRecallIsBounded(t *testing.T) {
	h := &history{}
	n := h.add(heard{song: 1})
	all := map[uint64]uint32{}
	for id := range uint64(3 * state.MaxRemembered) {
		at := uint32(id / 2)
		all[id] = at
		h.remember(&h.entries[n].recall, n, id, at)
		if r := &h.entries[n].recall; r.n > state.MaxRemembered || int(r.n) > len(h.more)+inlineIDs {
			t.Fatalf("%d ids, %d of them in overflow", r.n, len(h.more))
		}
	}
	r := &h.entries[n].recall
	for id, at := range all {
		if !h.knows(r, n, id) && at >= r.horizon {
			t.Errorf("id %d at %d was forgotten, the horizon is %d", id, at, r.horizon)
		}
	}
}

func TestHistoryKnowsItsSize(t *testing.T) {
	if unsafe.Sizeof(heard{}) != heardBytes || unsafe.Sizeof(seen{}) != seenBytes {
		t.Errorf("a heard takes %d bytes, a seen %d", unsafe.Sizeof(heard{}), unsafe.Sizeof(seen{}))
	}
}
