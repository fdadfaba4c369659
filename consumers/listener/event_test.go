package listener_test

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"earworm/consumers/stream"
	"earworm/model/factor"
	"earworm/schemas"
	"earworm/state"
)

func hours(n float64) time.Time { return monday().Add(time.Duration(n * float64(time.Hour))) }

func TestDuplicates(t *testing.T) {
	t.Parallel()
	r := newRig(t, exact())
	first := event("ann", "s1", hours(0))
	r.want(stream.OutcomeApplied, first)
	r.want(stream.OutcomeDuplicate, first)
	if got := r.apply(event("ann", "s1", hours(1)), first); got != stream.OutcomeDuplicate {
		t.Errorf("a copy after another listen is %s", got)
	}
	copied := event("ann", "s2", hours(2))
	if got := r.apply(copied, copied); got != stream.OutcomeDuplicate {
		t.Errorf("a copy in the same transaction is %s", got)
	}
	r.open()
	r.want(stream.OutcomeDuplicate, first, copied)
	// The same id from another listener, or of another song, is another event: ids are unique per listener and song only.
	other := event("bob", "s1", hours(0))
	other.ID = first.ID
	r.want(stream.OutcomeApplied, other)
	if h := r.heard("ann", "s1"); h.Plays != 2 {
		t.Errorf("%d plays, want 2", h.Plays)
	}
	if c := r.core("ann"); c.Events != 3 {
		t.Errorf("%d events, want 3", c.Events)
	}
	counts := r.run.Counts("listens")
	if !counts.Balanced() || counts.Duplicate != 2 || counts.Applied != 1 {
		t.Errorf("counted %+v since the restart", counts)
	}
}

func TestHorizon(t *testing.T) {
	t.Parallel()
	r := newRig(t, exact())
	old := event("ann", "s1", hours(0))
	r.want(stream.OutcomeApplied, old, event("ann", "s2", hours(40)))
	r.want(stream.OutcomeDuplicate, old) // s2 moved time on, but within the window
	r.want(stream.OutcomeApplied, event("ann", "s2", hours(60)))
	// The entry of s1 remembers its id until it is written again: better than promised.
	r.want(stream.OutcomeDuplicate, old)
	r.want(stream.OutcomeApplied, event("ann", "s1", hours(61)))
	r.want(stream.OutcomeTooLate, old, event("ann", "s1", hours(12.9)))
	r.want(stream.OutcomeApplied, event("ann", "s1", hours(13.1)), event("ann", "s3", hours(-500)))
	r.open()
	r.want(stream.OutcomeTooLate, old)
	if h := r.heard("ann", "s1"); h.Plays != 3 || h.Horizon != uint32(hours(13).Unix()) {
		t.Errorf("%d plays, horizon %d", h.Plays, h.Horizon)
	}
	if c := r.core("ann"); c.FirstAt != hours(-500).UnixMilli() || c.LastAt != hours(61).UnixMilli() {
		t.Errorf("from %d to %d", c.FirstAt, c.LastAt)
	}
}

// TestTooLateIsKept: what is refused goes beside the dead letters as its producer could have sent it.
func TestTooLateIsKept(t *testing.T) {
	t.Parallel()
	r := newRig(t, exact())
	r.apply(event("ann", "s1", hours(0)), event("ann", "s1", hours(100)))
	late := event("ann", "s1", hours(1))
	r.want(stream.OutcomeTooLate, late)
	letters := r.sent["letters"]
	if len(letters) != 1 || string(letters[0].Key) != "ann" {
		t.Fatalf("%d letters", len(letters))
	}
	decoder, err := schemas.NewDecoder(schemas.DecoderConfig{})
	if err != nil {
		t.Fatal(err)
	}
	var kept schemas.Event
	if err := decoder.Decode(&kept, letters[0].Value, nil); err != nil {
		t.Fatalf("%s: %v", letters[0].Value, err)
	}
	if kept.ID != late.ID || string(kept.User) != "ann" || string(kept.Song) != "s1" || kept.At != late.At || kept.PlayedMs != late.PlayedMs {
		t.Errorf("kept %+v", kept)
	}
	if h := letters[0].Headers; len(h) != 1 || h[0].Key != stream.HeaderErrorCode || string(h[0].Value) != "too_late" {
		t.Errorf("headers %v", h)
	}
	if c := r.run.Counts("listens"); !c.Balanced() || c.TooLate != 1 {
		t.Errorf("counted %+v", c)
	}
}

