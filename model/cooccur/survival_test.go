package cooccur_test

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"earworm/model/cooccur"
	"earworm/model/decay"
	"earworm/model/factor"
)

// TestCountsSurviveAnyStream: whatever is counted, at whatever time, a row has as many neighbours as it may have, each once, and what
// readers get of it is a number.
func TestCountsSurviveAnyStream(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := cooccur.DefaultParams()
		p.Neighbours = rapid.IntRange(1, 8).Draw(rt, "neighbours")
		p.HalfLife = rapid.SampledFrom([]decay.HalfLife{1, p.HalfLife, decay.HalfLife(1000 * time.Hour), math.MaxInt64}).Draw(rt, "half-life")
		p.Shrink = rapid.SampledFrom([]float64{0, 15, 1e6}).Draw(rt, "shrink")
		if err := p.Validate(); err != nil {
			rt.Fatal(err)
		}
		songs := factor.NewTable(factor.DefaultParams())
		table := cooccur.NewTable(p, songs)
		names := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}
		for _, name := range names {
			songs.Song(name)
		}
		weight := rapid.SampledFrom([]float32{
			1, 1, 1, 16, 0, -1, 1e-38, 1e30, math.MaxFloat32, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)),
		})
		instant := rapid.SampledFrom([]int64{0, 1, day, 2 * day, 1000 * day, 2000 * day, -day, math.MaxInt64, math.MinInt64})
		var r cooccur.Row
		for range rapid.IntRange(1, 60).Draw(rt, "length") {
			edge := cooccur.Edge{
				Song: factor.KeyOf(factor.KindSong, rapid.SampledFrom(names).Draw(rt, "song")), Weight: weight.Draw(rt, "weight"),
			}
			edges := make([]cooccur.Edge, rapid.SampledFrom([]int{0, 1, 2, 50}).Draw(rt, "times"))
			for i := range edges {
				edges[i] = edge
			}
			r.Add(p, instant.Draw(rt, "at"), weight.Draw(rt, "listeners"), edges)
			look(rt, p, r)
			a := songs.Song("a")
			table.Load(a, cooccur.Row{At: r.At, Listeners: r.Listeners, Neighbours: append([]cooccur.Edge(nil), r.Neighbours...)})
			at := instant.Draw(rt, "read at")
			table.Each(a, at, func(other factor.Index, pairs float32) {
				if like := pairs * table.Norm(a, at) * table.Norm(other, at); like-like != 0 || like < 0 {
					rt.Fatalf("likeness %v: %v pairs of %+v", like, pairs, r)
				}
			})
			if count, each := p.Pairs(table.Listeners(a), 100); count < 1 || count > p.Window || each-each != 0 {
				rt.Fatalf("%d pairs that stand for %v", count, each)
			}
		}
	})
}

// look wants counts that are not negative and finite.
func look(rt *rapid.T, p cooccur.Params, r cooccur.Row) {
	good := func(v float32) bool { return v >= 0 && v <= math.MaxFloat32 }
	if !good(r.Listeners) || len(r.Neighbours) > p.Neighbours {
		rt.Fatalf("%+v", r)
	}
	seen := map[factor.Key]bool{}
	for _, n := range r.Neighbours {
		if !good(n.Weight) || seen[n.Song] {
			rt.Fatalf("neighbour %+v in %+v", n, r)
		}
		seen[n.Song] = true
	}
}
