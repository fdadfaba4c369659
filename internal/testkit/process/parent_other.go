//go:build !unix

package process

import (
	"errors"
	"os"
	"syscall"
)

// Pause freezes the child; this system has no such signal, so it returns errors.ErrUnsupported.
func (*Child) Pause() error { return errors.ErrUnsupported }

// Resume lets a paused child go on; this system has no such signal, so it returns errors.ErrUnsupported.
func (*Child) Resume() error { return errors.ErrUnsupported }

func dieWithParent() *syscall.SysProcAttr { return nil }

func exitOf(state *os.ProcessState) Exit { return Exit{Code: state.ExitCode()} }
