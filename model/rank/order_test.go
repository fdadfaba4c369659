package rank_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"earworm/model/cooccur"
	"earworm/model/factor"
	"earworm/model/rank"
)

// published is the state of a small catalogue: many songs are alike in popularity, likeness and age, and artists have few songs.
type published struct {
	rows []factor.Published
	meta []factor.Meta
	near []cooccur.Row
}

func newPublished(rng *rand.Rand, dim int) *published {
	const songs = 240
	p := &published{}
	for n := range songs {
		r := factor.Published{
			Kind: factor.KindSong, ID: strconv.Itoa(n), Vector: make([]float32, dim), Evidence: float32(1 + rng.IntN(9)), FirstAt: now - week,
		}
		for i := range r.Vector {
			r.Vector[i] = float32(.3 * rng.NormFloat64())
		}
		r.Popularity.Add(factor.DefaultParams(), factor.RegionOf("DE"), now-week, float64(rng.IntN(4)))
		if n%3 == 0 { // alike in everything
			r.Vector, r.Evidence = make([]float32, dim), 1
		}
		if n%40 == 0 {
			r.Trend.Regions = []factor.RegionTrend{{Status: factor.TrendOngoing, Score: 4}}
		}
		p.rows = append(p.rows, r)
		m := factor.Meta{Title: "title " + r.ID, Genres: []string{fmt.Sprint("genre ", n%5), fmt.Sprint("genre ", n%7)}}
		if n%10 != 0 {
			m.Artist = fmt.Sprint("artist ", n%50)
		}
		p.meta = append(p.meta, m)
		near := cooccur.Row{At: now - week, Listeners: float32(rng.IntN(4))}
		for range 8 {
			near.Neighbours = append(near.Neighbours, cooccur.Edge{Song: factor.KeyOf(factor.KindSong, strconv.Itoa(rng.IntN(songs))), Weight: 1})
		}
		p.near = append(p.near, near)
	}
	for n := range 50 {
		r := factor.Published{Kind: factor.KindArtist, ID: fmt.Sprint("artist ", n), Vector: make([]float32, dim), Evidence: 3}
		for i := range r.Vector {
			r.Vector[i] = float32(.3 * rng.NormFloat64())
		}
		p.rows = append(p.rows, r)
	}
	return p
}

// process is a process that has read what was published in some order.
type process struct {
	table  *factor.Table
	ranker *rank.Ranker
}

func (p *published) read(rng *rand.Rand) process {
	table := factor.NewTable(factor.DefaultParams())
	near := cooccur.NewTable(cooccur.DefaultParams(), table)
	for _, n := range rng.Perm(len(p.rows)) {
		table.Load(p.rows[n])
	}
	for _, n := range rng.Perm(len(p.meta)) {
		table.Describe(table.Song(strconv.Itoa(n)), p.meta[n])
	}
	for _, n := range rng.Perm(len(p.near)) {
		near.Load(table.Song(strconv.Itoa(n)), p.near[n])
	}
	return process{table, rank.New(table, near, rank.DefaultParams())}
}

// listener is one with a history that is known in some order.
func (p process) listener(seed uint64, order *rand.Rand) rank.Listener {
	rng := rand.New(rand.NewPCG(seed, 1))
	l := rank.Listener{Vector: make([]float32, p.table.Params().Dim), Region: "DE", Discovery: .3, ViralAffinity: .5}
	for i := range l.Vector {
		l.Vector[i] = float32(.2 * rng.NormFloat64())
	}
	for _, n := range rng.Perm(len(p.table.SongList()))[:60] {
		l.History = append(l.History, rank.Heard{
			Song: p.table.Song(strconv.Itoa(n)), Value: rng.Float64() - .2, At: now - int64(rng.IntN(20))*week/7, Plays: 1 + rng.IntN(3),
		})
	}
	order.Shuffle(len(l.History), func(i, j int) { l.History[i], l.History[j] = l.History[j], l.History[i] })
	return l
}

// named is what a process says of a candidate, in words that another one understands.
func (p process) named(c rank.Candidate) string {
	var seeds []string
	for _, s := range c.Seeds {
		seeds = append(seeds, p.table.ID(s))
	}
	return fmt.Sprint(p.table.ID(c.Song), " by ", p.table.ID(c.Artist), " ", c.Score, c.Taste, c.Trend, c.LogPop, c.Sources, c.Row, seeds)
}

// TestProcessesWithTheSameRowsRankAlike: what a listener gets follows from what was published and what they heard, to the last bit. The
// order in which a process came to know it says nothing: after a restart, with other partitions or beside others it is another one.
func TestProcessesWithTheSameRowsRankAlike(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 3))
	published := newPublished(rng, factor.DefaultParams().Dim)
	one := published.read(rng)
	for range 5 {
		other := published.read(rng)
		for seed := range uint64(20) {
			a, b := one.listener(seed, rng), other.listener(seed, rng)
			want, got := one.ranker.Candidates(nil, a, now), other.ranker.Candidates(nil, b, now)
			if len(want) < 100 || len(want) != len(got) {
				t.Fatalf("listener %d has %d candidates and %d", seed, len(want), len(got))
			}
			for n := range want {
				if x, y := one.named(want[n]), other.named(got[n]); x != y {
					t.Fatalf("listener %d, candidate %d:\n%s\n%s", seed, n, x, y)
				}
			}
			for _, n := range []int{0, 10, len(want) - 1} {
				if x, y := one.ranker.Rank(a, want[n].Song, now), other.ranker.Rank(b, got[n].Song, now); x != y {
					t.Fatalf("listener %d, candidate %d has the places %d and %d", seed, n, x, y)
				}
			}
			x, y := one.ranker.Freeze(a, now), other.ranker.Freeze(b, now)
			if !slices.Equal(x.Songs, y.Songs) || !slices.Equal(x.Rows, y.Rows) {
				t.Fatalf("listener %d: other candidates are frozen", seed)
			}
		}
	}
}
