package playlist

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"

	"earworm/model/factor"
	"earworm/model/rank"
)

// Build chooses the tracks of a playlist from candidates, which are best first, and orders them. It is a function of its arguments
// and of rng alone.
func Build(p Params, t *factor.Table, cands []rank.Candidate, rng *rand.Rand) []Track {
	b := builder{
		params: p, table: t, candidates: cands, left: p.Length,
		taken: make([]bool, len(cands)), artists: map[factor.Index]int{}, recordings: map[uint64]bool{}, songs: map[factor.Index]bool{},
	}
	trends := b.trends()
	ranked := b.fill(p.ExploreSlots) // before the exploration, which must not use up the caps of the listener's artists
	explored := b.explore(rng)
	ranked = append(ranked, b.fill(0)...)
	return b.arrange(ranked, trends, explored)
}

// builder is the state of one choice.
type builder struct {
	params     Params
	table      *factor.Table
	candidates []rank.Candidate
	left       int // places not yet given away
	taken      []bool
	artists    map[factor.Index]int
	recordings map[uint64]bool
	songs      map[factor.Index]bool
}

// chosen is a track with what its place depends on.
type chosen struct {
	Track
	artist factor.Index
}

// fits reports whether a candidate can still be taken under an artist cap.
func (b *builder) fits(n, artistCap int) bool {
	c := &b.candidates[n]
	if b.left == 0 || b.taken[n] || b.songs[c.Song] {
		return false
	}
	if c.Artist != factor.None && b.artists[c.Artist] >= artistCap {
		return false
	}
	recording := b.table.Recording(c.Song)
	return recording == 0 || !b.recordings[recording]
}

func (b *builder) take(n int, slot Slot, reason Reason, propensity float64) chosen {
	c := &b.candidates[n]
	b.taken[n], b.songs[c.Song] = true, true
	b.left--
	b.artists[c.Artist]++
	if recording := b.table.Recording(c.Song); recording != 0 {
		b.recordings[recording] = true
	}
	return chosen{
		Track:  Track{Song: c.Song, Score: c.Score, Slot: slot, Reason: reason, Seeds: c.Seeds, Propensity: propensity},
		artist: c.Artist,
	}
}

// trends takes the strongest trends of those that suit the listener at least as well as the median trend does.
func (b *builder) trends() []chosen {
	var list []int
	var tastes []float64
	for n := range b.candidates {
		if b.candidates[n].Trending {
			list = append(list, n)
			tastes = append(tastes, b.candidates[n].Taste)
		}
	}
	if len(list) == 0 || b.params.TrendSlots == 0 {
		return nil
	}
	slices.Sort(tastes)
	median := tastes[(len(tastes)-1)/2]
	slices.SortStableFunc(list, func(x, y int) int {
		return cmp.Compare(b.candidates[y].Trend, b.candidates[x].Trend)
	})
	var out []chosen
	for _, n := range list {
		if len(out) == b.params.TrendSlots {
			break
		}
		if b.candidates[n].Taste >= median && b.fits(n, b.params.ArtistCap) {
			out = append(out, b.take(n, Trend, ReasonTrending, 1))
		}
	}
	return out
}

// explore draws cold songs, or songs of artists that the listener does not know, with probabilities in proportion to their scores.
func (b *builder) explore(rng *rand.Rand) []chosen {
	var out []chosen
	for range b.params.ExploreSlots {
		pool, total := b.explorable()
		if len(pool) == 0 || b.left == 0 {
			break
		}
		draw := rng.Float64() * total
		pick := len(pool) - 1 // for the rounding of the last sum
		for i, n := range pool {
			if draw -= exploreWeight(&b.candidates[n]); draw < 0 {
				pick = i
				break
			}
		}
		c := &b.candidates[pool[pick]]
		reason := ReasonNewArtist
		if c.Cold {
			reason = ReasonNew
		}
		out = append(out, b.take(pool[pick], Explore, reason, exploreWeight(c)/total))
	}
	return out
}

