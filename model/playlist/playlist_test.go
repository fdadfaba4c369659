package playlist_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"earworm/model/factor"
	"earworm/model/playlist"
	"earworm/model/rank"
)

// shop makes candidates of songs with artists.
type shop struct {
	table *factor.Table
	list  []rank.Candidate
}

func newShop() *shop { return &shop{table: factor.NewTable(factor.DefaultParams())} }

// add appends a candidate, worse than those before.
func (s *shop) add(artist, title string, change func(c *rank.Candidate)) {
	song := s.table.Song(fmt.Sprintf("song%d", len(s.list)))
	s.table.Describe(song, factor.Meta{Artist: artist, Title: title})
	c := rank.Candidate{Song: song, Artist: s.table.Artist(song), Score: -float64(len(s.list)) / 10, Known: true}
	c.Taste = .5 - float64(len(s.list))/1000
	if change != nil {
		change(&c)
	}
	s.list = append(s.list, c)
}

func (s *shop) build(p playlist.Params, seed uint64) []playlist.Track {
	return playlist.Build(p, s.table, s.list, rand.New(rand.NewPCG(seed, 1)))
}

func (s *shop) artists(tracks []playlist.Track) map[string]int {
	count := map[string]int{}
	for _, t := range tracks {
		count[s.table.Meta(t.Song).Artist]++
	}
	return count
}

func places(tracks []playlist.Track, slot playlist.Slot) []int {
	var out []int
	for n, t := range tracks {
		if t.Slot == slot {
			out = append(out, n)
		}
	}
	return out
}

// full has everything: many artists, cold songs, songs of unknown artists, trends.
func full() *shop {
	s := newShop()
	for n := range 300 {
		s.add(fmt.Sprintf("artist%d", n%60), fmt.Sprintf("title%d", n), func(c *rank.Candidate) {
			c.Cold = n%5 == 0
			c.Known = n%3 != 0
			if n%20 == 7 {
				c.Trending = true
				c.Trend = float64(n) / 1000
			}
		})
	}
	return s
}

func TestSlotsAndTheirPlaces(t *testing.T) {
	p := playlist.DefaultParams()
	for seed := range uint64(50) {
		tracks := full().build(p, seed)
		if len(tracks) != 30 {
			t.Fatalf("%d tracks, want 30", len(tracks))
		}
		explored, trends := places(tracks, playlist.Explore), places(tracks, playlist.Trend)
		if len(explored) != 3 || len(trends) != 3 {
			t.Fatalf("exploration at %v, trends at %v, want three of each", explored, trends)
		}
		for n, at := range explored {
			if at < p.SafePlaces || (n > 0 && at-explored[n-1] < 2) {
				t.Errorf("exploration at %v: in the first places, or side by side", explored)
			}
			track := tracks[at]
			if !(track.Propensity > 0 && track.Propensity < 1) {
				t.Errorf("the propensity of a drawn track is %v", track.Propensity)
			}
		}
		if trends[0] < p.SafePlaces {
			t.Errorf("a trend at %v", trends)
		}
		for _, track := range tracks {
			if track.Slot != playlist.Explore && track.Propensity != 1 {
				t.Errorf("the propensity of a track that nobody drew is %v", track.Propensity)
			}
			if track.Reason == "" {
				t.Errorf("track %v has no reason", track)
			}
		}
	}
}

func TestTheSameSeedMakesTheSameList(t *testing.T) {
	s := full()
	p := playlist.DefaultParams()
	song := func(t playlist.Track) factor.Index { return t.Song }
	first, second := s.build(p, 5), s.build(p, 5)
	if !slices.EqualFunc(first, second, func(a, b playlist.Track) bool { return song(a) == song(b) }) {
		t.Error("two lists of one seed differ")
	}
	different := false
	for seed := range uint64(10) {
		different = different || !slices.EqualFunc(first, s.build(p, seed), func(a, b playlist.Track) bool { return song(a) == song(b) })
	}
	if !different {
		t.Error("ten seeds make one list: nothing is explored")
	}
}

