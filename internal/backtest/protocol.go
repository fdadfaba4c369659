package backtest

import (
	"cmp"
	"math"
	"slices"
	"time"
)

const (
	dayMs  = 24 * 60 * 60 * 1000
	weekMs = 7 * dayMs
	// mondayMs is 1970-01-05T00:00Z, the first Monday of Unix time.
	mondayMs = 4 * dayMs
)

// week is a freeze and what the seven days after it hold: the same for every model.
type week struct {
	at        time.Time
	catalogue int       // the items that somebody had consumed before: those with smaller ordinals
	audience  []int32   // of each of them, the listeners who had
	rank      []float32 // the share of the catalogue with a smaller audience, equals counting half: the popularity percentile
	people    []person
	measured  int // of the people
}

// person is somebody who found something new in the week.
type person struct {
	listener int32
	history  int     // different items consumed before
	found    []int32 // what a list should hold
	// measured tells that the history is long enough; the others count in the segments by history only.
	measured   bool
	mainstream segment
}

// weeks lays out the measured weeks: every full week after warming up in which enough listeners can be measured.
func (d *Dataset) weeks(o Options) []*week {
	if d.Len() == 0 {
		return nil
	}
	first, last := d.records[0].at, d.records[d.Len()-1].at
	var all []*week
	for at := mondayFrom(float64(first) + o.Warm*float64(last-first)); at+weekMs <= last+dayMs; at += weekMs {
		if w := d.week(at, o); w.measured >= max(o.MinUsers, 1) {
			w.sample(o.Sample)
			all = append(all, w)
		}
	}
	tune := min(o.TuneWeeks, len(all))
	if o.OnTuneWeeks {
		return all[:tune]
	}
	return all[tune:]
}

// mondayFrom is the first Monday 00:00 UTC at or after an instant, in Unix ms.
func mondayFrom(at float64) int64 { return int64(math.Ceil((at-mondayMs)/weekMs))*weekMs + mondayMs }

func (d *Dataset) week(at int64, o Options) *week {
	w := &week{at: time.UnixMilli(at).UTC()}
	w.catalogue, w.audience = d.audience(at)
	w.rank = percentiles(w.audience)
	mainstream := map[int32]float64{}
	for l := range int32(len(d.Listeners)) { //nolint:gosec // listeners are numbered so
		if d.Bots[l] {
			continue
		}
		found := d.Found(l, w.at, w.at.Add(weekMs*time.Millisecond))
		known := d.Heard(l, w.at)
		if len(found) == 0 || len(known) == 0 {
			continue
		}
		p := person{listener: l, history: len(known), found: found, measured: len(known) >= o.MinHistory}
		if p.measured {
			w.measured++
			sum := 0.
			for _, item := range known {
				sum += float64(w.rank[item])
			}
			mainstream[l] = sum / float64(len(known))
		}
		w.people = append(w.people, p)
	}
	w.divide(mainstream)
	return w
}

// divide puts the measured people into thirds by the mean popularity percentile of what they know.
func (w *week) divide(mainstream map[int32]float64) {
	var order []int
	for i := range w.people {
		if w.people[i].measured {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(mainstream[w.people[a].listener], mainstream[w.people[b].listener])
	})
	for n, i := range order {
		w.people[i].mainstream = segment(3 * n / len(order)) //nolint:gosec // 0 to 2
	}
}

// sample keeps about n people, evenly; n 0 keeps all.
func (w *week) sample(n int) {
	if n == 0 || n >= len(w.people) {
		return
	}
	kept := w.people[:0:0]
	w.measured = 0
	for i := range n {
		p := w.people[i*len(w.people)/n]
		kept = append(kept, p)
		if p.measured {
			w.measured++
		}
	}
	w.people = kept
}

// audience counts the listeners who consumed each item before an instant, of the items that had any: those with smaller ordinals.
func (d *Dataset) audience(at int64) (catalogue int, users []int32) {
	users = make([]int32, len(d.Items))
	for i, item := range d.past.items {
		if d.past.at[i] < at {
			users[item]++
			catalogue = max(catalogue, int(item)+1)
		}
	}
	return catalogue, users[:catalogue]
}

// percentiles is the rank of each value as a share of all; equals share their mean rank.
func percentiles(values []int32) []float32 {
	order := make([]int32, len(values))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return cmp.Compare(values[a], values[b]) })
	rank := make([]float32, len(values))
	for from := 0; from < len(order); {
		to := from
		for to < len(order) && values[order[to]] == values[order[from]] {
			to++
		}
		mean := float32(from+1+to) / 2 / float32(len(order)) // ranks count from 1
		for _, item := range order[from:to] {
			rank[item] = mean
		}
		from = to
	}
	return rank
}
