package listener_test

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"earworm/consumers/stream"
	"earworm/model/calendar"
	"earworm/model/factor"
	"earworm/schemas"
	"earworm/state"
)

// delivered returns the instant of a zone's delivery in the week of monday, moved by weeks.
func delivered(t *testing.T, zone string, weeks int) time.Time {
	t.Helper()
	loc, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	week := calendar.WeekOf(monday().AddDate(0, 0, 7*weeks))
	return week.Delivery(loc, 6)
}

// people lets n listeners in each of the zones play a song in the week before monday.
func (r *rig) people(n int, zones ...string) {
	r.tb.Helper()
	for z, zone := range zones {
		for i := range n {
			user := fmt.Sprintf("user %d %02d", z, i)
			r.apply(profile(user, hours(-100), schemas.Profile{TimeZone: zone}), event(user, fmt.Sprintf("s%03d", i), hours(-90)))
		}
	}
}

// owners counts playlists by listener and week, with the status of the ready ones.
func owners(lists []schemas.Playlist) map[string]int {
	out := map[string]int{}
	for _, l := range lists {
		out[string(l.User)+" "+l.Week+" "+l.Status]++
	}
	return out
}

func TestOnePlaylistAWeekInEveryZone(t *testing.T) {
	t.Parallel()
	r := newRig(t, exact())
	r.songs(200)
	zones := []string{"Asia/Tokyo", "Europe/Berlin", "America/New_York", "Pacific/Kiritimati"}
	r.people(3, zones...)
	for w := range 3 {
		// The latest morning of a week lies before the earliest of the next.
		for _, zone := range []string{"Pacific/Kiritimati", "Asia/Tokyo", "Europe/Berlin", "America/New_York"} {
			morning := delivered(t, zone, w)
			r.tick(at(morning.Add(-time.Millisecond)))
			if early := r.playlists(); len(early) != 0 {
				t.Fatalf("%s: %d playlists a moment before the morning", zone, len(early))
			}
			r.tick(at(morning))
			r.tick(at(morning))
			r.tick(at(morning.Add(-30 * time.Hour)))
			lists := r.playlists()
			if len(lists) != 3 {
				t.Fatalf("%s: %d playlists in the morning of week %d, want 3", zone, len(lists), w)
			}
			z := slices.Index(zones, zone)
			for i, l := range lists {
				want := calendar.WeekOf(morning).String()
				if string(l.User) != fmt.Sprintf("user %d %02d", z, i) || l.Week != want || l.Status != schemas.PlaylistReady ||
					len(l.Tracks) != 30 || l.ID != schemas.PlaylistID(l.User, want) || !l.CreatedAt.Equal(morning) {
					t.Errorf("%s: %q %s %s, %d tracks, of %s", zone, l.User, l.Week, l.Status, len(l.Tracks), l.CreatedAt)
				}
			}
		}
	}
	if c := r.core("user 0 00"); c.ServedZone != "Asia/Tokyo" {
		t.Errorf("served in %q", c.ServedZone)
	}
}

// TestPlaylistIsACloudEvent looks at the headers.
func TestPlaylistIsACloudEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t, exact())
	r.songs(100)
	r.people(1, "UTC")
	r.tick(at(monday()))
	if len(r.sent["playlists"]) != 1 {
		t.Fatal("no playlist")
	}
	got := map[string]string{}
	for _, h := range r.sent["playlists"][0].Headers {
		got[h.Key] = string(h.Value)
	}
	id := schemas.PlaylistID("user 0 00", "2026-W10").String()
	for key, want := range map[string]string{
		"ce_id": id, "ce_type": "io.earworm.playlist.weekly.v1", "ce_time": "2026-03-02T06:00:00.000Z", "ce_specversion": "1.0",
		"ce_source": "/earworm", "schema-version": "1",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
}

