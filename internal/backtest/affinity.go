package backtest

import (
	"math"
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
	tasting ageing
	pop     []float32
}

var _ Live = (*affinity)(nil)

func newAffinity(b base, p params) Model {
	popular, _ := newPopularity(b, params{"half_life": p["half_life"]}).(*popularity)
	m := &affinity{base: b, p: p, counts: *popular, taste: make([]map[int32]float64, len(b.data.Listeners)), tasting: newAgeing(p["taste"])}
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
		m.taste[e.Listener][tag] += m.tasting.at(e.At) / float64(len(m.tags[e.Item]))
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
	total := 0.
	for _, v := range m.taste[listener] {
		total += v
	}
	return m.rank(listener, dst, func(scores []float32) {
		for i := range scores {
			a := 0.
			for _, tag := range m.tags[i] {
				a += m.taste[listener][tag] / float64(len(m.tags[i]))
			}
			if total > 0 {
				a /= total
			}
			scores[i] = float32(m.p["epsilon"]+a) * m.pop[i]
		}
	})
}
