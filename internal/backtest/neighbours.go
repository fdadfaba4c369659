package backtest

import (
	"math"
	"time"
)

// neighbours is, of each item, the most similar others, best first.
type neighbours struct {
	width  int
	items  []int32 // width for each item, -1 where there are fewer
	values []float32
}

func newNeighbours(items, width int) neighbours {
	return neighbours{width: width, items: make([]int32, items*width), values: make([]float32, items*width)}
}

// add adds weight times the similarities of an item's neighbours to the scores.
func (n *neighbours) add(scores []float32, item int32, weight float32) {
	for k := int(item) * n.width; k < int(item+1)*n.width && n.items[k] >= 0; k++ {
		scores[n.items[k]] += weight * n.values[k]
	}
}

// sums collects the similarities of one item to others.
type sums struct {
	values  []float32
	touched []int32
}

func newSums(items int) *sums { return &sums{values: make([]float32, items)} }

func (s *sums) add(item int32, v float32) {
	if s.values[item] == 0 {
		s.touched = append(s.touched, item)
	}
	s.values[item] += v
}

// keep moves the best into the neighbours of an item and empties the sums.
func (s *sums) keep(n *neighbours, item int32, similarity func(other int32, sum float32) float32) {
	place := int(item) * n.width
	items, values := n.items[place:place+n.width], n.values[place:place+n.width]
	used := 0
	for _, other := range s.touched {
		v := similarity(other, s.values[other])
		s.values[other] = 0
		if other == item || v <= 0 || used == n.width && v <= values[used-1] {
			continue
		}
		if used < n.width {
			used++
		}
		k := used - 1
		for k > 0 && values[k-1] < v {
			items[k], values[k] = items[k-1], values[k-1]
			k--
		}
		items[k], values[k] = other, v
	}
	s.touched = s.touched[:0]
	for k := used; k < n.width; k++ {
		items[k] = -1
	}
}

// firsts is what each listener consumed first, in order of time.
type firsts [][]firstTime

type firstTime struct {
	item int32
	at   int64
}

func (f firsts) learn(e *Event) {
	if e.First {
		f[e.Listener] = append(f[e.Listener], firstTime{e.Item, e.At})
	}
}

// cooccurrence is streaming item-to-item collaborative filtering (Huang et al., "TencentRec: Real-time stream recommendation in
// practice", SIGMOD 2015, with the shrunk cosine of Alpenglow, Frigó et al., 2017): two items are joined when a listener consumes them
// first with fewer than window others between them, the less the more lie between, and the bond halves in a half-life:
//
//	s_ij = Σ γ^(gap−1)·2^(−age/h) / ((c_i+s)·(c_j+s))^½
//
// A list is what is most similar to the latest items of the listener, recent ones more. The sums of a stream are computed here at the
// freeze, all at once, which gives the same.
type cooccurrence struct {
	base
	p    params
	seen firsts
	near neighbours
}

var _ Live = (*cooccurrence)(nil)

func newCooccurrence(b base, p params) Model {
	return &cooccurrence{
		base: b, p: p, seen: make(firsts, len(b.data.Listeners)), near: newNeighbours(len(b.data.Items), max(int(p["neighbours"]), 1)),
	}
}

// Learn implements Model.
func (m *cooccurrence) Learn(e *Event) error {
	m.seen.learn(e)
	return nil
}

// place is where a listener consumed an item.
type place struct{ listener, position int32 }

// Freeze implements Model.
func (m *cooccurrence) Freeze(at time.Time) error {
	m.freeze(at)
	aged := newAgeing(m.p["half_life"])
	aged.landmark = at.UnixMilli()
	places := make([][]place, m.catalogue)
	counts := make([]float64, m.catalogue)
	for l, list := range m.seen {
		for k, f := range list {
			places[f.item] = append(places[f.item], place{int32(l), int32(k)})
			counts[f.item] += aged.at(f.at)
		}
	}
	window := int32(m.p["window"])
	gaps := make([]float64, window+1)
	for k := range gaps {
		gaps[k] = math.Pow(m.p["gamma"], float64(k-1))
	}
	norm := make([]float32, m.catalogue)
	for i, c := range counts {
		norm[i] = float32(1 / math.Sqrt(c+m.p["shrink"]))
	}
	parallel(m.catalogue, func() *sums { return newSums(m.catalogue) }, func(s *sums, from, to int) {
		for item := int32(from); item < int32(to); item++ { //nolint:gosec // items are numbered so
			for _, p := range places[item] {
				list := m.seen[p.listener]
				end := min(p.position+window, int32(len(list))-1) //nolint:gosec // numbered so
				for k := max(p.position-window, 0); k <= end; k++ {
					if gap := max(k-p.position, p.position-k); gap > 0 {
						s.add(list[k].item, float32(gaps[gap]*aged.at(max(list[k].at, list[p.position].at))))
					}
				}
			}
			s.keep(&m.near, item, func(other int32, sum float32) float32 { return sum * norm[item] * norm[other] })
		}
	})
	return nil
}

