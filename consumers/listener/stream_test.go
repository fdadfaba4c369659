package listener_test

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"earworm/consumers/listener"
	"earworm/consumers/stream"
	"earworm/schemas"
	"earworm/state"
)

// source makes random streams that are the same for the same seed.
type source struct {
	*rand.Rand
	users, songs int
}

func newSource(t *testing.T, users, songs int) *source {
	t.Helper()
	t.Logf("seed %d", *seed)
	return &source{Rand: rand.New(rand.NewPCG(*seed, 7)), users: users, songs: songs}
}

// kinds of a song's events, plays most of all.
func (s *source) kind() schemas.Kind {
	if s.IntN(10) < 7 {
		return schemas.KindPlay
	}
	all := []schemas.Kind{
		schemas.KindSkip, schemas.KindLike, schemas.KindUnlike, schemas.KindDislike, schemas.KindBan, schemas.KindPlaylistAdd,
		schemas.KindShare,
	}
	return all[s.IntN(len(all))]
}

// events makes n distinct events over some days, in order of time, then sends some late by minutes and a few by days, and copies
// a fifth of them to a random place behind the original.
func (s *source) events(n int, days float64) []schemas.Event {
	type placed struct {
		schemas.Event
		place float64
	}
	var all []placed
	for i := range n {
		at := hours(days * 24 * float64(i) / float64(n))
		e := event(fmt.Sprintf("user %d", s.IntN(s.users)), fmt.Sprintf("s%03d", s.IntN(s.songs)), at, i)
		if e.Kind = s.kind(); e.Kind == schemas.KindSkip {
			e.PlayedMs, e.PositionMs = 4000, 4000
		}
		if s.IntN(4) == 0 {
			e.Region = [2]byte{'J', 'P'}
		}
		place := float64(i)
		switch s.IntN(20) {
		case 0:
			place += s.Float64() * float64(n) / 3
		case 1, 2, 3:
			place += s.Float64() * 20
		}
		all = append(all, placed{e, place})
		for s.IntN(5) == 0 {
			all = append(all, placed{e, place + s.ExpFloat64()*float64(n)/10})
		}
	}
	slices.SortStableFunc(all, func(a, b placed) int { return cmp.Compare(a.place, b.place) })
	out := make([]schemas.Event, len(all))
	for i, p := range all {
		out[i] = p.Event
	}
	return out
}

// twin is what a listener's rows should hold, from the events that were applied.
type twin struct {
	events      uint64
	chain       uint64
	first, last int64
	songs       map[string]*twinSong
}

type twinSong struct {
	plays       uint32
	first, last int64
	flags       uint8
}

func (w *twin) fold(e schemas.Event) {
	w.events++
	b := binary.LittleEndian.AppendUint64(nil, w.chain)
	b = append(b, byte(e.Kind))
	b = binary.LittleEndian.AppendUint64(b, uint64(e.At))
	w.chain = xxhash.Sum64(append(append(b, e.ID[:]...), e.Song...))
	s := w.songs[string(e.Song)]
	if s == nil {
		s = &twinSong{}
		w.songs[string(e.Song)] = s
	}
	if w.events == 1 {
		w.first = e.At
	}
	w.first, w.last = min(w.first, e.At), max(w.last, e.At)
	if e.Kind == schemas.KindPlay || e.Kind == schemas.KindSkip {
		if s.first == 0 {
			s.first = e.At
		}
		s.first, s.last = min(s.first, e.At), max(s.last, e.At)
	}
	switch e.Kind {
	case schemas.KindPlay:
		s.plays++
	case schemas.KindLike:
		s.flags = s.flags&^state.FlagBanned | state.FlagLiked
	case schemas.KindUnlike:
		s.flags &^= state.FlagLiked
	case schemas.KindDislike, schemas.KindBan:
		s.flags = s.flags&^state.FlagLiked | state.FlagBanned
	case schemas.KindPlaylistAdd:
		s.flags |= state.FlagAdded
	default:
	}
}

