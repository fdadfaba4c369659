package rank_test

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"earworm/model/cooccur"
	"earworm/model/factor"
	"earworm/model/rank"
)

// number says that a value is a number.
func number(v float64) bool { return v-v == 0 }

// TestBlendSurvivesAnyStream: whatever lists it learns from and whatever is added to it, the blend and its weights are numbers, and a
// list that says nothing changes nothing.
func TestBlendSurvivesAnyStream(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := rank.DefaultLearnParams()
		if rapid.Bool().Draw(rt, "wild settings") {
			p.Rate = rapid.SampledFrom([]float64{1e-9, .1, 10}).Draw(rt, "rate")
			p.Smooth = rapid.SampledFrom([]float64{1e-9, 1, 1e6}).Draw(rt, "smooth")
			p.Ridge = rapid.SampledFrom([]float64{0, 1, 1e6}).Draw(rt, "ridge")
		}
		value := rapid.SampledFrom([]float32{
			0, 1, -1, 3, .5, 50, 1e6, -1e6, 1e30, -1e30, math.MaxFloat32, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)),
		})
		var b rank.Blend
		for range rapid.IntRange(1, 20).Draw(rt, "length") {
			n := rapid.IntRange(0, 5).Draw(rt, "candidates")
			rows := make([]float32, n*rank.Features)
			like := value.Draw(rt, "all alike")
			for i := range rows {
				rows[i] = like
			}
			for range rapid.IntRange(0, 2*n).Draw(rt, "different") {
				rows[rapid.IntRange(0, len(rows)-1).Draw(rt, "at")] = value.Draw(rt, "value")
			}
			var chosen []int
			if n > 0 {
				chosen = rapid.SliceOfN(rapid.IntRange(0, n-1), 0, 8).Draw(rt, "chosen") // the same one again, too
			}
			for range rapid.SampledFrom([]int{1, 1, 500}).Draw(rt, "times") {
				before := b
				if learnt := b.Learn(p, rows, chosen); !learnt && b != before {
					rt.Fatal("nothing was learnt, and the blend changed")
				}
			}
			became := rapid.SliceOfN(rapid.Uint8(), n, n).Draw(rt, "outcomes")
			list := make([]rank.Outcome, n)
			for i, o := range became {
				list[i] = rank.Outcome(o)
			}
			for range rapid.SampledFrom([]int{0, 1, 500}).Draw(rt, "played") {
				before := b
				if learnt := b.LearnOutcomes(p, rows, list); !learnt && b != before {
					rt.Fatal("nothing was learnt from outcomes, and the blend changed")
				}
			}
			if rapid.Bool().Draw(rt, "added") {
				other := rank.Blend{}
				f := rapid.IntRange(0, rank.Features-1).Draw(rt, "feature")
				other.Z[f], other.R[f] = value.Draw(rt, "z"), value.Draw(rt, "n")
				b.Add(&other)
			}
			if _, err := rank.ParseBlend(b.Append(nil)); err != nil {
				rt.Fatalf("%v: %+v", err, b)
			}
			for f, w := range b.Weights(p) {
				if !number(float64(w)) || b.R[f] < 0 {
					rt.Fatalf("the weight of %s is %v, its sums are %v and %v", rank.FeatureName(f), w, b.Z[f], b.R[f])
				}
			}
		}
	})
}

