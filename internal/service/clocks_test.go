package service_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"earworm/consumers/listener"
	"earworm/consumers/song"
	"earworm/consumers/stream"
	"earworm/internal/config"
	"earworm/internal/history"
	"earworm/internal/replay"
	"earworm/internal/service"
	"earworm/model/calendar"
	"earworm/model/factor"
	"earworm/schemas"
	"earworm/state"
)

// listened is a history as both clocks get it: events in order of time, and what is known of their songs.
type listened struct {
	events []schemas.Event
	songs  map[string]schemas.Song
}

func readListened(t *testing.T, in io.Reader, columns history.Columns) listened {
	t.Helper()
	h, err := history.Read(in, history.Options{Columns: columns})
	if err != nil || len(h.Bad) > 0 {
		t.Fatal(err, h.Bad)
	}
	return listened{events: h.Events, songs: h.Catalogue()}
}

// clock is a way to have a history happen.
type clock struct {
	song  func(schemas.Song)
	event func(*schemas.Event)
	tick  func(schemas.Tick)
}

// happen tells the history, each song before it is first heard, and has the playlists of each week made as its Monday comes: what
// earworm import --weekly does.
func (l listened) happen(c clock) {
	told := map[string]bool{}
	week := calendar.WeekOf(time.UnixMilli(l.events[0].At).UTC())
	next := func() {
		week = week.Next()
		c.tick(schemas.Tick{At: week.Monday().UnixMilli(), Week: week.String(), Forced: true})
	}
	for i := range l.events {
		e := l.events[i]
		for of := calendar.WeekOf(time.UnixMilli(e.At).UTC()); week.Before(of); {
			next()
		}
		if id := string(e.Song); !told[id] {
			told[id] = true
			c.song(l.songs[id])
		}
		c.event(&e)
	}
	next()
}

// made are the playlists that a clock made: songs by week and listener.
type made map[string][]string

func (m made) add(list *schemas.Playlist) {
	songs := []string{}
	for _, track := range list.Tracks {
		songs = append(songs, string(track.Song))
	}
	m[list.Week+" "+string(list.User)] = songs
}

// pace says how fast events come to a process.
type pace struct {
	burst  int  // events that are sent together, 0 is a week
	waited bool // for their songs to be known, and for everything that came of them
}

