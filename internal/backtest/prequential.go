package backtest

import (
	"fmt"
	"time"
)

// Live is a Model that learns from every event and can rank at any time. It is measured prequentially too.
type Live interface {
	Model
	// Refresh brings up to date what Rank reads, between two events. Unlike Freeze it is no week's end, and nothing is to be learnt
	// from it.
	Refresh(at time.Time) error
}

// prequential tests, then trains (Gama, Sebastião, Rodrigues, "On evaluating stream learning algorithms", Machine Learning 2013; for
// recommenders Vinagre, Jorge, Gama, 2014): at the beginning of every day of the measured weeks the model ranks for those who find
// something on that day, and each of their finds is a hit if it is listed. With a list for every event instead of every day the
// ranking would cost more than all learning.
type prequential struct {
	days []*day
	next int
	hits mean
}

// day is who finds what from one midnight UTC to the next.
type day struct {
	at     time.Time
	people []person
}

// days lays out the days of the measured weeks, with a sample of people for each.
func (d *Dataset) days(weeks []*week, o Options) []*day {
	var days []*day
	for _, w := range weeks {
		for n := range 7 {
			today := &day{at: w.at.AddDate(0, 0, n)}
			for l := range int32(len(d.Listeners)) { //nolint:gosec // listeners are numbered so
				if d.Bots[l] {
					continue
				}
				found := d.Found(l, today.at, today.at.AddDate(0, 0, 1))
				if len(found) > 0 && len(d.Heard(l, today.at)) >= o.MinHistory {
					today.people = append(today.people, person{listener: l, found: found})
				}
			}
			if every := len(today.people) / max(o.DailySample, 1); every > 1 {
				sample := today.people[:0]
				for i, p := range today.people {
					if i%every == 0 {
						sample = append(sample, p)
					}
				}
				today.people = sample
			}
			if len(today.people) > 0 { // without events there is no time at which it would be tested
				days = append(days, today)
			}
		}
	}
	return days
}

// lists is how many lists all days ask for.
func (p *prequential) lists() int64 {
	n := 0
	for _, today := range p.days {
		n += len(today.people)
	}
	return int64(n)
}

// due tells whether a day has begun that has not been tested.
func (p *prequential) due(at int64) bool {
	return p.next < len(p.days) && p.days[p.next].at.UnixMilli() <= at
}

// before tests all days that begin at or before an instant. What it takes is not the model's time of the week.
func (p *prequential) before(at int64, h *harness, m Live) error {
	for ; p.due(at); p.next++ {
		today := p.days[p.next]
		if err := m.Refresh(today.at); err != nil {
			return fmt.Errorf("refreshing at %s: %w", today.at.Format(time.DateOnly), err)
		}
		listed := newMarks(len(h.d.Items))
		for i, list := range rank(m, today.people) {
			listed.set(list[:min(len(list), ListLength)])
			for _, item := range today.people[i].found {
				if listed.has(item) {
					p.hits.add(1)
				} else {
					p.hits.add(0)
				}
			}
		}
		h.progress(int64(len(today.people)))
	}
	return nil
}
