package rank_test

import (
	"math"
	"testing"

	"earworm/model/factor"
	"earworm/model/rank"
)

// frozenList returns the features of some candidates, and which was chosen.
func frozenList(n int) (rows []float32, chosen []int) {
	rows = make([]float32, 5*rank.Features)
	for i := range rows {
		rows[i] = float32((i*7+n)%11) / 11
	}
	return rows, []int{n % 5}
}

func near(t *testing.T, what string, got, want rank.Blend) {
	t.Helper()
	for f := range got.Z {
		if math.Abs(float64(got.Z[f]-want.Z[f])) > 1e-3 || math.Abs(float64(got.N[f]-want.N[f])) > 1e-3 {
			t.Fatalf("%s: %s is %v and %v, want %v and %v", what, rank.FeatureName(f), got.Z[f], got.N[f], want.Z[f], want.N[f])
		}
	}
}

// TestTasksOfAProcessLearnOneAfterTheOther: what two tasks learn in transactions of their own is what one learner would have learnt, is counted
// once when it is published, and is gone when it is taken back.
func TestTasksOfAProcessLearnOneAfterTheOther(t *testing.T) {
	s := newShelf(3)
	r := newRanker(s.table, rank.DefaultParams())
	var alone, published rank.Blend
	learn := func(partition int32, n int) {
		rows, chosen := frozenList(n)
		if !r.LearnBlend(partition, rows, chosen) {
			t.Fatal("nothing was learnt")
		}
		alone.Learn(r.Params().Learn, rows, chosen)
	}
	learn(0, 1)
	learn(1, 2)
	learn(0, 3)
	near(t, "before anything is published", r.Blend(), alone)
	first, ok := r.CloseBlend(0, 7)
	if !ok {
		t.Fatal("nothing to tell")
	}
	if _, again := r.CloseBlend(0, 7); again {
		t.Error("the same is told twice")
	}
	published.Add(&first)
	r.SetBlend(published, []factor.Origin{{Partition: 0, Seq: 6}}) // somebody else's change came first
	two := alone
	two.Add(&first)
	near(t, "published and not acknowledged", r.Blend(), two) // as is any change that a row holds without saying so
	r.SetBlend(published, []factor.Origin{{Partition: 0, Seq: 7}})
	near(t, "published", r.Blend(), alone)

	before := r.Blend()
	kept := alone
	learn(0, 4)
	if _, ok := r.CloseBlend(0, 8); !ok {
		t.Fatal("nothing to tell")
	}
	learn(0, 5)
	r.WithdrawBlend(0, 7) // neither 8 nor what is open was committed
	near(t, "taken back", r.Blend(), before)
	near(t, "taken back", r.Blend(), kept)
	r.WithdrawBlend(1, math.MinInt64)
	near(t, "all but the published", r.Blend(), published)
}