func TestDaylightSaving(t *testing.T) {
	t.Parallel()
	// Berlin springs forward on Sunday 2026-03-29: 06:00 is 05:00 UTC on the 23rd and 04:00 UTC on the 30th.
	r := newRig(t, exact())
	r.songs(200)
	r.people(1, "Europe/Berlin")
	for _, step := range []struct {
		at    string
		lists int
	}{
		{"2026-03-23T04:59:59Z", 0}, // of the 16th nothing is left: too long ago
		{"2026-03-23T05:00:00Z", 1},
		{"2026-03-30T03:59:59Z", 0},
		{"2026-03-30T04:00:00Z", 1},
		{"2026-03-30T05:00:00Z", 0},
		{"2026-10-26T04:59:00Z", 0}, // autumn: again 05:00
		{"2026-10-26T05:00:00Z", 1},
	} {
		when, err := time.Parse(time.RFC3339, step.at)
		if err != nil {
			t.Fatal(err)
		}
		if step.lists == 0 && when.Month() != 3 {
			r.apply(event("user 0 00", "s050", when.Add(-time.Hour)))
		}
		if step.at == "2026-03-23T04:59:59Z" || step.at == "2026-10-26T04:59:00Z" {
			r.tick(schemas.Tick{At: when.Add(-7 * 24 * time.Hour).UnixMilli(), Week: calendar.WeekOf(when).Previous().String(), Forced: true})
			r.playlists()
		}
		r.tick(at(when))
		if lists := r.playlists(); len(lists) != step.lists {
			t.Errorf("%s: %d playlists, want %d", step.at, len(lists), step.lists)
		}
	}
}

func TestCatchUp(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		late  time.Duration
		weeks []string
	}{
		"on time":                     {0, []string{"2026-W10"}},
		"six days late":               {6 * 24 * time.Hour, []string{"2026-W10"}},
		"a moment before the next":    {7*24*time.Hour - time.Millisecond, []string{"2026-W10"}},
		"the next":                    {7 * 24 * time.Hour, []string{"2026-W11"}},
		"three and a half weeks late": {25 * 24 * time.Hour, []string{"2026-W13"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, exact())
			r.songs(100)
			r.people(2, "UTC")
			r.tick(at(monday().Add(test.late)))
			var weeks []string
			for _, l := range r.playlists() {
				weeks = append(weeks, l.Week)
			}
			if want := slices.Repeat(test.weeks, 2); !slices.Equal(weeks, want) {
				t.Errorf("weeks %v, want %v", weeks, want)
			}
		})
	}
	t.Run("a short window", func(t *testing.T) {
		t.Parallel()
		cfg := exact()
		cfg.CatchUp = 12 * time.Hour
		r := newRig(t, cfg)
		r.songs(100)
		r.people(1, "UTC")
		r.tick(at(monday().Add(12 * time.Hour)))
		if lists := r.playlists(); len(lists) != 0 {
			t.Errorf("%d playlists at the end of the window", len(lists))
		}
		r.tick(at(monday().Add(12*time.Hour - time.Millisecond)))
		if lists := r.playlists(); len(lists) != 1 {
			t.Errorf("%d playlists within the window", len(lists))
		}
	})
}