// The propensity must be the frequency with which the song is drawn: what is learnt from explored tracks is weighted by it.
func TestPropensityIsTheFrequency(t *testing.T) {
	s := newShop()
	for n := range 4 {
		s.add(fmt.Sprintf("artist%d", n), fmt.Sprintf("title%d", n), func(c *rank.Candidate) { c.Cold, c.Score = true, float64(-n) })
	}
	p := playlist.DefaultParams()
	p.Length, p.ExploreSlots, p.TrendSlots = 1, 1, 0
	const draws = 20_000
	count, claimed := map[factor.Index]float64{}, map[factor.Index]float64{}
	rng := rand.New(rand.NewPCG(1, 1))
	for range draws {
		track := playlist.Build(p, s.table, s.list, rng)[0]
		count[track.Song]++
		claimed[track.Song] = track.Propensity
	}
	for song, n := range count {
		if math.Abs(n/draws-claimed[song]) > .015 {
			t.Errorf("song %d is drawn with frequency %.3f, its propensity is %.3f", song, n/draws, claimed[song])
		}
	}
	if len(count) != 4 {
		t.Errorf("%d of four songs are ever drawn", len(count))
	}
}

func TestArtistCapGivesWayOnlyToAnEmptyPlace(t *testing.T) {
	p := playlist.DefaultParams()
	p.ExploreSlots, p.TrendSlots = 0, 0
	tests := []struct {
		name         string
		artists      int
		songsOfEach  int
		most, length int
	}{
		{"enough artists", 20, 10, 2, 30},
		{"just enough artists", 15, 10, 2, 30},
		{"ten artists", 10, 10, 3, 30},
		{"eight artists", 8, 10, 4, 30},
		{"one artist", 1, 40, 30, 30},
		{"too few songs", 4, 3, 3, 12},
		{"none", 0, 0, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newShop()
			for n := range tt.artists * tt.songsOfEach {
				s.add(fmt.Sprintf("artist%d", n/tt.songsOfEach), fmt.Sprintf("title%d", n), nil) // the best songs are all of one artist
			}
			tracks := s.build(p, 1)
			if len(tracks) != tt.length {
				t.Errorf("%d tracks, want %d", len(tracks), tt.length)
			}
			most := 0
			for _, n := range s.artists(tracks) {
				most = max(most, n)
			}
			if most != tt.most {
				t.Errorf("up to %d tracks of an artist, want %d", most, tt.most)
			}
		})
	}
}

func TestTracksOfAnArtistAreApart(t *testing.T) {
	s := newShop()
	for n := range 60 {
		s.add(fmt.Sprintf("artist%d", n/2), fmt.Sprintf("title%d", n), nil)
	}
	p := playlist.DefaultParams()
	p.ExploreSlots, p.TrendSlots = 0, 0
	tracks := s.build(p, 1)
	last := map[string]int{}
	near := 0
	for n, track := range tracks {
		artist := s.table.Meta(track.Song).Artist
		if at, before := last[artist]; before && n-at <= p.Spacing {
			near++
		}
		last[artist] = n
	}
	if near > p.Spacing { // the last places take what is left
		t.Errorf("%d tracks follow one of their artist within %d places", near, p.Spacing)
	}
	if tracks[0].Song != s.list[0].Song {
		t.Error("the best candidate is not the first track")
	}
}

func TestOneRecordingOnce(t *testing.T) {
	s := newShop()
	s.add("Slash", "Ghost", nil)
	s.add("slash", "GHOST (Remastered)", nil)
	s.add("Slash", "Ghost [Live]", nil)
	s.add("Slash", "Promise", nil)
	s.list = append(s.list, s.list[0]) // and a candidate that is there twice
	tracks := s.build(playlist.DefaultParams(), 1)
	if len(tracks) != 2 {
		t.Errorf("%d tracks, want each of two recordings once", len(tracks))
	}
}

