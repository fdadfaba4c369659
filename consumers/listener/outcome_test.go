package listener_test

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"earworm/consumers/stream"
	"earworm/model/calendar"
	"earworm/model/factor"
	"earworm/model/rank"
	"earworm/schemas"
	"earworm/state"
)

// ordinal is the week of a Monday.
func ordinal(monday time.Time) int32 { return calendar.WeekOf(monday).Ordinal() }

// given reads the tracks that wait for outcomes; nil when there are none.
func (r *rig) given(user string) *state.Frozen {
	r.tb.Helper()
	return r.rowsAt(state.AppendGivenKey(nil, []byte(user)))
}

// kept reads the row of a playlist; nil when there is none.
func (r *rig) kept(user string, monday time.Time) *state.Playlist {
	r.tb.Helper()
	for key, row := range r.store.Rows() {
		k, err := state.ParseUserKey([]byte(key))
		if err != nil || k.Row != state.RowPlaylist || string(k.User) != user || k.Week != ordinal(monday) {
			continue
		}
		var p state.Playlist
		if err := p.UnmarshalBinary(row); err != nil {
			r.tb.Fatal(err)
		}
		return &p
	}
	return nil
}

// serve makes a catalogue, lets a listener play three songs, which is too little to be studied, and gives them a playlist.
func (r *rig) serve(user string) schemas.Playlist {
	r.tb.Helper()
	r.songs(60)
	for n := range 3 {
		r.apply(event(user, fmt.Sprintf("s%03d", 7*n), monday().Add(-time.Duration(n+1)*time.Hour)))
	}
	return r.next(user, monday())
}

// next gives a listener the playlist of a week.
func (r *rig) next(user string, monday time.Time) schemas.Playlist {
	r.tb.Helper()
	r.playlists()
	r.updates()
	r.tick(at(monday))
	for _, list := range r.playlists() {
		if string(list.User) == user {
			return list
		}
	}
	r.tb.Fatalf("no playlist for %s", user)
	return schemas.Playlist{}
}

// from is an event about a track of a list, an hour after another for each slot.
func from(list schemas.Playlist, slot int, kind schemas.Kind, playedMs int64, nonce ...any) schemas.Event {
	e := event(string(list.User), string(list.Tracks[slot].Song), list.CreatedAt.Add(time.Duration(slot+1)*time.Hour), append(nonce, kind)...)
	e.PlaylistID, e.Slot, e.Source = list.ID, int16(slot), schemas.SourceWeekly
	if e.Kind = kind; kind != schemas.KindPlay && kind != schemas.KindSkip {
		return of(kind, e)
	}
	e.PlayedMs = playedMs
	return e
}

// taught returns what was told of the blend since the last call, and whether anything was.
func (r *rig) taught() (blend rank.Blend, ok bool) {
	r.tb.Helper()
	for _, u := range r.updates() {
		if u.Kind != byte(factor.KindBlend) {
			continue
		}
		learnt, err := rank.ParseBlend(u.Vector)
		if err != nil || ok {
			r.tb.Fatalf("%v, or told twice: %v", err, ok)
		}
		blend, ok = learnt, true
	}
	return blend, ok
}

// want demands that exactly so much was learnt as of these outcomes.
func (r *rig) wantTaught(rows []float32, outcomes []rank.Outcome) {
	r.tb.Helper()
	var want rank.Blend
	want.LearnOutcomes(r.cfg.Rank.Learn, rows, outcomes)
	got, ok := r.taught()
	if !ok || want == (rank.Blend{}) {
		r.tb.Fatalf("taught %v, want something: %v", ok, want != (rank.Blend{}))
	}
	for f := range want.Z {
		if math.Abs(float64(got.Z[f]-want.Z[f])) > 1e-5 || math.Abs(float64(got.R[f]-want.R[f])) > 1e-5 {
			r.tb.Fatalf("%s: learnt %v and %v, want %v and %v", rank.FeatureName(f), got.Z[f], got.R[f], want.Z[f], want.R[f])
		}
	}
}

