package rank_test

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"earworm/model/cooccur"
	"earworm/model/factor"
	"earworm/model/rank"
)

const now = int64(1_700_000_000_000)

// shelf is a table with songs of random factors and popularity: artists of ten songs each.
type shelf struct {
	table *factor.Table
	songs []factor.Index
	rng   *rand.Rand
	dim   int
}

func newShelf(n int) *shelf {
	p := factor.DefaultParams()
	s := &shelf{table: factor.NewTable(p), rng: rand.New(rand.NewPCG(1, 1)), dim: p.Dim}
	for i := range n {
		id := strconv.Itoa(i)
		song := s.table.Song(id)
		s.table.Describe(song, factor.Meta{Title: "title" + id, Artist: "artist" + strconv.Itoa(i/10)})
		s.songs = append(s.songs, song)
		s.publish(i, 5+s.rng.Float64()*100, factor.TrendInfo{})
	}
	return s
}

// publish gives a song a popularity and keeps or makes its factors.
func (s *shelf) publish(n int, listens float64, trend factor.TrendInfo) {
	r := factor.Published{Kind: factor.KindSong, ID: strconv.Itoa(n), Vector: s.vector(.2), Evidence: 1, Trend: trend}
	if listens > 0 {
		r.FirstAt = now - 1000
		r.Popularity.Add(factor.DefaultParams(), factor.RegionOf("DE"), now-1000, listens)
	}
	s.table.Load(r)
}

// newRanker returns a ranker over songs that have no neighbours.
func newRanker(t *factor.Table, p rank.Params) *rank.Ranker {
	return rank.New(t, cooccur.NewTable(cooccur.DefaultParams(), t), p)
}

const week = int64(7 * 24 * 3600 * 1000)

// everything returns settings under which every song is a candidate.
func everything() rank.Params {
	p := rank.DefaultParams()
	p.PerSource, p.Candidates = 2000, 2000
	return p
}

func (s *shelf) vector(scale float64) []float32 {
	v := make([]float32, s.dim)
	for i := range v {
		v[i] = float32(scale * s.rng.NormFloat64())
	}
	return v
}

func (s *shelf) listener(heard ...int) rank.Listener {
	l := rank.Listener{Vector: s.vector(.2), Region: "DE", Discovery: rank.NeutralDiscovery, ViralAffinity: rank.NeutralViralAffinity}
	for _, n := range heard {
		l.History = append(l.History, rank.Heard{Song: s.songs[n], Value: 1, At: now - 5000, Plays: 1})
	}
	return l
}

func TestCandidatesAreNeverHeardNorExcluded(t *testing.T) {
	s := newShelf(400)
	l := s.listener(0, 1, 2, 50, 51, 399)
	for _, song := range s.songs {
		if song%3 == 0 {
			l.Excluded = append(l.Excluded, song)
		}
	}
	list := newRanker(s.table, everything()).Candidates(nil, l, now)
	seen := map[factor.Index]bool{}
	for _, c := range list {
		heard := slices.ContainsFunc(l.History, func(h rank.Heard) bool { return h.Song == c.Song })
		if heard || c.Song%3 == 0 || seen[c.Song] {
			t.Errorf("song %d is heard, excluded or in the list twice", c.Song)
		}
		seen[c.Song] = true
	}
	var want int
	for n, song := range s.songs {
		if song%3 != 0 && n > 2 && n != 50 && n != 51 && n != 399 {
			want++
		}
	}
	if len(list) != want {
		t.Errorf("%d candidates, want all the %d others", len(list), want)
	}
}

func TestRankIsThePlaceAmongCandidates(t *testing.T) {
	s := newShelf(200)
	p := everything()
	p.ArtistMax = 1000
	r := newRanker(s.table, p)
	l := s.listener(0, 1, 2)
	list := r.Candidates(nil, l, now)
	for place, c := range list {
		if got := r.Rank(l, c.Song, now); got != place+1 {
			t.Fatalf("the candidate at place %d has rank %d", place+1, got)
		}
		if place > 0 && c.Score > list[place-1].Score {
			t.Fatalf("candidate %d has a greater score than the one before", place)
		}
	}
	if r.Rank(l, s.songs[1], now) != 0 || r.Rank(l, factor.None, now) != 0 {
		t.Error("a heard song or none has a rank")
	}
}

