package backtest

import (
	"math"
	"slices"
)

// gains is what a hit at each rank is worth: 1/log₂(rank+1) (Järvelin and Kekäläinen, 2002, with binary relevance). ideal[n] is the
// sum of the first n.
var gains, ideal = discounts()

func discounts() (gains [ListLength]float64, ideal [ListLength + 1]float64) {
	for k := range gains {
		gains[k] = 1 / math.Log2(float64(k)+2)
		ideal[k+1] = ideal[k] + gains[k]
	}
	return gains, ideal
}

// mean is a mean over listeners, and the variance of that mean.
type mean struct{ n, sum, squares float64 }

func (m *mean) add(v float64) {
	m.n++
	m.sum += v
	m.squares += v * v
}

func (m *mean) value() float64 { return m.sum / m.n }

// variance is that of the mean; not a number below two values.
func (m *mean) variance() float64 {
	return max(m.squares-m.sum*m.sum/m.n, 0) / (m.n - 1) / m.n
}

// measured is the result of one week.
type measured struct {
	recall, ndcg, hit              mean
	byAge, byHistory, byMainstream [4]mean
	coverage, percentile, gini     float64
	wasted                         int // slots that held what the listener knew, or the same again
	listed                         int
	exposure                       []int32 // lists that each artist is in, by slots
}

// evaluate holds lists, one for each person of the week, against what they found.
func (d *Dataset) evaluate(w *week, lists [][]int32) *measured {
	m := &measured{exposure: make([]int32, len(d.Artists))}
	relevant, known := newMarks(len(d.Items)), newMarks(len(d.Items))
	different := map[int32]struct{}{}
	percentile := 0.
	for i := range w.people {
		p := &w.people[i]
		list := lists[i][:min(len(lists[i]), ListLength)]
		relevant.set(p.found)
		known.set(d.Heard(p.listener, w.at))
		m.person(d, w, p, list, relevant, known)
		if !p.measured {
			continue
		}
		for _, item := range list {
			different[item] = struct{}{}
			m.listed++
			if int(item) < w.catalogue {
				percentile += float64(w.rank[item])
			}
			if artist := d.ItemArtist[item]; artist >= 0 {
				m.exposure[artist]++
			}
		}
	}
	m.coverage = float64(len(different)) / float64(max(w.catalogue, 1))
	m.percentile = percentile / float64(m.listed)
	m.gini = gini(m.exposure, d.artistsBefore(w))
	return m
}

// person adds one list. A slot with what is known already or was listed before is lost.
func (m *measured) person(d *Dataset, w *week, p *person, list []int32, relevant, known *marks) {
	hits, gain := 0, 0.
	var ageHits, ageFound [4]int
	for _, item := range p.found {
		ageFound[d.ageOf(item, w.at.UnixMilli())]++
	}
	for k, item := range list {
		if known.has(item) || slices.Contains(list[:k], item) {
			if p.measured {
				m.wasted++
			}
			continue
		}
		if relevant.has(item) {
			hits++
			gain += gains[k]
			ageHits[d.ageOf(item, w.at.UnixMilli())]++
		}
	}
	bound := min(ListLength, len(p.found))
	recall := float64(hits) / float64(bound)
	m.byHistory[historyOf(p.history)].add(recall)
	if !p.measured {
		return
	}
	m.recall.add(recall)
	m.ndcg.add(gain / ideal[bound])
	m.hit.add(float64(min(hits, 1)))
	m.byMainstream[p.mainstream].add(recall)
	for age, n := range ageFound {
		if n > 0 {
			m.byAge[age].add(float64(ageHits[age]) / float64(min(ListLength, n)))
		}
	}
}

// artistsBefore counts the artists of the catalogue of a week: artists are numbered by their first item.
func (d *Dataset) artistsBefore(w *week) int {
	n := int32(0)
	for _, artist := range d.ItemArtist[:w.catalogue] {
		n = max(n, artist+1)
	}
	return int(n)
}

// gini is the Gini coefficient of the first n values: 0 where all get the same, near 1 where one gets everything; not a number
// where there is nothing to share out.
func gini(values []int32, n int) float64 {
	sorted := slices.Sorted(slices.Values(values[:n]))
	total, weighted := 0., 0.
	for i, v := range sorted {
		total += float64(v)
		weighted += float64(i+1) * float64(v)
	}
	return 2*weighted/(float64(n)*total) - float64(n+1)/float64(n)
}

// marks is a set of items that is emptied in no time.
type marks struct {
	stamp []uint32
	now   uint32
}

func newMarks(items int) *marks { return &marks{stamp: make([]uint32, items)} }

// set makes the set hold the items and no others.
func (m *marks) set(items []int32) {
	m.now++
	if m.now == 0 { // after 2³² sets
		clear(m.stamp)
		m.now = 1
	}
	for _, item := range items {
		m.stamp[item] = m.now
	}
}

func (m *marks) has(item int32) bool { return m.stamp[item] == m.now }
