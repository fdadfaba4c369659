package oracle

import (
	"maps"
	"slices"
	"time"
)

// KindPlay is the kind that counts as a play of its song.
const KindPlay = "play"

// Event is one input event as its maker meant it, whatever it was encoded to.
type Event struct {
	User string
	Song string   // empty for kinds without a song
	ID   [16]byte // zero: the event has no id, and cannot be a duplicate
	Kind string   // as on the wire: "play", "skip", "like" ...
	At   int64    // Unix milliseconds; read by Rules.TooLate and chains only
	// Code is the dead-letter code this record must get, for input that its maker broke on purpose; empty for a sound record.
	Code string
}

// Rules are the parts of the contract that a test may vary. The zero value: nothing is too late, no order is compared.
type Rules struct {
	// TooLate, when it is positive, rejects an event of a (listener, song) whose At lies more than this before the newest
	// applied one, be it a duplicate or not. The verdict then depends on the order of each listener's events.
	TooLate time.Duration
	// Window, when it is positive, is how long ids are remembered, instead of for ever: those of a (listener, song) are forgotten
	// when they are, in whole seconds, more than this behind the listener's newest applied event. An event older than the point up
	// to which ids were forgotten is too late, unless its id is still known. At most 4,096 ids are expected of one (listener, song).
	Window time.Duration
	// Chain, when it is not nil, folds each applied event of a listener, in input order, into a hash. Use it only when the
	// order of each listener's events is deterministic.
	Chain func(previous uint64, e Event) uint64
}

// Totals are events by outcome; Consumed is the sum of the others.
type Totals struct{ Consumed, Applied, Duplicate, TooLate, DeadLettered uint64 }

// Listener is what must be known about one listener.
type Listener struct {
	Events uint64            // applied events of every kind
	Plays  map[string]uint64 // applied plays by song
	Chain  uint64            // see Rules.Chain
}

type identity struct {
	user, song string
	id         [16]byte
}

type pair struct{ user, song string }

// memory is what is remembered of a (listener, song) under Rules.Window: ids with their second, and the point up to which some
// were forgotten.
type memory struct {
	ids     map[[16]byte]int64
	horizon int64
}

// Fold is the expectation built from all events so far. It is not for concurrent use.
type Fold struct {
	rules     Rules
	listeners map[string]*Listener
	seen      map[identity]struct{}
	newest    map[pair]int64
	latest    map[string]int64 // by user, under Rules.Window
	memories  map[pair]*memory
	dead      map[string]uint64
	totals    Totals
}

// New returns the fold of no events.
func New(rules Rules) *Fold {
	return &Fold{
		rules:     rules,
		listeners: make(map[string]*Listener),
		seen:      make(map[identity]struct{}),
		newest:    make(map[pair]int64),
		latest:    make(map[string]int64),
		memories:  make(map[pair]*memory),
		dead:      make(map[string]uint64),
	}
}

// Add folds events in. Deliver an event to it as often as it was produced: repeats are what duplicates are judged by.
func (f *Fold) Add(events ...Event) {
	for _, e := range events {
		f.add(e)
	}
}

func (f *Fold) add(e Event) {
	f.totals.Consumed++
	if e.Code != "" {
		f.totals.DeadLettered++
		f.dead[e.Code]++
		return
	}
	at := pair{e.User, e.Song}
	newest, known := f.newest[at]
	if f.rules.TooLate > 0 && known && e.At < newest-f.rules.TooLate.Milliseconds() {
		f.totals.TooLate++
		return
	}
	if f.rules.Window > 0 {
		f.addWithin(e)
		return
	}
	if e.ID != ([16]byte{}) {
		key := identity{e.User, e.Song, e.ID}
		if _, ok := f.seen[key]; ok {
			f.totals.Duplicate++
			return
		}
		f.seen[key] = struct{}{}
	}
	if !known || e.At > newest {
		f.newest[at] = e.At
	}
	f.apply(e)
}

// addWithin is add under Rules.Window.
func (f *Fold) addWithin(e Event) {
	latest := max(f.latest[e.User], e.At)
	if e.ID != ([16]byte{}) {
		m := f.memories[pair{e.User, e.Song}]
		if m == nil {
			m = &memory{ids: make(map[[16]byte]int64)}
			f.memories[pair{e.User, e.Song}] = m
		}
		second := e.At / 1000
		if _, known := m.ids[e.ID]; known {
			f.totals.Duplicate++
			return
		}
		if second < m.horizon {
			f.totals.TooLate++
			return
		}
		for id, at := range m.ids {
			if before := (latest - f.rules.Window.Milliseconds()) / 1000; at < before {
				delete(m.ids, id)
				m.horizon = max(m.horizon, before)
			}
		}
		if second >= m.horizon {
			m.ids[e.ID] = second
		}
	}
	f.latest[e.User] = latest
	f.apply(e)
}

func (f *Fold) apply(e Event) {
	f.totals.Applied++
	listener := f.listeners[e.User]
	if listener == nil {
		listener = &Listener{Plays: make(map[string]uint64)}
		f.listeners[e.User] = listener
	}
	listener.Events++
	if e.Kind == KindPlay {
		listener.Plays[e.Song]++
	}
	if f.rules.Chain != nil {
		listener.Chain = f.rules.Chain(listener.Chain, e)
	}
}

// Erase forgets a listener with everything that was remembered of their events; what follows is somebody new. Totals stay: they
// are about the input.
func (f *Fold) Erase(user string) {
	delete(f.listeners, user)
	delete(f.latest, user)
	maps.DeleteFunc(f.seen, func(key identity, _ struct{}) bool { return key.user == user })
	maps.DeleteFunc(f.newest, func(key pair, _ int64) bool { return key.user == user })
	maps.DeleteFunc(f.memories, func(key pair, _ *memory) bool { return key.user == user })
}

// Totals are the events so far by outcome.
func (f *Fold) Totals() Totals { return f.totals }

// DeadLetters are the dead-lettered events by code; the map is the caller's.
func (f *Fold) DeadLetters() map[string]uint64 { return maps.Clone(f.dead) }

// Users are the listeners with an applied event, sorted.
func (f *Fold) Users() []string { return slices.Sorted(maps.Keys(f.listeners)) }

// Listener is what must be known about one listener, the zero value for one without an applied event; the map is the caller's.
func (f *Fold) Listener(user string) Listener {
	known, ok := f.listeners[user]
	if !ok {
		return Listener{}
	}
	listener := *known
	listener.Plays = maps.Clone(known.Plays)
	return listener
}
