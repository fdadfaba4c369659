package cooccur_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"earworm/model/cooccur"
	"earworm/model/decay"
	"earworm/model/factor"
)

const day = int64(24 * 3600 * 1000)

func TestCountsFadeInAnyOrder(t *testing.T) {
	p := cooccur.DefaultParams()
	p.HalfLife = decay.HalfLife(10 * 24 * time.Hour)
	late, early := cooccur.Row{}, cooccur.Row{}
	late.Add(p, 100*day, 1, []cooccur.Edge{{Song: 1, Weight: 1}})
	late.Add(p, 110*day, 1, []cooccur.Edge{{Song: 1, Weight: 1}, {Song: 2, Weight: 2}})
	early.Add(p, 110*day, 1, []cooccur.Edge{{Song: 1, Weight: 1}, {Song: 2, Weight: 2}})
	early.Add(p, 100*day, 1, []cooccur.Edge{{Song: 1, Weight: 1}})
	for _, r := range []cooccur.Row{late, early} {
		if r.At != 110*day || math.Abs(float64(r.Listeners)-1.5) > 1e-6 || math.Abs(float64(r.Neighbours[0].Weight)-1.5) > 1e-6 {
			t.Errorf("the row is %+v, want one and a half listeners and pairs", r)
		}
	}
}

func TestTheStrongestNeighboursStay(t *testing.T) {
	p := cooccur.DefaultParams()
	p.Neighbours = 8
	var r cooccur.Row
	rng := rand.New(rand.NewPCG(1, 1))
	for n := range 5000 {
		song := factor.Key(100 + rng.IntN(1000)) // each comes about five times
		if n%20 == 0 {
			song = factor.Key(n / 20 % 4) // four come more than sixty times
		}
		r.Add(p, day, 1, []cooccur.Edge{{Song: song, Weight: 1}})
	}
	if len(r.Neighbours) != 8 {
		t.Fatalf("%d neighbours, want 8", len(r.Neighbours))
	}
	found := 0
	for _, e := range r.Neighbours {
		if e.Song < 4 && e.Weight > 30 {
			found++
		}
	}
	if found != 4 {
		t.Errorf("%d of the four frequent neighbours were kept: %v", found, r.Neighbours)
	}
}

// TestRemoveUndoesAdd: at whatever instants, and never below nothing.
func TestRemoveUndoesAdd(t *testing.T) {
	p := cooccur.DefaultParams()
	rng := rand.New(rand.NewPCG(5, 5))
	var with, without cooccur.Row
	type visit struct {
		at    int64
		edges []cooccur.Edge
	}
	var gone []visit
	for n := range 400 {
		v := visit{at: 1000*day + int64(rng.IntN(300))*day}
		for range 5 {
			v.edges = append(v.edges, cooccur.Edge{Song: factor.Key(1 + rng.IntN(60)), Weight: 1})
		}
		with.Add(p, v.at, 1, v.edges)
		if n%4 == 0 {
			gone = append(gone, v)
		} else {
			without.Add(p, v.at, 1, v.edges)
		}
	}
	for _, v := range gone {
		with.Remove(p, v.at, 1, nil)
		with.Remove(p, v.at, 0, v.edges)
	}
	if math.Abs(float64(with.Listeners/without.Listeners)-1) > 1e-4 || len(with.Neighbours) != 60 {
		t.Errorf("%v listeners and %d neighbours, want %v and 60", with.Listeners, len(with.Neighbours), without.Listeners)
	}
	weights := map[factor.Key]float32{}
	for _, e := range without.Neighbours {
		weights[e.Song] = e.Weight
	}
	for _, e := range with.Neighbours {
		if want := weights[e.Song]; math.Abs(float64(e.Weight/want)-1) > 1e-3 {
			t.Errorf("neighbour %d has %v, want %v", e.Song, e.Weight, want)
		}
	}
	with.Remove(p, with.At, 1e9, []cooccur.Edge{{Song: 1, Weight: 1e9}, {Song: 999, Weight: 1}, {Song: 2, Weight: -5}, {Song: 3, Weight: float32(math.NaN())}})
	if with.Listeners != 0 || len(with.Neighbours) != 59 {
		t.Errorf("%v listeners and %d neighbours after too much was taken", with.Listeners, len(with.Neighbours))
	}
}

func TestRowsSurviveAnything(t *testing.T) {
	var r cooccur.Row
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, at := range []int64{0, math.MaxInt64 / 2, -5, day} {
		r.Add(cooccur.DefaultParams(), at, nan, []cooccur.Edge{{Song: 1, Weight: inf}, {Song: 2, Weight: -1}, {Song: 3, Weight: nan}, {Song: 4, Weight: 1}})
	}
	if r.Listeners-r.Listeners != 0 {
		t.Errorf("%v listeners", r.Listeners)
	}
	for _, e := range r.Neighbours {
		if e.Song != 4 || e.Weight-e.Weight != 0 {
			t.Errorf("neighbour %+v", e)
		}
	}
}

