package invariant

import (
	"errors"
	"strings"
	"testing"
)

func TestFailfCountsAndNamesTheRule(t *testing.T) {
	before := Violations()
	err := failed(t)
	if got := Violations() - before; got != 1 {
		t.Errorf("Violations grew by %d, want 1", got)
	}
	if !errors.Is(err, ErrViolated) {
		t.Errorf("error %v does not wrap ErrViolated", err)
	}
	if !strings.Contains(err.Error(), "offset 3 is before 5") {
		t.Errorf("error %q does not say which rule", err)
	}
}

// failed returns what Failf reports, whichever way this build reports it.
func failed(t *testing.T) (err error) {
	t.Helper()
	defer func() {
		r := recover()
		if (r != nil) != Enabled {
			t.Errorf("panicked: %v, want %v", r != nil, Enabled)
		}
		if r != nil {
			err, _ = r.(error)
		}
	}()
	return Failf("offset %d is before %d", 3, 5)
}
