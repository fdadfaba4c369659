package backtest

import (
	"cmp"
	"math"
	"slices"
	"time"

	"earworm/model/engagement"
	"earworm/model/factor"
	"earworm/schemas"
)

// Dataset is a history in memory, in order of time: about 70 bytes for each event. Nothing changes it, so models may share it;
// what it returns must not be changed either.
type Dataset struct {
	// Name says where the history comes from.
	Name string
	// Listeners and Items are the names, by ordinal, in the order in which the history mentions them first. Items that it never
	// mentions, but the catalogue does, come last.
	Listeners, Items []string
	// ItemMeta is what the catalogue says about each item.
	ItemMeta []factor.Meta
	// ItemArtist is the ordinal of each item's artist in Artists, -1 where it is unknown.
	ItemArtist []int32
	Artists    []string
	// Profiles is what is known about each listener; all but User may be empty.
	Profiles []schemas.Profile
	// Bots marks accounts that are known to be no people: they are learnt from, and never measured.
	Bots []bool
	// Ceiling ranks for a listener at a freeze with the truth of a simulated world; nil where there is no truth.
	Ceiling func(listener int32, at time.Time) []int32

	users, songs [][]byte // the names as events carry them
	records      []record
	choices      map[schemas.EventID]choice
	past         past
	mentioned    []int64 // when each item was mentioned first; never: the end of time
}

// choice is what a new listener chose.
type choice struct{ genres, artists [][]byte }

// record is an event, as small as it can be.
type record struct {
	id                         schemas.EventID
	at                         int64
	listener, item             int32
	pair                       int32 // of listener and item: the place of their first event in the past
	played, duration, position int32
	region                     [2]byte
	kind                       schemas.Kind
	source                     schemas.Source
	device                     schemas.Device
	marks                      uint8
}

const (
	marksFirst    = 1 << iota // the first event by which the listener consumes the item
	marksPositive             // any such event
)

// about tells whether the event mentions an item.
func (r *record) about() bool { return r.item >= 0 }

// past is, for each listener, what was consumed when: the first events about each item, in order of time.
type past struct {
	offset []int32 // by listener, and one more
	items  []int32
	at     []int64
	liked  []bool // the first event was a positive one
}

// Events calls yield for every event in order of time. The event is reused after yield returns.
func (d *Dataset) Events(yield func(*Event) bool) {
	var e Event
	for i := range d.records {
		d.event(&d.records[i], &e)
		if !yield(&e) {
			return
		}
	}
}

func (d *Dataset) event(r *record, e *Event) {
	*e = Event{
		Event: schemas.Event{
			ID: r.id, Kind: r.kind, User: d.users[r.listener], At: r.at, PlayedMs: int64(r.played), DurationMs: int64(r.duration),
			PositionMs: int64(r.position), Region: r.region, Device: r.device, Source: r.source, Slot: schemas.Unknown,
		},
		Listener: r.listener, Item: r.item, pair: r.pair, First: r.marks&marksFirst != 0, Positive: r.marks&marksPositive != 0,
	}
	if r.about() {
		e.Song = d.songs[r.item]
	}
	if r.kind == schemas.KindOnboarding {
		c := d.choices[r.id]
		e.Genres, e.Artists = c.genres, c.artists
	}
}

// Len is the number of events.
func (d *Dataset) Len() int { return len(d.records) }

// Span is the time of the first and of the last event.
func (d *Dataset) Span() (first, last time.Time) {
	if len(d.records) == 0 {
		return time.Time{}, time.Time{}
	}
	return time.UnixMilli(d.records[0].at).UTC(), time.UnixMilli(d.records[len(d.records)-1].at).UTC()
}

// Heard returns the items that the listener had consumed in any way before an instant, in the order of their first time.
func (d *Dataset) Heard(listener int32, before time.Time) []int32 {
	from, to := d.past.window(listener, 0, before.UnixMilli())
	return d.past.items[from:to]
}

// Found returns the items of which the listener's first event lies in an interval and was a positive one: what a list made at its
// beginning should have held.
func (d *Dataset) Found(listener int32, from, to time.Time) []int32 {
	var found []int32
	a, b := d.past.window(listener, from.UnixMilli(), to.UnixMilli())
	for i := a; i < b; i++ {
		if d.past.liked[i] {
			found = append(found, d.past.items[i])
		}
	}
	return found
}

// window returns the places of what the listener consumed first in [from, to).
func (p *past) window(listener int32, from, to int64) (a, b int) {
	start, end := int(p.offset[listener]), int(p.offset[listener+1])
	times := p.at[start:end]
	a, _ = slices.BinarySearch(times, from)
	b, _ = slices.BinarySearch(times, to)
	return start + a, start + max(a, b)
}

// builder takes events that are nearly in order of time and makes a Dataset.
type builder struct {
	records, late []record
	choices       map[schemas.EventID]choice
}

// add takes an event; its listener and item are numbers of the caller's own.
func (b *builder) add(r record) {
	if n := len(b.records); n > 0 && r.at < b.records[n-1].at {
		b.late = append(b.late, r)
		return
	}
	b.records = append(b.records, r)
}

// source is what the caller's numbers stand for.
type source struct {
	listeners, items int
	listener         func(int32) (name string, profile schemas.Profile, bot bool)
	item             func(int32) (name string, meta factor.Meta)
	// catalogued adds items and listeners that no event mentions.
	catalogued bool
}

