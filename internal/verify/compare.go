package verify

import (
	"fmt"
	"maps"
	"slices"

	"earworm/model/factor"
)

// Result is a verdict in numbers of events; a row that contradicts itself or has no reason to be counts as one wrong.
type Result struct {
	Lost, Duplicated, Wrong int
	// Of is the number of events that count in listeners' state.
	Of int
	// First says what differs first; it may name a listener, and is for the operator's eyes.
	First string
}

// OK reports whether nothing differs.
func (r *Result) OK() bool { return r.Lost == 0 && r.Duplicated == 0 && r.Wrong == 0 }

// String is the line that every harness ends with.
func (r *Result) String() string {
	return fmt.Sprintf("%d lost, %d duplicated, %d wrong of %d", r.Lost, r.Duplicated, r.Wrong, r.Of)
}

func (r *Result) note(format string, values ...any) {
	if r.First == "" {
		r.First = fmt.Sprintf(format, values...)
	}
}

func (r *Result) wrong(n int, format string, values ...any) {
	r.Wrong += n
	r.note(format, values...)
}

// count compares two numbers of events.
func (r *Result) count(have, want uint64, what string) {
	switch {
	case have < want:
		r.Lost += int(want - have) //nolint:gosec // numbers of events
	case have > want:
		r.Duplicated += int(have - want) //nolint:gosec // as above
	default:
		return
	}
	r.note("%s: %d, want %d", what, have, want)
}

// compare judges everything that is not local. The name function spells a listener for people.
func (r *Result) compare(want *fold, have *held, name func(user string) string) {
	for _, user := range slices.Sorted(maps.Keys(want.listeners)) {
		l := want.listeners[user]
		r.Of += int(l.events) //nolint:gosec // numbers of events
		got := have.listeners[user]
		if got == nil || !got.core {
			r.Lost += int(max(l.events, 1)) //nolint:gosec // as above
			r.note("%s: nothing is known, want %d events", name(user), l.events)
			continue
		}
		r.listener(name(user), l, got)
	}
	for _, user := range slices.Sorted(maps.Keys(have.listeners)) {
		if want.listeners[user] == nil {
			got := have.listeners[user]
			r.wrong(int(max(got.events, 1)), "%s: not in the listens, has %d events", name(user), got.events) //nolint:gosec // as above
		}
	}
	if have.strays > 0 {
		r.wrong(have.strays, "%d rows are in a partition that is not theirs", have.strays)
	}
	r.songs(want, have)
	if have.repeated > 0 {
		r.Duplicated += have.repeated
		r.note("%d playlists for a listener and week that had one", have.repeated)
	}
	r.count(have.tooLate, want.outcomes.TooLate, "dead letters that were too late")
	r.count(have.corrupt, want.outcomes.DeadLettered, "dead letters from the listens topic")
}

// listener compares song by song, and the events that are no plays as one more count: an event lost here does not make up for one
// applied twice there, as it would in a sum.
func (r *Result) listener(name string, want *listener, have *heldListener) {
	before := *r
	var plays, known uint64
	keys := make(map[uint64]bool, len(want.songs))
	for _, song := range slices.Sorted(maps.Keys(want.songs)) {
		key := uint64(factor.KeyOf(factor.KindSong, []byte(song)))
		keys[key] = true
		got, there := have.plays[key]
		plays, known = plays+want.songs[song].plays, known+got
		if !there && want.songs[song].plays == 0 {
			r.Lost++
			r.note("%s, song %q: not in the history", name, song)
			continue
		}
		r.count(got, want.songs[song].plays, fmt.Sprintf("%s, song %q: plays", name, song))
	}
	for _, key := range slices.Sorted(maps.Keys(have.plays)) {
		if !keys[key] {
			known += have.plays[key]
			r.wrong(int(max(have.plays[key], 1)), "%s: history of a song that was never heard", name) //nolint:gosec // a number of events
		}
	}
	if known > have.events {
		r.wrong(int(known-have.events), "%s: %d plays in %d events", name, known, have.events)
		return
	}
	r.count(have.events-known, want.events-plays, name+": events that are no plays")
	if r.Lost == before.Lost && r.Duplicated == before.Duplicated && r.Wrong == before.Wrong && have.chain != want.chain {
		r.wrong(1, "%s: the same %d events in another order or with other content", name, want.events)
	}
}

// songs compares what the song tasks counted.
func (r *Result) songs(want *fold, have *held) {
	for _, song := range slices.Sorted(maps.Keys(want.listens)) {
		r.count(have.listens[song], want.listens[song], fmt.Sprintf("song %q: listens", song))
	}
	for _, song := range slices.Sorted(maps.Keys(have.listens)) {
		if n := have.listens[song]; n > 0 && want.listens[song] == 0 {
			r.wrong(int(n), "song %q: %d listens, none happened", song, n) //nolint:gosec // a number of events
		}
	}
}
