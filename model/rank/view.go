package rank

import (
	"cmp"
	"math"
	"slices"
	"sync"

	"earworm/model/cooccur"
	"earworm/model/factor"
)

// view is what all listeners share at an instant: popularity, artists and trends by ordinal. It is never changed once built.
type view struct {
	at       int64
	version  uint64
	songs    []factor.Index
	ordinals []int32      // by row: the place of a song plus one, 0 for what is none
	keys     []factor.Key // of the songs: what decides where values are equal
	geometry *factor.Geometry

	day, week, month []float32 // faded first listens
	logWeek          []float32 // log(1 + week): the measure of the discovery knob
	listens          []float32 // first listens ever
	age              []float32 // days since the first listen, 0 = never heard
	norm             []float32 // part of the song in likenesses
	artist           []int32   // number of the artist, 0 = unknown
	inArtist         []float32 // share of the artist's listens
	genres           [][factor.MaxGenres]factor.Index
	artists          map[factor.Index]int32
	byArtist         [][]int32        // ordinals of the songs of an artist, most popular first
	popular          [sources][]int32 // the most popular songs by the three half-lives
	trending         []trending
	cold             []int32
	unreleased       []bool  // not out yet, and heard by nobody
	popMean          float32 // mean of logWeek over listens: what an average listen goes to

	mu      sync.Mutex // guards regions
	regions map[factor.Region]*regional
}

type trending struct {
	ordinal int32
	info    factor.TrendInfo
}

// regional is the popularity in one region.
type regional struct {
	week []float32 // faded first listens, by ordinal
	top  []int32
}

// popularFrom is how many of the most popular songs a view keeps for each proposed one: listeners have heard some of them.
const popularFrom = 8

// newView reads the table once.
func newView(t *factor.Table, near *cooccur.Table, p Params, at int64) *view {
	v := &view{
		at: at, version: t.Version(), songs: t.SongList(), geometry: t.Geometry(), artists: map[factor.Index]int32{},
		regions: map[factor.Region]*regional{}, byArtist: make([][]int32, 1),
	}
	n := len(v.songs)
	for _, values := range []*[]float32{&v.day, &v.week, &v.month, &v.logWeek, &v.listens, &v.age, &v.norm, &v.inArtist} {
		*values = make([]float32, n)
	}
	v.keys = make([]factor.Key, n)
	if n > 0 {
		v.ordinals = make([]int32, slices.Max(v.songs)+1)
	}
	v.artist, v.genres = make([]int32, n), make([][factor.MaxGenres]factor.Index, n)
	v.unreleased = make([]bool, n)
	for i, song := range v.songs {
		s := t.Stats(song)
		v.keys[i], v.ordinals[song] = t.KeyAt(song), int32(i)+1
		artist, genres := t.Features(song)
		v.addArtist(int32(i), artist)
		v.genres[i] = genres
		v.day[i] = float32(s.Popularity.Day.Read(at, factor.HalfLifeDay))
		v.week[i] = float32(s.Popularity.Week.Read(at, factor.HalfLifeWeek))
		v.month[i] = float32(s.Popularity.Month.Read(at, factor.HalfLifeMonth))
		v.logWeek[i] = float32(math.Log1p(float64(v.week[i])))
		v.listens[i] = float32(s.Popularity.Total)
		v.norm[i] = near.Norm(song, at)
		if s.FirstAt != 0 {
			v.age[i] = float32(max(at-s.FirstAt, 0)) / dayMs
		}
		v.unreleased[i] = s.Popularity.Total == 0 && t.ReleasedAt(song) > at
		if s.Popularity.Total < p.ColdListens {
			v.cold = append(v.cold, int32(i))
		}
		if len(s.Trend.Regions) > 0 && !s.Trend.Quarantined() {
			v.trending = append(v.trending, trending{ordinal: int32(i), info: s.Trend})
		}
	}
	v.shareArtists(float32(p.PopularityPrior))
	for source, values := range map[Source][]float32{SourceDay: v.day, SourceWeek: v.week, SourceMonth: v.month} {
		v.popular[source] = v.top(values, popularFrom*p.PerSource)
	}
	return v
}

// ordinal returns the place of a song, −1 if the view does not know it.
func (v *view) ordinal(song factor.Index) int {
	if int(song) < len(v.ordinals) {
		return int(v.ordinals[song]) - 1
	}
	return -1
}

const dayMs = 24 * 60 * 60 * 1000

// top returns the ordinals of the greatest positive values, greatest first.
func (v *view) top(values []float32, n int) []int32 {
	heap := topHeap{values: values, keys: v.keys}
	for i, x := range values {
		if x > 0 {
			heap.offer(int32(i), n)
		}
	}
	return heap.sorted()
}

func (v *view) addArtist(ordinal int32, artist factor.Index) {
	if artist == factor.None {
		return
	}
	number, ok := v.artists[artist]
	if !ok {
		number = int32(len(v.byArtist)) //nolint:gosec // artists are fewer than songs, which are below 2³¹
		v.artists[artist] = number
		v.byArtist = append(v.byArtist, nil)
	}
	v.artist[ordinal] = number
	v.byArtist[number] = append(v.byArtist[number], ordinal)
}

// shareArtists computes each song's share of its artist's listens, and the popularity of an average listen.
func (v *view) shareArtists(prior float32) {
	for _, list := range v.byArtist {
		slices.SortFunc(list, func(a, b int32) int {
			return cmp.Or(cmp.Compare(v.month[b], v.month[a]), cmp.Compare(v.keys[a], v.keys[b]))
		})
		var total float32
		for _, i := range list {
			total += v.month[i] + prior
		}
		for _, i := range list {
			v.inArtist[i] = (v.month[i] + prior) / total
		}
	}
	listens := exactly(len(v.week), func(i int) float64 { return float64(v.week[i]) })
	if listens > 0 {
		v.popMean = float32(exactly(len(v.week), func(i int) float64 { return float64(v.week[i]) * float64(v.logWeek[i]) }) / listens)
	}
}

// exactly returns the sum of n values, none negative, in whole multiples of a part of the greatest: it does not depend on their order.
func exactly(n int, value func(i int) float64) float64 {
	var greatest float64
	for i := range n {
		greatest = max(greatest, value(i))
	}
	unit := greatest * float64(n) / (1 << 62)
	if !(unit > 0 && unit <= math.MaxFloat64) {
		return 0
	}
	var sum int64
	for i := range n {
		sum += int64(value(i) / unit)
	}
	return float64(sum) * unit
}

// region returns the popularity in a region, which is read when somebody first asks.
func (v *view) region(t *factor.Table, p Params, region factor.Region) *regional {
	v.mu.Lock()
	defer v.mu.Unlock()
	if r := v.regions[region]; r != nil {
		return r
	}
	r := &regional{week: make([]float32, len(v.songs))}
	if region != (factor.Region{}) {
		for i, song := range v.songs {
			r.week[i] = float32(t.Stats(song).Popularity.In(region, v.at))
		}
	}
	r.top = v.top(r.week, popularFrom*p.PerSource)
	v.regions[region] = r
	return r
}
