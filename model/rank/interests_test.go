package rank_test

import (
	"strconv"
	"testing"

	"earworm/model/factor"
	"earworm/model/rank"
)

// TestInterestsAreAskedOneByOne: whoever likes two kinds of songs that have nothing in common has a vector between the two, which likes best
// what lies between. Their interests, asked one by one, like both kinds better.
func TestInterestsAreAskedOneByOne(t *testing.T) {
	s := &shelf{table: factor.NewTable(factor.DefaultParams()), rng: newShelf(0).rng, dim: factor.DefaultParams().Dim}
	camp := map[factor.Index]string{}
	add := func(n int, kind string, at ...int) {
		for range n {
			v := s.vector(.01)
			for _, axis := range at {
				v[axis] += .8
				if len(at) > 1 {
					v[axis] -= .2
				}
			}
			id := strconv.Itoa(len(s.songs))
			song := s.table.Song(id)
			r := factor.Published{Kind: factor.KindSong, ID: id, Vector: v, Evidence: 20, FirstAt: now - 1000}
			r.Popularity.Add(factor.DefaultParams(), factor.RegionOf("DE"), now-1000, 20)
			s.table.Load(r)
			s.songs = append(s.songs, song)
			camp[song] = kind
		}
	}
	add(60, "metal", 0)
	add(60, "lullaby", 1)
	add(60, "between", 0, 1)
	add(400, "other", 5)
	var heard []int
	for n := range 12 {
		heard = append(heard, n)
	}
	for n := range 7 {
		heard = append(heard, 60+n)
	}
	l := s.listener(heard...)
	l.Vector = make([]float32, s.dim)
	strengths := func(p rank.Params, of rank.Source) map[string]float32 {
		frozen := newRanker(s.table, p).Freeze(l, now)
		sum, count := map[string]float32{}, map[string]float32{}
		for i, song := range frozen.Songs {
			row, _ := s.table.Lookup(song)
			sum[camp[row]] += frozen.Rows[i*rank.Features+2*int(of)]
			count[camp[row]]++
		}
		for kind, n := range count {
			sum[kind] /= n
		}
		return sum
	}
	one, several := strengths(everything(), rank.SourceFold), strengths(everything(), rank.SourceInterests)
	t.Logf("one vector %v, interests %v", one, several)
	if one["between"] < one["lullaby"] {
		t.Fatalf("the one vector has %v: this is no example", one)
	}
	if lost, left := one["between"]-one["lullaby"], several["between"]-several["lullaby"]; left > lost/2 {
		t.Errorf("what is between is before the smaller interest by %.2f standard deviations with one vector, and by %.2f with interests", lost, left)
	}
	if several["metal"] < several["between"] || several["lullaby"] < several["other"]+1 {
		t.Errorf("the interests have %v, want the greater one first and the smaller one far before what is of none", several)
	}
	single := everything()
	single.Interests.Max = 1
	fold, got := strengths(single, rank.SourceFold), strengths(single, rank.SourceInterests)
	for kind, x := range fold {
		if got[kind] != x {
			t.Errorf("undivided, the interest has %v for %s, want that of the one vector, %v", got[kind], kind, x)
		}
	}
}
