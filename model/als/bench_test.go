package als_test

import (
	"math/rand/v2"
	"testing"

	"earworm/model/als"
	"earworm/model/factor"
)

// BenchmarkSweep solves 20,000 listeners, 10,000 songs, 2,000 artists and 20 genres once; songs are as unequally popular as in the world.
func BenchmarkSweep(b *testing.B) {
	const people, songs, artists, genres, perListener = 20_000, 10_000, 2_000, 20, 30
	dice := rand.New(rand.NewPCG(1, 1))
	p := &als.Problem{Params: factor.DefaultParams(), Steps: 8, Levels: make([][]int32, 3)}
	d := p.Params.Dim
	p.Rows = make([]float32, (songs+artists+genres)*d)
	for row := range int32(songs + artists + genres) {
		factor.InitRow(p.Params, factor.Key(row), p.Rows[int(row)*d:][:d])
		level := 2
		if row >= songs+artists {
			level = 0
		} else if row >= songs {
			level = 1
		}
		p.Levels[level] = append(p.Levels[level], row)
	}
	for s := range int32(songs) {
		p.Songs = append(p.Songs, []als.Part{{Of: s, Share: 1}, {Of: songs + s%artists, Share: 1}, {Of: songs + artists + s%genres, Share: 1}})
	}
	zipf := rand.NewZipf(dice, 1.1, 20, songs-1)
	for range people {
		var past []als.Pair
		for range perListener {
			past = append(past, als.Pair{Of: int32(zipf.Uint64()), Weight: 1})
		}
		p.Past = append(p.Past, past)
	}
	f, err := als.New(b.Context(), p)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := f.Sweep(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/people/perListener, "ns/pair")
}
