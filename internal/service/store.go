package service

import (
	"time"

	"earworm/consumers/stream"
	"earworm/state"
)

// store lends a state.Store to the runtime: the packages do not know each other, so their changes are two types.
type store struct {
	*state.Store
	changes []state.Change
}

var _ stream.Store = (*store)(nil)

// Apply translates the changes and applies them.
func (s *store) Apply(changes []stream.Change, offset int64) error {
	s.changes = s.changes[:0]
	for _, c := range changes {
		s.changes = append(s.changes, state.Change(c))
	}
	return s.Store.Apply(s.changes, offset)
}

// LastApplied tells the runtime how old the store is.
func (s *store) LastApplied() time.Time { return s.Store.LastApplied() }
