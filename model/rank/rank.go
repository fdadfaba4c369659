package rank

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"earworm/model/cooccur"
	"earworm/model/factor"
)

// Heard is one song of a history.
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

// Listener is what is known of a listener. The order of its lists says nothing.
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
	Score    float64          // logarithm of an unnormalised chance
	Sources  [Sources]float64 // what each source contributes to the score
	Taste    float64          // what the factors say, between 0 and 1
	Trend    float64          // strength of a trend that the listener can see, 0 = none
	Seeds    []factor.Index   // songs of the history that explain it best, at most Params.SeedsMax
	Trending bool
	Cold     bool      // hardly anybody has heard it
	Known    bool      // the listener has listened to the artist
	LogPop   float64   // log(1 + first listens with a half-life of a week)
	Row      []float32 // its Features values: what the blend learns from when it is known what the listener did with the song
}

// Main returns the source that contributes most to the score.
func (c Candidate) Main() Source {
	best := SourceTaste
	for s := range sources {
		if c.Sources[s] > c.Sources[best] {
			best = s
		}
	}
	return best
}

// Ranker ranks the songs of one table. It may be used concurrently.
type Ranker struct {
	table  *factor.Table
	near   *cooccur.Table
	params Params

	mu      sync.Mutex // guards the fields below, and is held while a view is built so that it is built once
	current *view
	// blend is what the sources are worth: the published blend, and the lessons that it does not hold.
	blend, published Blend
	lessons          []lesson
	tasks            map[int32]struct{} // the listener tasks that learn here, of so many in all
	tasksOf          int32

	scratch sync.Pool // *scratch
}

