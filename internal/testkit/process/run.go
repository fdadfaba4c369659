package process

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Run starts a child for a test and sees to its end: the cleanup kills it if it still runs, prints the tail of its log when the
// test has failed, and fails the test when the race detector spoke in the log. An empty cfg.Log becomes a new file in the
// test's artifact folder (kept with `go test -artifacts`).
func Run(tb testing.TB, cfg Config) *Child {
	tb.Helper()
	if cfg.Log == "" {
		cfg.Log = newLog(tb, filepath.Base(cfg.Path))
	}
	// Not the test's own context: it ends before the cleanups, and one of those may want to end the child gracefully.
	child, err := Start(context.WithoutCancel(tb.Context()), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := child.Kill(); err != nil && !errors.Is(err, ErrEnded) {
			tb.Error(err)
		}
		if child.Logged(raceMark) {
			tb.Errorf("process %d raced: see %s", child.PID(), child.Log())
		}
		if tb.Failed() {
			tb.Logf("process %d (%v), the end of %s:\n%s", child.PID(), child.exit, child.Log(), child.Tail(40))
		}
	})
	return child
}

// newLog makes a file of its own for each child: a restarted one must not write under its predecessor's words.
func newLog(tb testing.TB, name string) string {
	tb.Helper()
	file, err := os.CreateTemp(tb.ArtifactDir(), name+"-*.log")
	if err != nil {
		tb.Fatal(err)
	}
	if err := file.Close(); err != nil {
		tb.Fatal(err)
	}
	return file.Name()
}

// MustReady waits for the child's /readyz, at most within, or ends the test.
func (c *Child) MustReady(tb testing.TB, url string, within time.Duration) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), within)
	defer cancel()
	if err := c.WaitReady(ctx, url); err != nil {
		tb.Fatal(err)
	}
}

// MustTerminate ends the child with SIGTERM, or ends the test unless it leaves within the time with the exit code.
func (c *Child) MustTerminate(tb testing.TB, within time.Duration, code int) {
	tb.Helper()
	exit, err := c.Terminate(within)
	if err != nil {
		tb.Fatal(err)
	}
	if exit.Code != code {
		tb.Fatalf("process %d ended with %v, want exit code %d", c.PID(), exit, code)
	}
}

// MustKill ends the child with SIGKILL, or ends the test when it had ended by itself before.
func (c *Child) MustKill(tb testing.TB) {
	tb.Helper()
	if err := c.Kill(); err != nil {
		tb.Fatal(err)
	}
}
