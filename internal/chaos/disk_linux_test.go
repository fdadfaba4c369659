//go:build (crash || kafka) && linux

package chaos_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"earworm/internal/testkit/process"
)

// disk is a small file system of its own, which can be filled without harm to anybody else.
type disk struct{ dir string }

// mount makes a disk that ends with the test. It returns nil, and says so, where this process may not mount.
func mount(t *testing.T) *disk {
	t.Helper()
	d := &disk{dir: t.TempDir()}
	err := unix.Mount("tmpfs", d.dir, "tmpfs", 0, "size=256m")
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		t.Logf("SKIPPED: full disks: mounting one: %v", err)
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(d.dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *disk) ballast() string { return filepath.Join(d.dir, "ballast") }

// fill takes every byte that is left.
func (d *disk) fill() (err error) {
	file, err := os.Create(d.ballast())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := file.Write(block); errors.Is(err, unix.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			return err
		}
	}
	return nil
}

// empty gives the space back.
func (d *disk) empty() error { return os.Remove(d.ballast()) }

// starve refuses all further memory to a process: its next allocation that needs some from the system fails.
func starve(child *process.Child) error {
	err := unix.Prlimit(child.PID(), unix.RLIMIT_DATA, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}, nil)
	if errors.Is(err, unix.ESRCH) {
		return process.ErrEnded
	}
	return err
}
