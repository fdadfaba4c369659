package state

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guardFS stands between Pebble and the disk. It sees to it that a list of files is there before anything names it, and it never tells
// Pebble that a directory could not be synced.
// Pebble answers such an error with a panic that unlocks a mutex it does not hold, which kills the process without a word; and
// after a failed fsync nothing may be believed anyway. So the goroutine stops here for ever, and the owner is told to leave.
// While a store opens Pebble returns such errors, and they pass.
type guardFS struct {
	FS
	st *Store
}

// Unwrap returns the guarded file system.
func (g *guardFS) Unwrap() vfs.FS { return g.FS }

// Create creates a file.
func (g *guardFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.Create(name, category)
	if err != nil || !strings.HasPrefix(g.PathBase(name), "MANIFEST-") {
		return f, err
	}
	return &guardList{File: f, fs: g, dir: g.PathDir(name)}, nil
}

// guardList is a new list of files (MANIFEST). Pebble syncs its content, then creates the marker that names it, then syncs the directory
// with both entries. A power loss before that may leave the marker and not the list, if the file system keeps no order among
// entries; the store would not open. So the list's own entry is synced with its first content.
type guardList struct {
	vfs.File
	fs    *guardFS
	dir   string
	there bool
}

// Sync makes the content durable. Pebble calls it from one goroutine at a time.
func (l *guardList) Sync() error {
	if err := l.File.Sync(); err != nil || l.there {
		return err
	}
	l.there = true
	return syncDir(l.fs, l.dir)
}

// OpenDir opens a directory, which can only be synced.
func (g *guardFS) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &guardDir{f, g.st}, nil
}

// guard passes err while the store opens; afterwards it does not return from an error.
func (st *Store) guard(err error) error {
	if err == nil || st.opening.Load() {
		return err
	}
	st.shared.health.fail(fmt.Errorf("%w: store %s: writing the directory: %w", ErrSick, st.id, err))
	select {}
}

// guardDir is a directory that was opened to be synced.
type guardDir struct {
	vfs.File
	st *Store
}

// Sync makes the entries of the directory durable.
func (d *guardDir) Sync() error { return d.st.guard(d.File.Sync()) }

// Close closes the directory.
func (d *guardDir) Close() error { return d.st.guard(d.File.Close()) }
