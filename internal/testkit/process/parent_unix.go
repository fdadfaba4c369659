//go:build unix && !linux

package process

import "syscall"

// dieWithParent keeps the child in the test's process group: without a parent-death signal, Ctrl-C at the terminal has to
// reach the child directly.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

// awaitStopped returns at once: there is no portable wait for a stop that leaves the exit status for Wait.
func (*Child) awaitStopped() error { return nil }
