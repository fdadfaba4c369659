package rank

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"time"

	"earworm/model/decay"
	"earworm/model/factor"
)

// Heard is one song of a listener's history.
type Heard struct {
	Song  factor.Index
	Value float64 // decayed engagement at At; a disliked song has a negative one
	At    int64   // Unix ms
	Plays int
}

// Neutral settings of a listener: those of one who has set nothing, and of whom nothing is known.
const (
	NeutralDiscovery     = .5
	NeutralViralAffinity = .25 // mean of Beta(1, 3), the prior of models.md §B.7
)

// Listener is what is known of a listener.
type Listener struct {
	Vector    []float32
	History   []Heard
	Region    string // ISO 3166 alpha-2, "" = unknown
	Languages []string
	// Discovery in [0, 1] moves the list from the familiar and popular, 0, to the new and rare, 1.
	// NeutralDiscovery leaves the ranking as it is.
	Discovery float64
	// ViralAffinity in [0, 1] is the expected chance that the listener likes a trend; it scales the weight of trends.
	// NeutralViralAffinity is that of a listener of whom nothing is known.
	ViralAffinity float64
	// Excluded lists songs that must not be candidates besides those of History, ExcludedArtists artists whose songs must not.
	Excluded, ExcludedArtists []factor.Index
}

// Candidate is a song that could go into a listener's playlist.
type Candidate struct {
	Song     factor.Index
	Artist   factor.Index
	Score    float64          // log₂ of an unnormalised chance
	Sources  [Sources]float64 // chance that the next first listen is this song, by each source
	Seeds    []factor.Index   // songs of the history that explain it best, at most Params.SeedsMax
	Trending bool
	Cold     bool    // hardly anybody has heard it
	Known    bool    // the listener has listened to the artist
	LogPop   float64 // log(1 + first listens with a half-life of a week)
}

// Main returns the source that contributes most to the score under the weights.
func (c Candidate) Main(w Weights) Source {
	best := SourceTaste
	for s := range sources {
		if w[s]*c.Sources[s] > w[best]*c.Sources[best] {
			best = s
		}
	}
	return best
}

// Ranker ranks the songs of one table. It may be used concurrently.
type Ranker struct {
	table  *factor.Table
	params Params

	mu      sync.Mutex // guards view, which is shared, and is held while it is built so that it is built once
	current *view
	scratch sync.Pool // *scratch
}

// scratch is the working memory of one ranking.
type scratch struct {
	scores   factor.Scores
	blend    []float32
	source   [Sources][]float32
	excluded []bool
	shares   []float32 // the listener's share of each artist
	order    []int32   // the list in the making, by ordinal
	heap     []int32
	late     []int32 // songs of artists that have had theirs
	counts   []int   // songs of each artist in the list
	chosen   []bool
	vectors  []float32
}

// New returns a Ranker over a table. p must be valid.
func New(t *factor.Table, p Params) *Ranker {
	r := &Ranker{table: t, params: p}
	r.scratch.New = func() any { return new(scratch) }
	return r
}

// Params returns the settings of the ranker.
func (r *Ranker) Params() Params { return r.params }

// looseAge is how old a view may be for Rank, which only measures: a view costs as much as ten rankings, and where history is
// replayed at ten thousand times its speed every other event would ask for a new one.
const looseAge = 12 * time.Hour

// view returns what all listeners share at an instant. It is rebuilt when the event time has moved by the age, or, for an age no
// longer than ViewAge, when as many rows have changed as an eighth of the songs.
func (r *Ranker) view(at int64, limit time.Duration) *view {
	version := r.table.Version()
	r.mu.Lock()
	defer r.mu.Unlock()
	if v := r.current; v != nil {
		age := at - v.at
		fresh := max(age, -age) < limit.Milliseconds()
		if fresh && (limit > r.params.ViewAge || version-v.version <= uint64(len(v.songs))/8) {
			return v
		}
	}
	r.current = newView(r.table, r.params, at)
	return r.current
}