// dataset orders the events and numbers listeners and items by their first mention.
func (b *builder) dataset(name string, s source) *Dataset {
	d := &Dataset{Name: name, records: b.merge(), choices: b.choices}
	listeners, items := newNumbering(s.listeners), newNumbering(s.items)
	for i := range d.records {
		r := &d.records[i]
		r.listener = listeners.of(r.listener)
		if r.about() {
			r.item = items.of(r.item)
		}
	}
	if s.catalogued {
		listeners.rest()
		items.rest()
	}
	for _, old := range listeners.order {
		name, profile, bot := s.listener(old)
		d.Listeners, d.users = append(d.Listeners, name), append(d.users, []byte(name))
		d.Profiles, d.Bots = append(d.Profiles, profile), append(d.Bots, bot)
	}
	artists := map[string]int32{}
	for _, old := range items.order {
		name, meta := s.item(old)
		d.Items, d.songs, d.ItemMeta = append(d.Items, name), append(d.songs, []byte(name)), append(d.ItemMeta, meta)
		artist, known := artists[meta.Artist]
		if meta.Artist == "" {
			artist = -1
		} else if !known {
			artist = int32(len(d.Artists)) //nolint:gosec // at most as many as items
			artists[meta.Artist] = artist
			d.Artists = append(d.Artists, meta.Artist)
		}
		d.ItemArtist = append(d.ItemArtist, artist)
	}
	d.mark()
	return d
}

// merge puts the late events where they belong; of equals the one that came in time is first.
func (b *builder) merge() []record {
	if len(b.late) == 0 {
		return b.records
	}
	slices.SortStableFunc(b.late, func(x, y record) int { return cmp.Compare(x.at, y.at) })
	n := len(b.records)
	all := append(b.records, b.late...) //nolint:gocritic // the builder is done
	late := b.late
	for to := len(all) - 1; len(late) > 0; to-- { // from the end, so that nothing is overwritten that is still to be moved
		if n > 0 && all[n-1].at > late[len(late)-1].at {
			all[to] = all[n-1]
			n--
		} else {
			all[to] = late[len(late)-1]
			late = late[:len(late)-1]
		}
	}
	return all
}

// numbering gives ordinals in the order of first mention.
type numbering struct{ ordinal, order []int32 }

func newNumbering(n int) *numbering {
	b := &numbering{ordinal: make([]int32, n)}
	for i := range b.ordinal {
		b.ordinal[i] = -1
	}
	return b
}

func (b *numbering) of(old int32) int32 {
	if b.ordinal[old] < 0 {
		b.ordinal[old] = int32(len(b.order)) //nolint:gosec // at most as many as there are numbers
		b.order = append(b.order, old)
	}
	return b.ordinal[old]
}

func (b *numbering) rest() {
	for old := range b.ordinal {
		b.of(int32(old))
	}
}

// mark finds out which events are positive, which are first, and what each listener consumed when.
func (d *Dataset) mark() {
	offset := make([]int32, len(d.Listeners)+1)
	for i := range d.records {
		d.records[i].markPositive()
		offset[d.records[i].listener+1]++
	}
	for l := range d.Listeners {
		offset[l+1] += offset[l]
	}
	order, next := make([]int32, len(d.records)), slices.Clone(offset)
	for i := range d.records { // a counting sort: the events of each listener, in order of time
		l := d.records[i].listener
		order[next[l]] = int32(i)
		next[l]++
	}
	d.mentioned = slices.Repeat([]int64{math.MaxInt64}, len(d.Items))
	d.past.offset = make([]int32, len(d.Listeners)+1)
	mentioned, liked := make([]int32, len(d.Items)), make([]int32, len(d.Items)) // by which listener last, plus one
	pairs := make([]int32, len(d.Items))                                         // of that listener
	for l := range d.Listeners {
		stamp := int32(l) + 1
		for _, i := range order[offset[l]:offset[l+1]] {
			r := &d.records[i]
			if !r.about() {
				continue
			}
			positive := r.marks&marksPositive != 0
			if mentioned[r.item] != stamp {
				mentioned[r.item] = stamp
				d.mentioned[r.item] = min(d.mentioned[r.item], r.at)
				pairs[r.item] = int32(len(d.past.items)) //nolint:gosec // at most as many as events
				d.past.items, d.past.at = append(d.past.items, r.item), append(d.past.at, r.at)
				d.past.liked = append(d.past.liked, positive)
			}
			r.pair = pairs[r.item]
			if positive && liked[r.item] != stamp {
				liked[r.item] = stamp
				r.marks |= marksFirst
			}
		}
		d.past.offset[l+1] = int32(len(d.past.items)) //nolint:gosec // at most as many as events
	}
}

// markPositive applies production's rule of what counts as listened to.
func (r *record) markPositive() {
	listen := engagement.Listen{PlayedMs: int64(r.played), DurationMs: int64(r.duration), PositionMs: int64(r.position)}
	switch r.kind {
	case schemas.KindPlay:
		listen.Signal = engagement.Play
	case schemas.KindSkip:
		listen.Signal = engagement.Skip
	case schemas.KindPlaylistAdd:
		r.marks |= marksPositive
		return
	default:
		return
	}
	if r.about() && engagement.FullListen(listen) {
		r.marks |= marksPositive
	}
}
