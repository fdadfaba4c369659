package trend

import (
	"math"

	"earworm/model/decay"
)

// Reading is what a state says at an instant. Every number is finite.
type Reading struct {
	// Z is the number of standard deviations by which the recent listeners exceed what is expected.
	Z float64
	// Ratio is recent listeners over expected ones.
	Ratio float64
	// Velocity is the logarithm of the last hour's rate over that of the last six, without the region's own.
	Velocity float64
	// Listeners is the decayed count of recent trusted listeners, Expected what it should be, Rate the usual
	// number per hour of mean traffic.
	Listeners, Expected, Rate float64
	// New: the song is younger than Params.NewAge, and the region older than it.
	New bool
}

// Score ranks trends: z, discounted by the mean trust of the listeners and where the song no longer accelerates.
func (r Reading) Score(p Params, trust float64) float64 {
	return max(r.Z, 0) * min(sane(trust), 1) * bound(r.Velocity/p.VelocityUnit, 0, 1)
}

// Evaluate reads the state at an event time; a time before its newest observation is taken as that. season may be nil.
func (s *State) Evaluate(p Params, season *Season, at int64) Reading {
	return s.read(p, season.climate(p, at), saneTime(at))
}

func (s *State) read(p Params, c climate, at int64) Reading {
	at = max(at, s.At)
	fast := float64(shrink(s.Fast, p.FastHalfLife, s.At, at))
	slow := float64(shrink(s.Slow, p.SlowHalfLife, s.At, at))
	rate, shape := s.usual(p, c, at, slow)
	expected := rate * c.recent(p, fast, rate)
	return Reading{
		Z:         anscombe(2*fast, 2*expected, 1/(1/shape+p.Psi)),
		Ratio:     fast / expected,
		Velocity:  s.velocity(p, c, at),
		Listeners: fast,
		Expected:  expected,
		Rate:      rate,
		New:       s.new(p, c, at),
	}
}

// anscombe is the z of a count x against a negative binomial of mean mu and size r, by the variance-stabilising
// transformation 2√(r−½)·asinh√((x+⅜)/(r−¾)) (Anscombe 1948). It needs no tail sums, is exact for neither and good for
// all means: for r → ∞ it is the Poisson z, for large counts the logarithm of the ratio over √(1/r).
func anscombe(x, mu, r float64) float64 {
	r = max(r, 0.8) // below ¾ the transformation has no meaning; size 0.8 is already noisier than anything we see
	scale := 1 / (r - 0.75)
	return 2 * math.Sqrt(r-0.5) * (math.Asinh(math.Sqrt((x+0.375)*scale)) - math.Asinh(math.Sqrt((mu+0.375)*scale)))
}

// velocity compares two memories of the song's rate. A quarter listener per hour is added to both so that a handful of
// listeners is no speed.
func (s *State) velocity(p Params, c climate, at int64) float64 {
	const steady = 0.25
	short := float64(shrink(s.Short, p.ShortHalfLife, s.At, at)) / decay.HalfLife(p.ShortHalfLife).Window()
	long := float64(shrink(s.Long, p.LongHalfLife, s.At, at)) / decay.HalfLife(p.LongHalfLife).Window()
	return bound(math.Log((short+steady)/(long+steady))-c.velocity, -10, 10)
}

// new tells new songs from songs whose beginning we did not see because the region's data begins later.
func (s *State) new(p Params, c climate, at int64) bool {
	born := int64(s.born) * minuteMs
	return born >= c.start+dayMs && at-born < p.NewAge.Milliseconds()
}
