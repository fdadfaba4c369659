package listener

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"earworm/consumers/stream"
	"earworm/model/calendar"
	"earworm/model/factor"
	"earworm/model/playlist"
	"earworm/schemas"
	"earworm/state"
)

// firstEpoch is the generation of factors that no refit has touched; each refit raises it.
const firstEpoch = 1

// Reasons why a listener gets no tracks.
const (
	reasonInactive = "inactive"
	reasonNoSongs  = "no_songs"
)

// tick answers one tick: the next chunk of listeners whose Monday morning has come.
//
// A plain tick says what time it is; the task finds the zones that are due. A tick with a zone continues a chunk. A forced tick serves
// every zone for the week it names. Each tick handles one chunk, and writes the tick that continues, so a transaction stays short and
// a crash resumes where it was.
func (t *Task) tick(rec *stream.Record, out *stream.Output) error {
	var tick schemas.Tick
	if err := tick.UnmarshalBinary(rec.Value); err != nil {
		return &stream.Poison{Code: schemas.CodeCorrupt.String(), Err: err}
	}
	if t.done.broken != nil {
		return t.done.broken
	}
	if tick.Zone == "" {
		due, err := t.due(tick)
		if err != nil {
			return err
		}
		if due.Zone == "" {
			return nil
		}
		tick = due
	}
	week, err := calendar.ParseWeek(tick.Week)
	if err != nil {
		return &stream.Poison{Code: schemas.CodeOutOfRange.String(), Err: err}
	}
	ids, more, err := t.chunk(tick.Zone, tick.AfterUser)
	if err != nil {
		return err
	}
	delivery := t.delivery(week, tick.Zone)
	// A week that was forced early still comes for those who join before it.
	isTime := !tick.Forced || tick.At >= delivery.UnixMilli()
	if isTime {
		t.done.begin(tick.Zone, week)
	}
	began := time.Now()
	for n, id := range ids {
		if err := t.serve(id, week, delivery, tick, out); err != nil {
			return err
		}
		if n+1 < len(ids) && time.Since(began) > t.cfg.ChunkTime {
			ids, more = ids[:n+1], true
			break
		}
	}
	if more {
		tick.AfterUser = string(ids[len(ids)-1])
		tick.Chunk++
		t.sendTick(tick, out)
		return nil
	}
	if isTime {
		t.done.add(tick.Zone, week)
	}
	return t.nextZone(tick, week, out)
}

// nextZone writes the tick that goes on after a zone. A plain one looks again which zones are due. A forced one goes to the next
// zone in order, because a zone that is done may hold listeners who joined after its delivery and have no playlist.
func (t *Task) nextZone(tick schemas.Tick, week calendar.Week, out *stream.Output) error {
	if !tick.Forced {
		tick.Zone, tick.Week, tick.AfterUser, tick.Chunk = "", "", "", 0
		t.sendTick(tick, out)
		return nil
	}
	served, err := t.servedZones()
	if err != nil {
		return err
	}
	for _, zone := range served {
		if zone > tick.Zone {
			t.sendTick(begin(tick, zone, week), out)
			return nil
		}
	}
	return nil
}

func (t *Task) delivery(week calendar.Week, zone string) time.Time {
	return week.Delivery(t.zones.place(zone), t.cfg.Hour)
}

// due finds the first zone of this partition that still waits for its week, and returns the tick that begins it. A forced tick
// begins with the first zone.
func (t *Task) due(tick schemas.Tick) (schemas.Tick, error) {
	served, err := t.servedZones()
	if err != nil {
		return schemas.Tick{}, err
	}
	if tick.Forced && len(served) > 0 {
		week, err := calendar.ParseWeek(tick.Week)
		if err != nil {
			return schemas.Tick{}, &stream.Poison{Code: schemas.CodeOutOfRange.String(), Err: err}
		}
		return begin(tick, served[0], week), nil
	}
	for _, zone := range served {
		week := calendar.WeekOf(at(tick.At).In(t.zones.place(zone)))
		delivery := t.delivery(week, zone)
		if delivery.UnixMilli() > tick.At {
			week = week.Previous()
			delivery = t.delivery(week, zone)
		}
		late := tick.At - delivery.UnixMilli()
		if late < t.cfg.CatchUp.Milliseconds() && !t.done.has(zone, week) {
			return begin(tick, zone, week), nil
		}
	}
	return schemas.Tick{}, nil
}

// begin returns the tick that serves a zone from its first listener.
func begin(tick schemas.Tick, zone string, week calendar.Week) schemas.Tick {
	tick.Zone, tick.Week, tick.AfterUser, tick.Chunk = zone, week.String(), "", 0
	return tick
}

