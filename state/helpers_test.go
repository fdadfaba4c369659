package state

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// seed makes every random test repeatable: go test ./state -seed=N.
var seed = flag.Uint64("seed", 1, "seed of random tests")

var testID = Identity{App: "earworm", Role: "listener", Partition: 3, Partitions: 8}

// noLeaks fails the test if it leaves goroutines behind. Tests that make the disk fail leave some on purpose.
func noLeaks(t *testing.T) {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
}

func testConfig(fs FS) Config {
	at := time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)
	return Config{
		Dir: "state", FS: fs, MemTableBytes: 1 << 20, CacheBytes: 4 << 20,
		Now: func() time.Time { at = at.Add(time.Second); return at },
	}
}

// openShared opens the shared part and closes it with the test.
func openShared(tb testing.TB, cfg Config, deps Deps) *Shared {
	tb.Helper()
	s, err := NewShared(cfg, deps)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

func openStore(tb testing.TB, s *Shared, id Identity) *Store {
	tb.Helper()
	st, err := s.Open(id)
	if err != nil {
		tb.Fatal(err)
	}
	return st
}

func mustApply(tb testing.TB, st *Store, offset int64, changes ...Change) {
	tb.Helper()
	if err := st.Apply(changes, offset); err != nil {
		tb.Fatal(err)
	}
}

// rows returns everything the store holds.
func rows(st *Store) (map[string]string, error) {
	all := map[string]string{}
	err := st.Scan(nil, func(k, v []byte) error {
		all[string(k)] = string(v)
		return nil
	})
	return all, err
}

// history is the oracle: every state that a store passed through.
type history struct {
	rng   *rand.Rand
	base  map[string]string // the rows after steps[0]
	first int               // number of steps[0]
	steps []step
	// durable is the newest step that no crash may undo. A crash in the middle of a write reads it from another goroutine.
	durable atomic.Int64
}

// step is what one write did; synced says that no crash may undo it.
type step struct {
	changes []Change // nil value = delete
	prefix  []byte   // rows to delete instead
	wipe    bool
	flush   bool // nothing else
	synced  bool
	offset  int64
}

func newHistory(seed uint64) *history {
	return &history{rng: rand.New(rand.NewPCG(seed, 7)), steps: []step{{synced: true}}}
}

var stepKey = []byte("\x01step")

// advance makes one random write to the store and remembers it.
func (h *history) advance(tb testing.TB, st *Store) {
	tb.Helper()
	s := step{offset: st.Offset()}
	var write func() error
	switch n := h.rng.IntN(200); {
	case n == 0:
		s.wipe, s.synced, s.offset = true, true, 0
		write = st.Wipe
	case n < 4:
		s.prefix, s.synced = fmt.Appendf(nil, "row-%d", h.rng.IntN(10)), true
		write = func() error { return st.DeletePrefix(s.prefix) }
	case n < 10:
		s.flush, s.synced = true, true
		write = st.Flush
	default:
		s.offset += int64(h.rng.IntN(20))
		s.changes = h.batch(h.newest() + 1)
		write = func() error { return st.Apply(s.changes, s.offset) }
	}
	h.steps = append(h.steps, s)
	if err := write(); err != nil {
		tb.Fatal(err)
	}
	if s.synced {
		h.durable.Store(int64(h.newest()))
	}
}

func (h *history) batch(number int) []Change {
	changes := []Change{{Key: stepKey, Value: fmt.Append(nil, number)}}
	size := 1 + h.rng.IntN(20)
	if h.rng.IntN(40) == 0 {
		size = 600 // more than half a write buffer: Pebble puts such a batch beside it
	}
	for range size {
		c := Change{Key: fmt.Appendf(nil, "row-%03d", h.rng.IntN(300))}
		if h.rng.IntN(400) == 0 { // a listener: when this row is deleted, the store takes the listener out of its files
			c.Key = AppendCoreKey(nil, fmt.Appendf(nil, "listener-%02d", h.rng.IntN(20)))
		}
		if h.rng.IntN(5) > 0 {
			c.Value = bytes.Repeat(fmt.Appendf(nil, "%08d", h.rng.IntN(1e8)), 1+h.rng.IntN(400))
		}
		changes = append(changes, c)
	}
	return changes
}

// newest returns the number of the last step.
func (h *history) newest() int { return h.first + len(h.steps) - 1 }

// at returns the rows after a step, by its number.
func (h *history) at(n int) map[string]string {
	rows := map[string]string{}
	maps.Copy(rows, h.base)
	for _, s := range h.steps[1 : n-h.first+1] {
		s.apply(rows)
	}
	return rows
}

func (s step) apply(rows map[string]string) {
	if s.wipe {
		clear(rows)
	}
	if s.prefix != nil {
		maps.DeleteFunc(rows, func(k, _ string) bool { return bytes.HasPrefix([]byte(k), s.prefix) })
	}
	for _, c := range s.changes {
		if c.Value == nil {
			delete(rows, string(c.Key))
		} else {
			rows[string(c.Key)] = string(c.Value)
		}
	}
}

// restart forgets all but one moment: its rows are durable from now on.
func (h *history) restart(n int) {
	h.base, h.steps, h.first = h.at(n), []step{{synced: true, offset: h.steps[n-h.first].offset}}, n
	h.durable.Store(int64(n))
}

// match returns the step, not before from, after which the store would look like this, or an error.
func (h *history) match(got map[string]string, offset int64, from int) (int, error) {
	newest := 0
	if number, ok := got[string(stepKey)]; ok {
		if _, err := fmt.Sscan(number, &newest); err != nil {
			return 0, err
		}
	}
	// The step row names the last Apply. Range deletions may follow it, and without it the store was wiped or new.
	for n := max(from, newest); n <= h.newest(); n++ {
		s := h.steps[n-h.first]
		if newest > 0 && n > newest && s.changes != nil {
			break
		}
		if s.offset == offset && maps.Equal(h.at(n), got) {
			return n, nil
		}
	}
	return 0, fmt.Errorf("offset %d with %d rows, step row %d: not a state after step %d or later of %d",
		offset, len(got), newest, from, h.newest())
}

// lastSynced returns the newest step that a crash may not undo.
func (h *history) lastSynced() int { return int(h.durable.Load()) }
