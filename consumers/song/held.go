package song

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"earworm/consumers/stream"
	"earworm/model/factor"
	"earworm/schemas"
	"earworm/state"
)

// observation is what one bucket says about one song, as a listens partition told it.
type observation struct {
	row  *row
	from int32
	schemas.ListenBucket
}

// held are the listens that lie ahead of the clock: the detector sees them when every listens partition has come as far. They are
// stored as they come, once, and not with their rows, which are published whenever they change.
type held struct {
	byTime  map[int64][]observation // by interval of evaluation
	count   int
	records []heldRecord // oldest first
}

// heldRecord is a stored one, with the time of its last listen.
type heldRecord struct {
	number uint64
	last   int64
}

// add keeps an observation for later.
func (h *held) add(o *observation, interval int64) {
	if h.byTime == nil {
		h.byTime = map[int64][]observation{}
	}
	at := o.At - o.At%interval
	h.byTime[at] = append(h.byTime[at], *o)
	h.count++
}

// times lists the intervals before a limit, in order.
func (h *held) times(limit int64) []int64 {
	due := slices.DeleteFunc(slices.Collect(maps.Keys(h.byTime)), func(at int64) bool { return at >= limit })
	slices.Sort(due)
	return due
}

// take removes the observations of an interval and returns them in an order that does not depend on how the partitions drifted: each
// of them tells its own in the order of its log.
func (h *held) take(at int64) []observation {
	due := h.byTime[at]
	delete(h.byTime, at)
	h.count -= len(due)
	slices.SortStableFunc(due, func(x, y observation) int {
		return cmp.Or(cmp.Compare(x.At, y.At), cmp.Compare(x.row.key, y.row.key), slices.Compare(x.Region[:], y.Region[:]),
			cmp.Compare(x.from, y.from))
	})
	return due
}

// crowded returns the interval up to which the held listens must be counted so that half of the most that may wait are left.
func (h *held) crowded(most int) int64 {
	left, at := h.count, int64(0)
	for _, at = range slices.Sorted(maps.Keys(h.byTime)) {
		if left -= len(h.byTime[at]); left <= most/2 {
			break
		}
	}
	return at
}

// judge counts the listens of the transaction, and those that had to wait, for the trends, as far as every listens partition has
// come, and evaluates the trends up to there.
//
// Listens of the interval in hand are counted as they come: there is no evaluation between them. So where all partitions are at the
// same time, as they are when people listen now, nothing waits and nothing more is written.
func (t *Task) judge(out *stream.Output) error {
	interval := t.cfg.Interval.Milliseconds()
	reached := t.clock.reached(t.cfg.Partitions, t.cfg.Wait)
	target := max(t.clock.at, reached-reached%interval)
	for i := range t.pending {
		t.held.add(&t.pending[i], interval)
	}
	if t.held.count > t.cfg.HeldMax {
		// Whoever is so far ahead that its listens fill the memory is not waited for.
		target = max(target, t.held.crowded(t.cfg.HeldMax))
		t.metrics.crowded.Inc()
	}
	if target > 0 {
		for _, at := range t.held.times(target + interval) {
			due := t.held.take(at)
			for i := range due {
				if err := t.advance(due[i].At, out); err != nil {
					return err
				}
				t.touch(due[i].row) // it came with an earlier transaction, if it had to wait
				t.watchListens(due[i].row, &due[i].ListenBucket)
			}
		}
		if err := t.advance(target, out); err != nil {
			return err
		}
	}
	t.keep(out)
	clear(t.pending)
	t.pending = t.pending[:0]
	return nil
}

// waits reports whether a listen lies ahead of the clock.
func (t *Task) waits(at int64) bool {
	return t.clock.at == 0 || at >= t.clock.at+t.cfg.Interval.Milliseconds()
}

// heldBytes is the size from which a record of listens that wait is complete.
const heldBytes = 256 << 10

// keep stores the listens of the transaction that wait, forgets the records of those that do no longer, and stores the clock.
func (t *Task) keep(out *stream.Output) {
	t.held.records = slices.DeleteFunc(t.held.records, func(r heldRecord) bool {
		if t.waits(r.last) {
			return false
		}
		out.Delete(state.AppendHeldKey(t.key[:0], r.number))
		return true
	})
	t.value = t.value[:0]
	last := int64(0)
	for i := 0; i < len(t.pending); {
		o := &t.pending[i]
		u := schemas.SongUpdate{Kind: byte(o.row.kind), ID: []byte(o.row.id), Partition: o.from}
		for ; i < len(t.pending) && t.pending[i].row == o.row && t.pending[i].from == o.from; i++ {
			if t.waits(t.pending[i].At) {
				u.Listens = append(u.Listens, t.pending[i].ListenBucket)
				last = max(last, t.pending[i].At)
			}
		}
		if len(u.Listens) > 0 {
			t.value = schemas.AppendSongUpdate(t.value, &u)
		}
		if len(t.value) >= heldBytes {
			t.hold(last, out)
			last = 0
		}
	}
	t.hold(last, out)
	if t.clock.dirty {
		t.value = t.clock.appendBinary(t.value[:0])
		out.Put(state.ClockKey(), t.value)
		t.clock.dirty = false
	}
}

// hold puts a record of listens that wait into the transaction.
func (t *Task) hold(last int64, out *stream.Output) {
	if len(t.value) == 0 {
		return
	}
	out.Put(state.AppendHeldKey(t.key[:0], t.clock.held), t.value)
	t.held.records = append(t.held.records, heldRecord{number: t.clock.held, last: last})
	t.clock.held++
	t.value = t.value[:0]
}

// loadHeld reads such a record. The clock was read before it, and so were the rows of its songs.
func (t *Task) loadHeld(number uint64, value []byte) error {
	if err := t.updates.UnmarshalBinary(value); err != nil {
		return fmt.Errorf("%w: listens that wait: %w", state.ErrRow, err)
	}
	record := heldRecord{number: number}
	for i := range t.updates.Updates {
		u := &t.updates.Updates[i]
		r := t.row(factor.Kind(u.Kind), u.ID)
		for _, b := range u.Listens {
			record.last = max(record.last, b.At)
			if t.waits(b.At) {
				t.held.add(&observation{row: r, from: u.Partition, ListenBucket: b}, t.cfg.Interval.Milliseconds())
			}
		}
	}
	t.held.records = append(t.held.records, record)
	return nil
}