func TestTheBlendLearnsFromPlaylists(t *testing.T) {
	cfg := exact()
	r := newRig(t, cfg)
	list := r.serve("ann")
	waiting, kept := r.given("ann"), r.kept("ann", monday())
	if len(list.Tracks) != 30 || waiting == nil || waiting.Features != rank.Features || waiting.At != monday().UnixMilli() {
		t.Fatalf("%d tracks, of which wait for outcomes %+v", len(list.Tracks), waiting)
	}
	if kept == nil || kept.At != waiting.At || len(kept.Outcomes) != 30 || !slices.Equal(kept.Songs, waiting.Songs) || r.frozen("ann") != nil {
		t.Fatalf("the list is kept as %+v", kept)
	}
	for slot, track := range list.Tracks {
		if waiting.Songs[slot] != uint64(factor.KeyOf(factor.KindSong, track.Song)) {
			t.Fatalf("slot %d is not %s", slot, track.Song)
		}
	}

	// In the order in which they are sent; each of them alone is a transaction.
	skipped := from(list, 1, schemas.KindSkip, 2000)
	slotless := from(list, 2, schemas.KindPlay, 200_000)
	slotless.Slot = schemas.Unknown
	wrongSlot := from(list, 4, schemas.KindPlay, 60_000) // heard for less than half, more than a tenth
	wrongSlot.Slot = 9
	elsewhere := from(list, 5, schemas.KindPlay, 200_000, "not from the list")
	elsewhere.PlaylistID, elsewhere.Slot = [16]byte{}, schemas.Unknown
	other := from(list, 6, schemas.KindPlay, 200_000, "from another list")
	other.PlaylistID[3]++
	foreign := from(list, 7, schemas.KindPlay, 200_000, "a song that is not in it")
	foreign.Song = []byte("s-unknown")
	early, late := from(list, 28, schemas.KindLike, 0, "before the list"), from(list, 29, schemas.KindLike, 0, "after its week")
	early.At, late.At = monday().UnixMilli()-1, monday().Add(7*24*time.Hour).UnixMilli()
	for n, e := range []schemas.Event{
		skipped, slotless, wrongSlot, elsewhere, other, foreign, from(list, 8, schemas.KindPlay, 200_000), from(list, 8, schemas.KindShare, 0),
		from(list, 9, schemas.KindPlay, 200_000), from(list, 9, schemas.KindDislike, 0), early,
	} {
		r.want(stream.OutcomeApplied, e)
		if n%3 == 0 {
			r.open() // all that counts is stored
		}
	}
	r.want(stream.OutcomeDuplicate, skipped)
	r.want(stream.OutcomeApplied, late)
	r.updates()
	r.open()

	var want [30]rank.Outcome
	var o rank.Outcome
	want[1], want[2], want[4], want[8], want[9] = o.Rejected(), o.Heard(), o.Undecided(), o.Heard().Saved(), o.Heard().Refused()
	if kept = r.kept("ann", monday()); len(kept.Outcomes) != 30 {
		t.Fatalf("the list is kept as %+v", kept)
	}
	for slot, outcome := range kept.Outcomes {
		if rank.Outcome(outcome) != want[slot] {
			t.Errorf("the outcome of slot %d is %s, want %s", slot, rank.Outcome(outcome), want[slot])
		}
	}

	next := monday().Add(7 * 24 * time.Hour)
	r.next("ann", next)
	want[5], want[6] = o.Elsewhere(), o.Elsewhere() // to pass them over says nothing; 0, 3 and 7 were passed over
	r.wantTaught(waiting.Rows, want[:])
	if kept = r.kept("ann", monday()); kept == nil || kept.Outcomes != nil || !slices.Equal(kept.Songs, waiting.Songs) {
		t.Errorf("the list that was learnt from is kept as %+v", kept)
	}
	if again := r.given("ann"); again == nil || again.At != next.UnixMilli() {
		t.Errorf("of the new list there waits %+v", again)
	}
	text := `# HELP earworm_listener_outcome_examples_total Playlists from whose outcomes the worth of the sources was learnt.
# TYPE earworm_listener_outcome_examples_total counter
earworm_listener_outcome_examples_total 1
# HELP earworm_listener_playlist_tracks_total Tracks of playlists that listeners reached, by what became of them.
# TYPE earworm_listener_playlist_tracks_total counter
earworm_listener_playlist_tracks_total{outcome="heard"} 1
earworm_listener_playlist_tracks_total{outcome="passed"} 5
earworm_listener_playlist_tracks_total{outcome="refused"} 1
earworm_listener_playlist_tracks_total{outcome="rejected"} 1
earworm_listener_playlist_tracks_total{outcome="saved"} 1
earworm_listener_playlist_tracks_total{outcome="undecided"} 1
`
	if err := testutil.GatherAndCompare(r.registry, strings.NewReader(text), "earworm_listener_outcome_examples_total", "earworm_listener_playlist_tracks_total"); err != nil {
		t.Error(err)
	}
}

