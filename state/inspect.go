package state

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// OpenReadOnly opens an existing store to look into it: nothing in its directory is created, changed or set aside, and Apply and
// Wipe fail. A directory that Open would replace is an error that says why.
func (s *Shared) OpenReadOnly(id Identity) (*Store, error) {
	if err := id.validate(); err != nil {
		return nil, err
	}
	dir := s.fs.PathJoin(s.cfg.Dir, id.Role, strconv.Itoa(int(id.Partition)))
	if _, err := s.fs.Stat(dir); err != nil {
		return nil, fmt.Errorf("looking for store %s: %w", id, err)
	}
	if err := s.claim(dir); err != nil {
		return nil, fmt.Errorf("opening store %s: %w", id, err)
	}
	st := newStore(s, id, dir)
	if err := s.openAsIs(st); err != nil {
		s.release(dir)
		return nil, fmt.Errorf("opening store %s in %s to read: %w", id, dir, err)
	}
	s.metrics.open.Inc()
	return st, nil
}

// openAsIs is openChecked without anything that writes.
func (s *Shared) openAsIs(st *Store) error {
	if _, err := s.fs.Stat(s.fs.PathJoin(st.dir, corruptMarker)); err == nil {
		return fmt.Errorf("%w: marked as such", ErrCorrupt)
	}
	if err := st.openDB(true); err != nil {
		return err
	}
	reason, err := st.adopt(true)
	if err == nil && reason != "" {
		err = fmt.Errorf("it would be replaced: %s", reason)
	}
	if err == nil && !s.register(st) {
		err = ErrClosed
	}
	if err != nil {
		return errors.Join(err, st.closeDB())
	}
	st.start()
	return nil
}

// Stores lists the partitions of a role that have a store in the directory, in order. What a process left that ended while it created
// one is none.
func (s *Shared) Stores(role string) ([]int32, error) {
	if !plainName(role) {
		return nil, fmt.Errorf("listing stores: %q is no role", role)
	}
	dir := s.fs.PathJoin(s.cfg.Dir, role)
	if _, err := s.fs.Stat(dir); err != nil {
		return nil, nil //nolint:nilerr // a role that never ran here has no directory
	}
	names, err := s.fs.List(dir)
	if err != nil {
		return nil, fmt.Errorf("listing stores: %w", err)
	}
	var found []int32
	for _, name := range names {
		if n, err := strconv.ParseInt(name, 10, 32); err == nil && n >= 0 && !s.begun(s.fs.PathJoin(dir, name)) {
			found = append(found, int32(n))
		}
	}
	slices.Sort(found)
	return found, nil
}

// begun says whether creating a store came to an early end here: nothing names a manifest, and there is no table that one could have
// named. A store with tables that lost its manifest is damaged, and must be found.
func (s *Shared) begun(dir string) bool {
	about, err := pebble.Peek(dir, s.fs)
	if err != nil || about.Exists {
		return false
	}
	names, err := s.fs.List(dir)
	return err == nil && !slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, ".sst") })
}