// Candidates appends to dst[:0] the songs of the catalogue that the listener has never heard and that suit best at the instant
// in Unix ms, best first, and then those that are there for the trend and exploration slots. Each has its seeds.
func (r *Ranker) Candidates(dst []Candidate, l Listener, at int64) []Candidate {
	v := r.view(at, r.params.ViewAge)
	s := r.scratch.Get().(*scratch) //nolint:forcetypeassert // the pool holds nothing else
	defer r.scratch.Put(s)
	r.score(s, v, l, at)

	s.order = s.order[:0]
	s.chosen = resize(s.chosen, len(v.songs))
	clear(s.chosen)
	s.order = r.best(s, v)
	s.order = r.addTrending(s, v)
	s.order = r.addCold(s, v)

	dst = dst[:0]
	for _, i := range s.order {
		dst = append(dst, r.candidate(s, v, i))
	}
	r.explain(dst, s, v, l, at)
	return dst
}

// Rank returns the place, from 1, of a song among the songs that the listener has never heard, by the same score as Candidates. 0 says
// that the song is heard, excluded or unknown.
func (r *Ranker) Rank(l Listener, song factor.Index, at int64) int {
	v := r.view(at, looseAge)
	s := r.scratch.Get().(*scratch) //nolint:forcetypeassert // the pool holds nothing else
	defer r.scratch.Put(s)
	r.score(s, v, l, at)
	n := r.ordinal(v, song)
	if n < 0 || s.excluded[n] {
		return 0
	}
	place := 1
	for i, b := range s.blend {
		if b > s.blend[n] || (b == s.blend[n] && i < n) {
			place++
		}
	}
	return place
}

// score fills the scratch with every song's sources and their mixture. Excluded songs have the score excluded.
func (r *Ranker) score(s *scratch, v *view, l Listener, at int64) {
	n := len(v.songs)
	s.excluded = resize(s.excluded, n)
	clear(s.excluded)
	for i := range s.source {
		s.source[i] = resize(s.source[i], n)
		clear(s.source[i])
	}
	r.exclude(s, v, l)
	r.taste(s, l)
	r.artistShares(s, v, l, at)
	for i, a := range v.artist {
		s.source[SourceArtist][i] = s.shares[a] * v.inArtist[i]
	}
	copy(s.source[SourcePopularity], v.popularity)
	for _, e := range v.regions[factor.RegionOf(l.Region)] {
		s.source[SourceRegion][e.ordinal] = e.share
	}
	trends(s, v, l)
	r.blend(s, v, l)
}

// exclude marks what the listener has heard and what must not be heard.
func (r *Ranker) exclude(s *scratch, v *view, l Listener) {
	for _, h := range l.History {
		if n := r.ordinal(v, h.Song); n >= 0 {
			s.excluded[n] = true
		}
	}
	for _, song := range l.Excluded {
		if n := r.ordinal(v, song); n >= 0 {
			s.excluded[n] = true
		}
	}
	for _, artist := range l.ExcludedArtists {
		for _, n := range v.byArtist[v.artists[artist]] {
			s.excluded[n] = true
		}
	}
}

// ordinal returns the place of a song in the view, −1 if the view does not know it.
func (r *Ranker) ordinal(v *view, song factor.Index) int {
	if song == factor.None || r.table.KindAt(song) != factor.KindSong {
		return -1
	}
	if n := r.table.Ordinal(song); n < len(v.songs) {
		return n
	}
	return -1
}

// taste turns factor scores into probabilities. The learner sees a positive of song i with chance P(i) and a negative with chance n/N, so the
// score that minimises the squared loss is s = P/(P + n/N), and P ∝ s/(1−s).
func (r *Ranker) taste(s *scratch, l Listener) {
	r.table.Score(l.Vector, &s.scores)
	dst := s.source[SourceTaste]
	known := min(len(dst), len(s.scores.Taste))
	for i := range known {
		score := min(max(s.scores.Taste[i]+s.scores.Bias[i], .0), .95)
		dst[i] = score / (1 - score)
	}
	share(dst)
}