// TestOutcomesMoveTheBlendTowardsWhatIsLiked: listeners who keep to the end what a feature is high for and skip the rest raise its weight.
func TestOutcomesMoveTheBlendTowardsWhatIsLiked(t *testing.T) {
	cfg := exact()
	r := newRig(t, cfg)
	list := r.serve("ann")
	const feature = 2 * int(rank.SourceWeek) // how popular it was in the last week
	rows := r.given("ann").Rows
	var value []float32
	for slot := range list.Tracks {
		value = append(value, rows[slot*rank.Features+feature])
	}
	middle := slices.Sorted(slices.Values(value))[15]
	for slot := range list.Tracks {
		played := int64(2000)
		if value[slot] > middle {
			played = 200_000
		}
		r.apply(from(list, slot, schemas.KindPlay, played))
	}
	r.next("ann", monday().Add(7*24*time.Hour))
	learnt, ok := r.taught()
	before := (&rank.Blend{}).Weights(cfg.Rank.Learn)
	after := learnt.Weights(cfg.Rank.Learn)
	if !ok || after[feature] <= before[feature] {
		t.Errorf("%s went from %v to %v", rank.FeatureName(feature), before[feature], after[feature])
	}
}

func TestAListThatSaysNothingTeachesNothing(t *testing.T) {
	for name, slots := range map[string][]int{"not played": {}, "all liked": {0, 1, 2}} {
		r := newRig(t, exact())
		list := r.serve("ann")
		for _, slot := range slots {
			r.apply(from(list, slot, schemas.KindPlay, 200_000))
		}
		r.next("ann", monday().Add(7*24*time.Hour))
		if _, ok := r.taught(); ok {
			t.Errorf("%s: something was learnt", name)
		}
		if kept := r.kept("ann", monday()); kept.Outcomes != nil {
			t.Errorf("%s: the list is still open", name)
		}
	}
}

// TestOnlyTheLatestListIsAwaited: what is played from the list before says nothing any more, whenever it happened.
func TestOnlyTheLatestListIsAwaited(t *testing.T) {
	r := newRig(t, exact())
	first := r.serve("ann")
	next := monday().Add(7 * 24 * time.Hour)
	second := r.next("ann", next)
	before := r.kept("ann", next)
	r.apply(from(first, 0, schemas.KindPlay, 200_000), from(first, 1, schemas.KindSkip, 1000))
	again := from(first, 3, schemas.KindLike, 0)
	again.At = next.Add(time.Hour).UnixMilli()
	r.apply(again)
	if kept := r.kept("ann", monday()); kept.Outcomes != nil {
		t.Errorf("the list of before is kept as %+v", kept)
	}
	if kept := r.kept("ann", next); !slices.Equal(kept.Outcomes, before.Outcomes) || len(kept.Outcomes) != len(second.Tracks) {
		t.Errorf("the list is kept as %+v", kept)
	}
	// A week that is forced before its time ends the one before, too.
	r.apply(from(second, 0, schemas.KindPlay, 200_000), from(second, 1, schemas.KindSkip, 1000))
	r.updates()
	r.tick(schemas.Tick{At: next.Add(48 * time.Hour).UnixMilli(), Week: "2026-W12", Forced: true})
	if _, ok := r.taught(); !ok || r.kept("ann", next).Outcomes != nil {
		t.Error("the list that a forced one follows taught nothing, or is open")
	}
}