// Refresh implements Live.
func (m *cooccurrence) Refresh(at time.Time) error { return m.Freeze(at) }

// Rank implements Model.
func (m *cooccurrence) Rank(listener int32, dst []int32) []int32 {
	aged := newAgeing(m.p["taste"])
	aged.landmark = m.at.UnixMilli()
	list := m.seen[listener]
	list = list[max(len(list)-int(m.p["latest"]), 0):]
	return m.rank(listener, dst, func(scores []float32) {
		clear(scores)
		for _, f := range list {
			m.near.add(scores, f.item, float32(aged.at(f.at)))
		}
	})
}

// weighting is how a neighbourhood model weighs a count.
type weighting uint8

const (
	cosine weighting = iota
	tfidf
	bm25
)

// knn is item-based nearest neighbours over all of the past (Deshpande and Karypis, "Item-based top-N recommendation algorithms",
// TOIS 2004), refitted every week: similarity is the cosine of the items' columns, or that of columns weighted by TF-IDF with the
// listeners as terms (√n·idf), or the product of columns weighted by BM25 (Robertson and Zaragoza, 2009), which are the three of the
// library implicit. Recency counts through half_life, 0 for none.
type knn struct {
	base
	weighting weighting
	p         params
	counts    decayed // by pair
	byItem    columns
	now       []float32 // by pair, at the freeze
	near      neighbours
}

var _ Model = (*knn)(nil)

func newKNN(w weighting) func(base, params) Model {
	return func(b base, p params) Model {
		return &knn{
			base: b, weighting: w, p: p, counts: newDecayed(len(b.data.past.items), p["half_life"]), byItem: newColumns(b.data),
			now: make([]float32, len(b.data.past.items)), near: newNeighbours(len(b.data.Items), max(int(p["neighbours"]), 1)),
		}
	}
}

// Learn implements Model.
func (m *knn) Learn(e *Event) error {
	if e.Positive {
		m.counts.add(e.pair, e.At)
	}
	return nil
}

// Freeze implements Model.
func (m *knn) Freeze(at time.Time) error {
	m.freeze(at)
	scale := m.counts.ageing.scale(at.UnixMilli())
	for pair, n := range m.counts.values {
		m.now[pair] = float32(n * scale)
	}
	weights := m.weigh()
	past := &m.data.past
	parallel(m.catalogue, func() *sums { return newSums(len(m.data.Items)) }, func(s *sums, from, to int) {
		for item := int32(from); item < int32(to); item++ { //nolint:gosec // items are numbered so
			for _, pair := range m.byItem.of(item) {
				w := weights[pair]
				if w == 0 {
					continue
				}
				l := m.byItem.listeners[pair]
				for k := past.offset[l]; k < past.offset[l+1]; k++ {
					if v := w * weights[k]; v != 0 {
						s.add(past.items[k], v)
					}
				}
			}
			s.keep(&m.near, item, func(_ int32, sum float32) float32 { return sum })
		}
	})
	return nil
}

// weigh turns counts into the weights whose products are the similarities.
func (m *knn) weigh() []float32 {
	weights := make([]float32, len(m.now))
	perListener, perItem := make([]float64, len(m.data.Listeners)), make([]float64, len(m.data.Items))
	for pair, n := range m.now {
		if n > 0 {
			perListener[m.byItem.listeners[pair]]++
			perItem[m.data.past.items[pair]] += float64(n)
		}
	}
	mean := 0.
	for _, n := range perItem[:m.catalogue] {
		mean += n / float64(m.catalogue)
	}
	for pair, count := range m.now {
		n := float64(count)
		rarity := math.Log(float64(m.catalogue)) - math.Log1p(perListener[m.byItem.listeners[pair]])
		switch m.weighting {
		case tfidf:
			n = math.Sqrt(n) * rarity
		case bm25:
			k1, b := m.p["k1"], m.p["b"]
			n *= (k1 + 1) / (k1*(1-b+b*perItem[m.data.past.items[pair]]/mean) + n) * rarity
		case cosine:
		}
		weights[pair] = float32(n)
	}
	if m.weighting == bm25 {
		return weights
	}
	for item := range int32(m.catalogue) { //nolint:gosec // items are numbered so
		length := 0.
		for _, pair := range m.byItem.of(item) {
			length += float64(weights[pair]) * float64(weights[pair])
		}
		if length > 0 {
			for _, pair := range m.byItem.of(item) {
				weights[pair] /= float32(math.Sqrt(length))
			}
		}
	}
	return weights
}

// Rank implements Model.
func (m *knn) Rank(listener int32, dst []int32) []int32 {
	past := &m.data.past
	return m.rank(listener, dst, func(scores []float32) {
		clear(scores)
		for pair := past.offset[listener]; pair < past.offset[listener+1]; pair++ {
			if n := m.now[pair]; n > 0 {
				m.near.add(scores, past.items[pair], n)
			}
		}
	})
}
