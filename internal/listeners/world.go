package listeners

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"time"
)

const (
	second int64 = 1000
	minute       = 60 * second
	hour         = 60 * minute
	day          = 24 * hour
	week         = 7 * day
)

// The parts of the search for a new song; the rest is the listener's own taste.
const (
	artistShare  = .12 // another song by an artist of the library
	releaseShare = .06 // something just out in the listener's scenes
	chartShare   = .07 // what everybody plays
)

// sessionSongs is the mean number of songs in a sitting.
const sessionSongs = 9

// Counts says what the weeks delivered so far held. Events includes everything.
type Counts struct {
	Events, Starts, Duplicates, Late, Bad int64
}

// World is a simulated world. It is not for concurrent use.
type World struct {
	cfg Config
	catalogue
	people    []listener
	users     []string
	virals    []Viral
	campaigns []Campaign
	zones     []*time.Location
	rhythm    [2]alias // hour of the local day, on working days and weekends

	// What follows is the progress of the run; rewind resets it.
	habits  []habit
	next    int  // the week to be generated next
	halfway bool // a week was broken off
	pending [8][]record
	order   []uint64
	begins  []int64
	counts  Counts
	surf    [][24][]surf // by region and hour of the day in hand
	popular popularity
}

// New builds the world of cfg: the catalogue, the people and everything that will happen to them from outside.
func New(cfg Config) (*World, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("simulated world: %w", err)
	}
	cfg.Start = cfg.Start.UTC()
	w := &World{cfg: cfg, catalogue: newCatalogue(cfg), surf: make([][24][]surf, cfg.Regions)}
	for r := range cfg.Regions {
		zone, err := time.LoadLocation(regionTable[r].zone)
		if err != nil {
			return nil, fmt.Errorf("simulated world: zone of %s: %w", regionTable[r].code, err)
		}
		w.zones = append(w.zones, zone)
	}
	w.rhythm = [2]alias{
		newAlias([]float64{3, 1.5, 1, .8, 1, 2, 5, 9, 10, 8, 7, 7, 8, 8, 7, 8, 9, 11, 11, 10, 9, 9, 8, 5}),
		newAlias([]float64{6, 4, 3, 2, 1, 1, 1.5, 3, 5, 7, 9, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 9, 7}),
	}
	w.newListeners()
	w.newVirals()
	w.newCampaigns()
	w.users = userIDs(len(w.people))
	w.rewind()
	return w, nil
}

// Config is what the world was built from.
func (w *World) Config() Config { return w.cfg }

// WeekStart is the Monday 00:00 UTC on which week n (from 0) begins: the freeze its playlists are made at.
func (w *World) WeekStart(n int) time.Time { return w.cfg.Start.AddDate(0, 0, 7*n) }

// Counts tells what has been delivered since the run began.
func (w *World) Counts() Counts { return w.counts }

// Week delivers the events of week n (from 0) in the order they are sent. Weeks not yet generated before it are
// generated and dropped; asking for an earlier one, or again after breaking off, starts over from the beginning.
// The stream is the same in each case.
func (w *World) Week(n int) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		if n < 0 || n >= w.cfg.Weeks {
			return
		}
		if w.halfway || n < w.next {
			w.rewind()
		}
		for w.next < n {
			w.run(func(Event) bool { return true })
		}
		w.run(yield)
	}
}

func (w *World) rewind() {
	w.habits = make([]habit, len(w.people))
	for i := range w.habits {
		w.habits[i].dice = roll(w.cfg.Seed, forListening, i)
	}
	for i := range w.pending {
		w.pending[i] = w.pending[i][:0]
	}
	w.next, w.halfway, w.counts = 0, false, Counts{}
	w.popular = newPopularity(len(w.songs), w.cfg.Start.UnixMilli())
}

// run generates the next week and hands its events to yield until that returns false.
func (w *World) run(yield func(Event) bool) {
	w.halfway = true
	for d := 7 * w.next; d < 7*w.next+7; d++ {
		dayStart := w.cfg.Start.UnixMilli() + int64(d)*day
		w.tide(dayStart)
		for i := range w.people {
			w.live(i, dayStart)
		}
		if !w.deliver(d, dayStart, yield) {
			return
		}
	}
	w.popular.freeze(w.WeekStart(w.next + 1).UnixMilli())
	w.next++
	w.halfway = false
}

// live lets one listener live one day (UTC).
func (w *World) live(i int, dayStart int64) {
	p, h := &w.people[i], &w.habits[i]
	if p.joined >= dayStart+day {
		return
	}
	s := sitting{w: w, p: p, h: h, d: &h.dice, who: int32(i), week: w.weekOf(dayStart), interests: p.interests} //nolint:gosec // bounded
	if p.campaign >= 0 {
		s.push(&w.campaigns[p.campaign], dayStart)
		return
	}
	if len(p.drifts) > 0 {
		s.interests = p.interestsIn(s.week)
	}
	if p.joined >= dayStart {
		s.send(record{at: p.joined, kind: kindOnboarding, song: -1, played: -1, position: -1})
	}
	noon := time.UnixMilli(dayStart + day/2).In(w.zones[p.region])
	_, offset := noon.Zone()
	rhythm, busy := 0, .96
	if d := noon.Weekday(); d == time.Saturday || d == time.Sunday {
		rhythm, busy = 1, 1.1
	}
	w.begins = w.begins[:0]
	for range h.dice.poisson(p.rate * busy / 7 / sessionSongs) {
		local := int64(w.rhythm[rhythm].draw(&h.dice))*hour + int64(h.dice.float()*float64(hour))
		w.begins = append(w.begins, dayStart+(local-int64(offset)*second+2*day)%day)
	}
	slices.Sort(w.begins) // nobody replays in the morning what he finds in the evening
	for _, at := range w.begins {
		if at >= p.joined {
			s.session(max(at, h.busyUntil))
		}
	}
	if w.cfg.Playlists != nil {
		s.weekly(dayStart, int64(offset)*second)
	}
}

// weekOf is the week an instant of the run lies in.
func (w *World) weekOf(at int64) int {
	return min(max(int((at-w.cfg.Start.UnixMilli())/week), 0), w.cfg.Weeks-1)
}

// enqueue puts a record into the day it is sent in; what would be sent after the run is sent at its end.
func (w *World) enqueue(r record) {
	start := w.cfg.Start.UnixMilli()
	r.sent = min(r.sent, start+int64(w.cfg.Weeks)*week-1)
	d := (r.sent - start) / day
	w.pending[d%int64(len(w.pending))] = append(w.pending[d%int64(len(w.pending))], r)
}

// deliver sorts the records of a day by the time they are sent, and yields them.
func (w *World) deliver(d int, dayStart int64, yield func(Event) bool) bool {
	batch := w.pending[d%len(w.pending)]
	w.order = w.order[:0]
	for i := range batch {
		w.order = append(w.order, uint64(batch[i].sent-dayStart)<<32|uint64(i)) //nolint:gosec // within the day
	}
	slices.Sort(w.order)
	for _, key := range w.order {
		r := &batch[key&math.MaxUint32]
		w.count(r)
		if !yield(w.event(r)) {
			return false
		}
	}
	w.pending[d%len(w.pending)] = batch[:0]
	return true
}

func (w *World) count(r *record) {
	w.counts.Events++
	switch {
	case r.bad != BadNone:
		w.counts.Bad++
		return
	case r.duplicate:
		w.counts.Duplicates++
	case r.late:
		w.counts.Late++
	}
	if r.kind <= kindSkip && !r.duplicate {
		w.counts.Starts++
	}
}
