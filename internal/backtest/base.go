package backtest

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// base is what all baselines share: their name, the data and the catalogue of the freeze.
type base struct {
	name string
	data *Dataset
	seed uint64

	at        time.Time
	catalogue int     // the items with smaller ordinals have been consumed by somebody
	order     []int32 // the catalogue by audience, largest first: the order of equals
	scratch   *sync.Pool
}

func newBase(name string, d *Dataset, seed uint64) base {
	return base{name: name, data: d, seed: seed, scratch: &sync.Pool{New: func() any {
		return &scratch{scores: make([]float32, len(d.Items)), known: newMarks(len(d.Items))}
	}}}
}

// scratch is what one ranking needs.
type scratch struct {
	scores []float32
	known  *marks
}

// Name implements Model.
func (b *base) Name() string { return b.name }

// dice are those of one purpose, so that nothing depends on the order of things.
func (b *base) dice(purpose, number uint64) *rand.Rand {
	return rand.New(rand.NewPCG(b.seed^purpose<<32, number)) //nolint:gosec // a simulation
}

// freeze notes the catalogue.
func (b *base) freeze(at time.Time) {
	var audience []int32
	b.at = at
	b.catalogue, audience = b.data.audience(at.UnixMilli())
	b.order = make([]int32, b.catalogue)
	for i := range b.order {
		b.order[i] = int32(i)
	}
	slices.SortStableFunc(b.order, func(x, y int32) int { return cmp.Compare(audience[y], audience[x]) })
}

// rank appends the best of the catalogue that the listener does not know, by the scores that fill gives; of equals the one with the
// larger audience.
func (b *base) rank(listener int32, dst []int32, fill func(scores []float32)) []int32 {
	s, _ := b.scratch.Get().(*scratch)
	defer b.scratch.Put(s)
	scores := s.scores[:b.catalogue]
	fill(scores)
	s.known.set(b.data.Heard(listener, b.at))
	var best top
	for _, item := range b.order {
		if score := scores[item]; score > best.bound() && !s.known.has(item) {
			best.put(item, score)
		}
	}
	return append(dst, best.items[:best.n]...)
}

// walk appends the first items of a chart that the listener does not know.
func (b *base) walk(listener int32, dst, chart []int32) []int32 {
	s, _ := b.scratch.Get().(*scratch)
	defer b.scratch.Put(s)
	s.known.set(b.data.Heard(listener, b.at))
	end := len(dst) + ListLength
	for _, item := range chart {
		if len(dst) == end {
			break
		}
		if !s.known.has(item) {
			dst = append(dst, item)
		}
	}
	return dst
}

// top holds the best items so far, best first; of equals the one that came first.
type top struct {
	items  [ListLength]int32
	scores [ListLength]float32
	n      int
}

// bound is what a score must exceed to get in.
func (t *top) bound() float32 {
	if t.n < ListLength {
		return float32(math.Inf(-1))
	}
	return t.scores[ListLength-1]
}

func (t *top) put(item int32, score float32) {
	if t.n < ListLength {
		t.n++
	}
	k := t.n - 1
	for k > 0 && t.scores[k-1] < score {
		t.items[k], t.scores[k] = t.items[k-1], t.scores[k-1]
		k--
	}
	t.items[k], t.scores[k] = item, score
}

// charted sorts the catalogue by a score, best first; of equals the one with the larger audience.
func (b *base) charted(score func(item int32) float64) []int32 {
	chart := slices.Clone(b.order)
	slices.SortStableFunc(chart, func(x, y int32) int { return cmp.Compare(score(y), score(x)) })
	return chart
}

// ageing weighs events by age: an event counts 2^(t/halfLife), so that older counts need no update (forward decay: Cormode et al.,
// ICDE 2009). A half-life of 0 keeps everything.
type ageing struct {
	halfLife float64 // ms
	landmark int64
}

func newAgeing(days float64) ageing { return ageing{halfLife: days * dayMs} }

// weight is what an event at that time counts, relative to the landmark. shift is not 1 when the landmark has moved: everything
// counted so far must be multiplied by it first, lest the weights leave the range of float64.
func (a *ageing) weight(at int64) (weight, shift float64) {
	if a.halfLife == 0 {
		return 1, 1
	}
	const far = 200 // half-lives
	shift = 1
	if a.landmark == 0 {
		a.landmark = at
	}
	if age := float64(at-a.landmark) / a.halfLife; age > far {
		shift = math.Exp2(-age)
		a.landmark = at
	}
	return a.at(at), shift
}

// at is the weight of an instant that the landmark need not move for.
func (a *ageing) at(at int64) float64 {
	if a.halfLife == 0 {
		return 1
	}
	return math.Exp2(float64(at-a.landmark) / a.halfLife)
}

// scale turns what was summed up from weights into what it is worth at an instant.
func (a *ageing) scale(at int64) float64 {
	if a.halfLife == 0 {
		return 1
	}
	return math.Exp2(-float64(at-a.landmark) / a.halfLife)
}
