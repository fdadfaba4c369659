package replay

import (
	"cmp"
	"fmt"
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
	cluster *Cluster
	data    *backtest.Dataset
	known   []bool  // by listener: their profile was sent
	told    []bool  // by item: it was described
	coming  []int32 // items with a date of release that were not described yet, in order of release
	monday  int64   // the next one, Unix ms
	frozen  int64   // what Rank ranks for, Unix ms

	mu    sync.Mutex // guards the tasks while listeners are ranked
	place map[factor.Key]int32
}

var _ backtest.Live = (*Model)(nil)

// NewModel returns the production model with its default settings.
func NewModel(d *backtest.Dataset, o backtest.Options) (backtest.Model, error) {
	l, s := listener.Default(), song.Default()
	l.Seed = o.Seed
	c, err := New(Config{Listener: l, Song: s, Shards: o.Shards, Late: o.Late})
	if err != nil {
		return nil, err
	}
	m := &Model{
		cluster: c, data: d, known: make([]bool, len(d.Listeners)), told: make([]bool, len(d.Items)), place: make(map[factor.Key]int32, len(d.Items)),
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

// Name is the name of the product.
func (*Model) Name() string { return backtest.ProductionName }

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

// study is what happens on a Monday: new releases become known, everything is settled, and a sample of listeners is learnt from.
func (m *Model) study(monday int64) error {
	for len(m.coming) > 0 && m.data.ItemMeta[m.coming[0]].ReleasedAt <= monday {
		m.describe(m.coming[0])
		m.coming = m.coming[1:]
	}
	if err := m.cluster.Settle(); err != nil {
		return err
	}
	week := calendar.WeekOf(time.UnixMilli(monday).UTC())
	for i, known := range m.known {
		if !known {
			continue
		}
		user := []byte(m.data.Listeners[i])
		if err := m.cluster.shardOf(user).task.Study(user, week, monday); err != nil {
			return fmt.Errorf("studying: %w", err)
		}
	}
	m.monday = monday + weekMs
	return m.cluster.Settle()
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
// measure must not change what is learnt.
func (m *Model) Refresh(at time.Time) error {
	m.frozen = at.UnixMilli()
	return nil
}

// Rank ranks as the emitter does, without the rules of a playlist.
func (m *Model) Rank(who int32, dst []int32) []int32 {
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
