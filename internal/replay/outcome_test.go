package replay_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"earworm/consumers/listener"
	"earworm/consumers/song"
	"earworm/internal/listeners"
	"earworm/internal/replay"
	"earworm/model/calendar"
	"earworm/model/factor"
	"earworm/schemas"
)

var (
	played = flag.Int("played", 0, "how many seeds of each world are measured with people who play their lists; 0 is a small world")
	worlds = flag.String("worlds", "base,bots", "worlds of -played")
)

// audience is a world whose people play the lists that a cluster makes for them.
type audience struct {
	tb      testing.TB
	world   *listeners.World
	cluster *replay.Cluster
	decoder *schemas.Decoder
	judge   *listeners.Evaluator
	told    map[int]bool // songs that were described
	given   map[int]listeners.Playlist
	// names says whether events say from which list they are.
	names bool

	started, liked int     // tracks of lists, from the week on from which it counts
	loved          float64 // the true chances that listeners love the tracks of their lists
	tracks         int
	lists          []string
}

// newAudience returns a world in which nobody has listened to anything yet.
func newAudience(tb testing.TB, cfg listeners.Config, names bool) *audience {
	tb.Helper()
	a := &audience{tb: tb, told: map[int]bool{}, given: map[int]listeners.Playlist{}, names: names}
	cfg.Playlists = func(listener, _ int) listeners.Playlist { return a.given[listener] }
	l := listener.Default()
	l.Seed = cfg.Seed
	var err error
	if a.world, err = listeners.New(cfg); err != nil {
		tb.Fatal(err)
	}
	if a.cluster, err = replay.New(replay.Config{Listener: l, Song: song.Default()}); err != nil {
		tb.Fatal(err)
	}
	if a.decoder, err = schemas.NewDecoder(schemas.DecoderConfig{}); err != nil {
		tb.Fatal(err)
	}
	a.judge = listeners.NewEvaluator(a.world)
	return a
}

// describe tells the cluster about songs.
func (a *audience) describe(n int) {
	if a.told[n] {
		return
	}
	a.told[n] = true
	s := a.world.Song(n)
	a.cluster.Describe(s.ID, factor.Meta{
		Title: s.Title, Artist: s.Artist, Album: s.Album, Genres: s.Genres, Language: s.Language,
		ReleasedAt: s.Released.UnixMilli(), DurationMs: s.Duration.Milliseconds(), Tempo: s.Tempo, Energy: s.Energy,
	})
}

// deliver has the lists of a week made.
func (a *audience) deliver(n int, counts bool) {
	a.tb.Helper()
	start := a.world.WeekStart(n)
	for s := range a.world.Songs() {
		if !s.Released.After(start) {
			if i, ok := a.world.SongIndex(s.ID); ok {
				a.describe(i)
			}
		}
	}
	if err := a.cluster.Settle(); err != nil {
		a.tb.Fatal(err)
	}
	lists, err := a.cluster.Tick(schemas.Tick{At: start.UnixMilli(), Week: calendar.WeekOf(start).String(), Forced: true})
	if err != nil {
		a.tb.Fatal(err)
	}
	clear(a.given)
	for _, m := range lists {
		var p schemas.Playlist
		if err := json.Unmarshal(m.Value, &p); err != nil {
			a.tb.Fatal(err)
		}
		who, ok := a.world.ListenerIndex(string(p.User))
		if !ok {
			a.tb.Fatalf("a list for %q", p.User)
		}
		given := listeners.Playlist{ID: p.ID}
		var ids []string
		for _, track := range p.Tracks {
			s, _ := a.world.SongIndex(string(track.Song))
			given.Songs = append(given.Songs, s)
			ids = append(ids, string(track.Song))
			if counts {
				a.loved += a.world.WouldLove(who, s, start)
				a.tracks++
			}
		}
		a.given[who] = given
		a.lists = append(a.lists, fmt.Sprint(n, who, ids))
		if !counts {
			continue
		}
		if err := a.judge.Playlist(n, string(p.User), ids); err != nil {
			a.tb.Fatal(err)
		}
	}
}