func TestArtistsLeaveRoomForOthers(t *testing.T) {
	s := newShelf(600)
	p := rank.DefaultParams()
	p.Candidates, p.ArtistMax, p.Trending, p.Cold = 100, 3, 0, 0
	count := map[factor.Index]int{}
	list := newRanker(s.table, p).Candidates(nil, s.listener(0, 10, 20), now)
	for _, c := range list {
		count[c.Artist]++
	}
	for a, n := range count {
		if n > 3 {
			t.Errorf("artist %d has %d songs among the candidates, want at most 3", a, n)
		}
	}
	few := newShelf(40) // four artists: the list would rather be full
	if list := newRanker(few.table, p).Candidates(nil, few.listener(0), now); len(list) != 39 {
		t.Errorf("%d candidates, want all 39", len(list))
	}
}

func TestKnownArtistsComeFirstAndAreTheSeeds(t *testing.T) {
	s := newShelf(300)
	l := s.listener(100, 101, 102)
	l.Vector = make([]float32, s.dim) // no taste but the history's
	list := newRanker(s.table, rank.DefaultParams()).Candidates(nil, l, now)
	artist := s.table.Artist(s.songs[100])
	own := 0
	for n, c := range list[:10] {
		if c.Artist != artist {
			continue
		}
		own++
		if !c.Known || len(c.Seeds) == 0 || s.table.Artist(c.Seeds[0]) != artist {
			t.Errorf("candidate %d, by a known artist, has the seeds %v", n, c.Seeds)
		}
	}
	if own != 7 || list[0].Artist != artist {
		t.Errorf("%d of the first ten are by the known artist, want all of its seven others, and one of them first", own)
	}
	l.History[0].Value, l.History[1].Value, l.History[2].Value = -4, -4, -4
	for _, c := range newRanker(s.table, rank.DefaultParams()).Candidates(nil, l, now) {
		if c.Known || len(c.Seeds) > 0 {
			t.Fatalf("disliked songs speak for %d", c.Song)
		}
	}
}

func TestTrendingAndColdSongsAreAppended(t *testing.T) {
	s := newShelf(500)
	ongoing := func(region string) factor.TrendInfo {
		return factor.TrendInfo{Regions: []factor.RegionTrend{{Region: factor.RegionOf(region), Status: factor.TrendOngoing, Score: 5}}}
	}
	s.publish(7, .01, ongoing("DE"))
	s.publish(8, .01, ongoing("FR"))
	bought := ongoing("DE")
	bought.Regions = append(bought.Regions, factor.RegionTrend{Status: factor.TrendQuarantined})
	s.publish(9, .01, bought)
	s.publish(20, 0, factor.TrendInfo{})
	p := rank.DefaultParams()
	p.Candidates = 50
	list := newRanker(s.table, p).Candidates(nil, s.listener(300), now)
	find := func(n int) (rank.Candidate, bool) {
		at := slices.IndexFunc(list, func(c rank.Candidate) bool { return c.Song == s.songs[n] })
		if at < 0 {
			return rank.Candidate{}, false
		}
		return list[at], true
	}
	if c, ok := find(7); !ok || !c.Trending {
		t.Errorf("the trend of the listener's region is missing: %v", c)
	}
	for _, n := range []int{8, 9} {
		if c, _ := find(n); c.Trending {
			t.Errorf("song %d is on trend elsewhere, or quarantined, and yet shown as trending", n)
		}
	}
	if c, ok := find(20); !ok || !c.Cold {
		t.Errorf("the song that nobody has heard is missing: %v", c)
	}
}

func TestDiscoveryMovesFromPopularToRare(t *testing.T) {
	s := newShelf(1000)
	r := newRanker(s.table, rank.DefaultParams())
	l := s.listener(0)
	mean := func(discovery float64) float64 {
		l.Discovery = discovery
		var sum float64
		for _, c := range r.Candidates(nil, l, now)[:50] {
			sum += c.LogPop
		}
		return sum / 50
	}
	if low, middle, high := mean(0), mean(.5), mean(1); !(low > middle && middle > high) {
		t.Errorf("mean popularity is %.3f, %.3f, %.3f with growing discovery, want it to fall", low, middle, high)
	}
	if mean(math.NaN()) != mean(rank.NeutralDiscovery) {
		t.Error("a knob that is not a number is not neutral")
	}
}

