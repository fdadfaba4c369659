package rank

import (
	"math"
	"testing"
)

func TestLog2EqualsMath(t *testing.T) {
	last := float32(-1000)
	for x := float32(1e-30); x < 1e30; x *= 1.0007 {
		got := log2(x)
		if want := math.Log2(float64(x)); math.Abs(float64(got)-want) > 3e-5 {
			t.Fatalf("log2(%v) is %v, want %v", x, got, want)
		}
		if got < last {
			t.Fatalf("log2 falls at %v", x)
		}
		last = got
	}
}

func TestRateTrustsAWindowByItsEvidence(t *testing.T) {
	steady := func(perDay float64) (day, week, month float64) {
		return perDay / math.Ln2, 7 * perDay / math.Ln2, 28 * perDay / math.Ln2
	}
	if got := rate(steady(20)); math.Abs(got-20) > 1e-9 {
		t.Errorf("twenty listens every day are a rate of %v", got)
	}
	day, week, month := steady(20)
	if got := rate(10*day, week, month); got < 100 {
		t.Errorf("ten times the usual two hundred listens give %v, want most of the rise", got)
	}
	day, week, month = steady(.1)
	if got := rate(10*day, week, month); got > .3 {
		t.Errorf("one listen in a day to a song that had three in a month gives %v, want little of the rise", got)
	}
	if got := rate(0, 0, 0); got != 0 {
		t.Errorf("a song that nobody hears has a rate of %v", got)
	}
}
