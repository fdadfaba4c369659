package backtest

import "time"

// popularity lists what most have consumed lately: the baseline every recommender has to beat, and hard to beat on some streams
// (Ji et al., "A re-visit of the popularity baseline in recommender systems", SIGIR 2020). Each listener counts once, by the latest
// time, with an exponentially decayed weight; with every=1 each time counts.
type popularity struct {
	base
	counts decayed
	latest []int64 // of each pair, when it was counted; nil where every time counts
	chart  []int32
}

var _ Live = (*popularity)(nil)

func newPopularity(b base, p params) Model {
	m := &popularity{base: b, counts: newDecayed(len(b.data.Items), p["half_life"])}
	if p["every"] == 0 {
		m.latest = make([]int64, len(b.data.past.items))
	}
	return m
}

// Learn implements Model.
func (p *popularity) Learn(e *Event) error {
	if !e.Positive {
		return nil
	}
	p.counts.add(e.Item, e.At)
	if p.latest != nil {
		if before := p.latest[e.pair]; before != 0 {
			p.counts.values[e.Item] -= p.counts.ageing.at(before)
		}
		p.latest[e.pair] = e.At
	}
	return nil
}

// Freeze implements Model.
func (p *popularity) Freeze(at time.Time) error {
	p.freeze(at)
	p.chart = p.charted(func(item int32) float64 { return p.counts.values[item] })
	return nil
}

// Refresh implements Live.
func (p *popularity) Refresh(at time.Time) error { return p.Freeze(at) }

// Rank implements Model.
func (p *popularity) Rank(listener int32, dst []int32) []int32 { return p.walk(listener, dst, p.chart) }

// decayed are counts that halve in a half-life.
type decayed struct {
	ageing ageing
	values []float64 // relative to each other
}

func newDecayed(n int, days float64) decayed {
	return decayed{ageing: newAgeing(days), values: make([]float64, n)}
}

func (d *decayed) add(i int32, at int64) {
	weight, shift := d.ageing.weight(at)
	if shift != 1 {
		for j := range d.values {
			d.values[j] *= shift
		}
	}
	d.values[i] += weight
}

// regional is decayed popularity in the listener's region, plus a share of that of the whole world, which decides where the region
// has heard little.
type regional struct {
	base
	days, share float64
	world       decayed
	counts      map[[2]byte]*decayed
	charts      map[[2]byte][]int32
	home        [][2]byte // of each listener, by the last event that told
}

var _ Live = (*regional)(nil)

func newRegional(b base, p params) Model {
	r := &regional{
		base: b, days: p["half_life"], share: p["world"], world: newDecayed(len(b.data.Items), p["half_life"]),
		counts: map[[2]byte]*decayed{}, home: make([][2]byte, len(b.data.Listeners)),
	}
	for l, profile := range b.data.Profiles {
		copy(r.home[l][:], profile.Region)
	}
	return r
}

// Learn implements Model.
func (r *regional) Learn(e *Event) error {
	if e.Region != [2]byte{} {
		r.home[e.Listener] = e.Region
	}
	if !e.Positive {
		return nil
	}
	r.world.add(e.Item, e.At)
	region := r.home[e.Listener]
	if r.counts[region] == nil {
		counts := newDecayed(len(r.data.Items), r.days)
		r.counts[region] = &counts
	}
	r.counts[region].add(e.Item, e.At)
	return nil
}

// Freeze implements Model.
func (r *regional) Freeze(at time.Time) error {
	r.freeze(at)
	r.charts = map[[2]byte][]int32{{}: r.charted(func(item int32) float64 { return r.world.values[item] })}
	whole := r.world.ageing.scale(at.UnixMilli())
	for region, counts := range r.counts {
		if region == [2]byte{} {
			continue
		}
		here := counts.ageing.scale(at.UnixMilli())
		r.charts[region] = r.charted(func(item int32) float64 {
			return counts.values[item]*here + r.share*r.world.values[item]*whole
		})
	}
	return nil
}

// Refresh implements Live.
func (r *regional) Refresh(at time.Time) error { return r.Freeze(at) }

// Rank implements Model.
func (r *regional) Rank(listener int32, dst []int32) []int32 {
	chart, ok := r.charts[r.home[listener]]
	if !ok {
		chart = r.charts[[2]byte{}]
	}
	return r.walk(listener, dst, chart)
}