// served is what a process makes of the history on a broker, and where its transactions ended.
func (l listened) served(t *testing.T, cfg config.Config, at pace) (lists made, ends map[int]bool) {
	t.Helper()
	b := startBroker(t, 0)
	cfg.Kafka.Brokers = b.Addrs()
	p := start(t, cfg, state.MemoryFS())
	defer p.stop()
	p.ready()
	var burst []schemas.Event
	send := func() {
		if at.waited { // an event that comes before its song's description is learnt without the artist
			p.drain()
			p.published(cfg)
		}
		for i := range burst {
			p.client.Event(p.bounded(), burst[i].User, burst[i].AppendJSON(nil))
		}
		burst = burst[:0]
		if at.waited {
			p.drain()
			p.published(cfg)
			return
		}
		if err := p.client.Flush(p.bounded()); err != nil {
			t.Fatal(err)
		}
		<-time.After(cfg.CommitInterval) // so that they are in another transaction than the next
	}
	l.happen(clock{
		song: func(s schemas.Song) {
			if err := p.client.Song(p.bounded(), s); err != nil {
				t.Fatal(err)
			}
		},
		event: func(e *schemas.Event) {
			if burst = append(burst, *e); len(burst) == at.burst {
				send()
			}
		},
		tick: func(tick schemas.Tick) {
			send()
			p.drain()
			p.published(cfg)
			if err := p.client.Tick(p.bounded(), tick); err != nil {
				t.Fatal(err)
			}
			p.drain()
			p.published(cfg)
		},
	})
	lists = made{}
	if err := p.client.Playlists(p.bounded(), func(_ string, list *schemas.Playlist) error {
		lists.add(list)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return lists, p.transactions(cfg)
}

// published waits until the process has read all rows and songs that were published.
func (p *process) published(cfg config.Config) {
	p.tb.Helper()
	rows, songs := 0., 0.
	p.read(cfg, p.svc.Topics().SongFactors, func(r *stream.Record) error {
		_, _, err := state.ParseFactorKey(r.Key)
		_, other := state.ParseNeighboursKey(r.Key)
		if len(r.Value) > 0 && (err == nil || other == nil) { // the others are a song task's own business
			rows++
		}
		return nil
	})
	p.read(cfg, p.svc.Topics().Catalog, func(*stream.Record) error {
		songs++
		return nil
	})
	for deadline := time.After(30 * time.Second); ; {
		gotRows, gotSongs := p.counter("earworm_table_rows_loaded_total"), p.counter("earworm_table_songs_described_total")
		if gotRows == rows && gotSongs == songs {
			return
		}
		select {
		case <-deadline:
			p.tb.Fatalf("%v of %v rows and %v of %v songs are read; log:\n%s", gotRows, rows, gotSongs, songs, p.log)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// read hands over every record of a topic.
func (p *process) read(cfg config.Config, topic string, fn func(*stream.Record) error) {
	p.tb.Helper()
	options, err := service.KafkaOptions(cfg)
	if err != nil {
		p.tb.Fatal(err)
	}
	if err := stream.ReadAll(p.bounded(), options, []string{topic}, fn); err != nil {
		p.tb.Fatal(err)
	}
}

// counter is the value of a counter without labels.
func (p *process) counter(name string) float64 {
	p.tb.Helper()
	families, err := p.reg.Gather()
	if err != nil {
		p.tb.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	return math.NaN()
}

// replayed is what the tasks make of the history without a broker, with transactions that end after the given events.
func (l listened) replayed(t *testing.T, cfg replay.Config, ends map[int]bool) made {
	t.Helper()
	c, err := replay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	lists, events := made{}, 0
	l.happen(clock{
		song: func(s schemas.Song) {
			c.Describe(string(s.ID), factor.Meta{
				Title: s.Title, Artist: s.Artist, Album: s.Album, Genres: s.Genres, Language: s.Language, ReleasedAt: s.ReleasedAt,
				DurationMs: s.DurationMs, Tempo: s.Tempo, Energy: s.Energy,
			})
		},
		event: func(e *schemas.Event) {
			if err := c.Event(e); err != nil {
				t.Fatal(err)
			}
			if events++; ends[events] {
				if err := c.Commit(); err != nil {
					t.Fatal(err)
				}
			}
		},
		tick: func(tick schemas.Tick) {
			if err := c.Settle(); err != nil {
				t.Fatal(err)
			}
			messages, err := c.Tick(tick)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range messages {
				var list schemas.Playlist
				if err := json.Unmarshal(m.Value, &list); err != nil {
					t.Fatal(err)
				}
				lists.add(&list)
			}
		},
	})
	return lists
}

// transactions tells after which event, counted from one, the listener task ended each transaction in which it learnt something: every change
// of a song names the offset of the listen behind it.
func (p *process) transactions(cfg config.Config) map[int]bool {
	p.tb.Helper()
	after := map[int64]int{} // by the offset behind it, which markers of transactions count in
	p.read(cfg, p.svc.Topics().Listens, func(r *stream.Record) error {
		after[r.Offset+1] = len(after) + 1
		return nil
	})
	ends := map[int]bool{}
	var updates schemas.SongUpdates
	p.read(cfg, p.svc.Topics().SongUpdates, func(r *stream.Record) error {
		if err := updates.UnmarshalBinary(r.Value); err != nil {
			return err
		}
		for _, u := range updates.Updates {
			ends[after[u.Seq]] = true
		}
		return nil
	})
	return ends
}

// overlap is the mean share of a list that is in the other's, too.
func overlap(a, b made) float64 {
	sum, lists := 0., 0
	for key, list := range a {
		if len(list) == 0 {
			continue
		}
		lists++
		for _, song := range list {
			if slices.Contains(b[key], song) {
				sum += 1 / float64(len(list))
			}
		}
	}
	return sum / float64(lists)
}

// camps is a history of two groups of listeners who hear two groups of songs.
func camps(t *testing.T) listened {
	t.Helper()
	const weeks, listeners, plays, songs = 6, 40, 6, 400
	rng := rand.New(rand.NewPCG(1, 1))
	var rows strings.Builder
	rows.WriteString("timestamp,user,item,artist\n")
	for week := range weeks {
		for user := range listeners {
			for range plays {
				n := rng.IntN(songs/2)*2 + user%2
				fmt.Fprintf(&rows, "%d,u%d,s%d,a%d\n", 1_700_000_000+week*604_800+rng.IntN(604_800), user, n, n%40)
			}
		}
	}
	columns, err := history.ParseColumns(nil)
	if err != nil {
		t.Fatal(err)
	}
	return readListened(t, strings.NewReader(rows.String()), columns)
}

// lastfm is what a quarter of the listeners of a real stream heard in its first weeks.
func lastfm(t *testing.T) listened {
	t.Helper()
	dir := os.Getenv("EARWORM_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	file, err := os.Open(filepath.Join(dir, "lastfm-listens.csv.gz"))
	if err != nil {
		t.Skipf("SKIPPED: the Last.fm stream is not here (%v); EARWORM_DATA names its folder", err)
	}
	defer file.Close() //nolint:errcheck // only read from
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	l := readListened(t, unzipped, history.Columns{
		"timestamp": "timestamp", "user": "user", "item": "artist+track", "artist": "artist", "title": "track",
	})
	const weeks = 6
	end := l.events[0].At + weeks*(7*24*time.Hour).Milliseconds()
	l.events = slices.DeleteFunc(l.events, func(e schemas.Event) bool { return e.At >= end || xxhash.Sum64(e.User)%4 != 0 })
	return l
}

// TestOneImplementationTwoClocks: the playlists that a process writes for a history on a broker are those that the replay, which is
// what a backtest measures, makes of the same events and ticks.
//
// The replay ends its transactions where the process ended its own. Then nothing is left to differ but when the rows of songs come back:
// where everything is waited for, nothing is, and where nothing is, it must change the lists by less than another seed does.
func TestOneImplementationTwoClocks(t *testing.T) {
	t.Parallel()
	if raced {
		t.Skip("SKIPPED: lists are not compared under the race detector, which makes everything ten times as slow")
	}
	for _, c := range []struct {
		name    string
		history func(*testing.T) listened
		pace    pace
	}{
		{"camps, in step", camps, pace{burst: 40, waited: true}},
		{"camps, asynchronous", camps, pace{burst: 5}},
		{"lastfm, week by week", lastfm, pace{waited: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := c.history(t)
			cfg := settings("state")
			cfg.Topics.Partitions, cfg.Learn.Dim, cfg.CommitInterval = 1, 0, 10*time.Millisecond
			// A tick that takes long on a busy machine must not be cut by the wall clock.
			cfg.Kafka.TransactionTimeout, cfg.Kafka.SessionTimeout = 2*time.Minute, 3*time.Minute
			one, ends := l.served(t, cfg, c.pace)
			replayed := func(seed uint64) made {
				r := replay.Config{
					Listener: service.ListenerConfig(cfg, schemas.Topics{}), Song: service.SongConfig(cfg, schemas.Topics{}),
					Batch: math.MaxInt, Span: math.MaxInt64,
				}
				r.Listener.Seed += seed
				return l.replayed(t, r, ends)
			}
			two := replayed(0)
			if len(one) == 0 || !slices.Equal(slices.Sorted(maps.Keys(one)), slices.Sorted(maps.Keys(two))) {
				t.Fatalf("%d playlists on the broker, %d in the replay, or for others", len(one), len(two))
			}
			clocks, seeds := overlap(one, two), overlap(two, replayed(1))
			t.Logf("%d playlists of %d transactions; overlap@30 of the two clocks %.4f, of two seeds %.4f", len(one), len(ends), clocks, seeds)
			want := .99
			if !c.pace.waited {
				want = seeds
			}
			if clocks < want || seeds > .95 {
				t.Errorf("overlap@30 is %.4f, want at least %.4f; that of two seeds is %.4f, more than .95 would say that it sees nothing", clocks, want, seeds)
			}
		})
	}
}

// TestSettingsOfABacktest: the backtest measures the settings that a process has by default. What differs is where they run, chance, and
// the knob, which the backtest leaves neutral.
func TestSettingsOfABacktest(t *testing.T) {
	t.Parallel()
	cfg := config.Default()
	l, s := service.ListenerConfig(cfg, schemas.Topics{}), service.SongConfig(cfg, schemas.Topics{})
	wantL, wantS := listener.Default(), song.Default()
	l.Partitions, l.CacheBytes, l.ChunkTime, l.ReplayLag, l.Seed = wantL.Partitions, wantL.CacheBytes, wantL.ChunkTime, wantL.ReplayLag, wantL.Seed
	l.Discovery, s.Partitions = wantL.Discovery, wantS.Partitions
	if l != wantL {
		t.Errorf("listener: serve has\n%+v\nthe backtest\n%+v", l, wantL)
	}
	if s != wantS {
		t.Errorf("song: serve has\n%+v\nthe backtest\n%+v", s, wantS)
	}
}