// TestRestartsDoNotChangeOutcomes: a transaction for each event, one for all of them, restarts and abandoned transactions come to the same
// rows and teach the same.
func TestRestartsDoNotChangeOutcomes(t *testing.T) {
	play := func(how string) (map[string][]byte, rank.Blend) {
		r := newRig(t, exact())
		list := r.serve("ann")
		var events []schemas.Event
		for slot := range 12 {
			events = append(events, from(list, slot, schemas.KindPlay, int64(slot*slot%7)*30_000))
		}
		events = append(events, from(list, 3, schemas.KindLike, 0), from(list, 7, schemas.KindBan, 0), from(list, 2, schemas.KindPlay, 200_000, "again"))
		switch how {
		case "at once":
			r.apply(events...)
		case "with restarts":
			for _, e := range events {
				r.apply(e)
				r.open()
			}
		case "abandoned":
			for _, e := range events {
				rec := r.record(e)
				r.process(rec)
				r.run.Abandon()
				r.process(rec)
				r.commit()
			}
		}
		next := monday().Add(7 * 24 * time.Hour)
		if how == "abandoned" {
			r.updates()
			tick := r.tickRecord(at(next))
			r.process(tick)
			r.run.Abandon()
			r.process(tick)
			r.commit()
		} else {
			r.next("ann", next)
		}
		learnt, ok := r.taught()
		if !ok {
			t.Errorf("%s: nothing was learnt", how)
		}
		return r.store.Rows(), learnt
	}
	rows, learnt := play("at once")
	for _, how := range []string{"with restarts", "abandoned"} {
		otherRows, otherLearnt := play(how)
		if otherLearnt != learnt {
			t.Errorf("%s: something else was learnt", how)
		}
		for key := range rows {
			k, err := state.ParseUserKey([]byte(key))
			if err == nil && k.Row != state.RowCore && string(rows[key]) != string(otherRows[key]) {
				t.Errorf("%s: row %q differs", how, key)
			}
		}
		if len(rows) != len(otherRows) {
			t.Errorf("%s: %d rows, want those of %v", how, len(otherRows), slices.Sorted(maps.Keys(rows)))
		}
	}
}

func TestNoOutcomesOfWhoOptedOutOrIsErased(t *testing.T) {
	r := newRig(t, exact())
	list := r.serve("ann")
	r.apply(from(list, 0, schemas.KindPlay, 200_000), from(list, 1, schemas.KindSkip, 1000))
	r.apply(profile("ann", monday().Add(3*time.Hour), schemas.Profile{OptOut: true}))
	r.apply(from(list, 3, schemas.KindPlay, 200_000))
	if kept := r.kept("ann", monday()); kept.Outcomes[3] != 0 {
		t.Error("an outcome of somebody who opted out is noted")
	}
	next := monday().Add(7 * 24 * time.Hour)
	r.next("ann", next)
	if _, ok := r.taught(); ok || r.given("ann") != nil {
		t.Error("something was learnt of somebody who opted out, or is to be")
	}
	if kept := r.kept("ann", next); kept == nil || kept.Outcomes != nil {
		t.Errorf("the list of somebody who opted out is kept as %+v", kept)
	}

	r = newRig(t, exact())
	list = r.serve("ann")
	r.apply(from(list, 0, schemas.KindPlay, 200_000))
	r.apply(erasure("ann", monday().Add(4*time.Hour)))
	if r.given("ann") != nil || r.kept("ann", monday()) != nil {
		t.Error("tracks of an erased listener are kept")
	}
	r.apply(from(list, 1, schemas.KindSkip, 1000), from(list, 2, schemas.KindPlay, 200_000)) // they come back
	if r.given("ann") != nil || r.kept("ann", monday()) != nil {
		t.Error("what was erased is there again")
	}
	r.next("ann", next)
	if _, ok := r.taught(); ok {
		t.Error("a list that was erased taught something")
	}
	// Erased, and given a list, in one transaction.
	r.process(r.record(erasure("ann", next.Add(time.Hour))))
	r.process(r.record(event("ann", "s001", next.Add(2*time.Hour))))
	r.process(r.tickRecord(schemas.Tick{At: next.Add(3 * time.Hour).UnixMilli(), Week: "2026-W12", Forced: true}))
	for more := true; more; {
		r.commit()
		var tick schemas.Tick
		if tick, more = r.nextTick(); more {
			r.process(r.tickRecord(tick))
		}
	}
	if fresh := r.given("ann"); fresh == nil || fresh.At < next.UnixMilli() || r.kept("ann", next) != nil {
		t.Errorf("after the erasure there waits %+v", fresh)
	}
}