// servedZones lists the zones in which this partition has listeners. It seeks from zone to zone through the index.
func (t *Task) servedZones() ([]string, error) {
	found := map[string]bool{}
	for _, p := range t.dirty {
		if !p.erased {
			found[t.zones.of(p.core.Zone, p.core.Region)] = true
		}
	}
	for after := state.ZoneFamily(); ; {
		zone := ""
		err := t.scanRange(after, state.ZoneFamilyEnd(), func(key, _ []byte) error {
			name, _, err := state.ParseZoneKey(key)
			if err != nil {
				return err
			}
			zone = string(name)
			return state.ErrStop
		})
		if err != nil {
			return nil, fmt.Errorf("listing the zones: %w", err)
		}
		if zone == "" {
			return slices.Sorted(maps.Keys(found)), nil
		}
		found[zone] = true
		after = state.ZoneEnd(zone)
	}
}

// rangeStore is a store that can begin a scan behind a key, so that a cursor costs no scan of what it passed.
type rangeStore interface {
	ScanRange(lower, upper []byte, fn func(key, value []byte) error) error
}

// scanRange hands over the rows from lower to upper. A store that can only scan prefixes is read from the family's beginning.
func (t *Task) scanRange(lower, upper []byte, fn func(key, value []byte) error) error {
	if ranged, ok := t.store.(rangeStore); ok {
		return ranged.ScanRange(lower, upper, fn)
	}
	err := t.store.Scan(lower[:1], func(key, value []byte) error {
		if bytes.Compare(key, lower) < 0 {
			return nil
		}
		if bytes.Compare(key, upper) >= 0 {
			return state.ErrStop
		}
		return fn(key, value)
	})
	if errors.Is(err, state.ErrStop) {
		return nil
	}
	return err
}