// TestRandomStreamAgainstANaiveFold checks three things on a stream with copies and late events: no event is applied twice; the
// first copy of an event is refused only when it lies further back than the window; the rows are the fold of what was applied.
func TestRandomStreamAgainstANaiveFold(t *testing.T) {
	t.Parallel()
	s := newSource(t, 12, 25)
	cfg := exact()
	r := newRig(t, cfg)
	listeners := map[string]*twin{}
	applied := map[schemas.EventID]bool{}
	seen := map[schemas.EventID]bool{}
	var counts stream.Counts
	for _, e := range s.events(4000, 12) {
		user := string(e.User)
		w := listeners[user]
		if w == nil {
			w = &twin{songs: map[string]*twinSong{}}
			listeners[user] = w
		}
		outcome := r.process(r.record(e))
		counts.Consumed++
		within := e.At > w.last-cfg.DedupeWindow.Milliseconds()+1000
		switch outcome {
		case stream.OutcomeApplied:
			if applied[e.ID] {
				t.Fatalf("event %s of %s is applied twice", e.ID, user)
			}
			applied[e.ID] = true
			counts.Applied++
			w.fold(e)
		case stream.OutcomeDuplicate:
			if !applied[e.ID] {
				t.Fatalf("event %s is called a copy of what never came", e.ID)
			}
			counts.Duplicate++
		case stream.OutcomeTooLate:
			if within {
				t.Fatalf("event %s, %s behind the newest, is called too late", e.ID, time.Duration(w.last-e.At)*time.Millisecond)
			}
			counts.TooLate++
		default:
			t.Fatal(outcome)
		}
		if seen[e.ID] && applied[e.ID] && within && outcome == stream.OutcomeTooLate {
			t.Fatalf("a copy within the window is %s", outcome)
		}
		seen[e.ID] = true
		if s.IntN(50) == 0 {
			r.commit()
		}
	}
	r.commit()
	if got := r.run.Counts("listens"); got != counts || !got.Balanced() {
		t.Errorf("counted %+v, want %+v", got, counts)
	}
	if counts.Duplicate < 400 || counts.TooLate < 30 {
		t.Errorf("the stream is too tame: %+v", counts)
	}
	rows := 0
	for user, w := range listeners {
		rows += 2 + len(w.songs) // core, zone index, history
		c := r.core(user)
		if c.Events != w.events || c.Chain != w.chain || c.FirstAt != w.first || c.LastAt != w.last {
			t.Errorf("%s: %d events, chain %x, %d…%d; want %d, %x, %d…%d", user, c.Events, c.Chain, c.FirstAt, c.LastAt,
				w.events, w.chain, w.first, w.last)
		}
		for id, want := range w.songs {
			h := r.heard(user, id)
			if h.Plays != want.plays || h.FirstAt != want.first || h.LastAt != want.last || h.Flags&^state.FlagTrained != want.flags {
				t.Errorf("%s, %s: %+v, want %+v", user, id, h, want)
			}
		}
	}
	if got := len(r.store.Rows()); got != rows {
		t.Errorf("%d rows, want %d", got, rows)
	}
}

// script is a stream with everything in it: listens, profiles, erasures and ticks.
func script(s *source) []any {
	var steps []any
	zones := []string{"Europe/Berlin", "America/New_York", "Asia/Tokyo", "", "No/Such"}
	next := hours(0)
	for n, e := range s.events(1800, 20) {
		steps = append(steps, e)
		user := string(e.User)
		at := time.UnixMilli(e.At)
		if n%37 == 0 {
			steps = append(steps, profile(user, at, schemas.Profile{
				TimeZone: zones[s.IntN(len(zones))], OptOut: s.IntN(8) == 0, Languages: []string{"de", "en"}[:s.IntN(3)],
			}))
		}
		if n%101 == 100 {
			steps = append(steps, erasure(user, at))
		}
		if at.After(next) {
			steps = append(steps, schemas.Tick{At: at.UnixMilli()})
			next = at.Add(5 * time.Hour)
		}
		if n == 900 {
			steps = append(steps, schemas.Tick{At: at.UnixMilli(), Week: "2026-W20", Forced: true})
		}
	}
	return append(steps, schemas.Tick{At: hours(21 * 24).UnixMilli()})
}

// outcome of playing a script: the rows, and what readers got.
type result struct {
	rows map[string][]byte
	sent map[string][]stream.Message
}

// play runs a script. Between says, before each record, what to do with the transaction: nil is nothing.
func play(t *testing.T, cfg listener.Config, steps []any, between func(r *rig, n int)) result {
	t.Helper()
	r := newRig(t, cfg)
	r.songs(200)
	for n, step := range steps {
		between(r, n)
		switch v := step.(type) {
		case schemas.Event:
			r.process(r.record(v))
		case schemas.Tick:
			// Continuations are records too: they come in transactions of their own, as they would from the topic.
			r.commit()
			r.tick(v)
		}
	}
	r.commit()
	return result{r.store.Rows(), r.sent}
}

func every(size int) func(*rig, int) {
	return func(r *rig, n int) {
		if n%size == 0 {
			r.commit()
		}
	}
}

func (want result) same(t *testing.T, what string, got result) {
	t.Helper()
	if len(want.sent["playlists"]) < 30 || len(want.rows) < 100 {
		t.Fatalf("the script does little: %d playlists, %d rows", len(want.sent["playlists"]), len(want.rows))
	}
	differ := 0
	for _, key := range slices.Sorted(maps.Keys(union(want.rows, got.rows))) {
		if string(want.rows[key]) != string(got.rows[key]) {
			if differ++; differ <= 3 {
				t.Errorf("%s: row %q is\n%x, want\n%x", what, key, got.rows[key], want.rows[key])
			}
		}
	}
	if differ > 0 {
		t.Errorf("%s: %d rows differ of %d", what, differ, len(want.rows))
	}
	if a, b := want.told(t), got.told(t); len(a) < 100 || !maps.Equal(a, b) {
		t.Errorf("%s: the song tasks are told something else: %d buckets, want %d", what, len(b), len(a))
	}
	for _, topic := range []string{"playlists", "letters"} {
		if a, b := want.sent[topic], got.sent[topic]; !slices.EqualFunc(a, b, func(x, y stream.Message) bool {
			return string(x.Key) == string(y.Key) && string(x.Value) == string(y.Value)
		}) {
			t.Errorf("%s: %d messages to %s, want the same %d", what, len(b), topic, len(a))
		}
	}
}

