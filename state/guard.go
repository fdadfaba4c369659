package state

import (
	"fmt"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guardFS stands between Pebble and the disk and never tells Pebble that its write-ahead log or a directory could not be written.
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
	return g.guardLog(name, f, err)
}

// ReuseForWrite renames a file and opens it for writing.
func (g *guardFS) ReuseForWrite(oldName, newName string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.ReuseForWrite(oldName, newName, category)
	return g.guardLog(newName, f, err)
}

// OpenDir opens a directory, which can only be synced.
func (g *guardFS) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &guardFile{f, g.st, "directory"}, nil
}

func (g *guardFS) guardLog(name string, f vfs.File, err error) (vfs.File, error) {
	if filepath.Ext(name) != ".log" {
		return f, err
	}
	if err = g.st.guard("log", err); err != nil {
		return nil, err
	}
	return &guardFile{f, g.st, "log"}, nil
}

// guard passes err while the store opens; afterwards it does not return from an error.
func (st *Store) guard(what string, err error) error {
	if err == nil || st.opening.Load() {
		return err
	}
	st.shared.health.fail(fmt.Errorf("%w: store %s: writing the %s: %w", ErrSick, st.id, what, err))
	select {}
}

// guardFile is a log or a directory.
type guardFile struct {
	vfs.File
	st   *Store
	what string
}

// Write writes to the log.
func (f *guardFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, f.st.guard(f.what, err)
}

// WriteAt writes to the log.
func (f *guardFile) WriteAt(p []byte, at int64) (int, error) {
	n, err := f.File.WriteAt(p, at)
	return n, f.st.guard(f.what, err)
}

// Preallocate reserves space for the log.
func (f *guardFile) Preallocate(offset, length int64) error {
	return f.st.guard(f.what, f.File.Preallocate(offset, length))
}

// Sync makes all that was written durable.
func (f *guardFile) Sync() error { return f.st.guard(f.what, f.File.Sync()) }

// SyncData makes all that was written durable.
func (f *guardFile) SyncData() error { return f.st.guard(f.what, f.File.SyncData()) }

// SyncTo makes what was written up to an offset durable.
func (f *guardFile) SyncTo(length int64) (fullSync bool, err error) {
	fullSync, err = f.File.SyncTo(length)
	return fullSync, f.st.guard(f.what, err)
}

// Close closes the log.
func (f *guardFile) Close() error { return f.st.guard(f.what, f.File.Close()) }