// The likeness that readers compute is the formula's.
func TestLikenessIsTheShrunkCosine(t *testing.T) {
	p := cooccur.DefaultParams()
	songs := factor.NewTable(factor.DefaultParams())
	table := cooccur.NewTable(p, songs)
	at := 1000 * day
	a := songs.Song("a")
	table.Load(a, cooccur.Row{At: at, Listeners: 30, Neighbours: []cooccur.Edge{{Song: factor.KeyOf(factor.KindSong, "b"), Weight: 12}}})
	calls := 0
	table.Each(a, at, func(factor.Index, float32) { calls++ })
	if calls != 0 {
		t.Error("a neighbour that the table does not know was given")
	}
	b := songs.Song("b") // it comes later
	table.Load(b, cooccur.Row{At: at, Listeners: 5})
	table.Each(a, at, func(n factor.Index, pairs float32) {
		calls++
		got := float64(pairs * table.Norm(a, at) * table.Norm(b, at))
		want := 12 / math.Sqrt((30+p.Shrink)*(5+p.Shrink))
		if n != b || math.Abs(got-want) > 1e-6 {
			t.Errorf("likeness %v to %d, want %v to %d", got, n, want, b)
		}
	})
	if calls != 1 {
		t.Errorf("%d neighbours, want 1", calls)
	}
	later := at + time.Duration(p.HalfLife).Milliseconds()
	table.Each(a, later, func(_ factor.Index, pairs float32) {
		if math.Abs(float64(pairs)-6) > 1e-4 {
			t.Errorf("after a half-life %v pairs are left, want 6", pairs)
		}
	})
}

// Of the pairs of common songs a part is counted, each for several: the sum stays.
func TestPairsOfCommonSongsAreThinned(t *testing.T) {
	p := cooccur.DefaultParams()
	for _, listeners := range []float64{0, 10, p.Evidence, 1000, 1e9} {
		count, weight := p.Pairs(listeners, 100)
		if got := float64(weight) * float64(count); math.Abs(got-float64(p.Window)) > 1e-3 {
			t.Errorf("with %v listeners %d pairs of %v stand for %v, want %d", listeners, count, weight, got, p.Window)
		}
		if listeners > 100*p.Evidence && count != 1 || listeners <= p.Evidence && count != p.Window {
			t.Errorf("with %v listeners %d pairs are counted", listeners, count)
		}
	}
	if count, _ := p.Pairs(0, 0); count != 0 {
		t.Error("a first song has pairs")
	}
}

func TestValidateNamesEveryProblem(t *testing.T) {
	if err := cooccur.DefaultParams().Validate(); err != nil {
		t.Error(err)
	}
	if err := (cooccur.Params{Window: -1}).Validate(); err == nil {
		t.Error("settings that make no sense are valid")
	}
}

func BenchmarkAdd(b *testing.B) {
	p := cooccur.DefaultParams()
	var r cooccur.Row
	rng := rand.New(rand.NewPCG(1, 1))
	edges := make([]cooccur.Edge, 16)
	b.ReportAllocs()
	for b.Loop() {
		for i := range edges {
			edges[i] = cooccur.Edge{Song: factor.Key(rng.IntN(1000)), Weight: 1}
		}
		r.Add(p, day, 1, edges)
	}
}

// A row that is published again replaces the one before, whatever stood in its places.
func TestLaterRowReplacesTheEarlier(t *testing.T) {
	songs := factor.NewTable(factor.DefaultParams())
	table := cooccur.NewTable(cooccur.DefaultParams(), songs)
	at := 1000 * day
	a := songs.Song("a")
	edge := func(id string, w float32) cooccur.Edge {
		songs.Song(id)
		return cooccur.Edge{Song: factor.KeyOf(factor.KindSong, id), Weight: w}
	}
	for _, row := range [][]cooccur.Edge{
		{edge("b", 1), edge("c", 2), edge("d", 3)},
		{edge("b", 2), edge("e", 1), edge("d", 3)},
		{edge("b", 2)},
		{edge("f", 5), edge("g", 6), edge("b", 7), edge("c", 8)},
		nil,
	} {
		table.Load(a, cooccur.Row{At: at, Listeners: float32(len(row)), Neighbours: row})
		clear(row[:min(1, len(row))]) // the caller uses its list again
		var got []string
		table.Each(a, at, func(n factor.Index, pairs float32) { got = append(got, fmt.Sprint(songs.ID(n), pairs)) })
		var want []string
		for i, e := range row {
			if i > 0 {
				n, _ := songs.Lookup(e.Song)
				want = append(want, fmt.Sprint(songs.ID(n), e.Weight))
			}
		}
		if len(got) != len(row) || len(row) > 0 && !slices.Equal(got[1:], want) || table.Listeners(a) != float64(len(row)) {
			t.Errorf("neighbours %v of %v listeners, want those of %v", got, table.Listeners(a), row)
		}
	}
}