func TestRankingFollowsWhatIsPublished(t *testing.T) {
	s := newShelf(300)
	r := newRanker(s.table, rank.DefaultParams())
	l := s.listener(299)
	l.Vector = make([]float32, s.dim)
	before := r.Rank(l, s.songs[5], now)
	s.publish(5, 1e6, factor.TrendInfo{})
	if got := r.Rank(l, s.songs[5], now+week); got != 1 || before == 1 {
		t.Errorf("the song everybody listens to has rank %d, before %d", got, before)
	}
}

func TestRankerSurvivesAnything(t *testing.T) {
	empty := newRanker(factor.NewTable(factor.DefaultParams()), rank.DefaultParams())
	if list := empty.Candidates(nil, rank.Listener{}, now); len(list) != 0 {
		t.Errorf("an empty catalogue has the candidates %v", list)
	}
	s := newShelf(50)
	r := newRanker(s.table, rank.DefaultParams())
	nan := float32(math.NaN())
	l := s.listener(1)
	l.Vector = slices.Repeat([]float32{nan}, s.dim)
	l.History = append(l.History, rank.Heard{Song: s.songs[2], Value: math.NaN()}, rank.Heard{Song: factor.None, Value: 1}, rank.Heard{Song: s.songs[3], Value: math.Inf(1), At: now + 1e15})
	for _, c := range r.Candidates(nil, l, now) {
		if math.IsNaN(c.Score) {
			t.Fatalf("the score of song %d is not a number", c.Song)
		}
	}
	if list := r.Candidates(nil, rank.Listener{Vector: []float32{1}}, math.MinInt64/4); len(list) != 50 {
		t.Errorf("a listener without anything gets %d candidates, want 50", len(list))
	}
}

func TestValidateNamesEveryProblem(t *testing.T) {
	if err := rank.DefaultParams().Validate(); err != nil {
		t.Errorf("the default settings are refused: %v", err)
	}
	p := rank.DefaultParams()
	p.Candidates, p.ValueMax, p.Learn.Rate = 0, math.NaN(), -1
	err := p.Validate()
	for _, name := range []string{"candidates", "value max", "rate"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %q", err, name)
		}
	}
}

// The list is the same as that of a ranker which sorts everything.
func TestCandidatesEqualFullSort(t *testing.T) {
	s := newShelf(700)
	p := everything()
	p.ArtistMax, p.Trending, p.Cold = 1000, 0, 0
	l := s.listener(3, 33, 333)
	p.Candidates = 700
	all := newRanker(s.table, p).Candidates(nil, l, now)
	if !slices.IsSortedFunc(all, func(a, b rank.Candidate) int { return cmp.Compare(b.Score, a.Score) }) {
		t.Fatal("the list of all songs is not sorted")
	}
	p.Candidates = 100
	some := newRanker(s.table, p).Candidates(nil, l, now)
	for n, c := range some {
		if c.Song != all[n].Song {
			t.Fatalf("candidate %d is %d, want %d", n, c.Song, all[n].Song)
		}
	}
}

// A song that is not out yet is proposed to nobody, unless somebody has heard it all the same.
func TestUnreleasedSongsAreNoCandidates(t *testing.T) {
	s := newShelf(30)
	r := newRanker(s.table, everything())
	coming := s.table.Song("coming")
	s.table.Describe(coming, factor.Meta{Title: "coming", Artist: "artist0", ReleasedAt: now + week})
	proposed := func(at int64) bool {
		for _, c := range r.Candidates(nil, s.listener(1, 2), at) {
			if c.Song == coming {
				return true
			}
		}
		return false
	}
	if proposed(now) {
		t.Error("a song is proposed a week before it comes out")
	}
	if !proposed(now + week) {
		t.Error("a song is not proposed when it is out")
	}
	p := factor.Published{Kind: factor.KindSong, ID: "coming", Vector: s.vector(.2), FirstAt: now - 1000}
	p.Popularity.Add(factor.DefaultParams(), factor.Region{}, now-1000, 3)
	s.table.Load(p)
	if !proposed(now) {
		t.Error("a song that is heard already is not proposed")
	}
}
