package rank

import (
	"cmp"
	"math"
	"slices"

	"earworm/model/factor"
)

// view is what all listeners share at an instant: popularity, artists and trends by ordinal. It is never changed once built.
type view struct {
	at      int64
	version uint64
	songs   []factor.Index

	popularity []float32 // chance that a first listen is this song
	logWeek    []float32 // log(1 + first listens, half-life a week): a feature and the measure of the discovery knob
	listens    []float32 // first listens ever
	reliable   []float32 // how far the factors of the song can be trusted, 0 to 1
	artist     []int32   // number of the artist, 0 = unknown
	inArtist   []float32 // share of the artist's listens
	artists    map[factor.Index]int32
	byArtist   [][]int32 // ordinals of the songs of an artist, most popular first
	trending   []trending
	cold       []int32
	regions    map[factor.Region][]regional
	popMean    float32 // mean of logWeek over listens: what an average listen goes to
}

type trending struct {
	ordinal int32
	info    factor.TrendInfo
}

// regional is the share of a song in a region's listens.
type regional struct {
	ordinal int32
	share   float32
}

// newView reads the table once.
func newView(t *factor.Table, p Params, at int64) *view {
	v := &view{at: at, version: t.Version(), songs: t.SongList(), artists: map[factor.Index]int32{}, regions: map[factor.Region][]regional{}}
	n := len(v.songs)
	v.popularity, v.logWeek, v.listens = make([]float32, n), make([]float32, n), make([]float32, n)
	v.reliable = make([]float32, n)
	v.artist, v.inArtist = make([]int32, n), make([]float32, n)
	v.byArtist = make([][]int32, 1)
	month := make([]float32, n)
	for i, song := range v.songs {
		s := t.Stats(song)
		v.addArtist(int32(i), t.Artist(song))
		day, week := s.Popularity.Day.Read(at, factor.HalfLifeDay), s.Popularity.Week.Read(at, factor.HalfLifeWeek)
		month[i] = float32(s.Popularity.Month.Read(at, factor.HalfLifeMonth))
		v.popularity[i] = float32(rate(day, week, float64(month[i])))
		v.logWeek[i] = float32(math.Log1p(week))
		v.listens[i] = float32(s.Popularity.Total)
		v.reliable[i] = float32(s.Popularity.Total / (s.Popularity.Total + p.TasteEvidence))
		if s.Popularity.Total < p.ColdListens {
			v.cold = append(v.cold, int32(i))
		}
		if len(s.Trend.Regions) > 0 && !s.Trend.Quarantined() {
			v.trending = append(v.trending, trending{ordinal: int32(i), info: s.Trend})
		}
		for _, r := range s.Popularity.Regions {
			v.regions[r.Region] = append(v.regions[r.Region], regional{int32(i), float32(r.Week.Read(at, factor.HalfLifeWeek))})
		}
	}
	v.normalise(month, float32(p.PopularityPrior))
	return v
}

// rateEvidence is the number of listens at which a shorter window counts as much as what the longer one leads to expect.
const rateEvidence = 10

// rate returns the listens a day to be expected of a song with these decayed counts. Each window corrects the longer one as far as it holds
// evidence: the posterior mean of a Poisson rate with a Gamma prior of the longer window's rate. A counter of half-life h
// holds rate·h/ln 2.
func rate(day, week, month float64) float64 {
	const window = 1 / math.Ln2
	r := month / (28 * window)
	if !(r > 0) {
		return 0
	}
	r = (week + rateEvidence) / (7*window + rateEvidence/r)
	return (day + rateEvidence) / (window + rateEvidence/r)
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

// normalise turns counts into shares.
func (v *view) normalise(month []float32, prior float32) {
	share(v.popularity)
	for _, list := range v.byArtist {
		var total float32
		for _, i := range list {
			total += month[i] + prior
		}
		for _, i := range list {
			v.inArtist[i] = (month[i] + prior) / total
		}
		slices.SortFunc(list, func(a, b int32) int {
			return cmp.Or(cmp.Compare(v.inArtist[b], v.inArtist[a]), cmp.Compare(a, b))
		})
	}
	for _, list := range v.regions {
		var total float32
		for _, r := range list {
			total += r.share
		}
		for n := range list {
			list[n].share /= max(total, math.SmallestNonzeroFloat32)
		}
	}
	for i, p := range v.popularity {
		v.popMean += p * v.logWeek[i]
	}
}

// share scales values to a sum of 1; nothing happens to values without a sum.
func share(values []float32) {
	var total float64
	for _, x := range values {
		total += float64(x)
	}
	if !(total > 0) {
		return
	}
	for i := range values {
		values[i] = float32(float64(values[i]) / total)
	}
}
