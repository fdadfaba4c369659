package rank_test

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"testing"

	"earworm/model/factor"
	"earworm/model/playlist"
	"earworm/model/rank"
)

// world is a small dense world: every listener hears a good part of the catalogue, and the true tastes are known.
type world struct {
	events []listen
	odds   map[string][]float64 // true chance of each song, by listener
	songs  []string
}

// worldConfig makes a world. Songs are near their artist, artists near their genre, listeners near two genres, in a latent space that
// the learner does not see.
type worldConfig struct {
	listeners, songs, artists, genres, latent int
	weeks, listensAWeek                       int
	sharpness                                 float64 // of tastes against popularity
}

func newWorld(c worldConfig, seed uint64) world {
	rng := rand.New(rand.NewPCG(seed, 1))
	near := func(centre []float64, spread float64) []float64 {
		v := make([]float64, c.latent)
		for i := range v {
			v[i] = spread * rng.NormFloat64()
			if centre != nil {
				v[i] += centre[i]
			}
		}
		return v
	}
	genres, artists := make([][]float64, c.genres), make([][]float64, c.artists)
	genreOf := make([]int, c.artists)
	for g := range genres {
		genres[g] = near(nil, 1)
	}
	for a := range artists {
		genreOf[a] = rng.IntN(c.genres)
		artists[a] = near(genres[genreOf[a]], .5)
	}
	w := world{odds: map[string][]float64{}}
	vectors, metas, popularity := make([][]float64, c.songs), make([]factor.Meta, c.songs), make([]float64, c.songs)
	for s := range c.songs {
		a := rng.IntN(c.artists)
		vectors[s], popularity[s] = near(artists[a], .5), 1.2*rng.NormFloat64()
		w.songs = append(w.songs, "song"+strconv.Itoa(s))
		metas[s] = factor.Meta{Title: strconv.Itoa(s), Artist: "artist" + strconv.Itoa(a), Genres: []string{"genre" + strconv.Itoa(genreOf[a])}, Language: "en"}
	}
	for u := range c.listeners {
		id := "listener" + strconv.Itoa(u)
		taste := near(nil, .4)
		for range 2 {
			for i, x := range genres[rng.IntN(c.genres)] {
				taste[i] += .6 * x
			}
		}
		odds := make([]float64, c.songs)
		for s, v := range vectors {
			var product float64
			for i, x := range v {
				product += x * taste[i]
			}
			odds[s] = math.Exp(c.sharpness*product + popularity[s])
		}
		w.odds[id] = odds
		w.events = append(w.events, listens(c, rng, id, odds, w.songs, metas)...)
	}
	slices.SortFunc(w.events, func(a, b listen) int { return int(a.at - b.at) })
	return w
}

// listens draws what one listener hears.
func listens(c worldConfig, rng *rand.Rand, id string, odds []float64, songs []string, metas []factor.Meta) []listen {
	sums := make([]float64, len(odds))
	var total float64
	for s, o := range odds {
		total += o
		sums[s] = total
	}
	out := make([]listen, 0, c.weeks*c.listensAWeek)
	for range c.weeks * c.listensAWeek {
		s := min(sort.SearchFloat64s(sums, rng.Float64()*total), len(songs)-1)
		at := 4*24*3600*1000 + week*2000 + rng.Int64N(int64(c.weeks)*week)
		out = append(out, listen{at: at, user: id, song: songs[s], meta: metas[s]})
	}
	return out
}

// popularityOf lists the songs with the most decayed first listens that the listener has not heard.
func (r *replay) popularityOf() lists {
	var order []factor.Index
	var computed int64
	return func(id string, at int64) []factor.Index {
		if at != computed {
			count := map[factor.Index]float64{}
			order = slices.Clone(r.table.SongList())
			for _, s := range order {
				count[s] = r.table.Stats(s).Popularity.Week.Read(at, factor.HalfLifeWeek)
			}
			slices.SortStableFunc(order, func(a, b factor.Index) int { return cmp.Compare(count[b], count[a]) })
			computed = at
		}
		return r.users[id].unheard(order)
	}
}

// unheard returns the first thirty songs that the user has not heard.
func (u *user) unheard(order []factor.Index) []factor.Index {
	var out []factor.Index
	for _, s := range order {
		if _, heard := u.place[s]; !heard && len(out) < 30 {
			out = append(out, s)
		}
	}
	return out
}

// oracleOf lists the songs that the listener will most likely hear, by the true chances.
func (w world) oracleOf(r *replay) lists {
	return func(id string, _ int64) []factor.Index {
		odds := w.odds[id]
		order := make([]int, len(odds))
		for i := range order {
			order[i] = i
		}
		slices.SortFunc(order, func(a, b int) int { return cmp.Compare(odds[b], odds[a]) })
		songs := make([]factor.Index, len(order))
		for n, s := range order {
			songs[n] = r.table.Song(w.songs[s])
		}
		return r.users[id].unheard(songs)
	}
}

// denseConfig is a world in which popularity alone finds a sixth of what true tastes find.
func denseConfig() worldConfig {
	return worldConfig{listeners: 500, songs: 2000, artists: 350, genres: 16, latent: 8, weeks: 8, listensAWeek: 30, sharpness: 1}
}

func TestDenseWorldBeatsPopularity(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: quality is not measured in short mode")
	}
	w := newWorld(denseConfig(), 7)
	r := newReplay(factor.DefaultParams(), rank.DefaultParams(), playlist.DefaultParams(), 512)
	q := weekly(t, r, w.events, .8, 0, r.playlistOf, r.popularityOf(), w.oracleOf(r))
	got, popularity, oracle := q[0], q[1], q[2]
	t.Logf("recall@30: playlists %.4f, popularity %.4f, true tastes %.4f; NDCG@30 %.4f", got.recall, popularity.recall, oracle.recall, got.ndcg)
	if got.recall < 4*popularity.recall {
		t.Errorf("recall@30 is %.4f, want four times popularity's %.4f", got.recall, popularity.recall)
	}
}

// TestDenseWorldWithoutDescriptions takes away what the artist source lives on: the factors alone must carry the list.
func TestDenseWorldWithoutDescriptions(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: quality is not measured in short mode")
	}
	w := newWorld(denseConfig(), 11)
	for n := range w.events {
		w.events[n].meta = factor.Meta{}
	}
	r := newReplay(factor.DefaultParams(), rank.DefaultParams(), playlist.DefaultParams(), 512)
	q := weekly(t, r, w.events, .8, 0, r.playlistOf, r.popularityOf(), w.oracleOf(r))
	t.Logf("recall@30: playlists %.4f, popularity %.4f, true tastes %.4f", q[0].recall, q[1].recall, q[2].recall)
	if q[0].recall < 3.5*q[1].recall {
		t.Errorf("recall@30 is %.4f, want three and a half times popularity's %.4f", q[0].recall, q[1].recall)
	}
}