// told adds up what the song tasks were told, by row, region and time.
func (want result) told(t *testing.T) map[string]schemas.ListenBucket {
	t.Helper()
	sums := map[string]schemas.ListenBucket{}
	for _, u := range updates(t, exact(), want.sent["updates"]) {
		for _, b := range u.Listens {
			key := fmt.Sprintf("%s %s %d", u.ID, b.Region, b.At)
			sum := sums[key]
			sum.Plays, sum.Skips, sum.Completions, sum.Likes = sum.Plays+b.Plays, sum.Skips+b.Skips, sum.Completions+b.Completions, sum.Likes+b.Likes
			sum.Unique, sum.NewAccounts = sum.Unique+b.Unique, sum.NewAccounts+b.NewAccounts
			sums[key] = sum
		}
	}
	return sums
}

func union(a, b map[string][]byte) map[string]bool {
	out := map[string]bool{}
	for key := range a {
		out[key] = true
	}
	for key := range b {
		out[key] = true
	}
	return out
}

// TestAbandonLeavesNoTrace processes every transaction of a stream up to three times, abandoned after or before its flush, and
// demands the same rows, playlists and dead letters as without.
func TestAbandonLeavesNoTrace(t *testing.T) {
	t.Parallel()
	s := newSource(t, 15, 60)
	steps := script(s)
	clean := play(t, exact(), steps, every(20))

	r := newRig(t, exact())
	r.songs(200)
	var open []*stream.Record
	abandons := 0
	settle := func() {
		for s.IntN(3) == 0 {
			if s.IntN(2) == 0 {
				if err := r.run.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			r.run.Abandon()
			abandons++
			upTo := len(open)
			if s.IntN(2) == 0 {
				upTo = s.IntN(len(open) + 1)
			}
			for _, rec := range open[:upTo] {
				r.process(rec)
			}
			if upTo < len(open) {
				r.run.Abandon()
				for _, rec := range open {
					r.process(rec)
				}
			}
		}
		r.commit()
		open = open[:0]
	}
	do := func(rec *stream.Record) {
		open = append(open, rec)
		r.process(rec)
	}
	for n, step := range steps {
		if n%20 == 0 {
			settle()
		}
		switch v := step.(type) {
		case schemas.Event:
			do(r.record(v))
		case schemas.Tick:
			for more := true; more; {
				settle()
				do(r.tickRecord(v))
				settle()
				v, more = r.nextTick()
			}
		}
	}
	settle()
	if abandons < 50 {
		t.Fatalf("%d abandoned transactions", abandons)
	}
	clean.same(t, "with abandoned transactions", result{r.store.Rows(), r.sent})
}

// TestBatchingEvictionAndRestartsChangeNothing: where transactions end, what is in the cache and when a process restarts must not be
// seen in the rows.
func TestBatchingEvictionAndRestartsChangeNothing(t *testing.T) {
	t.Parallel()
	s := newSource(t, 15, 60)
	steps := script(s)
	cfg := exact()
	cfg.StudySample = 0 // what the blend has learnt and nobody has published ends with the process
	want := play(t, cfg, steps, every(20))
	want.same(t, "a transaction each", play(t, cfg, steps, every(1)))
	want.same(t, "large transactions", play(t, cfg, steps, every(1000)))
	tiny := cfg
	tiny.CacheBytes = 1
	want.same(t, "no cache", play(t, tiny, steps, every(20)))
	small := cfg
	small.CacheBytes = 40_000
	want.same(t, "a small cache", play(t, small, steps, every(20)))
	want.same(t, "restarts", play(t, cfg, steps, func(r *rig, n int) {
		if every(20)(r, n); n%100 == 0 {
			r.open()
		}
	}))
}

// TestBrokenStoreIsAnError: a row that cannot be read stops the task instead of making the listener new.
func TestBrokenStoreIsAnError(t *testing.T) {
	t.Parallel()
	r := newRig(t, exact())
	r.apply(event("ann", "s1", hours(0)))
	for key := range r.store.Rows() {
		if err := r.store.Apply([]stream.Change{{Key: []byte(key), Value: []byte{77}}}, r.store.Offset()); err != nil {
			t.Fatal(err)
		}
	}
	r.open()
	if _, err := r.run.Process(r.record(event("ann", "s1", hours(1)))); err == nil {
		t.Error("a damaged row was taken for a new listener")
	}
	r.run.Abandon()
	r.store.Fail = errors.New("disk")
	if _, err := r.run.Process(r.record(event("bob", "s1", hours(1)))); err == nil {
		t.Error("an unreadable store was taken for an empty one")
	}
	r.run.Abandon()
	r.store.Fail = nil
	if _, err := r.run.Process(r.tickRecord(at(hours(1)))); err == nil {
		t.Error("ticks go on although the emitted weeks could not be read again")
	}
}
