package backtest

import (
	"math/rand/v2"
	"time"
)

// random lists a fresh uniform sample for each listener and week: what chance scores.
type random struct{ base }

var _ Live = (*random)(nil)

func newRandom(b base, _ params) Model { return &random{base: b} }

// Learn implements Model.
func (*random) Learn(*Event) error { return nil }

// Freeze implements Model.
func (r *random) Freeze(at time.Time) error {
	r.freeze(at)
	return nil
}

// Refresh implements Live.
func (r *random) Refresh(at time.Time) error { return r.Freeze(at) }

// Rank implements Model.
func (r *random) Rank(listener int32, dst []int32) []int32 {
	dice := r.dice(uint64(listener), uint64(r.at.UnixMilli())) //nolint:gosec // not negative
	return r.rank(listener, dst, func(scores []float32) { shuffle(dice, scores) })
}

func shuffle(dice *rand.Rand, scores []float32) {
	for i := range scores {
		scores[i] = dice.Float32()
	}
}
