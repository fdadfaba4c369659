package verify

import (
	"slices"
	"time"

	"earworm/schemas"
	"earworm/state"
)

// rememberedMax is how many event ids are remembered for one (listener, song); beyond it the older half is forgotten.
const rememberedMax = 4096

// fold is what the listens so far must have led to.
type fold struct {
	window    time.Duration
	listeners map[string]*listener
	listens   map[string]uint64 // plays and skips by song, of everybody, erased listeners included
	outcomes  Outcomes
}

// listener is what must be known of one.
type listener struct {
	events, chain uint64
	newest        int64 // event time of the newest applied event, Unix ms
	songs         map[string]*entry
	songless      entry // events about no song
}

// entry is what must be known of a listener and a song.
type entry struct {
	plays   uint64
	ids     []remembered
	horizon int64 // Unix seconds; below it, ids were forgotten
}

type remembered struct {
	id schemas.EventID
	at int64 // Unix seconds
}

// outcome is what the rules say about one event.
type outcome uint8

const (
	applied outcome = iota
	duplicate
	tooLate
)

func newFold(window time.Duration) *fold {
	return &fold{window: window, listeners: map[string]*listener{}, listens: map[string]uint64{}}
}

// add folds one record of the listens topic in. One that does not decode must have become a dead letter.
func (f *fold) add(user, value []byte) {
	f.outcomes.Consumed++
	var e schemas.Event
	if err := e.UnmarshalBinary(value); err != nil {
		f.outcomes.DeadLettered++
		return
	}
	if e.Kind == schemas.KindErase {
		delete(f.listeners, string(user))
		f.outcomes.Applied++
		return
	}
	l := f.listeners[string(user)]
	if l == nil {
		l = &listener{songs: map[string]*entry{}}
		f.listeners[string(user)] = l
	}
	if e.Kind == schemas.KindProfile {
		f.outcomes.Applied++
		return
	}
	switch l.admit(&e, f.window) {
	case duplicate:
		f.outcomes.Duplicate++
	case tooLate:
		f.outcomes.TooLate++
	case applied:
		f.outcomes.Applied++
		l.apply(&e)
		if len(e.Song) > 0 && (e.Kind == schemas.KindPlay || e.Kind == schemas.KindSkip) {
			f.listens[string(e.Song)]++
		}
	}
}

// entryOf returns the entry of the event's song, which is new if the listener has none yet.
func (l *listener) entryOf(e *schemas.Event) *entry {
	if len(e.Song) == 0 {
		return &l.songless
	}
	if known := l.songs[string(e.Song)]; known != nil {
		return known
	}
	return &entry{}
}

// admit applies the rules of de-duplication: an id seen before is a duplicate; an event older than the time up to which
// ids were forgotten may be one, and is too late. Ids are forgotten when they are a window older than the listener's newest event.
func (l *listener) admit(e *schemas.Event, window time.Duration) outcome {
	if e.ID.IsZero() {
		return applied
	}
	known, at := l.entryOf(e), e.At/1000
	for _, seen := range known.ids {
		if seen.id == e.ID {
			return duplicate
		}
	}
	if at < known.horizon {
		return tooLate
	}
	known.forget((max(l.newest, e.At) - window.Milliseconds()) / 1000)
	if at >= known.horizon {
		known.remember(e.ID, at)
	}
	if len(e.Song) > 0 {
		l.songs[string(e.Song)] = known
	}
	return applied
}

func (n *entry) forget(before int64) {
	kept := slices.DeleteFunc(n.ids, func(seen remembered) bool { return seen.at < before })
	if len(kept) < len(n.ids) {
		n.horizon = max(n.horizon, before)
	}
	n.ids = kept
}

func (n *entry) remember(id schemas.EventID, at int64) {
	if len(n.ids) >= rememberedMax {
		times := make([]int64, 0, len(n.ids))
		for _, seen := range n.ids {
			times = append(times, seen.at)
		}
		slices.Sort(times)
		n.forget(times[len(times)/2] + 1)
	}
	n.ids = append(n.ids, remembered{id: id, at: at})
}

// apply counts an admitted event.
func (l *listener) apply(e *schemas.Event) {
	l.events++
	l.chain = state.Chain(l.chain, state.Link{Kind: byte(e.Kind), At: e.At, ID: e.ID, Song: e.Song})
	l.newest = max(l.newest, e.At)
	if len(e.Song) == 0 {
		return
	}
	known := l.entryOf(e)
	if e.Kind == schemas.KindPlay {
		known.plays++
	}
	l.songs[string(e.Song)] = known
}
