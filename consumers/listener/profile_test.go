package listener_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"earworm/consumers/listener"
	"earworm/schemas"
	"earworm/state"
)

// zonesOf lists the zones whose index holds a listener.
func (r *rig) zonesOf(user string) []string {
	r.tb.Helper()
	var zones []string
	for _, key := range r.store.Keys(state.ZoneFamily()) {
		zone, id, err := state.ParseZoneKey([]byte(key))
		if err != nil {
			r.tb.Fatal(err)
		}
		if string(id) == user {
			zones = append(zones, string(zone))
		}
	}
	return zones
}

func TestProfileMovesTheZoneIndex(t *testing.T) {
	t.Parallel()
	r := newRig(t, exact())
	away := event("ann", "s1", hours(0))
	away.Region = [2]byte{'J', 'P'}
	r.apply(event("ann", "s0", hours(-1)))
	for _, step := range []struct {
		event schemas.Event
		zone  string
	}{
		{event("ann", "s1", hours(-1)), "UTC"},
		{away, "Asia/Tokyo"}, // the first region is home
		{profile("ann", hours(1), schemas.Profile{Region: "DE"}), "Europe/Berlin"},
		{away, "Europe/Berlin"}, // abroad, but at home in DE
		{profile("ann", hours(2), schemas.Profile{Region: "DE", TimeZone: "America/New_York"}), "America/New_York"},
		{profile("ann", hours(2), schemas.Profile{Region: "DE", TimeZone: "America/New_York"}), "America/New_York"},
		{profile("ann", hours(3), schemas.Profile{Region: "DE", TimeZone: "No/Such"}), "Europe/Berlin"},
		{profile("ann", hours(3), schemas.Profile{Region: "DE", TimeZone: "Local"}), "Europe/Berlin"},
		{profile("ann", hours(4), schemas.Profile{}), "Europe/Berlin"}, // a profile without a region leaves it
	} {
		r.apply(step.event)
		if got := r.zonesOf("ann"); !slices.Equal(got, []string{step.zone}) || r.core("ann").ServedZone != step.zone {
			t.Errorf("after %s: index %v, served in %q, want %q", step.event.Kind, got, r.core("ann").ServedZone, step.zone)
		}
	}
}

func TestProfileIsKept(t *testing.T) {
	t.Parallel()
	r := newRig(t, exact())
	wish := .25
	full := schemas.Profile{
		Region: "DE", TimeZone: "Europe/Berlin", Languages: []string{"de", "en"}, AgeBand: "25-34", OptOut: true, Discovery: &wish,
	}
	r.apply(profile("ann", hours(0), full))
	r.open()
	c := r.core("ann")
	if c.Region != [2]byte{'D', 'E'} || c.Zone != full.TimeZone || !slices.Equal(c.Languages, full.Languages) ||
		c.AgeBand != full.AgeBand || !c.OptOut || c.Discovery != .25 || c.Events != 0 || c.FirstAt != 0 {
		t.Errorf("%+v", c)
	}
	r.apply(profile("ann", hours(1), schemas.Profile{}))
	if c := r.core("ann"); c.OptOut || c.Discovery != -1 || len(c.Languages) != 0 || c.AgeBand != "" || c.Zone != "" {
		t.Errorf("an empty profile leaves %+v", c)
	}
}

// TestOptOutLearnsNothing: neither the listener's vector nor a song's moves.
func TestOptOutLearnsNothing(t *testing.T) {
	t.Parallel()
	cfg := exact()
	r := newRig(t, cfg)
	r.apply(profile("ann", hours(0), schemas.Profile{OptOut: true}))
	before := r.core("ann").Vector
	r.apply(event("ann", "s1", hours(1)), of(schemas.KindLike, event("ann", "s2", hours(1))), of(schemas.KindBan, event("ann", "s3", hours(1))))
	c := r.core("ann")
	if !slices.Equal(before, c.Vector) || c.Positives != 0 || c.Events != 3 {
		t.Errorf("learnt %v after %d events", c.Positives, c.Events)
	}
	for _, u := range r.updates() {
		if len(u.Vector) != 0 || u.Evidence != 0 || len(u.Listens) == 0 {
			t.Errorf("%s: %d steps", u.ID, u.Count)
		}
	}
	r.apply(profile("ann", hours(2), schemas.Profile{}), event("ann", "s4", hours(3)))
	if slices.Equal(before, r.core("ann").Vector) {
		t.Error("nothing is learnt after the listener opted in again")
	}
}

func TestEraseLeavesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, exact())
	r.songs(100)
	r.apply(event("bob", "s001", hours(-50)))
	others := r.store.Rows()
	r.apply(
		profile("ann", hours(-60), schemas.Profile{Region: "JP"}), event("ann", "s001", hours(-50)), event("ann", "s002", hours(-49)),
		of(schemas.KindLike, event("ann", "s003", hours(-48))),
	)
	r.tick(at(hours(0)))
	r.playlists()
	if got := len(r.store.Rows()); got < len(others)+6 {
		t.Fatalf("%d rows before", got)
	}
	r.apply(erasure("ann", hours(1)))
	for key := range r.store.Rows() {
		if strings.Contains(key, "ann") {
			t.Errorf("row %q is left", key)
		}
	}
	lists := r.playlists()
	if len(lists) != 1 || lists[0].User != "ann" || lists[0].Week != "" {
		t.Errorf("the playlist is not withdrawn: %+v", lists)
	}
	if got, err := r.task.Inspect([]byte("ann")); got != nil || err != nil {
		t.Errorf("still known: %+v, %v", got, err)
	}
	if r.core("bob") == nil || r.heard("bob", "s001") == nil {
		t.Error("somebody else lost rows")
	}
	r.apply(erasure("ann", hours(2)), erasure("nobody", hours(2)))
	r.apply(event("ann", "s009", hours(3)))
	if c := r.core("ann"); c.Events != 1 || c.Region != ([2]byte{}) || c.FirstAt != hours(3).UnixMilli() {
		t.Errorf("who came back is remembered: %+v", c)
	}
	r.tick(at(hours(7 * 24)))
	if lists := r.playlists(); len(lists) != 4 { // two withdrawals, bob's and ann's
		t.Errorf("%d records, want 4", len(lists))
	}
}

// TestEraseAmidATransaction: what came before is gone, what came after is there, wherever the transactions end.
func TestEraseAmidATransaction(t *testing.T) {
	t.Parallel()
	events := []schemas.Event{
		profile("ann", hours(-61), schemas.Profile{TimeZone: "Asia/Tokyo"}),
		event("ann", "s001", hours(-60)), event("ann", "s002", hours(-59)),
		erasure("ann", hours(-58)),
		event("ann", "s001", hours(-60)), event("ann", "s003", hours(-57)),
		erasure("ann", hours(-56)), erasure("ann", hours(-56)),
		event("ann", "s004", hours(-55)), event("ann", "s002", hours(-54)),
	}
	for first := range events {
		r := newRig(t, exact())
		r.apply(events[:first]...)
		r.apply(events[first:]...)
		c := r.core("ann")
		if c == nil || c.Events != 2 || c.FirstAt != hours(-55).UnixMilli() || r.heard("ann", "s001") != nil || r.heard("ann", "s003") != nil ||
			r.heard("ann", "s004") == nil || r.heard("ann", "s002") == nil || !slices.Equal(r.zonesOf("ann"), []string{"UTC"}) {
			t.Errorf("transaction ends before %d: %+v, zones %v, rows %q", first, c, r.zonesOf("ann"), r.store.Keys(nil))
		}
		if lists := r.playlists(); len(lists) != 3 {
			t.Errorf("transaction ends before %d: %d withdrawals, want 3", first, len(lists))
		}
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	metrics, err := listener.NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listener.NewMetrics(reg); err == nil {
		t.Error("the same metrics are registered twice")
	}
	r := newRig(t, exact())
	r.metrics = metrics
	r.open()
	r.songs(100)
	anonymous := event("ann", "s001", hours(-50))
	anonymous.ID = schemas.EventID{}
	r.apply(anonymous, event("bob", "s001", hours(-9000)))
	r.tick(at(hours(0)))
	r.apply(erasure("ann", hours(1)))
	want := `
# HELP earworm_listener_erased_total Listeners erased.
# TYPE earworm_listener_erased_total counter
earworm_listener_erased_total 1
# HELP earworm_listener_events_unidentified_total Events without an id: they cannot be recognised when they come again.
# TYPE earworm_listener_events_unidentified_total counter
earworm_listener_events_unidentified_total 1
# HELP earworm_listener_playlists_total Playlists emitted, by outcome: ready or the reason why there is none.
# TYPE earworm_listener_playlists_total counter
earworm_listener_playlists_total{outcome="inactive"} 1
earworm_listener_playlists_total{outcome="no_songs"} 0
earworm_listener_playlists_total{outcome="ready"} 1
# HELP earworm_listener_training_steps_total First listens and explicit signals learnt.
# TYPE earworm_listener_training_steps_total counter
earworm_listener_training_steps_total 2
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "earworm_listener_erased_total",
		"earworm_listener_events_unidentified_total", "earworm_listener_playlists_total", "earworm_listener_training_steps_total"); err != nil {
		t.Error(err)
	}
}

func TestConfigProblemsAreAllReported(t *testing.T) {
	t.Parallel()
	cfg := listener.Default()
	cfg.Chunk, cfg.Hour, cfg.Discovery, cfg.Zone, cfg.Memory, cfg.CatchUp = 0, 24, 2, "No/Such", -1, 0
	err := cfg.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"chunk", "hour", "discovery", "zone", "memory", "durations", "no topic for ticks", "no topic for listens"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %s in %v", want, err)
		}
	}
}
