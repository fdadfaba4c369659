package rank

import (
	"errors"
	"fmt"
	"math"
)

// LearnParams are the settings of the blend's learner.
type LearnParams struct {
	Rate   float64 // α: the first step of a weight
	Smooth float64 // β: evidence at which steps have halved
	Ridge  float64 // λ₂: pull towards the prior weights
	// Outcomes is the weight of a playlist that was played beside what a listener came to by themselves in a week.
	Outcomes float64
}

// DefaultLearnParams returns the settings in use.
func DefaultLearnParams() LearnParams { return LearnParams{Rate: .1, Smooth: 1, Ridge: 1, Outcomes: 4} }

func (p LearnParams) validate() error {
	if !(p.Rate > 0 && p.Rate <= 10 && p.Smooth > 0 && p.Smooth <= 1e6 && p.Ridge >= 0 && p.Ridge <= 1e6 &&
		p.Outcomes >= 0 && p.Outcomes <= 1e3) {
		return errors.New("rate, smooth, ridge or the weight of outcomes of the blend is out of range")
	}
	return nil
}

// BlendWidth is the number of values of a Blend on the wire: both values of every feature.
const BlendWidth = 2 * Features

// Blend is how much each feature is worth: the state of an FTRL-Proximal learner (McMahan et al., "Ad click prediction: a view from the
// trenches", KDD 2013) of the differences to the prior weights. Both values are additive, so learners in many places can add up
// what each has learnt since the same weights: had they gone one after the other it would be the same, and where each alone has come
// to w the sum is at w, too. With Σg² in place of its root k learners that begin at nothing would end at √k·w. The zero Blend has learnt
// nothing.
type Blend struct {
	Z, R [Features]float32 // Σ(g − σδ) and √Σg²
}

// Weights returns the weights: w = w₀ − z/((β + r)/α + λ₂).
func (b *Blend) Weights(p LearnParams) [Features]float32 {
	w := prior()
	for f := range w {
		w[f] += b.delta(p, f)
	}
	return w
}

func (b *Blend) delta(p LearnParams, f int) float32 {
	return float32(-float64(b.Z[f]) / ((p.Smooth+float64(b.R[f]))/p.Rate + p.Ridge))
}

// Learn takes one step on what a listener did with a frozen list: rows holds Features values for each candidate, chosen those that
// were first listened to in the time after. The model is the conditional logit, a logistic model of which of the list comes next
// (McFadden 1974), so that how much a listener listens says nothing:
//
//	L = −Σ_{chosen} log softmax(w·x)    g = (|chosen|·Σ p·x − Σ_{chosen} x) / √|chosen|
//
// The root keeps heavy listeners from outweighing all others. It reports whether there was anything to learn.
func (b *Blend) Learn(p LearnParams, rows []float32, chosen []int) bool {
	n := len(rows) / Features
	if n < 2 || len(chosen) == 0 {
		return false
	}
	w := b.Weights(p)
	scores := make([]float64, n)
	greatest := math.Inf(-1)
	for i := range scores {
		scores[i] = float64(score(&w, rows[i*Features:]))
		greatest = max(greatest, scores[i])
	}
	var total float64
	for i, s := range scores {
		scores[i] = math.Exp(s - greatest)
		total += scores[i]
	}
	var g [Features]float64
	for i, s := range scores {
		share := s / total * float64(len(chosen))
		for f, x := range rows[i*Features : (i+1)*Features] {
			g[f] += share * float64(x)
		}
	}
	for _, i := range chosen {
		for f, x := range rows[i*Features : (i+1)*Features] {
			g[f] -= float64(x)
		}
	}
	return b.step(p, &g, math.Sqrt(float64(len(chosen))))
}

// step moves the weights against the gradient g/root. A gradient that is not a number moves nothing; step reports whether it did.
func (b *Blend) step(p LearnParams, g *[Features]float64, root float64) bool {
	for f := range g {
		d := g[f] / root
		if d != d || math.IsInf(d, 0) {
			return false
		}
		g[f] = min(max(d, -gradientMax), gradientMax)
	}
	for f, d := range g {
		before := float64(b.R[f])
		after := math.Hypot(before, d)
		sigma := (after - before) / p.Rate
		b.Z[f] = saturated(b.Z[f] + float32(d-sigma*float64(b.delta(p, f))))
		b.R[f] = saturated(float32(after))
	}
	return true
}

// gradientMax bounds a gradient: features are standardised, so that only a list that is all but certain and wrong comes near.
const gradientMax = 50

// sumMax bounds both sums of a Blend, far beyond what a century of lists adds up to: a sum that was told wrong leaves scores that are
// numbers.
const sumMax = 1e12

func saturated(sum float32) float32 { return min(max(sum, -sumMax), sumMax) }

func score(w *[Features]float32, row []float32) float32 {
	row = row[:Features]
	var s float32
	for f := range w {
		s += w[f] * row[f]
	}
	return s
}

// Append appends the values of b: Z, then R.
func (b *Blend) Append(dst []float32) []float32 { return append(append(dst, b.Z[:]...), b.R[:]...) }

// ParseBlend reads what Append wrote. A blend of fewer features is one of an earlier version, whose values stand for other features: it has
// learnt nothing. One of more is an error.
func ParseBlend(values []float32) (Blend, error) {
	var b Blend
	if len(values)%2 != 0 || len(values) > BlendWidth {
		return b, fmt.Errorf("a blend of %d values, want an even number up to %d", len(values), BlendWidth)
	}
	for _, v := range values {
		if v-v != 0 {
			return Blend{}, errors.New("a blend with a value that is not a number")
		}
	}
	if len(values) != BlendWidth {
		return b, nil
	}
	copy(b.Z[:], values[:Features])
	copy(b.R[:], values[Features:])
	return b, nil
}

// Minus returns what was learnt since base.
func (b *Blend) Minus(base *Blend) Blend {
	var d Blend
	for f := range d.Z {
		d.Z[f], d.R[f] = b.Z[f]-base.Z[f], b.R[f]-base.R[f]
	}
	return d
}

func (b *Blend) scale(share float32) {
	for f := range b.Z {
		b.Z[f] *= share
		b.R[f] *= share
	}
}

// Add adds what was learnt elsewhere. Sums that would not be numbers, or less than no evidence, are left as they are.
// No sum is greater than 10¹².
func (b *Blend) Add(d *Blend) {
	for f := range d.Z {
		z, r := b.Z[f]+d.Z[f], b.R[f]+d.R[f]
		if z-z == 0 && r-r == 0 && r >= 0 {
			b.Z[f], b.R[f] = saturated(z), saturated(r)
		}
	}
}