func TestJoinedAfterDeliveryGetsTheNextWeek(t *testing.T) {
	t.Parallel()
	r := newRig(t, exact())
	r.songs(100)
	r.people(1, "UTC")
	r.apply(event("late", "s001", monday().Add(time.Millisecond)), event("just", "s001", monday()))
	r.apply(profile("told", hours(-10), schemas.Profile{TimeZone: "UTC"}))
	r.tick(at(monday().Add(time.Hour)))
	want := map[string]int{"user 0 00 2026-W10 ready": 1, "just 2026-W10 ready": 1}
	if got := owners(r.playlists()); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	r.tick(at(monday().Add(7 * 24 * time.Hour)))
	want = map[string]int{"user 0 00 2026-W11 ready": 1, "just 2026-W11 ready": 1, "late 2026-W11 ready": 1}
	if got := owners(r.playlists()); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestForcedWeek: it comes before its Monday, also to those who joined after a delivery, and to nobody twice.
func TestForcedWeek(t *testing.T) {
	t.Parallel()
	r := newRig(t, exact())
	r.songs(200)
	r.people(2, "UTC", "Asia/Tokyo")
	r.tick(at(monday()))
	if got := len(r.playlists()); got != 4 {
		t.Fatalf("%d playlists", got)
	}
	r.apply(event("late", "s001", monday().Add(time.Hour)))
	force := func(week string, when time.Time) schemas.Tick {
		return schemas.Tick{At: when.UnixMilli(), Week: week, Forced: true}
	}
	r.tick(force("2026-W10", monday().Add(2*time.Hour)))
	if got := owners(r.playlists()); fmt.Sprint(got) != "map[late 2026-W10 ready:1]" {
		t.Errorf("a forced week that is done gives %v, want the one who joined later", got)
	}
	r.tick(force("2026-W11", monday().Add(3*time.Hour)))
	if got := len(r.playlists()); got != 5 {
		t.Errorf("a forced week gives %d playlists, want 5", got)
	}
	r.apply(event("later", "s001", monday().Add(4*time.Hour)))
	r.tick(force("2026-W11", monday().Add(5*time.Hour)))
	r.tick(force("2026-W11", monday().Add(5*time.Hour)))
	if got := owners(r.playlists()); fmt.Sprint(got) != "map[later 2026-W11 ready:1]" {
		t.Errorf("forced again gives %v", got)
	}
	r.apply(event("last", "s001", monday().Add(6*time.Hour)))
	r.tick(at(monday().Add(7 * 24 * time.Hour)))
	if got := owners(r.playlists()); fmt.Sprint(got) != "map[last 2026-W11 ready:1]" {
		t.Errorf("the Monday of a week forced early gives %v, want the one who joined since", got)
	}
	if got := r.process(r.tickRecord(force("2026-W99", monday()))); got != stream.OutcomeDeadLettered {
		t.Errorf("a forced week that does not exist is %s", got)
	}
}

func TestStatusRecords(t *testing.T) {
	t.Parallel()
	cfg := exact()
	cfg.ActiveFor = 100 * time.Hour
	r := newRig(t, cfg)
	r.songs(100)
	r.apply(event("gone", "s001", hours(-101)), event("here", "s001", hours(-100)))
	r.tick(at(monday()))
	if got := owners(r.playlists()); fmt.Sprint(got) != "map[gone 2026-W10 none:1 here 2026-W10 ready:1]" {
		t.Errorf("got %v", got)
	}
	empty := newRig(t, exact())
	empty.apply(event("alone", "only", hours(-1)))
	empty.tick(at(monday()))
	lists := empty.playlists()
	if len(lists) != 1 || lists[0].Status != schemas.PlaylistNone || lists[0].Reason != "no_songs" || len(lists[0].Tracks) != 0 {
		t.Errorf("got %+v", lists)
	}
	empty.tick(at(monday().Add(time.Hour)))
	if again := empty.playlists(); len(again) != 0 {
		t.Error("a status is written twice")
	}
}

// TestChunks: a tick serves no more than a chunk, and the ticks it writes serve each listener once.
func TestChunks(t *testing.T) {
	t.Parallel()
	type row struct {
		size int
		time time.Duration
		most int // listeners that a tick serves
	}
	rows := map[string]row{"one takes too long": {100, 1, 1}}
	for _, size := range []int{1, 3, 7, 20, 21, 100} {
		rows[strconv.Itoa(size)] = row{size, math.MaxInt64, size}
	}
	for name, chunk := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := exact()
			cfg.Chunk, cfg.ChunkTime = chunk.size, chunk.time
			r := newRig(t, cfg)
			r.songs(100)
			r.people(20, "UTC", "Africa/Abidjan")
			tick, ticks := at(monday()), 0
			var all []schemas.Playlist
			for more := true; more; ticks++ {
				r.process(r.tickRecord(tick))
				r.commit()
				lists := r.playlists()
				if len(lists) > chunk.most {
					t.Fatalf("%d playlists in one transaction, want at most %d", len(lists), chunk.most)
				}
				all = append(all, lists...)
				tick, more = r.nextTick()
			}
			for owner, n := range owners(all) {
				if n != 1 {
					t.Errorf("%s has %d playlists", owner, n)
				}
			}
			perZone := (20 + chunk.most - 1) / chunk.most
			if len(all) != 40 || ticks != 2*perZone+1 {
				t.Errorf("%d playlists in %d ticks, want 40 in %d", len(all), ticks, 2*perZone+1)
			}
		})
	}
}

// TestChunksSeeTheOpenTransaction: listeners who came, left and moved in the transaction of the tick.
func TestChunksSeeTheOpenTransaction(t *testing.T) {
	t.Parallel()
	for _, chunk := range []int{1, 2, 3, 10} {
		t.Run(strconv.Itoa(chunk), func(t *testing.T) {
			t.Parallel()
			seesTheOpenTransaction(t, chunk)
		})
	}
}

