package oracle_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"earworm/internal/testkit/oracle"
)

func id(n byte) [16]byte { return [16]byte{15: n} }

func play(user, song string, n byte) oracle.Event {
	return oracle.Event{User: user, Song: song, ID: id(n), Kind: oracle.KindPlay, At: int64(n) * 1000}
}

// system plays the part of the system under test: what it was given, it holds.
func system(fold *oracle.Fold) oracle.Got {
	return func(user string) (uint64, map[string]uint64) {
		listener := fold.Listener(user)
		return listener.Events, listener.Plays
	}
}

func TestOutcomes(t *testing.T) {
	skip := play("ann", "a", 9)
	skip.Kind = "skip"
	anonymous := play("ann", "a", 0)
	broken := play("", "a", 3)
	broken.Code = "missing_field"
	survey := oracle.Event{User: "bob", ID: id(1), Kind: "survey"}
	fold := oracle.New(oracle.Rules{})
	fold.Add(
		play("ann", "a", 1), play("ann", "a", 1), // a duplicate
		play("ann", "b", 1), play("bob", "a", 1), // the same id for another song, for another listener
		anonymous, anonymous, // no id: two plays
		skip, skip, // duplicates are of every kind
		survey, broken, broken,
	)
	if got, want := fold.Totals(), (oracle.Totals{Consumed: 11, Applied: 7, Duplicate: 2, DeadLettered: 2}); got != want {
		t.Errorf("totals = %+v, want %+v", got, want)
	}
	if dead := fold.DeadLetters(); len(dead) != 1 || dead["missing_field"] != 2 {
		t.Errorf("dead letters = %v", dead)
	}
	if users := fold.Users(); !slices.Equal(users, []string{"ann", "bob"}) {
		t.Errorf("users = %v", users)
	}
	ann := fold.Listener("ann")
	if ann.Events != 5 || ann.Plays["a"] != 3 || ann.Plays["b"] != 1 || len(ann.Plays) != 2 {
		t.Errorf("ann = %+v", ann)
	}
	if nobody := fold.Listener("nobody"); nobody.Events != 0 || nobody.Plays != nil {
		t.Errorf("nobody = %+v", nobody)
	}
	if result := oracle.Compare(fold, system(fold), "ann", "bob"); !result.OK() || result.String() != "0 lost, 0 duplicated, 0 wrong of 7" || result.FirstDifference != "" {
		t.Errorf("compared with itself: %v, %s", result, result.FirstDifference)
	}
}

func TestTooLate(t *testing.T) {
	fold := oracle.New(oracle.Rules{TooLate: 10 * time.Second})
	fold.Add(
		play("ann", "a", 30),
		play("ann", "a", 20), // exactly at the limit
		play("ann", "a", 19),
		play("ann", "a", 19), // still too late, not a duplicate
		play("ann", "b", 1),  // another song has its own limit
		play("bob", "a", 1),
		play("ann", "a", 20), // late events do not move the limit
	)
	if got, want := fold.Totals(), (oracle.Totals{Consumed: 7, Applied: 4, TooLate: 2, Duplicate: 1}); got != want {
		t.Errorf("totals = %+v, want %+v", got, want)
	}
}