func TestEventsWithoutID(t *testing.T) {
	t.Parallel()
	r := newRig(t, exact())
	e := event("ann", "s1", hours(0))
	e.ID = schemas.EventID{}
	r.want(stream.OutcomeApplied, e, e)
	if h := r.heard("ann", "s1"); h.Plays != 2 || len(h.IDs) != 0 {
		t.Errorf("%d plays, %d ids", h.Plays, len(h.IDs))
	}
}

func TestCorruptListenIsADeadLetter(t *testing.T) {
	t.Parallel()
	r := newRig(t, exact())
	for _, topic := range []string{"listens", "ticks"} {
		if got := r.process(&stream.Record{Topic: topic, Key: []byte("ann"), Value: []byte{9, 9, 9}}); got != stream.OutcomeDeadLettered {
			t.Errorf("%s: %s", topic, got)
		}
		r.commit()
	}
	if len(r.sent["letters"]) != 2 || len(r.store.Rows()) != 0 {
		t.Errorf("%d letters, %d rows", len(r.sent["letters"]), len(r.store.Rows()))
	}
}

func TestHistoryOfASong(t *testing.T) {
	t.Parallel()
	r := newRig(t, exact())
	skip := event("ann", "s1", hours(2))
	skip.Kind, skip.PlayedMs, skip.PositionMs = schemas.KindSkip, 3000, 3000
	// Out of order on purpose: the second play happened before the first.
	r.apply(event("ann", "s1", hours(1)), event("ann", "s1", hours(0)), skip)
	h := r.heard("ann", "s1")
	if h.Plays != 2 || h.FirstAt != hours(0).UnixMilli() || h.LastAt != hours(2).UnixMilli() || h.Flags != state.FlagTrained {
		t.Errorf("%+v", h)
	}
	c := r.core("ann")
	if c.Events != 3 || c.Session.Plays != 1 || c.Session.Skips != 1 || c.Session.StartedAt != hours(2).UnixMilli() {
		t.Errorf("%d events, session %+v", c.Events, c.Session)
	}
	// Two plays and a skip, with half-lives of a week: the skips never exceed the plays.
	if plays, skips := c.Plays.Value, c.Skips.Value; !(plays > 2.9 && plays <= 3) || !(skips > .99 && skips <= 1) {
		t.Errorf("usual plays %v, skips %v", plays, skips)
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	r := newRig(t, exact())
	minutes := func(n int) time.Time { return hours(float64(n) / 60) }
	for _, step := range []struct {
		at, started int
		plays       uint32
	}{
		{at: 0, started: 0, plays: 1},
		{at: 30, started: 0, plays: 2},    // exactly the gap: the same sitting
		{at: 61, started: 61, plays: 1},   // beyond it
		{at: 20, started: 61, plays: 2},   // late: does not begin one
		{at: 91, started: 61, plays: 3},   // the late one did not move the end
		{at: 200, started: 200, plays: 1}, // a new one
	} {
		r.apply(event("ann", "s1", minutes(step.at)))
		if s := r.core("ann").Session; s.StartedAt != minutes(step.started).UnixMilli() || s.Plays != step.plays {
			t.Errorf("at minute %d: %d plays since %s, want %d since minute %d", step.at, s.Plays,
				time.UnixMilli(s.StartedAt).UTC(), step.plays, step.started)
		}
	}
}

// TestUnlikeUndoesExactly: after a like and its undoing nothing is left, whatever happened meanwhile and however long it took.
func TestUnlikeUndoesExactly(t *testing.T) {
	t.Parallel()
	for name, between := range map[string][]schemas.Event{
		"nothing":       nil,
		"a play":        {event("ann", "s1", hours(30))},
		"plays, late":   {event("ann", "s1", hours(50)), event("ann", "s1", hours(20))},
		"another song":  {event("ann", "s2", hours(30))},
		"another liker": {of(schemas.KindLike, event("bob", "s1", hours(30)))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			with, without := newRig(t, exact()), newRig(t, exact())
			play := event("ann", "s1", hours(0))
			with.apply(play, of(schemas.KindLike, event("ann", "s1", hours(10), "like")))
			without.apply(play)
			if h := with.heard("ann", "s1"); h.Flags&state.FlagLiked == 0 || h.LikedAt != hours(10).UnixMilli() || h.Engagement.Value < 2 {
				t.Fatalf("the like is not there: %+v", h)
			}
			for _, e := range between {
				with.apply(e)
				without.apply(e)
			}
			with.apply(of(schemas.KindUnlike, event("ann", "s1", hours(40), "unlike")))
			got, want := with.heard("ann", "s1"), without.heard("ann", "s1")
			if got.Flags&state.FlagLiked != 0 || got.LikedAt != 0 {
				t.Errorf("still liked: %+v", got)
			}
			half := 14 * 24.
			worth := func(h *state.HistoryEntry) float64 {
				return h.Engagement.Value * math.Exp2(-hours(60).Sub(time.UnixMilli(h.Engagement.At)).Hours()/half)
			}
			if math.Abs(worth(got)-worth(want)) > 1e-12 {
				t.Errorf("engagement %v, want %v as if never liked", worth(got), worth(want))
			}
		})
	}
}

func TestUnlikeOfNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, exact())
	r.apply(event("ann", "s1", hours(0)), of(schemas.KindUnlike, event("ann", "s1", hours(1))))
	if h := r.heard("ann", "s1"); h.Engagement.Value < .99 {
		t.Errorf("an unlike without a like took %v away", 1-h.Engagement.Value)
	}
}

func TestExplicitWords(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		kinds []schemas.Kind
		flags uint8
	}{
		"like":               {[]schemas.Kind{schemas.KindLike}, state.FlagLiked | state.FlagTrained},
		"dislike":            {[]schemas.Kind{schemas.KindDislike}, state.FlagBanned},
		"ban":                {[]schemas.Kind{schemas.KindBan}, state.FlagBanned},
		"like then ban":      {[]schemas.Kind{schemas.KindLike, schemas.KindBan}, state.FlagBanned | state.FlagTrained},
		"ban then like":      {[]schemas.Kind{schemas.KindBan, schemas.KindLike}, state.FlagLiked | state.FlagTrained},
		"like then unlike":   {[]schemas.Kind{schemas.KindLike, schemas.KindUnlike}, state.FlagTrained},
		"playlist add":       {[]schemas.Kind{schemas.KindPlaylistAdd}, state.FlagAdded | state.FlagTrained},
		"share":              {[]schemas.Kind{schemas.KindShare}, state.FlagTrained},
		"dislike after add":  {[]schemas.Kind{schemas.KindPlaylistAdd, schemas.KindDislike}, state.FlagAdded | state.FlagBanned | state.FlagTrained},
		"play":               {[]schemas.Kind{schemas.KindPlay}, state.FlagTrained},
		"skip of unknown at": {[]schemas.Kind{schemas.KindSkip}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, exact())
			for n, kind := range test.kinds {
				r.apply(of(kind, event("ann", "s1", hours(float64(n)))))
			}
			h := r.heard("ann", "s1")
			if h.Flags != test.flags {
				t.Errorf("flags %05b, want %05b", h.Flags, test.flags)
			}
			last := test.kinds[len(test.kinds)-1]
			if negative := h.Engagement.Value < 0; len(test.kinds) == 1 &&
				negative != (last == schemas.KindDislike || last == schemas.KindBan || last == schemas.KindSkip) {
				t.Errorf("engagement %v", h.Engagement.Value)
			}
		})
	}
}

