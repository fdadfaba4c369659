package replay

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"earworm/consumers/listener"
	"earworm/consumers/song"
	"earworm/internal/backtest"
	"earworm/model/calendar"
	"earworm/model/factor"
	"earworm/schemas"
)

// Model is the production model as the backtest sees it.
type Model struct {
	name    string
	cluster *Cluster
	data    *backtest.Dataset
	known   []bool             // by listener: their profile was sent
	told    []bool             // by item: it was described
	coming  []int32            // items with a date of release that were not described yet, in order of release
	monday  int64              // the next one, Unix ms
	frozen  int64              // what Rank ranks for, Unix ms
	every   int                // weeks from one refit to the next; 0 is never
	mondays int                // that have been
	emitted map[string][]int32 // the playlists of the week by listener; nil where the ranking is measured

	mu    sync.Mutex // guards the tasks while listeners are ranked
	place map[factor.Key]int32
}

var _ backtest.Live = (*Model)(nil)

// Production is the production model, with what can be asked of it.
func Production() *backtest.Production {
	l := listener.Default()
	return &backtest.Production{
		Parameters: map[string]float64{
			"rules": 0, "discovery": l.Discovery, "memory": float64(l.Memory),
			"artist_cap": float64(l.Playlist.ArtistCap), "explore": float64(l.Playlist.ExploreSlots), "trends": float64(l.Playlist.TrendSlots),
			"refit": 0,
		},
		New: newModel,
	}
}

// newModel returns the production model. With rules it is measured by the playlists that it emits, every Monday to everybody, and
// otherwise by its ranking.
func newModel(d *backtest.Dataset, o backtest.Options, name string, p map[string]float64) (backtest.Model, error) {
	l, s := listener.Default(), song.Default()
	l.Seed, l.Discovery, l.Memory = o.Seed, p["discovery"], int(p["memory"])
	l.Playlist.ArtistCap, l.Playlist.ExploreSlots, l.Playlist.TrendSlots = int(p["artist_cap"]), int(p["explore"]), int(p["trends"])
	c, err := New(Config{Listener: l, Song: s, Shards: o.Shards, Late: o.Late, Histories: p["refit"] > 0})
	if err != nil {
		return nil, err
	}
	m := &Model{
		name: name, cluster: c, data: d, known: make([]bool, len(d.Listeners)), told: make([]bool, len(d.Items)), place: make(map[factor.Key]int32, len(d.Items)),
	}
	m.every = int(math.Ceil(p["refit"]))
	if p["rules"] > 0 {
		m.emitted = map[string][]int32{}
	}
	for i, id := range d.Items {
		m.place[factor.KeyOf(factor.KindSong, id)] = int32(i)
		if d.ItemMeta[i].ReleasedAt > 0 {
			m.coming = append(m.coming, int32(i))
		}
	}
	slices.SortStableFunc(m.coming, func(a, b int32) int {
		return cmp.Compare(d.ItemMeta[a].ReleasedAt, d.ItemMeta[b].ReleasedAt)
	})
	return m, nil
}

// Name is what was asked for.
func (m *Model) Name() string { return m.name }

// Learn sends the event to its task, and on Mondays lets the tasks learn what the sources are worth.
func (m *Model) Learn(e *backtest.Event) error {
	if m.monday == 0 {
		m.monday = nextMonday(e.At)
	}
	for e.At >= m.monday {
		if err := m.study(m.monday); err != nil {
			return err
		}
	}
	if !m.known[e.Listener] {
		m.known[e.Listener] = true
		if err := m.introduce(e); err != nil {
			return err
		}
	}
	if e.Item >= 0 {
		m.describe(e.Item)
	}
	event := e.Event
	return m.cluster.Event(&event)
}

// introduce sends what the listener's profile says.
func (m *Model) introduce(e *backtest.Event) error {
	if int(e.Listener) >= len(m.data.Profiles) {
		return nil
	}
	p := m.data.Profiles[e.Listener]
	if p.Region == "" && p.TimeZone == "" && len(p.Languages) == 0 && p.Discovery == nil {
		return nil
	}
	return m.cluster.Event(&schemas.Event{
		Kind: schemas.KindProfile, User: e.User, At: e.At, Profile: &p,
		PlayedMs: schemas.Unknown, DurationMs: schemas.Unknown, PositionMs: schemas.Unknown, Slot: schemas.Unknown,
	})
}

