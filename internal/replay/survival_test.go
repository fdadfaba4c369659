package replay

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"earworm/consumers/listener"
	"earworm/consumers/song"
	"earworm/model/factor"
	"earworm/model/rank"
	"earworm/schemas"
)

// ordeal is a cluster, and what has been told to it.
type ordeal struct {
	cluster *Cluster
	users   []string
	songs   []string
	at      int64
	n       uint32
	heard   map[string]bool     // by listener and song
	lists   map[string][16]byte // the latest of each listener
}

func newOrdeal(rt *rapid.T) *ordeal {
	l, s := listener.Default(), song.Default()
	l.Learn.Dim = rapid.SampledFrom([]int{2, 8}).Draw(rt, "dim")
	s.Learn = l.Learn
	l.PrequentialEvery, l.Memory = 1, rapid.IntRange(0, 2).Draw(rt, "memory")
	c, err := New(Config{
		Listener: l, Song: s, Shards: rapid.IntRange(1, 2).Draw(rt, "shards"),
		Batch: rapid.SampledFrom([]int{1, 7, 512}).Draw(rt, "batch"), Late: rapid.IntRange(0, 2).Draw(rt, "late"),
	})
	if err != nil {
		rt.Fatal(err)
	}
	f := &ordeal{cluster: c, at: time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC).UnixMilli(), heard: map[string]bool{}, lists: map[string][16]byte{}}
	for n := range rapid.SampledFrom([]int{1, 1, 3, 10}).Draw(rt, "listeners") {
		f.users = append(f.users, fmt.Sprint("u", n))
	}
	for n := range rapid.SampledFrom([]int{1, 1, 3, 40}).Draw(rt, "songs") {
		f.songs = append(f.songs, fmt.Sprint("s", n))
		if rapid.Bool().Draw(rt, "described") {
			c.Describe(f.songs[n], factor.Meta{Artist: fmt.Sprint("a", n%2), Genres: []string{"g"}, Language: "de"})
		}
	}
	return f
}

// kinds are those of a pattern that is told again and again: the same word, opposite words in turn, everything.
func kinds() [][]schemas.Kind {
	return [][]schemas.Kind{
		{schemas.KindPlay},
		{schemas.KindSkip},
		{schemas.KindLike},
		{schemas.KindDislike},
		{schemas.KindUnlike},
		{schemas.KindLike, schemas.KindDislike},
		{schemas.KindLike, schemas.KindUnlike},
		{schemas.KindBan, schemas.KindPlay, schemas.KindShare},
		{schemas.KindPlay, schemas.KindErase, schemas.KindPlay},
		{schemas.KindOnboarding, schemas.KindSurvey, schemas.KindPlaylistAdd, schemas.KindPlaylistOpen},
	}
}

// act tells a pattern, which may come from one listener and be about one song.
func (f *ordeal) act(rt *rapid.T) {
	pattern := rapid.SampledFrom(kinds()).Draw(rt, "pattern")
	user, about := rapid.IntRange(0, len(f.users)-1).Draw(rt, "listener"), rapid.IntRange(0, len(f.songs)-1).Draw(rt, "song")
	each, every := rapid.IntRange(0, 1).Draw(rt, "next listener"), rapid.IntRange(0, 1).Draw(rt, "next song")
	length := rapid.SampledFrom([]int64{schemas.Unknown, 0, 1, 30_000, 200_000, 24 * 3600 * 1000}).Draw(rt, "length")
	played := rapid.SampledFrom([]int64{schemas.Unknown, 0, 1, 200_000, 24 * 3600 * 1000}).Draw(rt, "played")
	pause := rapid.SampledFrom([]int64{0, 1, 60_000, 24 * 3600 * 1000, -3600 * 1000}).Draw(rt, "pause")
	if rapid.IntRange(0, 3).Draw(rt, "leap") == 0 {
		f.at = time.Date(rapid.SampledFrom([]int{2000, 2001, 2026, 2060, 2099}).Draw(rt, "year"), 3, 2, 0, 0, 0, 0, time.UTC).UnixMilli()
	}
	sameID, listed := rapid.Bool().Draw(rt, "the same id"), rapid.Bool().Draw(rt, "from the list")
	for n := range rapid.SampledFrom([]int{1, 10, 100}).Draw(rt, "times") {
		e := schemas.Event{
			Kind: pattern[n%len(pattern)], User: []byte(f.users[(user+n*each)%len(f.users)]), Song: []byte(f.songs[(about+n*every)%len(f.songs)]), At: f.at,
			PlayedMs: played, DurationMs: length, PositionMs: schemas.Unknown, Slot: schemas.Unknown, Region: [2]byte{'D', 'E'},
		}
		if listed {
			e.PlaylistID = f.lists[string(e.User)]
		}
		switch e.Kind {
		case schemas.KindOnboarding:
			e.Song, e.Artists, e.Genres = nil, [][]byte{[]byte("a0"), []byte("a0")}, [][]byte{[]byte("g")}
		case schemas.KindSurvey:
			e.Song, e.Rating = nil, 5
		case schemas.KindPlaylistOpen, schemas.KindErase:
			e.Song = nil
		default:
			f.heard[string(e.User)+" "+string(e.Song)] = true
		}
		if e.Kind == schemas.KindErase {
			for _, song := range f.songs {
				delete(f.heard, string(e.User)+" "+song)
			}
		}
		if !sameID {
			f.n++
		}
		e.ID = schemas.EventID{byte(f.n), byte(f.n >> 8), byte(f.n >> 16), 1}
		if err := f.cluster.Event(&e); err != nil {
			rt.Fatal(err)
		}
		f.at += pause
	}
}

