package backtest

import (
	"math"
	"sync"
	"time"
)

// affinity lists popular items by artists, or where there are no artists of genres, that the listener has been consuming: the decayed
// share of the listener's events that each artist had, times decayed popularity (the shape of "popularity by artist" baselines, such
// as SAGH and its personalised variants in Bonnin and Jannach, "Automated generation of music playlists", ACM Computing Surveys 2014):
//
//	s_ui = (ε + a_u,artist(i))·pop_i^β
//
// Items without an artist take the mean affinity of their genres.
type affinity struct {
	base
	p       params
	counts  popularity
	tags    [][]int32 // of each item
	taste   []map[int32]float64
	totals  []float64 // of taste; summed up in the order of events, which a map does not keep
	tasting ageing
	pop     []float32
	shares  *sync.Pool // of slices, one value for each tag
}

var _ Live = (*affinity)(nil)

func newAffinity(b base, p params) Model {
	popular, _ := newPopularity(b, params{"half_life": p["half_life"]}).(*popularity)
	m := &affinity{base: b, p: p, counts: *popular, taste: make([]map[int32]float64, len(b.data.Listeners)), totals: make([]float64, len(b.data.Listeners)), tasting: newAgeing(p["taste"])}
	m.tasting.landmark = b.data.records[0].at
	genres := map[string]int32{}
	for i, artist := range b.data.ItemArtist {
		var tags []int32
		if artist >= 0 {
			tags = []int32{artist}
		} else {
			for _, g := range b.data.ItemMeta[i].Genres {
				n, ok := genres[g]
				if !ok {
					n = int32(len(b.data.Artists) + len(genres)) //nolint:gosec // genres are few
					genres[g] = n
				}
				tags = append(tags, n)
			}
		}
		m.tags = append(m.tags, tags)
	}
	m.shares = &sync.Pool{New: func() any {
		shares := make([]float32, len(b.data.Artists)+len(genres))
		return &shares
	}}
	return m
}

// Learn implements Model.
func (m *affinity) Learn(e *Event) error {
	if !e.Positive {
		return nil
	}
	if m.taste[e.Listener] == nil {
		m.taste[e.Listener] = map[int32]float64{}
	}
	for _, tag := range m.tags[e.Item] {
		v := m.tasting.at(e.At) / float64(len(m.tags[e.Item]))
		m.taste[e.Listener][tag] += v
		m.totals[e.Listener] += v
	}
	return m.counts.Learn(e)
}

// Freeze implements Model.
func (m *affinity) Freeze(at time.Time) error {
	m.freeze(at)
	scale := m.counts.counts.ageing.scale(at.UnixMilli())
	m.pop = make([]float32, m.catalogue)
	for i := range m.pop {
		m.pop[i] = float32(math.Pow(max(m.counts.counts.values[i]*scale, 0), m.p["beta"]))
	}
	return nil
}

// Refresh implements Live.
func (m *affinity) Refresh(at time.Time) error { return m.Freeze(at) }

// Rank implements Model.
func (m *affinity) Rank(listener int32, dst []int32) []int32 {
	shares, _ := m.shares.Get().(*[]float32)
	defer m.shares.Put(shares)
	clear(*shares)
	for tag, v := range m.taste[listener] {
		(*shares)[tag] = float32(v / m.totals[listener])
	}
	epsilon := float32(m.p["epsilon"])
	return m.rank(listener, dst, func(scores []float32) {
		for i := range scores {
			a := float32(0)
			for _, tag := range m.tags[i] {
				a += (*shares)[tag]
			}
			scores[i] = (epsilon + a/float32(max(len(m.tags[i]), 1))) * m.pop[i]
		}
	})
}
