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
		if math.Abs(float64(got.Z[f]-want.Z[f])) > 1e-3 || math.Abs(float64(got.R[f]-want.R[f])) > 1e-3 {
			t.Fatalf("%s: %s is %v and %v, want %v and %v", what, rank.FeatureName(f), got.Z[f], got.R[f], want.Z[f], want.R[f])
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

// TestProcessesDoNotAddUpToTooFar: of processes that learn the same from the same weights at the same time each counts by its share of the
// tasks, so that together they are where each of them alone would be.
func TestProcessesDoNotAddUpToTooFar(t *testing.T) {
	const tasks = 4
	s := newShelf(3)
	alone := newRanker(s.table, rank.DefaultParams())
	var published rank.Blend
	for partition := range int32(tasks) {
		r := newRanker(s.table, rank.DefaultParams())
		r.Join(partition, tasks)
		for n := range 50 {
			rows, chosen := frozenList(n)
			r.LearnBlend(partition, rows, chosen)
			if partition == 0 {
				alone.LearnBlend(0, rows, chosen)
			}
		}
		learnt, ok := r.CloseBlend(partition, 9)
		if !ok {
			t.Fatal("nothing to tell")
		}
		near(t, "a process goes on from what it has told", r.Blend(), learnt)
		published.Add(&learnt)
	}
	near(t, "four processes and one", published, alone.Blend())

	both := newRanker(s.table, rank.DefaultParams())
	both.Join(0, 2)
	both.Join(1, 2)
	both.Leave(0)
	rows, chosen := frozenList(1)
	both.LearnBlend(1, rows, chosen)
	whole := both.Blend()
	if half, ok := both.CloseBlend(1, 1); !ok || math.Abs(float64(2*half.R[0]-whole.R[0])) > 1e-6 {
		t.Errorf("one of two tasks tells %v of %v", half.R[0], whole.R[0])
	}
}
