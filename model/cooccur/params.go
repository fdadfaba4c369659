package cooccur

import (
	"errors"
	"fmt"
	"time"

	"earworm/model/decay"
)

// Params are the settings of the counts. All processes of an application must use the same HalfLife.
type Params struct {
	// Window is the number of songs that a listener came to last which are paired with a new one.
	Window int
	// Evidence is the number of listeners of the rarer song of a pair up to which every pair is counted. Of the others a share of
	// Evidence/listeners is counted, each for as many: common songs need no more evidence, and would cost most of the work.
	Evidence float64
	// Neighbours is how many neighbours a song keeps.
	Neighbours int
	// HalfLife is the decay of all counts.
	HalfLife decay.HalfLife
	// Shrink is the number of listeners by which a likeness is shrunk.
	Shrink float64
}

// DefaultParams returns the settings in use.
func DefaultParams() Params {
	return Params{Window: 16, Evidence: 50, Neighbours: 128, HalfLife: decay.HalfLife(180 * 24 * time.Hour), Shrink: 15}
}

// Validate reports every setting that is out of range.
func (p Params) Validate() error {
	var errs []error
	check := func(ok bool, name string, v any) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s is out of range: %v", name, v))
		}
	}
	check(p.Window >= 0 && p.Window <= 1000, "window", p.Window)
	check(p.Evidence >= 1 && p.Evidence <= 1e9, "evidence", p.Evidence)
	check(p.Neighbours > 0 && p.Neighbours <= MaxNeighbours, "neighbours", p.Neighbours)
	check(p.HalfLife > 0, "half-life", p.HalfLife)
	check(p.Shrink >= 0 && p.Shrink <= 1e6, "shrink", p.Shrink)
	return errors.Join(errs...)
}

// MaxNeighbours bounds the neighbours of any row.
const MaxNeighbours = 1024