func TestArtistBans(t *testing.T) {
	t.Parallel()
	r := newRig(t, exact())
	ban := of(schemas.KindBan, event("ann", "", hours(0)))
	ban.Song, ban.Artist = nil, []byte("Abba")
	r.want(stream.OutcomeApplied, ban)
	r.want(stream.OutcomeDuplicate, ban)
	again := ban
	again.ID[0]++
	r.want(stream.OutcomeApplied, again)
	c := r.core("ann")
	if want := []uint64{uint64(factor.KeyOf(factor.KindArtist, "Abba"))}; !slices.Equal(c.Artists, want) || c.Events != 2 {
		t.Errorf("bans %v after %d events, want %v", c.Artists, c.Events, want)
	}
	if keys := r.store.Keys(state.AppendHistoryPrefix(nil, []byte("ann"))); len(keys) != 0 {
		t.Errorf("an event about no song left %d history rows", len(keys))
	}
}

func TestEventsAboutNoSong(t *testing.T) {
	t.Parallel()
	r := newRig(t, exact())
	open := of(schemas.KindPlaylistOpen, event("ann", "", hours(0)))
	survey := of(schemas.KindSurvey, event("ann", "", hours(1)))
	open.Song, survey.Song, survey.Rating = nil, nil, 4
	r.want(stream.OutcomeApplied, open, survey)
	r.want(stream.OutcomeDuplicate, open, survey)
	r.want(stream.OutcomeApplied, event("ann", "s1", hours(100)))
	survey.ID[0]++
	survey.At = hours(99).UnixMilli()
	r.want(stream.OutcomeApplied, survey) // moves the horizon of such events
	r.want(stream.OutcomeTooLate, open)
	if c := r.core("ann"); c.Events != 4 || c.Session.Plays != 1 {
		t.Errorf("%d events, %d plays", c.Events, c.Session.Plays)
	}
}

// TestOnboardingMovesTaste: who chose a genre scores its songs higher than before.
func TestOnboardingMovesTaste(t *testing.T) {
	t.Parallel()
	cfg := exact()
	cfg.Learn.Window, cfg.Learn.InitScale = 20, .5 // as large as learnt rows are
	r := newRig(t, cfg)
	r.songs(40)
	onboarding := of(schemas.KindOnboarding, event("ann", "", hours(0)))
	onboarding.Song, onboarding.Genres, onboarding.Artists = nil, [][]byte{[]byte("genre 3")}, [][]byte{[]byte("artist 001")}
	r.apply(of(schemas.KindPlaylistOpen, event("bob", "", hours(0))), onboarding)
	untouched := make([]float32, cfg.Learn.Dim)
	factor.InitRow(cfg.Learn, factor.KeyOf(factor.KindListener, "ann"), untouched)
	score := func(vector []float32, kind factor.Kind, id string) float32 {
		q := make([]float32, cfg.Learn.Dim)
		sum := r.table.Vector(r.table.Row(kind, id), q)
		for i, v := range vector {
			sum += v * q[i]
		}
		return sum
	}
	for id, kind := range map[string]factor.Kind{"genre 3": factor.KindGenre, "artist 001": factor.KindArtist} {
		if before, after := score(untouched, kind, id), score(r.core("ann").Vector, kind, id); after <= before+.05 {
			t.Errorf("%s scores %v after it was chosen, %v before", id, after, before)
		}
	}
}

