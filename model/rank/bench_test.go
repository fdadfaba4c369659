package rank_test

import (
	"testing"

	"earworm/model/factor"
	"earworm/model/playlist"
	"earworm/model/rank"
)

func BenchmarkCandidates(b *testing.B) {
	c := denseConfig()
	c.songs, c.artists, c.listeners, c.listensAWeek = 12_000, 3_000, 200, 50
	w := newWorld(c, 3)
	r := newReplay(factor.DefaultParams(), rank.DefaultParams(), playlist.DefaultParams(), 512)
	for _, e := range w.events {
		r.observe(e)
	}
	for n, id := range w.songs { // those nobody has heard are in the catalogue too
		r.table.Describe(r.table.Song(id), factor.Meta{Title: id, Artist: w.songs[n%c.artists]})
	}
	r.flush()
	u := r.users["listener0"]
	at := w.events[len(w.events)-1].at
	l := rank.Listener{Vector: u.vector, History: u.history, Discovery: rank.NeutralDiscovery, ViralAffinity: rank.NeutralViralAffinity}
	b.Run("part=candidates", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r.scratch = r.ranker.Candidates(r.scratch, l, at)
		}
	})
	b.Run("part=rank", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r.ranker.Rank(l, u.songs[0], at)
		}
	})
	b.Run("part=playlist", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			playlist.Build(r.list, r.table, r.scratch, r.rng)
		}
	})
}
