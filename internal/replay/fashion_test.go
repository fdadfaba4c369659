package replay_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"earworm/consumers/listener"
	"earworm/consumers/song"
	"earworm/internal/replay"
	"earworm/model/calendar"
	"earworm/model/factor"
	"earworm/schemas"
)

// fashion is a world of two camps in which everybody hears what is in fashion, to the end and by themselves, but likes only songs of their
// own camp when they are asked: what they come to says one thing, and what becomes of their playlists another.
type fashion struct {
	tb      testing.TB
	cluster *replay.Cluster
	rng     *rand.Rand
	names   bool // events say from which list they are
	events  int
}

const (
	fashionPeople, fashionSongs = 60, 800
	fashionMonday               = int64(1_767_571_200_000) // 2026-01-05
)

func newFashion(tb testing.TB, names bool, change func(*replay.Config)) *fashion {
	tb.Helper()
	cfg := replay.Config{Listener: listener.Default(), Song: song.Default()}
	if change != nil {
		change(&cfg)
	}
	c, err := replay.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	f := &fashion{tb: tb, cluster: c, rng: rand.New(rand.NewPCG(1, 2)), names: names}
	for n := range fashionSongs {
		c.Describe(fmt.Sprintf("s%d", n), factor.Meta{Artist: fmt.Sprintf("artist %d", n/4)})
	}
	return f
}

// hear sends a listen of so many seconds.
func (f *fashion) hear(user, song int, at int64, seconds int64, list *schemas.Playlist, slot int) {
	f.tb.Helper()
	f.events++
	e := schemas.Event{
		ID: schemas.EventID(uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, f.events))), Kind: schemas.KindPlay,
		User: fmt.Appendf(nil, "u%d", user), Song: fmt.Appendf(nil, "s%d", song), At: at, PlayedMs: seconds * 1000, DurationMs: 200_000,
		PositionMs: schemas.Unknown, Slot: schemas.Unknown,
	}
	if list != nil && f.names {
		e.PlaylistID, e.Slot = list.ID, int16(slot)
	}
	if err := f.cluster.Event(&e); err != nil {
		f.tb.Fatal(err)
	}
}

// live lets everybody live a week: songs of their camp by day, what is in fashion by night, and on Wednesday half of their list.
func (f *fashion) live(week int, lists map[int]*schemas.Playlist) {
	f.tb.Helper()
	monday := fashionMonday + int64(week)*7*24*3_600_000
	for day := range int64(7) {
		for hour := range int64(6) {
			at := monday + day*24*3_600_000 + hour*3_600_000
			for user := range fashionPeople {
				at += 1000
				if hour%3 == 0 {
					f.hear(user, f.rng.IntN(fashionSongs/2)*2+user%2, at, 200, nil, 0)
				} else {
					f.hear(user, (week*37+f.rng.IntN(60))%fashionSongs, at, 200, nil, 0)
				}
			}
		}
		if day != 2 {
			continue
		}
		for user := range fashionPeople {
			list := lists[user]
			if list == nil {
				continue
			}
			at := monday + day*24*3_600_000 + 8*3_600_000
			for slot, track := range list.Tracks[:len(list.Tracks)/2] {
				var n int
				if _, err := fmt.Sscanf(string(track.Song), "s%d", &n); err != nil {
					f.tb.Fatal(err)
				}
				seconds := int64(3)
				if n%2 == user%2 {
					seconds = 200
				}
				at += 200_000
				f.hear(user, n, at, seconds, list, slot)
			}
		}
	}
}

// deliver has the lists of a week made, and says which part of their tracks is of the listeners' own camps.
func (f *fashion) deliver(week int) (lists map[int]*schemas.Playlist, own float64) {
	f.tb.Helper()
	if err := f.cluster.Settle(); err != nil {
		f.tb.Fatal(err)
	}
	monday := fashionMonday + int64(week)*7*24*3_600_000
	sent, err := f.cluster.Tick(schemas.Tick{At: monday, Week: calendar.WeekOf(time.UnixMilli(monday).UTC()).String(), Forced: true})
	if err != nil {
		f.tb.Fatal(err)
	}
	lists = map[int]*schemas.Playlist{}
	right, all := 0, 0
	for _, m := range sent {
		list := &schemas.Playlist{}
		if err := json.Unmarshal(m.Value, list); err != nil {
			f.tb.Fatal(err)
		}
		var user, n int
		if _, err := fmt.Sscanf(string(list.User), "u%d", &user); err != nil {
			f.tb.Fatal(err)
		}
		lists[user] = list
		for _, track := range list.Tracks {
			if _, err := fmt.Sscanf(string(track.Song), "s%d", &n); err != nil {
				f.tb.Fatal(err)
			}
			all++
			if n%2 == user%2 {
				right++
			}
		}
	}
	return lists, float64(right) / float64(max(all, 1))
}

// TestPlaylistsTeachWhatFreeListeningHides: two thirds of what people come to is in fashion, whoever they are; that they skip it in their
// lists is known only where events say from which list they are.
func TestPlaylistsTeachWhatFreeListeningHides(t *testing.T) {
	if testing.Short() || raced {
		t.Skip("SKIPPED: quality is not measured in short mode or by the race detector")
	}
	own := func(names bool) (share float64) {
		f := newFashion(t, names, nil)
		var lists map[int]*schemas.Playlist
		for week := range 10 {
			if week > 0 {
				var of float64
				if lists, of = f.deliver(week); week >= 6 {
					share += of / 4
				}
			}
			f.live(week, lists)
		}
		return share
	}
	silent, told := own(false), own(true)
	t.Logf("of the tracks are of the listeners' own camps %.3f without outcomes, %.3f with them", silent, told)
	if silent > .7 || told < .8 {
		t.Errorf("of the tracks are of the listeners' own camps %.3f without outcomes, %.3f with them; want less than .7, more than .8", silent, told)
	}
}

// TestSlowMachinesDecideNothing: a chunk of listeners ends early on a slow machine, and with it a transaction. In a replay it must not.
func TestSlowMachinesDecideNothing(t *testing.T) {
	lists := func(chunk time.Duration) []string {
		f := newFashion(t, true, func(c *replay.Config) { c.Shards, c.Listener.ChunkTime = 2, chunk })
		var all []string
		var given map[int]*schemas.Playlist
		for week := range 4 {
			if week > 0 {
				given, _ = f.deliver(week)
			}
			for user := range fashionPeople {
				if list := given[user]; list != nil {
					for _, track := range list.Tracks {
						all = append(all, fmt.Sprint(week, user, track.Song, track.Score))
					}
				}
			}
			f.live(week, given)
		}
		return all
	}
	if slow, fast := lists(1), lists(time.Hour); !slices.Equal(slow, fast) || len(fast) < 3*fashionPeople*20 {
		t.Errorf("%d tracks, and on a slow machine others", len(fast))
	}
}