// New returns a Ranker over a table of songs and one of their neighbours. p must be valid.
func New(t *factor.Table, near *cooccur.Table, p Params) *Ranker {
	r := &Ranker{table: t, near: near, params: p}
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
func (r *Ranker) view(at int64, limit time.Duration) (*view, [Features]float32) {
	version := r.table.Version()
	r.mu.Lock()
	defer r.mu.Unlock()
	weights := r.blend.Weights(r.params.Learn)
	if v := r.current; v != nil {
		age := at - v.at
		fresh := max(age, -age) < limit.Milliseconds()
		if fresh && (limit > r.params.ViewAge || version-v.version <= uint64(len(v.songs))/8) {
			return v, weights
		}
	}
	r.current = newView(r.table, r.near, r.params, at)
	return r.current, weights
}

// Candidates appends to dst[:0] the songs of the catalogue that the listener has never heard and that suit best at the instant
// in Unix ms, best first, and then those that are there for the trend and exploration slots. Each has its seeds.
func (r *Ranker) Candidates(dst []Candidate, l Listener, at int64) []Candidate {
	v, weights := r.view(at, r.params.ViewAge)
	s := r.scratch.Get().(*scratch) //nolint:forcetypeassert // the pool holds nothing else
	defer r.scratch.Put(s)
	r.gather(s, v, &l, at)
	s.rate(&weights, &l, v)
	dst = dst[:0]
	best := r.best(s, v)
	rows := make([]float32, 0, len(best)*Features)
	for i, n := range best {
		rows = append(rows, s.row(n)...)
		dst = append(dst, r.candidate(s, v, &weights, n))
		dst[i].Row = rows[i*Features:][:Features:Features]
	}
	r.explain(dst, s, v, l, at)
	return dst
}

// Top appends to dst[:0] the n best songs that the listener has never heard, best first: the ranking without the rules of a playlist.
func (r *Ranker) Top(dst []factor.Index, l Listener, at int64, n int) []factor.Index {
	v, weights := r.view(at, r.params.ViewAge)
	s := r.scratch.Get().(*scratch) //nolint:forcetypeassert // the pool holds nothing else
	defer r.scratch.Put(s)
	r.gather(s, v, &l, at)
	s.rate(&weights, &l, v)
	dst = dst[:0]
	for _, c := range s.sorted()[:min(n, len(s.songs))] {
		dst = append(dst, v.songs[s.songs[c]])
	}
	return dst
}

// Rank returns the place, from 1, of a song among the candidates of the listener, by the same score as Candidates. 0 says
// that it is none of them.
func (r *Ranker) Rank(l Listener, song factor.Index, at int64) int {
	v, weights := r.view(at, looseAge)
	s := r.scratch.Get().(*scratch) //nolint:forcetypeassert // the pool holds nothing else
	defer r.scratch.Put(s)
	r.gather(s, v, &l, at)
	s.rate(&weights, &l, v)
	n := slices.IndexFunc(s.songs, func(o int32) bool { return v.songs[o] == song })
	if n < 0 {
		return 0
	}
	place := 1
	for i := range s.scores {
		if s.compare(int32(i), int32(n)) < 0 { //nolint:gosec // a few hundred
			place++
		}
	}
	return place
}

// Frozen is what was known of the candidates of one listener at one instant: what the blend learns from when it is known what they did
// with them.
type Frozen struct {
	At    int64 // Unix ms
	Songs []factor.Key
	Rows  []float32 // Features values each
}

// Freeze returns all candidates of the listener with their features.
func (r *Ranker) Freeze(l Listener, at int64) Frozen {
	v, _ := r.view(at, r.params.ViewAge)
	s := r.scratch.Get().(*scratch) //nolint:forcetypeassert // the pool holds nothing else
	defer r.scratch.Put(s)
	r.gather(s, v, &l, at)
	f := Frozen{At: at, Songs: make([]factor.Key, len(s.songs)), Rows: slices.Clone(s.rows)}
	for i, o := range s.songs {
		f.Songs[i] = r.table.KeyAt(v.songs[o])
	}
	return f
}

// candidate describes the n-th candidate of the scratch.
func (r *Ranker) candidate(s *scratch, v *view, w *[Features]float32, n int32) Candidate {
	i := s.songs[n]
	c := Candidate{
		Song: v.songs[i], Artist: r.table.Artist(v.songs[i]), Score: float64(s.scores[n]),
		Taste: float64(s.tastes.Taste[i]), Trend: float64(s.trends[n]), Trending: s.trends[n] > 0,
		Cold:   float64(v.listens[i]) < r.params.ColdListens,
		Known:  v.artist[i] != 0 && s.plays[v.artist[i]] > 0,
		LogPop: float64(v.logWeek[i]),
	}
	for f, x := range s.row(n) {
		if source, ok := owner(f); ok {
			c.Sources[source] += float64(w[f] * x)
		}
	}
	return c
}

// best returns the numbers of the best candidates, best first. An artist has at most ArtistMax of them as long as the twice as
// many songs that are looked at hold enough others, so that a playlist finds other artists when its cap is used up. Behind them come
// those that are there for trends and exploration.
func (r *Ranker) best(s *scratch, v *view) []int32 {
	all := s.sorted()
	s.counts = resize(s.counts, len(v.byArtist))
	clear(s.counts)
	order, late := s.order[:0], s.late[:0]
	for _, n := range all[:min(len(all), 2*r.params.Candidates)] {
		a := v.artist[s.songs[n]]
		if s.counts[a]++; a != 0 && s.counts[a] > r.params.ArtistMax {
			late = append(late, n)
			continue
		}
		order = append(order, n)
	}
	if missing := r.params.Candidates - len(order); missing > 0 {
		order = append(order, late[:min(len(late), missing)]...)
		slices.SortFunc(order, s.compare)
	}
	order = order[:min(len(order), r.params.Candidates)]
	s.chosen = resize(s.chosen, len(s.songs))
	clear(s.chosen)
	for _, n := range order {
		s.chosen[n] = true
	}
	for _, n := range s.extra {
		if !s.chosen[n] {
			s.chosen[n] = true
			order = append(order, n)
		}
	}
	s.order, s.late = order, late
	return order
}

// topHeap keeps the greatest items: a heap whose root is the least of them. Of equal ones the lesser key counts as the greater.
type topHeap struct {
	values []float32
	keys   []factor.Key
	items  []int32
}

func (h *topHeap) less(a, b int32) bool {
	return h.values[a] < h.values[b] || (h.values[a] == h.values[b] && h.keys[a] > h.keys[b])
}

// sorted returns the items, greatest first, ties by key. The heap is used up.
func (h *topHeap) sorted() []int32 {
	slices.SortFunc(h.items, h.compare)
	return h.items
}

func (h *topHeap) compare(a, b int32) int {
	return cmp.Or(cmp.Compare(h.values[b], h.values[a]), cmp.Compare(h.keys[a], h.keys[b]))
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