// TestWhatTheSongTasksAreTold adds up the updates of a small stream.
func TestWhatTheSongTasksAreTold(t *testing.T) {
	t.Parallel()
	r := newRig(t, exact())
	skip := event("bob", "s1", hours(0).Add(time.Minute))
	skip.Kind, skip.PlayedMs, skip.PositionMs = schemas.KindSkip, 3000, 3000
	short := event("cat", "s1", hours(0).Add(2*time.Minute))
	short.PlayedMs, short.Region = 31_000, [2]byte{'D', 'E'}
	r.apply(
		event("ann", "s1", hours(0)), event("ann", "s1", hours(0).Add(4*time.Minute)), skip, short,
		of(schemas.KindLike, event("ann", "s1", hours(0).Add(3*time.Minute))),
		event("ann", "s1", hours(0).Add(5*time.Minute)), event("ann", "s2", hours(0)),
	)
	r.apply(event("ann", "s1", hours(25)))
	var updates []schemas.SongUpdate
	for _, u := range r.updates() {
		if u.Kind == byte(factor.KindSong) && string(u.ID) == "s1" {
			updates = append(updates, u)
		}
	}
	if len(updates) != 2 {
		t.Fatalf("%d updates of s1 in 2 transactions", len(updates))
	}
	if updates[0].Seq != 7 || updates[1].Seq != 8 {
		t.Errorf("tagged %d and %d, want the offsets behind the transactions", updates[0].Seq, updates[1].Seq)
	}
	find := func(u schemas.SongUpdate, region string, at time.Time) schemas.ListenBucket {
		for _, b := range u.Listens {
			if factor.Region(b.Region).String() == region && b.At == at.UnixMilli() {
				return b
			}
		}
		t.Errorf("no bucket of %q at %s", region, at)
		return schemas.ListenBucket{}
	}
	if b := find(updates[0], "", hours(0)); b.Plays != 3 || b.Unique != 2 || b.Skips != 1 || b.Completions != 2 || b.Likes != 1 {
		t.Errorf("first five minutes: %+v", b)
	}
	if b := find(updates[0], "DE", hours(0)); b.Plays != 1 || b.Unique != 1 || b.ShortPlays != 1 || b.Completions != 0 {
		t.Errorf("first five minutes in DE: %+v", b)
	}
	if b := find(updates[0], "", hours(0).Add(5*time.Minute)); b.Plays != 1 || b.Unique != 0 {
		t.Errorf("next five minutes: %+v", b)
	}
	if b := find(updates[1], "", hours(25)); b.Plays != 1 || b.Unique != 1 {
		t.Errorf("a day later: %+v", b)
	}
}

