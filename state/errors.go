package state

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
)

// Errors of this package; test with errors.Is.
var (
	// ErrLocked means that another process uses the state directory.
	ErrLocked = errors.New("state directory is in use by another process")
	// ErrForeign means that a directory holds the state of another application; nothing was changed.
	ErrForeign = errors.New("state belongs to another application")
	// ErrInUse means that this process has the store open already.
	ErrInUse = errors.New("store is open already")
	// ErrClosed means that the store or the shared resources were closed.
	ErrClosed = errors.New("store is closed")
	// ErrCorrupt means that the store's files are damaged: close it and open it again to start empty.
	ErrCorrupt = errors.New("store is corrupt")
	// ErrSick means that the disk does not serve writes; the process should leave and exit.
	ErrSick = errors.New("disk is not usable")
	// ErrLowDisk means that the disk has less free space than configured.
	ErrLowDisk = errors.New("too little free disk space")
	// ErrKey means that a key is empty, too long or reserved.
	ErrKey = errors.New("key is not allowed")
	// ErrOffset means that a change would move the changelog offset backwards.
	ErrOffset = errors.New("changelog offset moves backwards")
	// ErrStop ends a Scan early without an error.
	ErrStop = errors.New("stop scanning")
	// ErrRow means that a stored row does not decode.
	ErrRow = errors.New("row does not decode")
)

// fromSystem says whether the operating system, and not the content of the files, is the cause of err.
// Such a store may be whole: it must not be set aside.
func fromSystem(err error) bool {
	if errors.Is(err, fs.ErrPermission) {
		return true
	}
	var errno syscall.Errno
	return errors.As(err, &errno) && !errors.Is(err, fs.ErrNotExist)
}

// isCorruption says whether Pebble found damaged content.
func isCorruption(err error) bool { return err != nil && pebble.IsCorruptionError(err) }