// artistShares computes the listener's share of each artist from the positive engagement of the history, decayed.
func (r *Ranker) artistShares(s *scratch, v *view, l Listener, at int64) {
	s.shares = resize(s.shares, len(v.byArtist))
	clear(s.shares)
	for _, h := range l.History {
		n := r.ordinal(v, h.Song)
		if n < 0 || !(h.Value > 0) {
			continue
		}
		s.shares[v.artist[n]] += float32(decayed(h.Value, at-h.At, r.params.ArtistHalfLife))
	}
	s.shares[0] = 0 // songs without an artist have none in common
	share(s.shares)
}

func decayed(value float64, age int64, h decay.HalfLife) float64 {
	return value * math.Exp2(-float64(max(age, 0))*1e6/float64(h))
}

// trends gives the songs on trend that this listener can see equal shares by the strength of their trend.
func trends(s *scratch, v *view, l Listener) {
	region := factor.RegionOf(l.Region)
	dst := s.source[SourceTrend]
	for _, t := range v.trending {
		if best, ok := t.info.Best(region); ok {
			dst[t.ordinal] = min(max(best.Score, 0), 8)
		}
	}
	share(dst)
}

// blend mixes the sources:
//
//	score = log₂(Σ w·P_source) + power·log₂ P_taste + tilt·(mean − log(1 + week))
//
// The sum lets one source that is sure carry a song; the power lets taste order what the others propose. The discovery knob tilts
// by popularity around what an average listen goes to: at 0 popular songs gain, at 1 rare ones do.
func (r *Ranker) blend(s *scratch, v *view, l Listener) {
	s.blend = resize(s.blend, len(v.songs))
	w := r.params.Weights
	w[SourceTrend] *= unit(l.ViralAffinity, NeutralViralAffinity) / NeutralViralAffinity
	tilt := float32(unit(l.Discovery, NeutralDiscovery) - NeutralDiscovery)
	power := float32(r.params.TastePower)
	var weights [Sources]float32
	for k := range w {
		weights[k] = float32(w[k])
	}
	for i := range s.blend {
		if s.excluded[i] {
			s.blend[i] = excluded
			continue
		}
		sum := weights[SourceTaste] * v.reliable[i] * s.source[SourceTaste][i]
		for k := SourceArtist; k < sources; k++ {
			sum += weights[k] * s.source[k][i]
		}
		s.blend[i] = log2(sum+floor) + power*log2(s.source[SourceTaste][i]+floor) + tilt*(v.popMean-v.logWeek[i])
	}
}

const (
	floor    = 1e-12            // chance below which songs are not told apart
	excluded = -math.MaxFloat32 // score of a song that must not be a candidate
)

// log2 is the logarithm of a positive normal number within 3e-5: the exponent, and t + t(1−t)·P(t) for the mantissa 1+t, which is exact at
// both ends, so that the whole is continuous and grows with x.
func log2(x float32) float32 {
	bits := math.Float32bits(x)
	e := float32(int32(bits>>23) - 127)
	t := math.Float32frombits(bits&0x7fffff|0x3f800000) - 1
	p := ((((0.02528969*t-0.09480098)*t+0.18112836)*t-0.27537617)*t + 0.44252669)
	return e + t + t*(1-t)*p
}

// unit bounds x to [0, 1]; what is not a number becomes neutral.
func unit(x, neutral float64) float64 {
	if math.IsNaN(x) {
		return neutral
	}
	return min(max(x, 0), 1)
}

// addTrending appends the songs on trend that suit the listener best.
func (r *Ranker) addTrending(s *scratch, v *view) []int32 {
	heap := topHeap{values: s.blend, items: s.heap[:0]}
	for _, t := range v.trending {
		if s.source[SourceTrend][t.ordinal] > 0 && !s.chosen[t.ordinal] && !s.excluded[t.ordinal] {
			heap.offer(t.ordinal, r.params.Trending)
		}
	}
	return s.add(heap.sorted())
}

