package demo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"earworm/internal/run"
)

// marker is the file that says that a directory is a demo's own.
const marker = "earworm-demo"

// claim makes the directory empty and its own, and returns how to give it back. A directory with something else in it, or one
// in which a demo runs, is left alone.
func claim(dir string) (release func(), err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, run.WithCode(run.CodeIO, fmt.Errorf("reading the data directory: %w", err))
	}
	owned := false
	for _, entry := range entries {
		owned = owned || entry.Name() == marker
	}
	if len(entries) > 0 && !owned {
		return nil, run.WithCode(run.CodeUsage, fmt.Errorf("%s is not empty and not a demo's directory: name another with --data", dir))
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, run.WithCode(run.CodeIO, fmt.Errorf("making the data directory: %w", err))
	}
	lock := flock.New(filepath.Join(dir, marker))
	held, err := lock.TryLock()
	if err != nil {
		return nil, run.WithCode(run.CodeIO, fmt.Errorf("locking the data directory: %w", err))
	}
	if !held {
		return nil, run.WithCode(run.CodeIO, fmt.Errorf("a demo is running in %s", dir))
	}
	for _, part := range []string{"broker", "state"} {
		if err := os.RemoveAll(filepath.Join(dir, part)); err != nil {
			return nil, run.WithCode(run.CodeIO, errors.Join(fmt.Errorf("clearing the data directory: %w", err), lock.Close()))
		}
	}
	return func() { _ = lock.Close() }, nil // the lock file stays, as the marker
}