func TestReasonsNameTheSource(t *testing.T) {
	seeds := []factor.Index{1}
	tests := []struct {
		source rank.Source
		seeds  []factor.Index
		slot   playlist.Slot
		reason playlist.Reason
	}{
		{rank.SourceTaste, seeds, playlist.Taste, playlist.ReasonAlike},
		{rank.SourceTaste, nil, playlist.Taste, playlist.ReasonTaste},
		{rank.SourceArtist, seeds, playlist.Artist, playlist.ReasonArtistKnown},
		{rank.SourceWeek, nil, playlist.Popular, playlist.ReasonPopular},
		{rank.SourceRegion, nil, playlist.Popular, playlist.ReasonPopularRegion},
	}
	for _, tt := range tests {
		s := newShop()
		s.add("a", "b", func(c *rank.Candidate) {
			c.Sources, c.Seeds = [rank.Sources]float64{}, tt.seeds
			c.Sources[tt.source] = .1
		})
		track := s.build(playlist.DefaultParams(), 1)[0]
		if track.Slot != tt.slot || track.Reason != tt.reason || !slices.Equal(track.Seeds, tt.seeds) {
			t.Errorf("a candidate from %v has slot %v, reason %q, seeds %v", tt.source, track.Slot, track.Reason, track.Seeds)
		}
	}
}

func TestSlotsFollowTheListener(t *testing.T) {
	p := playlist.DefaultParams()
	for affinity, want := range map[float64]int{0: 0, .09: 0, .25: 1, .5: 3, 1: 3, math.NaN(): 1} {
		if got := p.For(affinity, .5).TrendSlots; got != want {
			t.Errorf("a viral affinity of %v gives %d trend slots, want %d", affinity, got, want)
		}
	}
	for discovery, want := range map[float64]int{0: 0, .5: 3, 1: 6, -5: 0, 7: 6} {
		if got := p.For(.25, discovery).ExploreSlots; got != want {
			t.Errorf("discovery of %v gives %d explore slots, want %d", discovery, got, want)
		}
	}
	if got := places(full().build(p.For(0, 0), 1), playlist.Trend); len(got) != 0 {
		t.Errorf("a listener who never likes trends gets them at %v", got)
	}
}

// Whatever the candidates and the settings: no song twice, as many tracks as asked unless the candidates run out, all of them candidates.
func TestBuildHoldsItsPromises(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newShop()
		for range rapid.IntRange(0, 80).Draw(rt, "candidates") {
			artist := rapid.SampledFrom([]string{"", "a", "b", "c", "d", "e"}).Draw(rt, "artist")
			s.add(artist, fmt.Sprintf("title%d", len(s.list)), func(c *rank.Candidate) {
				c.Trending, c.Cold, c.Known = rapid.Bool().Draw(rt, "trending"), rapid.Bool().Draw(rt, "cold"), rapid.Bool().Draw(rt, "known")
				c.Score = rapid.Float64().Draw(rt, "score")
			})
		}
		p := playlist.DefaultParams()
		p.Length = rapid.IntRange(1, 40).Draw(rt, "length")
		p.TrendSlots = rapid.IntRange(0, p.Length).Draw(rt, "trend slots")
		p.ExploreSlots = rapid.IntRange(0, p.Length).Draw(rt, "explore slots")
		p.SafePlaces = rapid.IntRange(0, p.Length).Draw(rt, "safe places")
		tracks := s.build(p, 1)
		if want := min(p.Length, len(s.list)); len(tracks) != want {
			rt.Fatalf("%d tracks of %d candidates, want %d", len(tracks), len(s.list), want)
		}
		seen := map[factor.Index]bool{}
		for _, track := range tracks {
			if seen[track.Song] || track.Song == factor.None {
				rt.Fatalf("song %d is in the list twice, or none", track.Song)
			}
			if !(track.Propensity > 0 && track.Propensity <= 1) {
				rt.Fatalf("propensity %v", track.Propensity)
			}
			seen[track.Song] = true
		}
	})
}

func TestValidateNamesEveryProblem(t *testing.T) {
	if err := playlist.DefaultParams().Validate(); err != nil {
		t.Errorf("the default settings are refused: %v", err)
	}
	p := playlist.DefaultParams()
	p.Length, p.ArtistCap = 0, 0
	err := p.Validate()
	for _, name := range []string{"length", "artist cap"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %q", err, name)
		}
	}
}

func TestBuildIsQuick(t *testing.T) {
	s := full()
	rng := rand.New(rand.NewPCG(1, 1))
	p := playlist.DefaultParams()
	const budget = 120
	if allocs := testing.AllocsPerRun(20, func() { playlist.Build(p, s.table, s.list, rng) }); allocs > budget {
		t.Errorf("a playlist takes %v allocations, want at most %d", allocs, budget)
	}
}
