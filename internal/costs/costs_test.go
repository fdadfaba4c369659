package costs_test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"earworm/internal/costs"
)

//go:noinline
func left(until time.Duration) float64 { return burn(until) }

//go:noinline
func right(until time.Duration) float64 { return burn(until) }

// burn takes a piece of processor time.
func burn(piece time.Duration) float64 {
	x := 1.
	for end := processor() + piece; processor() < end; {
		for range 100_000 {
			x += 1 / x
		}
	}
	return x
}

func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestTimeGoesToTheFirstPartOnTheStack: two thirds are spent on the left, one on the right, and burn, which both call, gets what is left to it.
func TestTimeGoesToTheFirstPartOnTheStack(t *testing.T) {
	r, err := costs.Start()
	if err != nil {
		t.Skip(err) // somebody profiles the test
	}
	if _, err := costs.Start(); !errors.Is(err, costs.ErrBusy) {
		t.Errorf("a second recording began with %v, want ErrBusy", err)
	}
	left(600 * time.Millisecond)
	right(300 * time.Millisecond)
	burn(300 * time.Millisecond)
	const here = "earworm/internal/costs_test."
	got, err := r.Stop([]costs.Part{{Name: "left", Functions: []string{here + "left"}}, {Name: "right", Functions: []string{here + "right"}}, {Name: "both", Functions: []string{here + "burn"}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{"left": .6, "right": .3, "both": .3} {
		if got[name] < want/2 || got[name] > want*1.5 {
			t.Errorf("%s took %.2f s, want about %.2f: %v", name, got[name], want, got)
		}
	}
}
