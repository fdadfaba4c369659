//go:build (crash || kafka) && !linux

package chaos_test

import (
	"errors"
	"runtime"
	"testing"

	"earworm/internal/testkit/process"
)

// disk is a small file system of its own; this system has no way to make one.
type disk struct{ dir string }

func mount(t *testing.T) *disk {
	t.Helper()
	t.Logf("SKIPPED: full disks, refused memory: not on %s", runtime.GOOS)
	return nil
}

func (*disk) fill() error { return errors.ErrUnsupported }

func (*disk) empty() error { return errors.ErrUnsupported }

func starve(*process.Child) error { return errors.ErrUnsupported }
