//go:build linux

package process

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// dieWithParent puts the child into a group of its own, so that Ctrl-C reaches it through the test alone, and has the kernel
// kill it when the test process is gone.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// awaitStopped waits until the child stands still or has ended. WNOWAIT leaves an ended child for Wait to reap.
func (c *Child) awaitStopped() error {
	for {
		err := unix.Waitid(unix.P_PID, c.PID(), nil, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD):
			<-c.done // ended and was reaped between the signal and the wait
		case err != nil:
			return fmt.Errorf("waiting for process %d to stop: %w", c.PID(), err)
		}
		return nil
	}
}
