//go:build synctests

package sim_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

var (
	seedFlag  = flag.Uint64("seed", 1, "seed of the events and of the fault plan")
	weeksFlag = flag.Int("weeks", 0, "how many weeks TestWeeks lasts; 0 is what it takes in CI")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
