package invariant

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// ErrViolated is wrapped by every error that Failf returns.
var ErrViolated = errors.New("broken invariant")

// violations is the only mutable package variable of the project: a bug may be found where nothing was injected.
var violations atomic.Uint64

// Failf reports a broken invariant. With the build tag `invariants` it panics; otherwise it counts the violation and returns
// an error that wraps ErrViolated. Safe for concurrent use.
func Failf(format string, args ...any) error {
	violations.Add(1)
	err := fmt.Errorf("%w: %s", ErrViolated, fmt.Sprintf(format, args...))
	if Enabled {
		panic(err)
	}
	return err
}

// Violations returns how many invariants have been broken since the process started; anything but 0 is a bug.
func Violations() uint64 { return violations.Load() }