// deliver has a week's playlists made, and wants tracks with scores that are numbers. JSON has no word for others.
func (f *ordeal) deliver(rt *rapid.T) {
	f.at += weekMs
	lists, err := f.cluster.Tick(schemas.Tick{At: f.at})
	if err != nil {
		rt.Fatal(err)
	}
	for _, m := range lists {
		if m.Value == nil {
			continue
		}
		var p schemas.Playlist
		if err := json.Unmarshal(m.Value, &p); err != nil {
			rt.Fatal(err)
		}
		f.lists[string(p.User)] = p.ID
		for _, track := range p.Tracks {
			if f.heard[string(p.User)+" "+string(track.Song)] || !(track.Propensity > 0) {
				rt.Fatalf("%s gets %+v", p.User, track)
			}
		}
	}
}

// check wants every factor, count and weight to be finite and within its bounds.
func (f *ordeal) check(rt *rapid.T) {
	if err := f.cluster.Settle(); err != nil {
		rt.Fatal(err)
	}
	p := f.cluster.cfg.Listener.Learn
	within := func(what string, vector []float32, evidence float32) {
		square := 0.
		for _, x := range vector {
			square += float64(x) * float64(x)
		}
		if !(math.Sqrt(square) <= float64(p.NormMax)*1.0001) || !(evidence >= 0 && evidence-evidence == 0) {
			rt.Fatalf("%s: %v with the evidence %v", what, vector, evidence)
		}
	}
	vector := make([]float32, p.Dim)
	for _, s := range f.cluster.shards {
		for i := range factor.Index(s.table.Rows() + 1) {
			evidence := s.table.Vector(i, vector)
			within("row "+s.table.ID(i), vector, evidence)
			popular := s.table.Stats(i).Popularity
			if v := popular.Total + popular.Day.Value + popular.Week.Value + popular.Month.Value; !(v >= 0 && v < 1e9) {
				rt.Fatalf("popularity of %s: %+v", s.table.ID(i), popular)
			}
			s.near.Each(i, f.at, func(_ factor.Index, pairs float32) {
				if norm := s.near.Norm(i, f.at); !(pairs >= 0 && pairs < 1e9) || !(norm > 0 && norm <= 1) {
					rt.Fatalf("%v pairs with %s, whose norm is %v", pairs, s.table.ID(i), norm)
				}
			})
		}
		blend := s.ranker.Blend()
		for n, w := range blend.Weights(s.ranker.Params().Learn) {
			if !(math.Abs(float64(w)) < 100) {
				rt.Fatalf("the weight of %s is %v", rank.FeatureName(n), w)
			}
		}
	}
	for _, user := range f.users {
		l, err := f.cluster.shardOf([]byte(user)).task.Listener([]byte(user), f.at)
		if err != nil {
			rt.Fatal(err)
		}
		within(user, l.Vector, 0)
		for _, h := range l.History {
			if !(math.Abs(h.Value) < 1e6) {
				rt.Fatalf("engagement of %s: %+v", user, h)
			}
		}
	}
}

// TestTasksSurviveAnyStream: constant and contradicting listeners, one listener or one song alone, ids that come again, lengths that make no
// sense: nothing that the tasks hold leaves its bounds, and playlists are made.
func TestTasksSurviveAnyStream(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newOrdeal(rt)
		for range rapid.IntRange(1, 12).Draw(rt, "length") {
			f.act(rt)
			if rapid.IntRange(0, 2).Draw(rt, "a week ends") == 0 {
				f.deliver(rt)
			}
			f.check(rt)
		}
	})
}