func TestInspect(t *testing.T) {
	t.Parallel()
	r := newRig(t, exact())
	r.songs(40)
	e := event("ann", "s001", hours(0))
	e.Region = [2]byte{'D', 'E'}
	r.apply(e, event("ann", "s002", hours(1)), of(schemas.KindBan, event("ann", "s003", hours(2))))
	got, err := r.task.Inspect([]byte("ann"))
	if err != nil {
		t.Fatal(err)
	}
	got.Vector = nil
	got.Chain = ""
	for i := range got.Heard {
		got.Heard[i].Engagement = math.Round(got.Heard[i].Engagement * 100)
	}
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"events":3,"chain":"","first_at":"2026-03-02T06:00:00Z","last_at":"2026-03-02T08:00:00Z","region":"DE",` +
		`"zone":"Europe/Berlin","opt_out":false,"skip_share":0,"songs":3,"heard":[` +
		`{"song":"s002","title":"title s002","plays":1,"engagement":100,"last_at":"2026-03-02T07:00:00Z"},` +
		`{"song":"s001","title":"title s001","plays":1,"engagement":100,"last_at":"2026-03-02T06:00:00Z"},` +
		`{"song":"s003","title":"title s003","plays":0,"engagement":-400,"banned":true}],` +
		`"vector":null,"counts":{"banned_artists":0,"trained":2}}`
	if string(text) != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	if nobody, err := r.task.Inspect([]byte("zoe")); nobody != nil || err != nil {
		t.Errorf("of nobody: %v, %v", nobody, err)
	}
}

// TestALaggingTaskReplaysLess: a first listen trains fewer songs of the history when it has waited for too long, unless it is history itself.
func TestALaggingTaskReplaysLess(t *testing.T) {
	steps := func(lag time.Duration, produced time.Time) int {
		cfg := exact()
		cfg.ReplayLag, cfg.Learn.Replays, cfg.Learn.HurriedReplays = 2*time.Second, 4, 1
		r := newRig(t, cfg)
		for i := range 8 {
			r.apply(event("ann", fmt.Sprint("song ", i), monday().Add(time.Duration(i)*time.Minute)))
		}
		r.sent["updates"] = nil
		rec := r.record(event("ann", "another", monday().Add(time.Hour)))
		rec.Lag, rec.At = lag, produced
		r.process(rec)
		r.commit()
		sum := 0
		for _, u := range r.updates() {
			sum += int(u.Count)
		}
		return sum
	}
	soon, late := monday().Add(time.Hour), monday().Add(100*time.Hour)
	if full, hurried := steps(time.Second, soon), steps(3*time.Second, soon); full != 1+4 || hurried != 1+1 {
		t.Errorf("%d steps in time and %d behind, want 5 and 2", full, hurried)
	}
	if imported := steps(time.Hour, late); imported != 1+4 {
		t.Errorf("%d steps on an event of days ago, want 5", imported)
	}
}

// TestSongTasksAreToldHowFar: every song task learns how far in event time the task is, with its last record of a transaction and when
// five minutes have passed, and what was abandoned is told again.
func TestSongTasksAreToldHowFar(t *testing.T) {
	t.Parallel()
	cfg := exact()
	cfg.Partitions = 5
	r := newRig(t, cfg)
	marks := func() map[int32][]int64 {
		told := map[int32][]int64{}
		for _, m := range r.sent["updates"] {
			var record schemas.SongUpdates
			if err := record.UnmarshalBinary(m.Value); err != nil || record.Mark.Partition != partition {
				t.Fatalf("%+v, %v", record.Mark, err)
			}
			told[m.Partition] = append(told[m.Partition], record.Mark.At)
		}
		r.sent["updates"] = nil
		return told
	}
	all := func(what string, at time.Time) {
		t.Helper()
		told := marks()
		for p := range cfg.Partitions {
			if got := told[p]; len(got) == 0 || got[len(got)-1] != at.UnixMilli() {
				t.Errorf("%s: partition %d was told %v, want %d", what, p, got, at.UnixMilli())
			}
		}
	}
	r.apply(event("ann", "s1", hours(1)))
	all("first", hours(1))
	r.apply(event("ann", "s1", hours(1).Add(-time.Minute)), event("ann", "s1", hours(1).Add(time.Minute)))
	if told := marks(); len(told) == 0 || len(told) == int(cfg.Partitions) {
		t.Errorf("a minute later %d partitions were told, want those of the song", len(told))
	}
	r.process(r.record(event("ann", "s1", hours(2))))
	if err := r.run.Flush(); err != nil {
		t.Fatal(err)
	}
	r.run.Abandon()
	r.apply(event("ann", "s1", hours(1).Add(10*time.Minute)))
	all("after an abandoned transaction", hours(1).Add(10*time.Minute))
	// A transaction whose updates do not fit into one record says how far it is in the last.
	var many []schemas.Event
	for n := range 3000 {
		many = append(many, event("ann", fmt.Sprintf("song number %d of a long list", n), hours(3)))
	}
	r.apply(many...)
	for p, told := range marks() {
		if last := len(told) - 1; last < 1 || told[last] != hours(3).UnixMilli() || slices.Max(told[:last]) != 0 {
			t.Errorf("partition %d was told %v", p, told)
		}
	}
}

// TestUpdatesGoToTheirRowsPartition: the rows of one transaction share records by song partition; harness checks that it is the right one.
func TestUpdatesGoToTheirRowsPartition(t *testing.T) {
	cfg := exact()
	cfg.Partitions = 4
	r := newRig(t, cfg)
	for i := range 900 { // more than one record's worth for each
		r.process(r.record(event("ann", fmt.Sprint("song ", i), monday().Add(time.Duration(i)*time.Minute))))
	}
	r.commit()
	records, partitions := len(r.sent["updates"]), map[int32]bool{}
	for _, m := range r.sent["updates"] {
		partitions[m.Partition] = true
		if len(m.Value) > 64<<10 {
			t.Errorf("a record has %d bytes", len(m.Value))
		}
	}
	rows := map[string]int{}
	for _, u := range r.updates() {
		rows[string(u.ID)]++
	}
	if len(rows) != 900 || len(partitions) != 4 || records <= 4 || records > 100 {
		t.Errorf("%d rows in %d records to %d partitions", len(rows), records, len(partitions))
	}
	for id, n := range rows {
		if n != 1 {
			t.Errorf("%s was sent %d times", id, n)
		}
	}
}