// add appends songs to the order and marks them as chosen.
func (s *scratch) add(list []int32) []int32 {
	s.heap = list
	for _, i := range list {
		s.chosen[i] = true
	}
	return append(s.order, list...)
}

// addCold appends the cold songs whose description suits the listener best.
func (r *Ranker) addCold(s *scratch, v *view) []int32 {
	heap := topHeap{values: s.scores.Taste, items: s.heap[:0]}
	for _, i := range v.cold {
		if int(i) < len(s.scores.Taste) && !s.chosen[i] && !s.excluded[i] {
			heap.offer(i, r.params.Cold)
		}
	}
	return s.add(heap.sorted())
}

func (r *Ranker) candidate(s *scratch, v *view, i int32) Candidate {
	c := Candidate{
		Song: v.songs[i], Artist: r.table.Artist(v.songs[i]), Score: float64(s.blend[i]),
		Trending: s.source[SourceTrend][i] > 0,
		Cold:     float64(v.listens[i]) < r.params.ColdListens,
		Known:    v.artist[i] != 0 && s.shares[v.artist[i]] > 0,
		LogPop:   float64(v.logWeek[i]),
	}
	for k := range s.source {
		c.Sources[k] = float64(s.source[k][i])
	}
	return c
}

// best returns the ordinals of the best songs, best first, and marks them as chosen. An artist has at most ArtistMax of them as long as the twice as
// many songs that are looked at hold enough others, so that a playlist finds other artists when its cap is used up.
func (r *Ranker) best(s *scratch, v *view) []int32 {
	heap := topHeap{values: s.blend, items: s.heap[:0]}
	for i := range s.blend {
		if s.blend[i] > excluded {
			heap.offer(int32(i), 2*r.params.Candidates)
		}
	}
	s.heap = heap.sorted()
	s.counts = resize(s.counts, len(v.byArtist))
	clear(s.counts)
	order, late := s.order[:0], s.late[:0]
	for _, i := range s.heap {
		a := v.artist[i]
		if s.counts[a]++; a != 0 && s.counts[a] > r.params.ArtistMax {
			late = append(late, i)
			continue
		}
		order = append(order, i)
	}
	s.late = late
	if missing := r.params.Candidates - len(order); missing > 0 {
		order = append(order, late[:min(len(late), missing)]...)
		slices.SortFunc(order, heap.compare)
	}
	order = order[:min(len(order), r.params.Candidates)]
	for _, i := range order {
		s.chosen[i] = true
	}
	return order
}

// topHeap keeps the greatest items: a heap whose root is the least of them.
type topHeap struct {
	values []float32
	items  []int32
}

func (h *topHeap) less(a, b int32) bool {
	return h.values[a] < h.values[b] || (h.values[a] == h.values[b] && a > b)
}

// sorted returns the items, greatest first, ties by number. The heap is used up.
func (h *topHeap) sorted() []int32 {
	slices.SortFunc(h.items, h.compare)
	return h.items
}

func (h *topHeap) compare(a, b int32) int {
	return cmp.Or(cmp.Compare(h.values[b], h.values[a]), cmp.Compare(a, b))
}

// offer puts an item into the heap if it is among the n greatest.
func (h *topHeap) offer(i int32, n int) {
	if n == 0 {
		return
	}
	if len(h.items) < n {
		h.items = append(h.items, i)
		for at := len(h.items) - 1; at > 0; {
			up := (at - 1) / 2
			if !h.less(h.items[at], h.items[up]) {
				break
			}
			h.items[at], h.items[up] = h.items[up], h.items[at]
			at = up
		}
		return
	}
	if !h.less(h.items[0], i) {
		return
	}
	h.items[0] = i
	for at := 0; ; {
		down := 2*at + 1
		if down >= len(h.items) {
			return
		}
		if down+1 < len(h.items) && h.less(h.items[down+1], h.items[down]) {
			down++
		}
		if !h.less(h.items[down], h.items[at]) {
			return
		}
		h.items[at], h.items[down] = h.items[down], h.items[at]
		at = down
	}
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}
