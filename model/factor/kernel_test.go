package factor

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestKernelsMatchTheirTwins holds whatever this machine runs against the plain code, to the last bit, for every width.
func TestKernelsMatchTheirTwins(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	odd := []float32{0, float32(math.Inf(1)), float32(math.NaN()), 1e-42, -3e38, float32(math.Copysign(0, -1))}
	vector := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(rng.NormFloat64())
			if rng.IntN(40) == 0 {
				v[i] = odd[rng.IntN(len(odd))]
			}
		}
		return v
	}
	same := func(name string, n int, got, want []float32) {
		t.Helper()
		for i := range want {
			g, w := math.Float32bits(got[i]), math.Float32bits(want[i])
			if g != w && !(got[i] != got[i] && want[i] != want[i]) {
				t.Fatalf("%s of width %d at %d: %v (%#x), want %v (%#x)", name, n, i, got[i], g, want[i], w)
			}
		}
	}
	for round := range 20 {
		for n := range 97 {
			a, b, c, d := vector(n), vector(n+round%3), vector(n), vector(n)
			same("dot", n, []float32{dot(a, b)}, []float32{dotGo(a, b)})
			for count := range 10 {
				rows, got, want := vector(n*count+round%3), make([]float32, count), make([]float32, count)
				dots(a, rows, got)
				dotsGo(a, rows, want)
				same("dots", n, got, want)
			}
			for count := range 5 {
				weights, rows, got := vector(count), vector(n*count+round%3), slices.Clone(c)
				want := slices.Clone(c)
				addRows(weights, rows, got)
				addRowsGo(weights, rows, want)
				same("addRows", n, got, want)
			}
			for count := range 3 * min(n, 1) {
				left, right, got := vector(n*count), vector(n*count+round%3), vector(n*n)
				want := slices.Clone(got)
				gram(left, right, got, n)
				gramGo(left, right, want, n)
				for i := range n {
					same("gram", n, got[i*n:][:i+1], want[i*n:][:i+1])
				}
			}
			x, y := slices.Clone(b), slices.Clone(b)
			axpy(1.25, a, x)
			axpyGo(1.25, a, y)
			same("axpy", n, x, y)
			decayAxpy(.999, -.7, a, x)
			decayAxpyGo(.999, -.7, a, y)
			same("decayAxpy", n, x, y)
			if n > 0 {
				c := &combination{count: 1 + rng.IntN(maxParts)}
				rows := vector(4 * n)
				for i := range c.count {
					c.at[i], c.share[i] = n*rng.IntN(4), float32(rng.Float64())
				}
				c.share[0] = 1
				q := make([]float32, n)
				wantQ := slices.Clone(q)
				same("compose", n, []float32{compose(c, rows, a, q)}, []float32{composeGo(c, rows, a, wantQ)})
				same("compose", n, q, wantQ)
			}
			fast := [4][]float32{slices.Clone(a), slices.Clone(b), slices.Clone(c), slices.Clone(d)}
			exchange(fast[0], fast[1], fast[2], fast[3])
			exchangeGo(a, b, c, d)
			for i, want := range [4][]float32{a, b, c, d} {
				same("exchange", n, fast[i], want)
			}
		}
	}
}

// BenchmarkKernel times the widths that are in use.
func BenchmarkKernel(b *testing.B) {
	x, y := make([]float32, 32), make([]float32, 32)
	for i := range x {
		x[i], y[i] = float32(i), 1
	}
	for _, k := range []struct {
		name string
		run  func()
	}{
		{"op=dot/code=plain", func() { x[0] = dotGo(x, y) }},
		{"op=dot/code=best", func() { x[0] = dot(x, y) }},
		{"op=axpy/code=plain", func() { axpyGo(1e-9, x, y) }},
		{"op=axpy/code=best", func() { axpy(1e-9, x, y) }},
		{"op=decayAxpy/code=plain", func() { decayAxpyGo(.5, 1e-9, x, y) }},
		{"op=decayAxpy/code=best", func() { decayAxpy(.5, 1e-9, x, y) }},
	} {
		b.Run(k.name, func(b *testing.B) {
			for b.Loop() {
				k.run()
			}
		})
	}
}
