package replay

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"earworm/consumers/stream"
	"earworm/state"
)

// store keeps the rows of one task that it reads again while it runs: the emitter's index, frozen candidates and the tracks of open playlists. All others are in the task's memory, which
// is never evicted here.
type store struct {
	rows   map[string][]byte
	sorted []string // keys in order, nil when they have changed
	offset int64
	// changed gets every change before it is applied; nil where nobody wants them.
	changed func(stream.Change)
}

var _ stream.Store = (*store)(nil)

func newStore() *store { return &store{rows: map[string][]byte{}} }

// Get returns a kept row; of the others nil: what was read or written once is in the task's memory.
func (s *store) Get(key []byte) ([]byte, error) { return s.rows[string(key)], nil }

// Scan calls fn for the kept rows with a prefix.
func (s *store) Scan(prefix []byte, fn func(key, value []byte) error) error {
	return s.scan(prefix, func(key string) bool { return strings.HasPrefix(key, string(prefix)) }, fn)
}

// ScanRange calls fn for the kept rows from lower to upper.
func (s *store) ScanRange(lower, upper []byte, fn func(key, value []byte) error) error {
	return s.scan(lower, func(key string) bool { return key < string(upper) }, fn)
}

func (s *store) scan(from []byte, wanted func(key string) bool, fn func(key, value []byte) error) error {
	if s.sorted == nil {
		s.sorted = make([]string, 0, len(s.rows))
		for key := range s.rows {
			s.sorted = append(s.sorted, key)
		}
		slices.Sort(s.sorted)
	}
	first, _ := slices.BinarySearch(s.sorted, string(from))
	for _, key := range s.sorted[first:] {
		if !wanted(key) {
			return nil
		}
		err := fn([]byte(key), s.rows[key])
		if errors.Is(err, state.ErrStop) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Offset returns how many changes were applied.
func (s *store) Offset() int64 { return s.offset }

// Apply keeps what is read again, and hands every change on.
func (s *store) Apply(changes []stream.Change, offset int64) error {
	for _, c := range changes {
		if s.changed != nil {
			s.changed(c)
		}
		user, err := state.ParseUserKey(c.Key)
		frozen := err == nil && (user.Row == state.RowFrozen || user.Row == state.RowGiven)
		indexed := bytes.HasPrefix(c.Key, state.ZoneFamily())
		if !frozen && !indexed {
			continue
		}
		s.sorted = nil
		if c.Value == nil {
			delete(s.rows, string(c.Key))
		} else {
			s.rows[string(c.Key)] = slices.Clone(c.Value)
		}
	}
	s.offset = offset
	return nil
}

// Wipe removes everything.
func (s *store) Wipe() error {
	s.rows, s.sorted, s.offset = map[string][]byte{}, nil, 0
	return nil
}

// Close does nothing.
func (*store) Close() error { return nil }
