package trend

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// naiveSignificant is Benjamini–Hochberg by its definition: every k is tried.
func naiveSignificant(z []float64, q float64) float64 {
	sorted := slices.Clone(z)
	slices.SortFunc(sorted, func(a, b float64) int {
		if a > b {
			return -1
		}
		return 1
	})
	threshold := math.Inf(1)
	for i, v := range sorted {
		if p := 0.5 * math.Erfc(v/math.Sqrt2); p <= q*float64(i+1)/float64(len(z)) {
			threshold = v
		}
	}
	return threshold
}

func TestSignificantEqualsNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		z := rapid.SliceOf(rapid.Float64Range(-5, 9)).Draw(t, "z")
		q := rapid.Float64Range(0.001, 0.5).Draw(t, "q")
		want := naiveSignificant(z, q)
		if got := significant(slices.Clone(z), q); got != want {
			t.Fatalf("threshold %g, want %g", got, want)
		}
	})
}

func TestAnscombe(t *testing.T) {
	// With r → ∞ it is the Poisson z 2(√(x+⅜) − √(μ+⅜)).
	for _, row := range []struct{ x, mu float64 }{{0, 0}, {10, 10}, {30, 10}, {5, 50}, {1e4, 9e3}} {
		want := 2 * (math.Sqrt(row.x+0.375) - math.Sqrt(row.mu+0.375))
		if got := anscombe(row.x, row.mu, 1e9); math.Abs(got-want) > 1e-3*(1+math.Abs(want)) {
			t.Errorf("anscombe(%g, %g, ∞) = %g, want %g", row.x, row.mu, got, want)
		}
	}
	// For large counts it is ln(x/μ)·√r, but for the two offsets of r.
	if got, want := anscombe(1e8, 1e7, 20), math.Log(10)*math.Sqrt(19.5); math.Abs(got-want) > 0.01 {
		t.Errorf("large counts: %g, want %g", got, want)
	}
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.Float64Range(0, 1e9).Draw(t, "x")
		mu := rapid.Float64Range(0, 1e9).Draw(t, "mu")
		r := rapid.Float64Range(0, 1e9).Draw(t, "r")
		z := anscombe(x, mu, r)
		if math.IsNaN(z) || math.IsInf(z, 0) || (z > 0) != (x > mu) && x != mu && z != 0 {
			t.Fatalf("anscombe(%g, %g, %g) = %g", x, mu, r, z)
		}
		if anscombe(x+1, mu, r) < z {
			t.Fatalf("one more listener lowers z")
		}
	})
}

// TestAnscombeIsStandardNormal draws gamma–Poisson counts of known mean and size.
func TestAnscombeIsStandardNormal(t *testing.T) {
	const n, shape = 20_000, 4
	rng := rand.New(rand.NewPCG(7, 7))
	for _, mu := range []float64{8, 40, 200} {
		var sum, square float64
		for range n {
			rate := 0.0
			for range shape { // gamma of whole shape: a sum of exponentials
				rate += rng.ExpFloat64() * mu / shape
			}
			count := 0.0
			for at := rng.ExpFloat64(); at < rate; at += rng.ExpFloat64() {
				count++
			}
			z := anscombe(count, mu, shape)
			sum += z
			square += z * z
		}
		mean, deviation := sum/n, math.Sqrt(square/n-sum*sum/n/n)
		if math.Abs(mean) > 0.3 || math.Abs(deviation-1) > 0.12 {
			t.Errorf("mean %g: z has mean %.2f and deviation %.2f", mu, mean, deviation)
		}
	}
}

func TestRampReachesBothEndsAndIsMonotone(t *testing.T) {
	if ramp(1, 2, 4, 0.2, 1) != 0.2 || ramp(2, 2, 4, 0.2, 1) != 0.2 || ramp(4, 2, 4, 0.2, 1) != 1 || ramp(9, 2, 4, 0.2, 1) != 1 {
		t.Error("the ends are not reached")
	}
	if got := ramp(3, 2, 4, 0, 1); got != 0.5 {
		t.Errorf("half-way %g", got)
	}
	for x := 1.0; x < 5; x += 0.01 {
		if ramp(x, 2, 4, 1, 0.1) < ramp(x+0.01, 2, 4, 1, 0.1)-1e-12 {
			t.Fatalf("not monotone at %g", x)
		}
	}
}

// TestReadingIsTheFormula checks the assembled reading against models.md C.2 written out for a song and region in a
// steady state, where σ = 1.
func TestReadingIsTheFormula(t *testing.T) {
	p := DefaultParams()
	const hours, perHour, traffic = 40 * 24, 6.0, 3000.0
	var season Season
	var s State
	at := int64(1_795_392_000_000)
	for range hours * 60 {
		season.Observe(p, Bucket{At: at, Trusted: traffic / 60, Unique: traffic / 60, Plays: traffic / 60})
		s.Observe(p, &season, at, perHour/60)
		at += minuteMs
	}
	at -= minuteMs
	r := s.Evaluate(p, &season, at)
	tauFast, tauSlow := p.FastHalfLife.Hours()/math.Ln2, p.SlowHalfLife.Hours()/math.Ln2
	seen := tauSlow * (1 - math.Exp2(-hours/p.SlowHalfLife.Hours()))
	a := 1 + 2*perHour*seen
	rate := a / (4 + 2*seen)
	x, mu := 2*perHour*tauFast, 2*rate*tauFast
	size := 1 / (1/a + p.Psi)
	z := 2 * math.Sqrt(size-0.5) * (math.Asinh(math.Sqrt((x+0.375)/(size-0.75))) - math.Asinh(math.Sqrt((mu+0.375)/(size-0.75))))
	for name, pair := range map[string][2]float64{
		"rate": {r.Rate, rate}, "listeners": {r.Listeners, perHour * tauFast},
		"expected": {r.Expected, rate * tauFast}, "z": {r.Z, z}, "velocity": {r.Velocity, 0},
	} {
		if math.Abs(pair[0]-pair[1]) > 0.02*(1+math.Abs(pair[1])) {
			t.Errorf("%s = %.4f, want %.4f", name, pair[0], pair[1])
		}
	}
}