// live lets everybody live a week, with the lists that they were given.
func (a *audience) live(n int, counts bool) {
	a.tb.Helper()
	var text []byte
	for e := range a.world.Week(n) {
		if e.Bad != listeners.BadNone {
			continue
		}
		if counts && e.Source == "weekly" && e.DurationMs > 0 && !e.Duplicate {
			a.started++
			if 2*e.PlayedMs >= e.DurationMs {
				a.liked++
			}
		}
		if e.SongIndex >= 0 {
			a.describe(e.SongIndex)
		}
		if !a.names {
			e.PlaylistID, e.Slot = [16]byte{}, -1
		}
		text = e.AppendJSON(text[:0])
		var event schemas.Event
		if err := a.decoder.Decode(&event, text, nil); err != nil {
			a.tb.Fatal(err)
		}
		if err := a.cluster.Event(&event); err != nil {
			a.tb.Fatal(err)
		}
	}
}

// season is what came of a world in which people played their lists.
type season struct {
	recall, liked, loved float64
	lists                []string // of each week and listener
}

// play lets a world live all its weeks, and counts from a week on.
func play(tb testing.TB, cfg listeners.Config, names bool, from int) season {
	tb.Helper()
	a := newAudience(tb, cfg, names)
	for n := range cfg.Weeks {
		if n > 0 {
			a.deliver(n, n >= from)
		}
		a.live(n, n >= from)
	}
	return season{
		recall: a.judge.Report(1).RecallAt30, liked: float64(a.liked) / float64(a.started), loved: a.loved / float64(a.tracks), lists: a.lists,
	}
}

// TestPeoplePlayTheirLists: in a world whose people play their lists what they say of them changes the lists from the third on, and does no
// harm. docs/adr/0024-playlist-outcomes.md has the figures of larger worlds, which -played measures.
func TestPeoplePlayTheirLists(t *testing.T) {
	if testing.Short() || raced {
		t.Skip("SKIPPED: quality is not measured in short mode or by the race detector")
	}
	if *played > 0 {
		measureOutcomes(t)
		return
	}
	cfg := listeners.Demo()
	cfg.Listeners, cfg.Songs, cfg.Artists, cfg.Weeks = 200, 600, 90, 5
	silent, told, again := play(t, cfg, false, 2), play(t, cfg, true, 2), play(t, cfg, true, 2)
	t.Logf("liked of what was started %.4f, without outcomes %.4f; true love of the tracks %.4f, %.4f; recall %.4f, %.4f",
		told.liked, silent.liked, told.loved, silent.loved, told.recall, silent.recall)
	if !slices.Equal(told.lists, again.lists) {
		t.Error("two runs of the same world made different lists")
	}
	first := func(s season, week int) []string {
		return slices.DeleteFunc(slices.Clone(s.lists), func(l string) bool { return !strings.HasPrefix(l, strconv.Itoa(week)+" ") })
	}
	if len(first(told, 1)) < 120 || !slices.Equal(first(told, 1), first(silent, 1)) {
		t.Error("before anything can be known of lists, they differ")
	}
	if slices.Equal(first(told, 2), first(silent, 2)) {
		t.Error("what became of the first lists changed nothing")
	}
	if told.loved < .95*silent.loved || told.recall < .9*silent.recall {
		t.Errorf("with outcomes tracks are loved %.4f and recall is %.4f, without %.4f and %.4f", told.loved, told.recall, silent.loved, silent.recall)
	}
}

// measureOutcomes plays whole worlds, twice each.
func measureOutcomes(t *testing.T) {
	t.Helper()
	for name := range strings.SplitSeq(*worlds, ",") {
		preset, err := listeners.FindPreset(name)
		if err != nil {
			t.Fatal(err)
		}
		for seed := range *played {
			cfg := preset.World()
			cfg.Seed = uint64(seed + 1)
			cfg.Listeners, cfg.Songs, cfg.Artists, cfg.BotAccounts, cfg.Weeks = 1200, 3000, 450, min(cfg.BotAccounts, 60), 10
			for _, names := range []bool{false, true} {
				s := play(t, cfg, names, 5)
				t.Logf("%s, seed %d, outcomes %t: liked of what was started %.4f, true love of the tracks %.4f, recall %.4f",
					name, seed+1, names, s.liked, s.loved, s.recall)
			}
		}
	}
}