// TestRankingSurvivesAnyListener: whoever asks, with whatever history, gets each song at most once, none that they know, and scores that
// are numbers.
func TestRankingSurvivesAnyListener(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		table, near, songs := oddCatalogue(rt)
		r := rank.New(table, near, rank.DefaultParams())
		var b rank.Blend
		weird := rapid.SampledFrom([]float64{0, .5, 1, -1, 1e30, math.MaxFloat64, math.NaN(), math.Inf(1), math.Inf(-1)})
		l := rank.Listener{
			Region:    rapid.SampledFrom([]string{"", "DE", "nowhere"}).Draw(rt, "region"),
			Discovery: weird.Draw(rt, "discovery"), ViralAffinity: weird.Draw(rt, "affinity"),
		}
		if rapid.Bool().Draw(rt, "vector") {
			l.Vector = make([]float32, table.Params().Dim)
			for i := range l.Vector {
				l.Vector[i] = float32(weird.Draw(rt, "component"))
			}
		}
		instant := rapid.SampledFrom([]int64{0, now - 60*52*week, now - 52*week, now - week, now, now + week})
		for range rapid.IntRange(0, 12).Draw(rt, "history") {
			l.History = append(l.History, rank.Heard{
				Song: songs[rapid.IntRange(0, len(songs)-1).Draw(rt, "song")], Value: weird.Draw(rt, "value"), At: instant.Draw(rt, "at"),
				Plays: rapid.SampledFrom([]int{0, 1, -1, math.MaxInt}).Draw(rt, "plays"),
			})
		}
		for range 2 { // before the blend has learnt, and after it learnt from what it was given
			candidates := r.Candidates(nil, l, now)
			seen := map[factor.Index]bool{}
			for n, c := range candidates {
				known := slices.ContainsFunc(l.History, func(h rank.Heard) bool { return h.Song == c.Song })
				if !number(c.Score) || !number(c.Trend) || known || seen[c.Song] {
					rt.Fatalf("candidate %d of %d: %+v, known %t, twice %t", n, len(candidates), c, known, seen[c.Song])
				}
				seen[c.Song] = true
			}
			f := r.Freeze(l, now)
			for i, x := range f.Rows {
				if !number(float64(x)) {
					rt.Fatalf("feature %s of candidate %d is %v", rank.FeatureName(i%rank.Features), i/rank.Features, x)
				}
			}
			if len(f.Songs) > 1 {
				b.Learn(rank.DefaultLearnParams(), f.Rows, []int{0, 0, len(f.Songs) - 1})
			}
			r.SetBlend(b, nil)
		}
	})
}

// oddCatalogue has songs with and without artists and genres, of which none, one or all are popular, or were long ago.
func oddCatalogue(rt *rapid.T) (*factor.Table, *cooccur.Table, []factor.Index) {
	p := factor.DefaultParams()
	p.Dim = 4
	table := factor.NewTable(p)
	near := cooccur.NewTable(cooccur.DefaultParams(), table)
	var songs []factor.Index
	count := rapid.SampledFrom([]float64{0, 1, 1, 100, 4e9})
	listened := rapid.SampledFrom([]int64{now - 60*52*week, now - week, now - 1000, now + week})
	for n := range rapid.IntRange(1, 20).Draw(rt, "songs") {
		id := strconv.Itoa(n)
		songs = append(songs, table.Song(id))
		table.Describe(songs[n], rapid.SampledFrom([]factor.Meta{
			{}, {Title: "t", Artist: "a"}, {Artist: "b", Genres: []string{"g"}}, {Genres: []string{"g", "g", "h"}, Language: "de"},
		}).Draw(rt, "described"))
		published := factor.Published{Kind: factor.KindSong, ID: id, Vector: []float32{0, 0, rapid.SampledFrom([]float32{0, 1, -10, 10}).Draw(rt, "factor"), 0}}
		if listens := count.Draw(rt, "listens"); listens > 0 {
			published.FirstAt = listened.Draw(rt, "listened")
			published.Popularity.Add(p, factor.RegionOf("DE"), published.FirstAt, listens)
		}
		if rapid.Bool().Draw(rt, "on trend") {
			published.Trend.Regions = []factor.RegionTrend{{Status: factor.TrendOngoing, Score: rapid.SampledFrom([]float32{0, 3, 1e30, float32(math.Inf(1))}).Draw(rt, "strength")}}
		}
		table.Load(published)
		row := cooccur.Row{}
		row.Add(near.Params(), listened.Draw(rt, "paired"), rapid.SampledFrom([]float32{1, 1e6, math.MaxFloat32}).Draw(rt, "listeners"), []cooccur.Edge{
			{Song: factor.KeyOf(factor.KindSong, strconv.Itoa(n/2)), Weight: rapid.SampledFrom([]float32{1, 1e6, math.MaxFloat32}).Draw(rt, "pairs")},
		})
		near.Load(songs[n], row)
	}
	return table, near, songs
}

// TestGenresOfLongAgo: what is left of a listen after decades is nothing, and so are the listener's shares of its genres.
func TestGenresOfLongAgo(t *testing.T) {
	s := newShelf(40)
	for i, song := range s.songs {
		s.table.Describe(song, factor.Meta{Artist: "artist", Genres: []string{fmt.Sprint("genre", i%2)}})
	}
	l := rank.Listener{Vector: s.vector(1), History: []rank.Heard{{Song: s.songs[0], Value: 1, At: now - 30*52*week, Plays: 1}}}
	candidates := newRanker(s.table, everything()).Candidates(nil, l, now)
	if len(candidates) != 39 {
		t.Fatalf("%d candidates, want 39", len(candidates))
	}
	for _, c := range candidates {
		if !number(c.Score) {
			t.Fatalf("%+v", c)
		}
	}
}
