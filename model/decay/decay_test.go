package decay_test

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"earworm/model/decay"
)

type observation struct {
	v  float64
	at int64
}

// naive is the definition: Σ v·2^(−(at−atᵢ)/h), each term on its own.
func naive(observations []observation, at int64, h decay.HalfLife) float64 {
	sum := 0.0
	for _, o := range observations {
		sum += o.v * math.Pow(2, -float64(at-o.at)/h.Millis())
	}
	return sum
}

func drawObservations(t *rapid.T) []observation {
	const start, span = int64(1_700_000_000_000), int64(200 * 24 * 3600 * 1000)
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) observation {
		return observation{
			v:  rapid.Float64Range(-10, 1000).Draw(t, "v"),
			at: start + rapid.Int64Range(0, span).Draw(t, "at"),
		}
	}), 1, 60).Draw(t, "observations")
}

func drawHalfLife(t *rapid.T) decay.HalfLife {
	return rapid.SampledFrom([]decay.HalfLife{
		decay.Session, decay.Short, decay.Taste, decay.Month, decay.Long, decay.HalfLife(90 * time.Minute),
	}).Draw(t, "halfLife")
}

func near(got, want, size float64) bool {
	return math.Abs(got-want) <= 1e-9*(1+math.Abs(size))
}

func magnitude(observations []observation, at int64, h decay.HalfLife) float64 {
	sum := 0.0
	for _, o := range observations {
		sum += naive([]observation{{math.Abs(o.v), o.at}}, at, h)
	}
	return sum
}

func TestAnyOrderEqualsNaiveSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		observations, h := drawObservations(t), drawHalfLife(t)
		last := slices.MaxFunc(observations, func(a, b observation) int { return int(a.at - b.at) }).at
		at := last + rapid.Int64Range(0, 1e10).Draw(t, "later")
		want, size := naive(observations, at, h), magnitude(observations, at, h)

		var counter decay.Counter
		var forward decay.Forward
		cut := rapid.IntRange(0, len(observations)).Draw(t, "cut")
		var otherCounter decay.Counter
		var otherForward decay.Forward
		for i, o := range rapid.Permutation(observations).Draw(t, "order") {
			if i < cut {
				otherCounter.Add(o.v, o.at, h)
				otherForward.Add(o.v, o.at, h)
				continue
			}
			before := counter.At
			counter.Add(o.v, o.at, h)
			forward.Add(o.v, o.at, h)
			if counter.At < before {
				t.Fatalf("the clock moved back from %d to %d", before, counter.At)
			}
		}
		counter.Merge(otherCounter, h)
		forward.Merge(otherForward)
		if counter.At != last {
			t.Fatalf("clock at %d, newest observation at %d", counter.At, last)
		}
		if got := counter.Read(at, h); !near(got, want, size) {
			t.Fatalf("Counter = %g, want %g", got, want)
		}
		if got := forward.Read(at, h); !near(got, want, size) {
			t.Fatalf("Forward = %g, want %g", got, want)
		}
	})
}

func TestForwardOrderIsTheOrderAtEveryInstant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHalfLife(t)
		var a, b decay.Forward
		left, right := drawObservations(t), drawObservations(t)
		for _, o := range left {
			a.Add(math.Abs(o.v), o.at, h)
		}
		for _, o := range right {
			b.Add(math.Abs(o.v), o.at, h)
		}
		at := int64(1_700_000_000_000 + 200*24*3600*1000)
		x, y := a.Read(at, h), b.Read(at, h)
		if math.Abs(x-y) <= 1e-9*(x+y) || x == 0 || y == 0 {
			return // a tie within rounding
		}
		want := 1
		if x < y {
			want = -1
		}
		if got := a.Compare(b); got != want || b.Compare(a) != -want {
			t.Fatalf("Compare = %d for %g and %g", got, x, y)
		}
		if (a.Log2() > b.Log2()) != (want == 1) {
			t.Fatalf("Log2 %g and %g order differently from %g and %g", a.Log2(), b.Log2(), x, y)
		}
	})
}

func TestForwardRenormalisationIsBitExact(t *testing.T) {
	h := decay.Session
	landmark := int64(256) * int64(time.Hour/time.Millisecond) // one epoch
	early := int64(1_700_000_000_000)
	var touched, left decay.Forward
	touched.Add(0.7, early, h)
	left.Add(0.7, early, h)
	for epoch := range int64(3) { // zero weights only move the landmark
		touched.Add(0, early+(epoch+1)*landmark, h)
	}
	if touched.Epoch == left.Epoch {
		t.Fatal("the landmark did not move")
	}
	if touched.Log2() != left.Log2() || touched.Compare(left) != 0 {
		t.Errorf("renormalised %v and untouched %v differ", touched, left)
	}
	if a, b := touched.Read(early+1e8, h), left.Read(early+1e8, h); a != b {
		t.Errorf("read %g and %g", a, b)
	}
}