// TestTracksThatDoNotFitAreLetGo: features of another version of earworm, and tracks of another list, teach nothing and hurt nothing.
func TestTracksThatDoNotFitAreLetGo(t *testing.T) {
	for name, change := range map[string]func(*state.Frozen){
		"features":   func(f *state.Frozen) { f.Features, f.Rows = 1, f.Rows[:len(f.Songs)] },
		"songs":      func(f *state.Frozen) { f.Songs[3]++ },
		"fewer":      func(f *state.Frozen) { f.Songs, f.Rows = f.Songs[:5], f.Rows[:5*rank.Features] },
		"none there": nil,
	} {
		r := newRig(t, exact())
		list := r.serve("ann")
		r.apply(from(list, 0, schemas.KindPlay, 200_000), from(list, 1, schemas.KindSkip, 1000))
		row := stream.Change{Key: state.AppendGivenKey(nil, []byte("ann"))}
		if change != nil {
			f := r.given("ann")
			change(f)
			row.Value = f.AppendBinary(nil)
		}
		if err := r.store.Apply([]stream.Change{row}, r.store.Offset()+1); err != nil {
			t.Fatal(err)
		}
		r.open()
		r.next("ann", monday().Add(7*24*time.Hour))
		if _, ok := r.taught(); ok {
			t.Errorf("%s: something was learnt", name)
		}
		if r.kept("ann", monday()).Outcomes != nil || r.given("ann") == nil {
			t.Errorf("%s: the list is open, or nothing waits of the next", name)
		}
	}
}

func TestWithoutStudyNoOutcomesAreAwaited(t *testing.T) {
	cfg := exact()
	cfg.StudySample = 0
	r := newRig(t, cfg)
	list := r.serve("ann")
	r.apply(from(list, 0, schemas.KindPlay, 200_000), from(list, 1, schemas.KindSkip, 1000))
	if kept := r.kept("ann", monday()); r.given("ann") != nil || kept == nil || kept.Outcomes != nil {
		t.Errorf("the list is kept as %+v", kept)
	}
}

// TestWhatAListTakes holds what the record of the decision says a list costs.
func TestWhatAListTakes(t *testing.T) {
	r := newRig(t, exact())
	list := r.serve("ann")
	row := r.store.Rows()[string(state.AppendGivenKey(nil, []byte("ann")))]
	kept := r.kept("ann", monday())
	open := len(kept.AppendBinary(nil))
	kept.Outcomes = nil
	closed := len(kept.AppendBinary(nil))
	t.Logf("%d tracks: %d bytes of features, %d of songs and outcomes, %d when closed", len(list.Tracks), len(row), open, closed)
	if len(row) > 30*(8+rank.Features)+16 || open > 30*9+16 || closed != 30*8+2 {
		t.Errorf("a list of %d tracks takes %d, %d and %d bytes", len(list.Tracks), len(row), open, closed)
	}
}

// TestTheCacheCountsPlaylists: listeners who fit into memory without their playlists, and not with them, make room.
func TestTheCacheCountsPlaylists(t *testing.T) {
	const people = 40
	cfg := exact()
	cfg.CacheBytes = 60_000
	r := newRig(t, cfg)
	r.songs(60)
	inMemory := func(at time.Time) (n int) {
		r.store.Fail = errors.New("somebody has to be read from the store")
		defer func() { r.store.Fail = nil }()
		for i := range people {
			if _, err := r.run.Process(r.record(event(fmt.Sprint("ann", i), "s001", at))); err == nil {
				n++
			}
		}
		r.run.Abandon()
		return n
	}
	for i := range people {
		for n := range 3 {
			r.process(r.record(event(fmt.Sprint("ann", i), fmt.Sprintf("s%03d", 7*n), monday().Add(-time.Duration(n+1)*time.Hour))))
		}
	}
	r.commit()
	if n := inMemory(monday()); n != people {
		t.Fatalf("%d of %d listeners are in memory before there are playlists", n, people)
	}
	r.open() // whoever was asked for was abandoned
	for i := range people {
		r.process(r.record(event(fmt.Sprint("ann", i), "s002", monday())))
	}
	r.commit()
	r.tick(at(monday().Add(time.Hour)))
	if n := inMemory(monday().Add(2 * time.Hour)); n == people || n < people/2 {
		t.Errorf("%d of %d listeners are in memory with their playlists", n, people)
	}
}