func TestCompareNamesTheKindOfDifference(t *testing.T) {
	input := []oracle.Event{play("ann", "a", 1), play("ann", "a", 2), play("ann", "b", 3), {User: "bob", ID: id(4), Kind: "survey"}}
	expected := oracle.New(oracle.Rules{})
	expected.Add(input...)
	for _, c := range []struct {
		name                    string
		has                     []oracle.Event
		present                 []string
		lost, duplicated, wrong int
		difference              string
	}{
		{name: "nothing", lost: 4, difference: `listener "ann", song "a": 0 plays, want 2`},
		{name: "one play lost", has: input[1:], lost: 1, difference: `listener "ann", song "a": 1 plays, want 2`},
		{name: "last event lost", has: input[:3], lost: 1, difference: `listener "bob": 0 events that are not plays, want 1`},
		{name: "one twice", has: append([]oracle.Event{play("ann", "b", 9)}, input...), duplicated: 1, difference: `listener "ann", song "b": 2 plays, want 1`},
		{
			name: "one lost and one twice do not cancel", has: append([]oracle.Event{play("ann", "b", 9)}, input[1:]...),
			lost: 1, duplicated: 1, difference: `listener "ann", song "a": 1 plays, want 2`,
		},
		{name: "another song", has: append([]oracle.Event{play("ann", "z", 9)}, input...), wrong: 1, difference: `listener "ann", song "z": never played, has 1 plays`},
		{
			name: "a stranger", has: append([]oracle.Event{play("eve", "a", 9), play("eve", "b", 9)}, input...), present: []string{"eve", "ann"},
			wrong: 2, difference: `listener "eve": not in the input, has 2 events`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			has := oracle.New(oracle.Rules{})
			has.Add(c.has...)
			got := oracle.Compare(expected, system(has), c.present...)
			want := oracle.Result{Lost: c.lost, Duplicated: c.duplicated, Wrong: c.wrong, Of: 4, FirstDifference: c.difference}
			if got != want || got.OK() {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestCompareSeesContradictions(t *testing.T) {
	expected := oracle.New(oracle.Rules{})
	expected.Add(play("ann", "a", 1), play("ann", "a", 2))
	got := oracle.Compare(expected, func(string) (uint64, map[string]uint64) { return 1, map[string]uint64{"a": 2} })
	if got.Wrong != 1 || !strings.Contains(got.FirstDifference, "2 plays in 1 events") {
		t.Errorf("got %+v", got)
	}
	// A song with no plays is no difference: a system may know songs that were only skipped.
	got = oracle.Compare(expected, func(string) (uint64, map[string]uint64) { return 2, map[string]uint64{"a": 2, "skipped": 0} })
	if !got.OK() {
		t.Errorf("got %+v", got)
	}
	// An empty stranger is one too: something has made it.
	if got = oracle.Compare(expected, system(expected), "eve"); got.Wrong != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestChainsSeeOrder(t *testing.T) {
	rules := oracle.Rules{Chain: func(previous uint64, e oracle.Event) uint64 { return previous*31 + uint64(e.ID[15]) }}
	fold := func(events ...oracle.Event) *oracle.Fold {
		f := oracle.New(rules)
		f.Add(events...)
		return f
	}
	expected := fold(play("ann", "a", 1), play("bob", "a", 5), play("ann", "b", 2), play("ann", "b", 2))
	for _, c := range []struct {
		has   *oracle.Fold
		wrong int
	}{
		{fold(play("ann", "a", 1), play("ann", "b", 2), play("bob", "a", 5)), 0}, // order across listeners is free
		{fold(play("ann", "b", 2), play("ann", "a", 1), play("bob", "a", 5)), 1},
		{fold(), 2},
	} {
		got := oracle.CompareChains(expected, func(user string) uint64 { return c.has.Listener(user).Chain })
		if got.Wrong != c.wrong || got.OK() != (c.wrong == 0) || (got.FirstDifference == "") != (c.wrong == 0) {
			t.Errorf("got %+v, want %d wrong", got, c.wrong)
		}
	}
}

// Whatever the input, a system that misses some events and repeats others is told exactly how many of each, and redelivery in any
// order changes nothing.
func TestEveryFaultIsCounted(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var input []oracle.Event
		for i := range rapid.IntRange(1, 60).Draw(rt, "events") {
			e := play(
				fmt.Sprint("user", rapid.IntRange(0, 4).Draw(rt, "user")), fmt.Sprint("song", rapid.IntRange(0, 4).Draw(rt, "song")), byte(i+1),
			)
			e.Kind = rapid.SampledFrom([]string{oracle.KindPlay, "skip", "like"}).Draw(rt, "kind")
			input = append(input, e)
		}
		expected, redelivered := oracle.New(oracle.Rules{}), oracle.New(oracle.Rules{})
		expected.Add(input...)
		redelivered.Add(rapid.Permutation(slices.Concat(input, input)).Draw(rt, "order")...)
		if result := oracle.Compare(expected, system(redelivered), redelivered.Users()...); !result.OK() {
			rt.Fatalf("redelivered: %v, %s", result, result.FirstDifference)
		}
		if got := redelivered.Totals(); got.Applied != uint64(len(input)) || got.Duplicate != got.Applied || got.Consumed != 2*got.Applied {
			rt.Fatalf("redelivered: %+v", got)
		}
		lose := rapid.IntRange(0, len(input)-1).Draw(rt, "lose")
		faulty := oracle.New(oracle.Rules{})
		faulty.Add(slices.Delete(slices.Clone(input), lose, lose+1)...)
		if got := oracle.Compare(expected, system(faulty)); got.Lost != 1 || got.Duplicated+got.Wrong != 0 {
			rt.Fatalf("one lost: %+v", got)
		}
		// As a system without de-duplication would: the redelivered event counts as a new one.
		again := input[lose]
		again.ID = [16]byte{}
		faulty.Add(input[lose], again)
		if got := oracle.Compare(expected, system(faulty)); got.Duplicated != 1 || got.Lost+got.Wrong != 0 {
			rt.Fatalf("one twice: %+v", got)
		}
	})
}

func TestWindow(t *testing.T) {
	const hour = int64(time.Hour / time.Millisecond)
	at := func(n byte, hours int64) oracle.Event {
		e := play("ann", "a", n)
		e.At = hours * hour
		return e
	}
	for name, test := range map[string]struct {
		events []oracle.Event
		want   oracle.Totals
	}{
		"remembered within the window": {
			[]oracle.Event{at(1, 100), at(2, 147), at(1, 100)}, oracle.Totals{Consumed: 3, Applied: 2, Duplicate: 1},
		},
		"forgotten: a copy is too late, and so is what may be one": {
			[]oracle.Event{at(1, 100), at(2, 149), at(1, 100), at(3, 100)}, oracle.Totals{Consumed: 4, Applied: 2, TooLate: 2},
		},
		"nothing forgotten: however old, it is new": {
			[]oracle.Event{at(1, 149), at(2, 1)}, oracle.Totals{Consumed: 2, Applied: 2},
		},
		"another song of the same listener moves the window": {
			[]oracle.Event{at(1, 100), {User: "ann", Song: "b", ID: id(9), At: 200 * hour}, at(2, 120), at(1, 100)},
			oracle.Totals{Consumed: 4, Applied: 3, TooLate: 1},
		},
		"without an id there is nothing to recognise": {
			[]oracle.Event{at(0, 100), at(0, 100)}, oracle.Totals{Consumed: 2, Applied: 2},
		},
	} {
		fold := oracle.New(oracle.Rules{Window: 48 * time.Hour})
		fold.Add(test.events...)
		if got := fold.Totals(); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

func TestErase(t *testing.T) {
	for name, rules := range map[string]oracle.Rules{
		"for ever": {TooLate: time.Millisecond}, "window": {Window: time.Hour}, "no rules": {},
	} {
		fold := oracle.New(rules)
		fold.Add(play("ann", "a", 2), play("bob", "a", 2))
		fold.Erase("ann")
		if users := fold.Users(); !slices.Equal(users, []string{"bob"}) {
			t.Errorf("%s: users %v", name, users)
		}
		fold.Add(play("ann", "a", 2), play("ann", "a", 1), play("bob", "a", 2))
		if ann := fold.Listener("ann"); ann.Plays["a"] < 1 || fold.Totals().Duplicate+fold.Totals().TooLate == 0 {
			t.Errorf("%s: %+v, %+v", name, ann, fold.Totals())
		}
	}
}