func seesTheOpenTransaction(t *testing.T, chunk int) {
	t.Helper()
	cfg := exact()
	cfg.Chunk = chunk
	r := newRig(t, cfg)
	r.songs(100)
	r.people(3, "Asia/Tokyo") // the first zone in the order of names, so the first tick serves it
	r.process(r.record(event("aaa new", "s001", hours(-50))))
	r.process(r.record(profile("aaa new", hours(-50), schemas.Profile{TimeZone: "Asia/Tokyo"})))
	r.process(r.record(erasure("user 0 01", hours(-5))))
	r.process(r.record(profile("user 0 02", hours(-5), schemas.Profile{TimeZone: "Europe/Berlin"})))
	r.tick(at(delivered(t, "Asia/Tokyo", 0)))
	want := "map[ :1 aaa new 2026-W10 ready:1 user 0 00 2026-W10 ready:1]" // the first is the withdrawal
	got := map[string]int{}
	for _, l := range r.playlists() {
		key := string(l.User) + " " + l.Week + " " + l.Status
		if l.Week == "" {
			key = " "
		}
		got[key]++
	}
	if fmt.Sprint(got) != want {
		t.Errorf("got %v, want %v", got, want)
	}
	r.tick(at(delivered(t, "Europe/Berlin", 0)))
	if got := owners(r.playlists()); fmt.Sprint(got) != "map[user 0 02 2026-W10 ready:1]" {
		t.Errorf("who moved west gets %v", got)
	}
}

// TestMovingDoesNotEarnASecondPlaylist: a listener served in the east moves west before the morning there.
func TestMovingDoesNotEarnASecondPlaylist(t *testing.T) {
	t.Parallel()
	r := newRig(t, exact())
	r.songs(100)
	r.people(1, "Asia/Tokyo", "America/New_York")
	r.tick(at(delivered(t, "Asia/Tokyo", 0)))
	if got := len(r.playlists()); got != 1 {
		t.Fatalf("%d playlists", got)
	}
	r.apply(profile("user 0 00", hours(-1), schemas.Profile{TimeZone: "America/New_York"}))
	r.tick(at(delivered(t, "America/New_York", 0)))
	if got := owners(r.playlists()); fmt.Sprint(got) != "map[user 1 00 2026-W10 ready:1]" {
		t.Errorf("got %v", got)
	}
}

// TestPlaylistsDoNotRepeat follows listeners over ten weeks: thirty distinct songs, none heard, banned or in the last four lists, at
// most two of an artist, whether they opted out or not.
func TestPlaylistsDoNotRepeat(t *testing.T) {
	t.Parallel()
	for name, optOut := range map[string]bool{"personal": false, "opted out": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, exact())
			r.songs(400)
			r.apply(profile("ann", hours(-100), schemas.Profile{OptOut: optOut, TimeZone: "UTC"}))
			ban := of(schemas.KindBan, event("ann", "", hours(-99)))
			ban.Song, ban.Artist = nil, []byte("artist 190")
			r.apply(event("ann", "s010", hours(-98)), ban, of(schemas.KindBan, event("ann", "s020", hours(-97))))
			never := []string{"s010", "s020", "s380", "s381"}
			var recent [][]string
			for w := range 10 {
				morning := monday().AddDate(0, 0, 7*w)
				r.tick(at(morning))
				lists := r.playlists()
				if len(lists) != 1 || len(lists[0].Tracks) != 30 {
					t.Fatalf("week %d: %d playlists", w, len(lists))
				}
				var songs []string
				artists := map[string]int{}
				for n, track := range lists[0].Tracks {
					song := string(track.Song)
					if slices.Contains(never, song) || slices.Contains(songs, song) || slices.Contains(slices.Concat(recent...), song) {
						t.Errorf("week %d: %s is heard, banned or repeated", w, song)
					}
					if artists[track.Artist]++; artists[track.Artist] > 2 {
						t.Errorf("week %d: %d songs of %s", w, artists[track.Artist], track.Artist)
					}
					if track.Rank != n+1 || track.Reason == "" || track.Slot == "" || !(track.Propensity > 0) || track.Title == "" {
						t.Errorf("week %d: %+v", w, track)
					}
					songs = append(songs, song)
				}
				recent = append(recent, songs)
				if len(recent) > 4 {
					recent = recent[1:]
				}
				// They hear the first of it, which must not come back ever.
				r.apply(event("ann", songs[0], morning.Add(time.Hour)))
				never = append(never, songs[0])
				if w%3 == 1 {
					r.open()
				}
			}
			rows := r.store.Keys(state.AppendPlaylistPrefix(nil, []byte("ann")))
			if len(rows) != 4 {
				t.Errorf("%d playlists are kept, want 4", len(rows))
			}
		})
	}
}