func TestFiniteForAnyInput(t *testing.T) {
	anyTime := rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{math.MinInt64, -1, 0, 1, math.MaxInt64}))
	anyValue := rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{
		math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64,
	}))
	rapid.Check(t, func(t *rapid.T) {
		h := decay.HalfLife(rapid.Int64().Draw(t, "halfLife"))
		var c decay.Counter
		var f decay.Forward
		for range rapid.IntRange(1, 20).Draw(t, "n") {
			v, at := anyValue.Draw(t, "v"), anyTime.Draw(t, "at")
			taken := !math.IsNaN(v) && !math.IsInf(v, 0)
			if c.Add(v, at, h) != taken || f.Add(v, at, h) != taken {
				t.Fatalf("Add(%g) taken, want %t", v, taken)
			}
			read := anyTime.Draw(t, "read")
			for _, got := range []float64{c.Value, c.Read(read, h), f.Value, f.Read(read, h)} {
				if math.IsNaN(got) || math.IsInf(got, 0) {
					t.Fatalf("%v %v: %g at %d", c, f, got, read)
				}
			}
		}
	})
}

func TestRefusedWeightChangesNothing(t *testing.T) {
	c, f := decay.Counter{Value: 3, At: 5}, decay.Forward{Value: 3, Epoch: 5}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if c.Add(v, 1e12, decay.Short) || c != (decay.Counter{Value: 3, At: 5}) {
			t.Errorf("Counter took %g: %v", v, c)
		}
		if f.Add(v, 1e12, decay.Short) || f != (decay.Forward{Value: 3, Epoch: 5}) {
			t.Errorf("Forward took %g: %v", v, f)
		}
	}
}

func TestDecayByHand(t *testing.T) {
	day := int64(24 * 3600 * 1000)
	var c decay.Counter
	c.Add(8, 100*day, decay.Short)
	c.Add(1, 102*day, decay.Short) // 8/4 + 1
	c.Add(4, 101*day, decay.Short) // late: 4/2
	if c.Value != 5 || c.At != 102*day {
		t.Errorf("counter %v, want 5 at day 102", c)
	}
	if got := c.Read(103*day, decay.Short); got != 2.5 {
		t.Errorf("a day later %g, want 2.5", got)
	}
	if got := c.Read(50*day, decay.Short); got != 5 {
		t.Errorf("read in the past %g, want the value at the newest observation", got)
	}
	// A future of 64 years makes the past worthless, and later events (late by 64 years) count nothing; finite.
	c.Add(1, 102*day+64*365*day, decay.Short)
	c.Add(1, 103*day, decay.Short)
	if c.Value != 1 {
		t.Errorf("after a far future event %g, want 1", c.Value)
	}
	// A steady rate r sums to r·Window.
	var steady decay.Counter
	for minute := range int64(40 * 24 * 60) {
		steady.Add(0.5, minute*60_000, decay.Short)
	}
	if want := 30 * decay.Short.Window(); math.Abs(steady.Value-want) > 0.01*want {
		t.Errorf("steady 30 per hour sums to %g, want %g", steady.Value, want)
	}
}

func TestEncodingIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := decay.Counter{Value: rapid.Float64Range(-1e300, 1e300).Draw(t, "v"), At: rapid.Int64().Draw(t, "at")}
		f := decay.Forward{Value: c.Value, Epoch: c.At}
		var c2 decay.Counter
		var f2 decay.Forward
		rest, err := c2.UnmarshalBinary(f.AppendBinary(c.AppendBinary(nil)))
		if err != nil || c2 != c {
			t.Fatalf("%v became %v, %v", c, c2, err)
		}
		if rest, err = f2.UnmarshalBinary(rest); err != nil || f2 != f || len(rest) != 0 {
			t.Fatalf("%v became %v, %v", f, f2, err)
		}
	})
	for _, b := range [][]byte{
		nil, make([]byte, 15),
		decay.Counter{Value: math.NaN()}.AppendBinary(nil), decay.Counter{Value: math.Inf(1)}.AppendBinary(nil),
	} {
		c, f := decay.Counter{Value: 1}, decay.Forward{Value: 1}
		if _, err := c.UnmarshalBinary(b); !errors.Is(err, decay.ErrEncoding) || c.Value != 1 {
			t.Errorf("Counter decoded %x: %v", b, err)
		}
		if _, err := f.UnmarshalBinary(b); !errors.Is(err, decay.ErrEncoding) || f.Value != 1 {
			t.Errorf("Forward decoded %x: %v", b, err)
		}
	}
}

func TestAddDoesNotAllocate(t *testing.T) {
	var c decay.Counter
	var f decay.Forward
	at := int64(1_700_000_000_000)
	if n := testing.AllocsPerRun(100, func() {
		at += 1000
		c.Add(1, at, decay.Short)
		f.Add(1, at, decay.Short)
	}); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

func BenchmarkCounterAdd(b *testing.B) {
	var c decay.Counter
	at := int64(1_700_000_000_000)
	b.ReportAllocs()
	for b.Loop() {
		at += 1000
		c.Add(1, at, decay.Short)
	}
}

func BenchmarkForwardAdd(b *testing.B) {
	var f decay.Forward
	at := int64(1_700_000_000_000)
	b.ReportAllocs()
	for b.Loop() {
		at += 1000
		f.Add(1, at, decay.Short)
	}
}
