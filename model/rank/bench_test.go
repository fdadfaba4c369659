package rank_test

import (
	"testing"

	"earworm/model/rank"
)

func BenchmarkCandidates(b *testing.B) {
	s := newShelf(12_000)
	r := newRanker(s.table, rank.DefaultParams())
	var heard []int
	for n := range 100 {
		heard = append(heard, n*97)
	}
	l := s.listener(heard...)
	b.Run("part=candidates", func(b *testing.B) {
		b.ReportAllocs()
		var list []rank.Candidate
		for b.Loop() {
			list = r.Candidates(list, l, now)
		}
	})
	b.Run("part=freeze", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r.Freeze(l, now)
		}
	})
}
