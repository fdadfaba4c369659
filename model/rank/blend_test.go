package rank_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"earworm/model/rank"
)

// lists makes lists of candidates with random features, of which the one with the greatest product with truth is chosen.
func lists(rng *rand.Rand, n int, truth map[int]float32) (rows []float32, chosen []int) {
	best, at := float32(math.Inf(-1)), 0
	for i := range n {
		var score float32
		for f := range rank.Features {
			x := float32(rng.NormFloat64())
			rows = append(rows, x)
			score += truth[f] * x
		}
		if score > best {
			best, at = score, i
		}
	}
	return rows, []int{at}
}

func TestBlendFindsWhatASourceIsWorth(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	truth := map[int]float32{0: -2, 5: 3}
	p := rank.DefaultLearnParams()
	var b rank.Blend
	for range 2000 {
		rows, chosen := lists(rng, 50, truth)
		b.Learn(p, rows, chosen)
	}
	w := b.Weights(p)
	for f := range w {
		switch f {
		case 0, 5:
			if w[f]*truth[f] < 1 {
				t.Errorf("the weight of %s is %.2f, the truth %.2f", rank.FeatureName(f), w[f], truth[f])
			}
		default:
			if math.Abs(float64(w[f])) > .3*float64(w[5]) {
				t.Errorf("%s says nothing and has the weight %.2f, one that does has %.2f", rank.FeatureName(f), w[f], w[5])
			}
		}
	}
}

// Learners in many places add up what they learnt from the same blend; what each learnt must survive.
func TestBlendsAddUp(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	truth, p := map[int]float32{2: 3}, rank.DefaultLearnParams()
	var shared rank.Blend
	for range 100 {
		base := shared
		for range 4 {
			own := base
			for range 5 {
				rows, chosen := lists(rng, 50, truth)
				own.Learn(p, rows, chosen)
			}
			learnt := own.Minus(&base)
			parsed, err := rank.ParseBlend(learnt.Append(nil))
			if err != nil {
				t.Fatal(err)
			}
			shared.Add(&parsed)
		}
	}
	if w := shared.Weights(p); w[2] < 1 {
		t.Errorf("the weight of what four learners found is %.2f", w[2])
	}
}

func TestBlendSurvivesAnything(t *testing.T) {
	p := rank.DefaultLearnParams()
	nan := float32(math.NaN())
	var b rank.Blend
	rows := make([]float32, 10*rank.Features)
	for _, poison := range []float32{nan, float32(math.Inf(1)), 1e30, -1e30} {
		for i := range rows {
			rows[i] = poison
		}
		b.Learn(p, rows, []int{0})
	}
	if b.Learn(p, rows, nil) || b.Learn(p, nil, []int{0}) || b.Learn(p, rows[:rank.Features], []int{0}) {
		t.Error("nothing was learnt from")
	}
	for range 10_000 { // the same list again and again
		for i := range rows {
			rows[i] = float32(i%7) - 3
		}
		b.Learn(p, rows, []int{3})
	}
	broken := rank.Blend{}
	broken.Z[0], broken.R[1] = nan, -1e9
	b.Add(&broken)
	for f, w := range b.Weights(p) {
		if w-w != 0 || math.Abs(float64(w)) > 100 {
			t.Errorf("the weight of %s is %v", rank.FeatureName(f), w)
		}
	}
	if _, err := rank.ParseBlend([]float32{1, nan}); err == nil {
		t.Error("a blend that is not a number was read")
	}
	if _, err := rank.ParseBlend(make([]float32, rank.BlendWidth+2)); err == nil {
		t.Error("a blend of too many features was read")
	}
}

func TestFeaturesHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for f := range rank.Features {
		name := rank.FeatureName(f)
		if name == "" || seen[name] {
			t.Errorf("feature %d is called %q", f, name)
		}
		seen[name] = true
	}
}