// TestContinuationAfterACrash abandons every chunk once and restarts the task before it is done again.
func TestContinuationAfterACrash(t *testing.T) {
	t.Parallel()
	cfg := exact()
	cfg.Chunk = 4
	r := newRig(t, cfg)
	r.songs(100)
	r.people(10, "UTC", "Europe/Berlin")
	var all []schemas.Playlist
	tick := at(monday())
	for n, more := 0, true; more; n++ {
		r.process(r.tickRecord(tick))
		if n%2 == 0 {
			if err := r.run.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		if n%3 == 0 {
			r.open()
		} else {
			r.run.Abandon()
		}
		r.process(r.tickRecord(tick))
		r.commit()
		all = append(all, r.playlists()...)
		tick, more = r.nextTick()
	}
	counts := owners(all)
	if len(all) != 20 || len(counts) != 20 {
		t.Errorf("%d playlists for %d listeners, want 20 for 20", len(all), len(counts))
	}
}

// TestTwoStreamsOfTicks: two instances that both believe to be the clock send everything twice, continuations included.
func TestTwoStreamsOfTicks(t *testing.T) {
	t.Parallel()
	cfg := exact()
	cfg.Chunk = 3
	r := newRig(t, cfg)
	r.songs(100)
	r.people(10, "UTC", "Europe/Berlin")
	queue := []schemas.Tick{at(monday()), at(monday())}
	var all []schemas.Playlist
	for len(queue) > 0 {
		r.process(r.tickRecord(queue[0]))
		r.commit()
		all = append(all, r.playlists()...)
		queue = queue[1:]
		if next, ok := r.nextTick(); ok {
			queue = append(queue, next)
		}
	}
	if counts := owners(all); len(all) != 20 || len(counts) != 20 {
		t.Errorf("%d playlists for %d listeners, want 20 for 20", len(all), len(counts))
	}
}

// TestSameListAgain: the playlist is a function of the state, so a transaction that is done again gives the same one.
func TestSameListAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, exact())
	r.songs(300)
	r.people(3, "UTC")
	take := func() []string {
		var songs []string
		for _, l := range r.playlists() {
			for _, track := range l.Tracks {
				songs = append(songs, fmt.Sprint(l.User, track))
			}
		}
		return songs
	}
	r.process(r.tickRecord(at(monday())))
	r.run.Abandon()
	r.open()
	r.tick(at(monday()))
	first := take()
	if len(first) != 90 {
		t.Fatalf("%d tracks", len(first))
	}
	other := newRig(t, exact())
	other.songs(300)
	other.people(3, "UTC")
	r = other
	r.tick(at(monday()))
	if second := take(); !slices.Equal(first, second) {
		t.Error("the same listeners get other playlists from the same state")
	}
}

// TestPlaylistsSayOfWhichRefit: the epoch of the model grows with the newest refit that the process has rows of.
func TestPlaylistsSayOfWhichRefit(t *testing.T) {
	t.Parallel()
	r := newRig(t, exact())
	r.songs(200)
	r.people(1, "Europe/Berlin")
	for w, epoch := range []uint32{0, 3} {
		r.table.Load(factor.Published{Kind: factor.KindSong, ID: "s000", Vector: make([]float32, r.cfg.Learn.Dim), Epoch: epoch})
		r.tick(at(delivered(t, "Europe/Berlin", w)))
		lists := r.playlists()
		if len(lists) != 1 || lists[0].ModelEpoch != 1+int(epoch) {
			t.Fatalf("refit %d: %d playlists, the first of epoch %d", epoch, len(lists), lists[0].ModelEpoch)
		}
	}
}
