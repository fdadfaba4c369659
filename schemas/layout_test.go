package schemas

import (
	"reflect"
	"slices"
	"testing"
)

func TestLayout(t *testing.T) {
	t.Parallel()
	for _, l := range []Layout{
		{},
		{Current: Generation{Number: 2, Partitions: 8}, Newest: 3, Kept: []Generation{{Number: 1, Partitions: 4}}},
		{Current: Generation{Number: 1, Partitions: 4}, Newest: 2, Move: &Move{
			To: Generation{Number: 2, Partitions: 8}, StartedAt: 1, WaitingOnly: true, Runs: 2,
			Frozen: []Frozen{{Topic: "app-listens", Partition: 3, Start: 1, End: 1 << 40, Committed: 7}},
		}},
	} {
		value, err := l.AppendJSON(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseLayout(value); err != nil || !reflect.DeepEqual(got, l) {
			t.Errorf("got %+v, %v, want %+v", got, err, l)
		}
	}
	for _, bad := range []string{
		"", "{", `[]`, `{"current":{"number":-1}}`, `{"current":{"number":2,"partitions":8},"newest":1}`, `{"current":{"partitions":-8}}`,
		`{"current":{"number":2,"partitions":8},"newest":2,"move":{"to":{"number":2,"partitions":16}}}`,
		`{"current":{"number":1,"partitions":8},"newest":2,"move":{"to":{"number":2}}}`,
	} {
		if l, err := ParseLayout([]byte(bad)); err == nil {
			t.Errorf("%q: accepted as %+v", bad, l)
		}
	}
}

// TestGenerations: each has names of its own for what has P partitions, and shares the rest.
func TestGenerations(t *testing.T) {
	t.Parallel()
	first := NewTopics("app")
	if l := (Layout{}); first.Generation(l.Number()) != first || first.Generation(0) != first {
		t.Error("an application that was never resharded has other names")
	}
	third := first.Generation(3)
	if third.ListenerChangelog != "app-listener-changelog-g3" || third.Playlists != first.Playlists || third.Layout != first.Layout {
		t.Errorf("%+v", third)
	}
	for n, topic := range third.Moving() {
		if FirstName(topic) != first.Moving()[n] || FirstName(first.Moving()[n]) != first.Moving()[n] {
			t.Errorf("%s was once %s", topic, FirstName(topic))
		}
	}
	for _, other := range []string{"", "a-g", "a-g1", "a-gx", "a-g2x", "music.events.v1"} {
		if FirstName(other) != other {
			t.Errorf("%q is of no generation, but became %q", other, FirstName(other))
		}
	}
	moving := third.Moving()
	for _, spec := range third.Specs() {
		if (spec.Rule == PartitionsP) != slices.Contains(moving, spec.Name) {
			t.Errorf("%s: rule %d, but does it move? %v", spec.Name, spec.Rule, moving)
		}
		if slices.Contains(first.Moving(), spec.Name) {
			t.Errorf("%s is of another generation", spec.Name)
		}
	}
}
