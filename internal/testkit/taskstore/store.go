package taskstore

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"earworm/consumers/stream"
	"earworm/state"
)

// Store is a stream.Store in memory. It must not be used concurrently.
type Store struct {
	rows   map[string][]byte
	sorted []string // keys in order; nil when they have changed
	offset int64
	// Fail is returned by every later call that can fail.
	Fail error
	// Applied counts the changes that were applied.
	Applied int
}

var _ stream.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store { return &Store{rows: map[string][]byte{}} }

// Get returns the value of a key, or nil.
func (s *Store) Get(key []byte) ([]byte, error) { return slices.Clone(s.rows[string(key)]), s.Fail }

// Scan calls fn for the keys with the prefix, in order; state.ErrStop ends it, as in the store on disk.
func (s *Store) Scan(prefix []byte, fn func(key, value []byte) error) error {
	return s.scan(string(prefix), func(key string) bool { return strings.HasPrefix(key, string(prefix)) }, fn)
}

// ScanRange calls fn for the keys from lower to upper, in order.
func (s *Store) ScanRange(lower, upper []byte, fn func(key, value []byte) error) error {
	return s.scan(string(lower), func(key string) bool { return key < string(upper) }, fn)
}

// scan lends copies and spoils them afterwards: a caller that keeps a slice is found out.
func (s *Store) scan(from string, wanted func(key string) bool, fn func(key, value []byte) error) error {
	if s.Fail != nil {
		return s.Fail
	}
	if s.sorted == nil {
		s.sorted = slices.Sorted(maps.Keys(s.rows))
	}
	start, _ := slices.BinarySearch(s.sorted, from)
	for _, name := range s.sorted[start:] {
		if !wanted(name) {
			return nil
		}
		key, value := []byte(name), slices.Clone(s.rows[name])
		err := fn(key, value)
		for _, lent := range [][]byte{key, value} {
			for i := range lent {
				lent[i] = 0xEE
			}
		}
		if errors.Is(err, state.ErrStop) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Offset returns the changelog offset.
func (s *Store) Offset() int64 { return s.offset }

// Apply makes the changes. A key that occurs twice is an error: a task writes a row once in a transaction.
func (s *Store) Apply(changes []stream.Change, offset int64) error {
	if s.Fail != nil {
		return s.Fail
	}
	seen := map[string]bool{}
	for _, c := range changes {
		if seen[string(c.Key)] {
			return fmt.Errorf("key %q is written twice in one transaction", c.Key)
		}
		seen[string(c.Key)] = true
		if c.Value == nil {
			delete(s.rows, string(c.Key))
		} else {
			s.rows[string(c.Key)] = slices.Clone(c.Value)
		}
	}
	s.sorted = nil
	s.Applied += len(changes)
	s.offset = offset
	return nil
}

// Wipe removes everything.
func (s *Store) Wipe() error {
	s.rows, s.sorted, s.offset = map[string][]byte{}, nil, 0
	return s.Fail
}

// Close does nothing.
func (*Store) Close() error { return nil }

// Rows returns a copy of what is stored.
func (s *Store) Rows() map[string][]byte {
	out := make(map[string][]byte, len(s.rows))
	for key, value := range s.rows {
		out[key] = slices.Clone(value)
	}
	return out
}

// Keys lists the keys with a prefix, in order.
func (s *Store) Keys(prefix []byte) []string {
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(s.rows)) {
		if strings.HasPrefix(key, string(prefix)) {
			keys = append(keys, key)
		}
	}
	return keys
}
