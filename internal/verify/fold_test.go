package verify

import (
	"encoding/binary"
	"testing"
	"time"

	"pgregory.net/rapid"

	"earworm/internal/testkit/oracle"
	"earworm/schemas"
	"earworm/state"
)

const testWindow = 48 * time.Hour

func value(kind schemas.Kind, song string, id byte, at int64) []byte {
	e := schemas.Event{
		Kind: kind, ID: schemas.EventID{15: id}, Song: []byte(song), At: schemas.MinAt + at,
		PlayedMs: schemas.Unknown, DurationMs: schemas.Unknown, PositionMs: schemas.Unknown, Slot: schemas.Unknown,
	}
	return e.AppendBinary(nil)
}

// TestFoldEqualsOracle holds the two naive folds against each other: they share no code.
func TestFoldEqualsOracle(t *testing.T) {
	t.Parallel()
	kinds := []schemas.Kind{schemas.KindPlay, schemas.KindSkip, schemas.KindLike, schemas.KindPlaylistOpen}
	rapid.Check(t, func(t *rapid.T) {
		got, want := newFold(testWindow), oracle.New(oracle.Rules{Window: testWindow})
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			kind := rapid.SampledFrom(kinds).Draw(t, "kind")
			song := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "song")
			if kind == schemas.KindPlaylistOpen {
				song = ""
			}
			user := rapid.SampledFrom([]string{"ann", "bob"}).Draw(t, "user")
			id := rapid.ByteRange(0, 12).Draw(t, "id")
			at := rapid.Int64Range(0, 120*3600).Draw(t, "at") * 1000
			got.add([]byte(user), value(kind, song, id, at))
			want.Add(oracle.Event{User: user, Song: song, ID: [16]byte{15: id}, Kind: kind.String(), At: schemas.MinAt + at})
		}
		totals := want.Totals()
		if o := got.outcomes; o.Applied != totals.Applied || o.Duplicate != totals.Duplicate || o.TooLate != totals.TooLate {
			t.Fatalf("%+v, the oracle says %+v", o, totals)
		}
		for _, user := range want.Users() {
			expected := want.Listener(user)
			l := got.listeners[user]
			if l.events != expected.Events {
				t.Fatalf("%s: %d events, the oracle says %d", user, l.events, expected.Events)
			}
			for song, n := range expected.Plays {
				if l.songs[song].plays != n {
					t.Fatalf("%s, %s: %d plays, the oracle says %d", user, song, l.songs[song].plays, n)
				}
			}
		}
	})
}

func TestFoldRules(t *testing.T) {
	t.Parallel()
	f := newFold(testWindow)
	ann := []byte("ann")
	f.add(ann, value(schemas.KindProfile, "", 0, 0))
	if l := f.listeners["ann"]; l == nil || l.events != 0 || l.chain != 0 {
		t.Errorf("a profile made %+v", l)
	}
	f.add(ann, value(schemas.KindPlay, "a", 1, 0))
	f.add(ann, value(schemas.KindSkip, "a", 2, 0))
	f.add(ann, value(schemas.KindLike, "b", 3, 0))
	f.add(ann, []byte("nonsense"))
	l := f.listeners["ann"]
	link := func(previous uint64, kind schemas.Kind, song string, id byte) uint64 {
		return state.Chain(previous, state.Link{Kind: byte(kind), At: schemas.MinAt, ID: [16]byte{15: id}, Song: []byte(song)})
	}
	chain := link(link(link(0, schemas.KindPlay, "a", 1), schemas.KindSkip, "a", 2), schemas.KindLike, "b", 3)
	if l.events != 3 || l.songs["a"].plays != 1 || l.songs["b"].plays != 0 || l.chain != chain {
		t.Errorf("folded %+v", l)
	}
	if f.listens["a"] != 2 || f.listens["b"] != 0 {
		t.Errorf("listens %v", f.listens)
	}
	f.add(ann, value(schemas.KindErase, "", 0, 0))
	if f.listeners["ann"] != nil || f.listens["a"] != 2 {
		t.Error("erasing must forget the listener and not the song's plays")
	}
	if want := (Outcomes{Consumed: 6, Applied: 5, DeadLettered: 1}); f.outcomes != want {
		t.Errorf("outcomes %+v, want %+v", f.outcomes, want)
	}
}

func TestFoldForgetsTheOlderHalf(t *testing.T) {
	t.Parallel()
	f := newFold(testWindow)
	at := func(n int) []byte {
		e := schemas.Event{Kind: schemas.KindPlay, Song: []byte("a"), At: schemas.MinAt + int64(n)*1000}
		binary.BigEndian.PutUint64(e.ID[:], uint64(n)+1)
		return e.AppendBinary(nil)
	}
	for n := range rememberedMax + 1 {
		f.add([]byte("ann"), at(n))
	}
	f.add([]byte("ann"), at(0))
	f.add([]byte("ann"), at(rememberedMax))
	if want := (Outcomes{Consumed: rememberedMax + 3, Applied: rememberedMax + 1, TooLate: 1, Duplicate: 1}); f.outcomes != want {
		t.Errorf("outcomes %+v, want %+v", f.outcomes, want)
	}
}