// exploreWeight is what the chance of a candidate is in proportion to: its score is a logarithm.
func exploreWeight(c *rank.Candidate) float64 { return math.Exp(min(max(c.Score, -500), 500)) }

// explorable returns the candidates of an explore slot.
func (b *builder) explorable() (pool []int, total float64) {
	for n := range b.candidates {
		c := &b.candidates[n]
		if len(pool) == b.params.ExplorePool {
			break
		}
		if (c.Cold || !c.Known) && b.fits(n, b.params.ArtistCap) {
			pool = append(pool, n)
			total += exploreWeight(c)
		}
	}
	return pool, total
}

// fill takes the best candidates that are left until no more than spare places are. The artist cap gives way, one by one, only when no
// other candidate is left.
func (b *builder) fill(spare int) []chosen {
	var out []chosen
	for artistCap := b.params.ArtistCap; b.left > spare && artistCap <= b.params.ArtistCap+b.params.Length; artistCap++ {
		for n := range b.candidates {
			if b.left <= spare || !b.fits(n, artistCap) {
				continue
			}
			slot, reason := because(&b.candidates[n])
			out = append(out, b.take(n, slot, reason, 1))
		}
	}
	return out
}

// because names the source that made a candidate's score.
func because(c *rank.Candidate) (Slot, Reason) {
	switch c.Main() {
	case rank.SourceArtist, rank.SourceArtistRecent:
		return Artist, ReasonArtistKnown
	case rank.SourceRegion:
		return Popular, ReasonPopularRegion
	case rank.SourceGenre, rank.SourceDay, rank.SourceWeek, rank.SourceMonth:
		return Popular, ReasonPopular
	case rank.SourceTaste, rank.SourceFold, rank.SourceInterests, rank.SourceNeighbours:
	}
	if len(c.Seeds) > 0 {
		return Taste, ReasonAlike
	}
	return Taste, ReasonTaste
}

// arrange orders the tracks: the ranking's in its order, moved as little as the spacing of artists asks for; trends and exploration spread
// evenly over what follows the safe places, neither beside one of its kind.
func (b *builder) arrange(ranked, trends, explored []chosen) []Track {
	total := len(ranked) + len(trends) + len(explored)
	places := make([]*chosen, total)
	b.spread(places, explored, 0)
	b.spread(places, trends, .5)
	out := make([]Track, 0, total)
	artists := make([]factor.Index, 0, total)
	for at := range places {
		next := places[at]
		if next == nil {
			next = b.nextSpaced(ranked, artists, places[at+1:])
		}
		if next == nil { // a list of little but trends and exploration
			continue
		}
		out = append(out, next.Track)
		artists = append(artists, next.artist)
	}
	return out
}

// spread gives each of the list one of the free places, about evenly; shift moves them by a part of the distance.
func (b *builder) spread(places []*chosen, list []chosen, shift float64) {
	first := min(b.params.SafePlaces, len(places)-1)
	room := len(places) - first
	for n := range list {
		at := first + int((float64(n)+.5+shift)*float64(room)/float64(len(list)+1))
		for range places {
			if at %= len(places); places[at] == nil {
				break
			}
			at++
		}
		places[at] = &list[n]
	}
}

// nextSpaced takes the first ranked track whose artist is not within Spacing places, or else the first.
func (b *builder) nextSpaced(ranked []chosen, before []factor.Index, after []*chosen) *chosen {
	before = before[max(0, len(before)-b.params.Spacing):]
	after = after[:min(len(after), b.params.Spacing)]
	var fallback *chosen
	for n := range ranked {
		c := &ranked[n]
		if c.Song == factor.None { // placed
			continue
		}
		if fallback == nil {
			fallback = c
		}
		near := slices.Contains(before, c.artist) || slices.ContainsFunc(after, func(o *chosen) bool { return o != nil && o.artist == c.artist })
		if c.artist != factor.None && near {
			continue
		}
		return c.place()
	}
	if fallback == nil {
		return nil
	}
	return fallback.place()
}

// place returns a copy of the track and marks it as placed.
func (c *chosen) place() *chosen {
	out := *c
	c.Song = factor.None
	return &out
}