// chunk returns the next listeners of a zone after a cursor, in key order, and whether there are more. Listeners of
// the running transaction count although the index does not have them yet.
func (t *Task) chunk(zone, cursor string) (ids [][]byte, more bool, err error) {
	keys := map[string][]byte{} // by index key
	prefix := state.AppendZonePrefix(nil, zone)
	from := prefix
	if len(cursor) > 0 {
		from = append(state.AppendZoneKey(nil, zone, []byte(cursor)), 0)
	}
	for _, p := range t.dirty {
		key := state.AppendZoneKey(nil, zone, p.id)
		if !p.erased && t.zones.of(p.core.Zone, p.core.Region) == zone && bytes.Compare(key, from) >= 0 {
			keys[string(key)] = p.id
		}
	}
	err = t.scanRange(from, state.ZoneEnd(zone), func(key, _ []byte) error {
		_, user, err := state.ParseZoneKey(key)
		if err != nil {
			return err
		}
		if p, ok := t.people[string(user)]; !ok || (!p.erased && t.zones.of(p.core.Zone, p.core.Region) == zone) {
			keys[string(key)] = slices.Clone(user)
		}
		if len(keys) > t.cfg.Chunk+len(t.dirty) {
			return state.ErrStop
		}
		return nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("listing the listeners of a zone: %w", err)
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if len(ids) == t.cfg.Chunk {
			return ids, true, nil
		}
		ids = append(ids, keys[key])
	}
	return ids, false, nil
}

// serve gives one listener the playlist of a week, unless they have it.
func (t *Task) serve(id []byte, week calendar.Week, delivery time.Time, tick schemas.Tick, out *stream.Output) error {
	p, err := t.person(id)
	if err != nil {
		return err
	}
	defer t.recount(p)
	if p.erased || p.weeks.Has(week) {
		return nil
	}
	if !tick.Forced && (p.core.FirstAt == 0 || p.core.FirstAt > delivery.UnixMilli()) {
		return nil // joined after this week's delivery: the next one is theirs
	}
	if err := t.loadLists(p); err != nil {
		return err
	}
	now := max(tick.At, delivery.UnixMilli())
	if tick.Forced {
		now = max(tick.At, p.core.LastAt)
	}
	if err := t.closeList(p); err != nil {
		return err
	}
	if err := t.studyListener(p, week, now); err != nil {
		return err
	}
	tracks, reason := t.tracks(p, week, now)
	user, err := t.reveal.Reveal(p.id)
	if err != nil {
		return fmt.Errorf("revealing a listener: %w", err)
	}
	list := t.wire(string(user), week, now, tracks, reason)
	if t.row, err = list.AppendJSON(t.row[:0]); err != nil {
		return fmt.Errorf("encoding a playlist: %w", err)
	}
	out.Emit(stream.Message{
		Topic: t.cfg.Playlists, Partition: -1, Key: user, Value: t.row, Headers: t.headers(list, now),
	})
	p.weeks.Add(week)
	t.keepList(p, week, tracks, now)
	t.mark(p)
	t.metrics.playlist(reason)
	return nil
}

// tracks chooses the songs, or says why there are none.
func (t *Task) tracks(p *person, week calendar.Week, now int64) ([]playlist.Track, string) {
	if now-p.core.LastAt > t.cfg.ActiveFor.Milliseconds() {
		return nil, reasonInactive
	}
	listener := t.profileOf(p, now)
	t.candidate = t.ranker.Candidates(t.candidate[:0], listener, now)
	// The seed is the listener's and the week's: the same week twice is the same playlist.
	seed := xxhash.Sum64(p.id) ^ t.cfg.Seed
	rng := rand.New(rand.NewPCG(seed, uint64(week.Ordinal()))) //nolint:gosec // exploration is no secret; bits
	params := t.cfg.Playlist.For(listener.ViralAffinity, listener.Discovery)
	tracks := playlist.Build(params, t.table, t.candidate, rng)
	if len(tracks) == 0 {
		return nil, reasonNoSongs
	}
	return tracks, ""
}

// wire is the playlist as consumers see it.
func (t *Task) wire(user string, week calendar.Week, now int64, tracks []playlist.Track, reason string) schemas.Playlist {
	list := schemas.Playlist{
		ID: schemas.PlaylistID(schemas.UserID(user), week.String()), User: schemas.UserID(user), Week: week.String(),
		Status: schemas.PlaylistReady, CreatedAt: at(now), ModelEpoch: firstEpoch + int(t.table.Epoch()),
		Tracks: make([]schemas.Track, 0, len(tracks)),
	}
	if reason != "" {
		list.Status, list.Reason = schemas.PlaylistNone, reason
	}
	for i, track := range tracks {
		meta := t.table.Meta(track.Song)
		seeds := make([]schemas.SongID, 0, len(track.Seeds))
		for _, seed := range track.Seeds {
			seeds = append(seeds, schemas.SongID(t.table.ID(seed)))
		}
		list.Tracks = append(list.Tracks, schemas.Track{
			Rank: i + 1, Song: schemas.SongID(t.table.ID(track.Song)), Title: meta.Title, Artist: meta.Artist,
			Score: track.Score, Slot: track.Slot.String(), Reason: string(track.Reason), Seeds: seeds,
			Propensity: track.Propensity,
		})
	}
	return list
}

// headers are those of a CloudEvent in binary mode.
func (t *Task) headers(list schemas.Playlist, now int64) []stream.Header {
	event := schemas.CloudEvent{
		ID: list.ID.String(), Source: "/" + t.cfg.App, Type: schemas.OutputType(t.cfg.App, "playlist.weekly", schemas.PlaylistSchemaVersion),
		At: now, SchemaVersion: schemas.PlaylistSchemaVersion,
	}
	var headers []stream.Header
	for _, h := range event.AppendHeaders(nil) {
		headers = append(headers, stream.Header{Key: h.Key, Value: h.Value})
	}
	return headers
}

// keepList remembers a playlist, whose outcomes are awaited from now on, and forgets those that lie further back than the memory, counted from this week and
// not from the newest: history may be imported after lists of later weeks were written. Those are bounded in number.
func (t *Task) keepList(p *person, week calendar.Week, tracks []playlist.Track, now int64) {
	if len(tracks) == 0 {
		return
	}
	ordinal := week.Ordinal()
	l := &list{songs: make([]factor.Key, 0, len(tracks))}
	for _, track := range tracks {
		l.songs = append(l.songs, t.table.KeyAt(track.Song))
	}
	t.await(p, l, tracks, now)
	p.lists[ordinal] = l
	p.relist(ordinal)
	weeks := slices.Sorted(maps.Keys(p.lists))
	for n, old := range weeks {
		passed := old <= ordinal-int32(t.cfg.Memory)     //nolint:gosec // a few weeks
		crowded := len(weeks)-n > 2*max(t.cfg.Memory, 1) // only where weeks come out of order
		if old == ordinal || !passed && !crowded {
			continue
		}
		delete(p.lists, old)
		if n := slices.Index(p.weekly, old); n >= 0 {
			p.weekly = slices.Delete(p.weekly, n, n+1)
		}
		p.expired = append(p.expired, old)
	}
}

// sendTick writes a tick to this partition inside the transaction.
func (t *Task) sendTick(tick schemas.Tick, out *stream.Output) {
	t.row = tick.AppendBinary(t.row[:0])
	out.Emit(stream.Message{Topic: t.cfg.Ticks, Partition: t.partition, Value: t.row})
}
