package refit

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/client_golang/prometheus"

	"earworm/consumers/listener"
	"earworm/consumers/stream"
	"earworm/internal/pseudonym"
	"earworm/model/cooccur"
	"earworm/model/factor"
	"earworm/model/rank"
	"earworm/state"
)

// sample holds the rows of some listeners, as the store of a listener task that changes nothing: those whose hashes are the smallest.
type sample struct {
	size   int
	limit  uint64
	people map[string]map[string][]byte // rows by listener
	sorted []string                     // keys of all rows in order; nil when they have changed
}

var _ stream.Store = (*sample)(nil)

func newSample(size int) *sample {
	return &sample{size: size, limit: math.MaxUint64, people: map[string]map[string][]byte{}}
}

// row takes in a record of the changelog, nil deletes.
func (s *sample) row(key, value []byte) {
	k, err := state.ParseUserKey(key)
	if err != nil || s.size == 0 || xxhash.Sum64(k.User) > s.limit {
		return
	}
	s.sorted = nil
	rows := s.people[string(k.User)]
	if value == nil {
		if delete(rows, string(key)); len(rows) == 0 {
			delete(s.people, string(k.User))
		}
		return
	}
	if rows == nil {
		rows = map[string][]byte{}
		s.people[string(k.User)] = rows
	}
	rows[string(key)] = slices.Clone(value)
	if len(s.people) > 2*s.size {
		s.shrink()
	}
}

// shrink lets go of all but size listeners.
func (s *sample) shrink() {
	var hashes []uint64
	for user := range s.people {
		hashes = append(hashes, xxhash.Sum64String(user))
	}
	if len(hashes) <= s.size {
		return
	}
	slices.Sort(hashes)
	s.limit = hashes[s.size-1]
	maps.DeleteFunc(s.people, func(user string, _ map[string][]byte) bool { return xxhash.Sum64String(user) > s.limit })
}

// Get implements stream.Store.
func (s *sample) Get(key []byte) ([]byte, error) {
	k, err := state.ParseUserKey(key)
	if err != nil {
		return nil, nil //nolint:nilerr // there are rows of listeners only
	}
	return s.people[string(k.User)][string(key)], nil
}

// Scan implements stream.Store.
func (s *sample) Scan(prefix []byte, fn func(key, value []byte) error) error {
	return s.scan(prefix, func(key string) bool { return strings.HasPrefix(key, string(prefix)) }, fn)
}

// ScanRange implements stream.Store.
func (s *sample) ScanRange(lower, upper []byte, fn func(key, value []byte) error) error {
	return s.scan(lower, func(key string) bool { return key < string(upper) }, fn)
}

func (s *sample) scan(from []byte, wanted func(key string) bool, fn func(key, value []byte) error) error {
	if s.sorted == nil {
		s.sorted = []string{}
		for _, rows := range s.people {
			s.sorted = slices.AppendSeq(s.sorted, maps.Keys(rows))
		}
		slices.Sort(s.sorted)
	}
	first, _ := slices.BinarySearch(s.sorted, string(from))
	for _, key := range s.sorted[first:] {
		if !wanted(key) {
			return nil
		}
		value, err := s.Get([]byte(key))
		if err == nil {
			err = fn([]byte(key), value)
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

// Offset implements stream.Store.
func (*sample) Offset() int64 { return 0 }

// Apply implements stream.Store: it is read only.
func (*sample) Apply([]stream.Change, int64) error {
	return errors.New("a sample of listeners is read only")
}

// Wipe implements stream.Store: it is read only.
func (*sample) Wipe() error { return errors.New("a sample of listeners is read only") }

// Close implements stream.Store.
func (*sample) Close() error { return nil }

// listLength is how many songs of a ranking are compared.
const listLength = 30

// lists ranks for each of some listeners as their task would for a playlist at an instant in Unix ms, with the rows as the table has them.
func (s *sample) lists(cfg listener.Config, table *factor.Table, near *cooccur.Table, blend rank.Blend, users []string, at int64) ([][]factor.Index, error) {
	metrics, err := listener.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		return nil, fmt.Errorf("ranking a sample: %w", err)
	}
	// A new ranker: its view of the catalogue is as of now.
	ranker := rank.New(table, near, cfg.Rank)
	ranker.SetBlend(blend, nil)
	deps := listener.Deps{Table: table, Near: near, Ranker: ranker, Revealer: &pseudonym.Mapper{}, Metrics: metrics}
	task, err := listener.New(cfg, deps, 0, s)
	if err != nil {
		return nil, fmt.Errorf("ranking a sample: %w", err)
	}
	out := make([][]factor.Index, len(users))
	for i, user := range users {
		l, err := task.Listener([]byte(user), at)
		if err != nil {
			return nil, fmt.Errorf("ranking a sample: %w", err)
		}
		out[i] = ranker.Top(nil, l, at, listLength)
	}
	return out, nil
}

// kept is the share of songs of the first lists that are in the second ones too, 1 of none.
func kept(before, after [][]factor.Index) float64 {
	same, all := 0, 0
	for i, list := range before {
		for _, song := range list {
			all++
			if slices.Contains(after[i], song) {
				same++
			}
		}
	}
	if all == 0 {
		return 1
	}
	return float64(same) / float64(all)
}
