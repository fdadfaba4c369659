package oracle

import (
	"fmt"
	"maps"
	"slices"
)

// Got tells what the system under test holds for a listener: the number of applied events, and the plays by song. A listener it
// does not know has no events and no plays.
type Got func(user string) (events uint64, plays map[string]uint64)

// Result is the verdict. Lost, Duplicated and Wrong are numbers of events (Wrong also counts listeners whose order differs).
type Result struct {
	Lost            int    // expected and not there
	Duplicated      int    // there more often than expected
	Wrong           int    // there although nothing like it was in the input, or contradicting itself
	Of              int    // applied events expected
	FirstDifference string // the first listener and song that differ, in order of their names; empty when none does
}

// String is the line every harness ends with.
func (r Result) String() string {
	return fmt.Sprintf("%d lost, %d duplicated, %d wrong of %d", r.Lost, r.Duplicated, r.Wrong, r.Of)
}

// OK reports whether nothing differs.
func (r Result) OK() bool { return r.Lost == 0 && r.Duplicated == 0 && r.Wrong == 0 }

// Compare judges what the system holds. Present are the listeners the system says it knows, if it can list them: one that is not
// in the input is wrong with all its events.
//
// Counts are compared song by song, and the events that are not plays as one more count: an event lost here does not make up for
// one applied twice there, as it would in a sum.
func Compare(expected *Fold, got Got, present ...string) Result {
	result := Result{Of: int(expected.totals.Applied)} //nolint:gosec // bounded by what fits into memory
	for _, user := range expected.Users() {
		events, plays := got(user)
		result.listener(user, expected.listeners[user], events, plays)
	}
	for _, user := range slices.Sorted(slices.Values(present)) {
		if _, ok := expected.listeners[user]; ok {
			continue
		}
		events, plays := got(user)
		result.wrong(int(max(events, total(plays), 1)), //nolint:gosec // as above
			"listener %q: not in the input, has %d events", user, events)
	}
	return result
}

// CompareChains judges the order of each listener's events by Rules.Chain. Each listener whose hash differs is one wrong.
func CompareChains(expected *Fold, got func(user string) uint64) Result {
	result := Result{Of: int(expected.totals.Applied)} //nolint:gosec // as above
	for _, user := range expected.Users() {
		if want, have := expected.listeners[user].Chain, got(user); want != have {
			result.wrong(1, "listener %q: events in another order, chain %016x, want %016x", user, have, want)
		}
	}
	return result
}

func (r *Result) listener(user string, want *Listener, events uint64, plays map[string]uint64) {
	songs := maps.Clone(want.Plays)
	for song := range plays {
		songs[song] += 0
	}
	for _, song := range slices.Sorted(maps.Keys(songs)) {
		if _, known := want.Plays[song]; !known && plays[song] > 0 {
			r.wrong(int(plays[song]), "listener %q, song %q: never played, has %d plays", user, song, plays[song]) //nolint:gosec // as above
			continue
		}
		r.count(want.Plays[song], plays[song], "listener %q, song %q: %d plays, want %d", user, song)
	}
	played := total(plays)
	if played > events {
		r.wrong(int(played-events), "listener %q: %d plays in %d events", user, played, events) //nolint:gosec // as above
		return
	}
	r.count(want.Events-total(want.Plays), events-played, "listener %q: %d events that are not plays, want %d", user)
}

// count adds one comparison; format takes the names, then what the system has and what was expected.
func (r *Result) count(want, have uint64, format string, names ...any) {
	switch {
	case have < want:
		r.Lost += int(want - have) //nolint:gosec // as above
	case have > want:
		r.Duplicated += int(have - want) //nolint:gosec // as above
	default:
		return
	}
	r.note(format, append(names, have, want)...)
}

func (r *Result) wrong(n int, format string, values ...any) {
	r.Wrong += n
	r.note(format, values...)
}

func (r *Result) note(format string, values ...any) {
	if r.FirstDifference == "" {
		r.FirstDifference = fmt.Sprintf(format, values...)
	}
}

func total(plays map[string]uint64) uint64 {
	var sum uint64
	for _, n := range plays {
		sum += n
	}
	return sum
}
