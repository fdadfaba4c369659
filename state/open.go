package state

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// corruptMarker is a file in a store's directory that says: set this directory aside at the next Open.
const corruptMarker = "CORRUPT"

// Open opens the store of one task, creating it if needed. A directory that is damaged, of another schema version, partition or
// partition count is set aside (OnQuarantine) and the store starts empty at offset 0. A directory of another application is
// refused with ErrForeign and not touched, one that this process has open with ErrInUse, and one on a failing disk with its error.
func (s *Shared) Open(id Identity) (*Store, error) {
	if err := id.validate(); err != nil {
		return nil, err
	}
	if err := s.Health(); err != nil {
		return nil, err
	}
	dir := s.fs.PathJoin(s.cfg.Dir, id.Role, strconv.Itoa(int(id.Partition)))
	if err := s.claim(dir); err != nil {
		return nil, fmt.Errorf("opening store %s: %w", id, err)
	}
	st, err := s.openOrReplace(id, dir)
	if err == nil && !s.register(st) {
		err = errors.Join(ErrClosed, st.Close())
	}
	if err != nil {
		s.release(dir)
		return nil, fmt.Errorf("opening store %s in %s: %w", id, dir, err)
	}
	s.metrics.open.Inc()
	s.cache.add(1)
	return st, nil
}

// openOrReplace opens the directory as it is, or sets it aside and opens a new one.
func (s *Shared) openOrReplace(id Identity, dir string) (*Store, error) {
	if _, err := s.fs.Stat(s.fs.PathJoin(dir, corruptMarker)); err == nil {
		if err := s.setAside(id, dir, ReasonCorrupt, nil); err != nil {
			return nil, err
		}
	}
	st, reason, err := s.openChecked(id, dir)
	if err == nil && reason == "" {
		return st, nil
	}
	if reason == "" {
		return nil, err
	}
	if err := s.setAside(id, dir, reason, err); err != nil {
		return nil, err
	}
	st, reason, err = s.openChecked(id, dir)
	if err == nil && reason != "" {
		err = fmt.Errorf("a new store is not usable: %s", reason)
	}
	return st, err
}

// openChecked opens the directory and checks its meta row. A reason says that the directory should be set aside, an error
// without one that the caller has to deal with it.
func (s *Shared) openChecked(id Identity, dir string) (*Store, Reason, error) {
	if err := s.makeStoreDir(dir); err != nil {
		return nil, "", fmt.Errorf("creating directory: %w", err)
	}
	st := newStore(s, id, dir)
	if err := st.openDB(false); err != nil {
		return nil, classify(err), err
	}
	reason, err := st.adopt(false)
	if reason == "" && err == nil {
		err = st.resumeScrub()
	}
	if found := st.corrupt.Load(); found != nil && reason == "" && err == nil {
		reason, err = ReasonCorrupt, *found
	}
	if err == nil && reason == "" {
		st.start()
		return st, "", nil
	}
	st.scrubs.close()
	// The error of closing adds nothing: the directory is refused or set aside for a better reason.
	_ = st.closeDB()
	return nil, reason, err
}

// classify says why a directory that did not open should be set aside; empty for an error of the system, where it may be whole.
func classify(err error) Reason {
	switch {
	case fromSystem(err), errors.Is(err, ErrSick), errors.Is(err, ErrForeign), errors.Is(err, ErrClosed):
		return ""
	case isCorruption(err), errors.Is(err, ErrRow), errors.Is(err, ErrCorrupt):
		return ReasonCorrupt
	case strings.Contains(err.Error(), "lock held by current process"):
		return "" // a store that could not be closed still has it
	}
	return ReasonUnreadable
}

// adopt reads the meta row, or writes the first one into an empty store. One that is opened to read stays empty: a process that was
// killed before the first flush of a store leaves nothing in it.
func (st *Store) adopt(readOnly bool) (Reason, error) {
	var m meta
	found, err := st.readAtOpen(metaKey, m.unmarshalBinary)
	if err == nil && !found {
		return st.initialise(readOnly)
	}
	if errors.Is(err, errUnknownMeta) {
		return ReasonSchema, err
	}
	if err != nil {
		return classify(err), fmt.Errorf("reading meta row: %w", err)
	}
	if reason, err := m.mismatch(st.id); reason != "" || err != nil {
		return reason, err
	}
	var count sum
	if _, err := st.readAtOpen(countKey, count.MergeNewer); err != nil {
		return classify(err), fmt.Errorf("reading the count of batches: %w", err)
	}
	if uint64(count) != m.batches {
		return ReasonCorrupt, fmt.Errorf("%w: %d of %d batches are there", ErrCorrupt, count, m.batches)
	}
	st.offset.Store(m.offset)
	st.applied.Store(m.applied)
	st.batches = m.batches
	return "", nil
}

func (st *Store) readAtOpen(key []byte, decode func([]byte) error) (found bool, err error) {
	value, closer, err := st.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = decode(value)
	if closeErr := closer.Close(); err == nil {
		err = closeErr
	}
	return true, err
}

// initialise makes a new store self-describing. Rows without a meta row cannot come from a crash: the meta row is the oldest.
func (st *Store) initialise(readOnly bool) (Reason, error) {
	iter, err := st.db.NewIter(nil)
	if err != nil {
		return classify(err), err
	}
	occupied := iter.First()
	if err := errors.Join(iter.Error(), iter.Close()); err != nil {
		return classify(err), err
	}
	if occupied {
		return ReasonCorrupt, fmt.Errorf("%w: rows without a meta row", ErrCorrupt)
	}
	if readOnly {
		return "", nil
	}
	m := meta{id: st.id, schema: SchemaVersion}
	if err := st.db.Set(metaKey, m.appendBinary(nil), pebble.NoSync); err != nil {
		return classify(err), fmt.Errorf("writing meta row: %w", err)
	}
	st.written = true
	return "", nil
}