func (m *Model) describe(item int32) {
	if !m.told[item] {
		m.told[item] = true
		m.cluster.Describe(m.data.Items[item], m.data.ItemMeta[item])
	}
}

// study is what happens on a Monday: new releases become known, everything is settled, rows are fitted to the histories if it is time, and
// a sample of listeners is learnt from.
func (m *Model) study(monday int64) error {
	for len(m.coming) > 0 && m.data.ItemMeta[m.coming[0]].ReleasedAt <= monday {
		m.describe(m.coming[0])
		m.coming = m.coming[1:]
	}
	if err := m.cluster.Settle(); err != nil {
		return err
	}
	if m.mondays++; m.every > 0 && m.mondays%m.every == 0 {
		if err := m.cluster.Refit(monday); err != nil {
			return err
		}
	}
	week := calendar.WeekOf(time.UnixMilli(monday).UTC())
	m.monday = monday + weekMs
	if m.emitted != nil {
		return m.emit(week, monday)
	}
	audience := map[*shard][][]byte{}
	for i, known := range m.known {
		if known {
			user := []byte(m.data.Listeners[i])
			s := m.cluster.shardOf(user)
			audience[s] = append(audience[s], user)
		}
	}
	for _, s := range m.cluster.shards {
		if err := s.task.Study(audience[s], week, monday); err != nil {
			return fmt.Errorf("studying: %w", err)
		}
	}
	return m.cluster.Settle()
}

// emit has the playlists of a week made, and keeps them.
func (m *Model) emit(week calendar.Week, monday int64) error {
	lists, err := m.cluster.Tick(schemas.Tick{At: monday, Week: week.String(), Forced: true})
	if err != nil {
		return err
	}
	clear(m.emitted)
	for _, message := range lists {
		var list schemas.Playlist
		if err := json.Unmarshal(message.Value, &list); err != nil {
			return fmt.Errorf("reading a playlist: %w", err)
		}
		for _, track := range list.Tracks {
			if item, ok := m.place[factor.KeyOf(factor.KindSong, track.Song)]; ok {
				m.emitted[string(list.User)] = append(m.emitted[string(list.User)], item)
			}
		}
	}
	return nil
}

const weekMs = 7 * 24 * 60 * 60 * 1000

// nextMonday returns the first Monday 00:00 UTC after an instant.
func nextMonday(at int64) int64 {
	const first = 4 * 24 * 60 * 60 * 1000 // 1970-01-05 was one
	return (at-first)/weekMs*weekMs + weekMs + first
}

// Freeze settles what has been learnt.
func (m *Model) Freeze(at time.Time) error {
	m.frozen = at.UnixMilli()
	for m.monday != 0 && m.frozen >= m.monday {
		if err := m.study(m.monday); err != nil {
			return err
		}
	}
	return m.cluster.Settle()
}

// Refresh says for when Rank ranks. It settles nothing: between two events a process has the rows of earlier transactions, too, and a
// measure must not change what is learnt. But nobody works while others are measured, because their time would be taken for that of ranking.
func (m *Model) Refresh(at time.Time) error {
	m.frozen = at.UnixMilli()
	return m.cluster.Rest()
}

// Rank ranks as the emitter does, without the rules of a playlist; or it returns the playlist of the week.
func (m *Model) Rank(who int32, dst []int32) []int32 {
	if m.emitted != nil {
		return append(dst, m.emitted[m.data.Listeners[who]]...)
	}
	user := []byte(m.data.Listeners[who])
	shard := m.cluster.shardOf(user)
	m.mu.Lock()
	l, err := shard.task.Listener(user, m.frozen)
	m.mu.Unlock()
	if err != nil { // a store in memory has no errors
		return dst
	}
	for _, s := range shard.ranker.Top(nil, l, m.frozen, backtest.ListLength) {
		if item, ok := m.place[shard.table.KeyAt(s)]; ok {
			dst = append(dst, item)
		}
	}
	return dst
}
