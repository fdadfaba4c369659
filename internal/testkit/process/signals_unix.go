//go:build unix

package process

import (
	"os"
	"syscall"
)

// Pause freezes the child (SIGSTOP), as a long garbage collection or a stopped virtual machine would. On Linux it returns only
// when every thread of the child stands still.
func (c *Child) Pause() error {
	if err := c.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return c.awaitStopped()
}

// Resume lets a paused child go on (SIGCONT).
func (c *Child) Resume() error { return c.signal(syscall.SIGCONT) }

func exitOf(state *os.ProcessState) Exit {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return Exit{Code: -1, Signal: status.Signal()}
	}
	return Exit{Code: state.ExitCode()}
}