// openDB runs pebble.Open on a goroutine: Pebble answers some damage with a panic or with Logger.Fatalf, which must not return.
func (st *Store) openDB(readOnly bool) error {
	type result struct {
		db  *pebble.DB
		err error
	}
	done := make(chan result, 1)
	st.opening.Store(true)
	go func() {
		var res result
		defer func() {
			if r := recover(); r != nil {
				res = result{err: fmt.Errorf("%w: opening panicked: %v", ErrCorrupt, r)}
			}
			done <- res
		}()
		options := st.options()
		options.ReadOnly = readOnly
		res.db, res.err = pebble.Open(st.dir, options)
	}()
	select {
	case res := <-done:
		st.opening.Store(false)
		st.db = res.db
		return res.err
	case err := <-st.openFatal:
		if fromSystem(err) {
			// Nothing is wrong with what is there, so it is not set aside; and the goroutine that stopped keeps it locked, so this
			// process can never open it again.
			err = fmt.Errorf("%w: %w", ErrSick, err)
			st.shared.health.fail(err)
		}
		return err
	case <-st.shared.health.failed:
		return st.shared.health.err()
	}
}

// setAside renames a store's directory, keeping the newest such directory only, so that repeated damage cannot fill the disk.
func (s *Shared) setAside(id Identity, dir string, reason Reason, cause error) error {
	parent, base := s.fs.PathDir(dir), s.fs.PathBase(dir)
	prefix := base + ".quarantine-"
	names, err := s.fs.List(parent)
	if err != nil {
		return fmt.Errorf("setting store aside: %w", err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, prefix) {
			if err := s.fs.RemoveAll(s.fs.PathJoin(parent, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("removing older quarantine: %w", err)
			}
		}
	}
	to := s.fs.PathJoin(parent, prefix+s.cfg.Now().UTC().Format("20060102T150405Z"))
	if err := s.fs.Rename(dir, to); err != nil {
		return fmt.Errorf("setting store aside: %w", err)
	}
	if err := syncDir(s.fs, parent); err != nil {
		return fmt.Errorf("setting store aside: %w", err)
	}
	s.metrics.quarantines.WithLabelValues(string(reason)).Inc()
	s.logger.Warn("store set aside, it is rebuilt from its changelog",
		"store", id.String(), "reason", string(reason), "directory", to)
	if s.quarantine != nil {
		s.quarantine(Quarantine{Identity: id, From: dir, To: to, Reason: reason, Cause: cause})
	}
	return nil
}

// makeStoreDir creates a store's directory and syncs the entries that lead to it: without that a power failure may take the whole
// store away, files that were synced included. Pebble does so only for directories that it creates itself.
func (s *Shared) makeStoreDir(dir string) error {
	if err := s.fs.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	role := s.fs.PathDir(dir)
	return errors.Join(syncDir(s.fs, role), syncDir(s.fs, s.fs.PathDir(role)))
}

// makeDir creates the state directory and, where it was missing, syncs the entries that lead to it.
func makeDir(fsys FS, dir string) error {
	var missing []string
	for d := dir; ; d = fsys.PathDir(d) {
		if _, err := fsys.Stat(d); err == nil || fsys.PathDir(d) == d {
			break
		}
		missing = append(missing, d)
	}
	if err := fsys.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	for _, d := range missing {
		if err := syncDir(fsys, fsys.PathDir(d)); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(fs FS, dir string) error {
	f, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// blockBytes is the size of a table's blocks. Each is a write of its own: with the usual 4 KiB the writes cost more than their content.
const blockBytes = 16 << 10

// options are Pebble's settings for one store. Many small stores share the caches, so each gets small buffers.
func (st *Store) options() *pebble.Options {
	cfg := &st.shared.cfg
	o := &pebble.Options{
		FS:        &guardFS{st.shared.fs, st},
		Cache:     st.shared.cache.Cache,
		FileCache: st.shared.files,
		// A fixed version: a newer Pebble must not make directories that the last release cannot open.
		FormatMajorVersion: pebble.FormatValueSeparation,
		// No log: what a crash takes from memory the changelog still has, and the meta row says from where to read it. Memory goes to
		// disk in the order in which it was written, a batch as a whole, so what is left is a prefix (docs/adr/0010).
		DisableWAL:                  true,
		MemTableSize:                uint64(cfg.MemTableBytes), //nolint:gosec // validated
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       8,
		L0StopWritesThreshold:       24,
		LBaseMaxBytes:               64 << 20,
		// A new list of files begins as soon as it has as many changes as entries, not after 128 MiB: lists name the first and last
		// row of each file, and so people, see scrub.
		MaxManifestFileSize: 1,
		// Spreads fsync over the life of a file, so that nothing waits for one that grew large.
		BytesPerSync:  512 << 10,
		Merger:        counting(),
		Logger:        &pebbleLogger{st},
		EventListener: st.listener(),
	}
	o.CompactionConcurrencyRange = func() (lower, upper int) { return 1, 2 }
	if cfg.NoPolling {
		o.Experimental.CompactionScheduler = pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()
	}
	o.TargetFileSizes[0] = 4 << 20
	// Rows are vectors and hashes, which do not become smaller: compressing them took more time than writing them.
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	filter := bloom.FilterPolicy(10)
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = filter
		o.Levels[i].FilterType = pebble.TableFilter
		o.Levels[i].BlockSize = blockBytes
	}
	return o
}
