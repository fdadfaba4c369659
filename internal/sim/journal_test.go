//go:build synctests

package sim_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"earworm/consumers/stream"
	"earworm/schemas"
	"earworm/state"
)

// delivered is one record of the playlists topic.
type delivered struct {
	list schemas.Playlist
	key  string
	at   time.Time // of producing
}

// journal follows the playlists and the ticks as they are committed: the playlists topic is compacted, so at the end it holds only
// the last week.
type journal struct {
	topics schemas.Topics

	mu        sync.Mutex
	playlists []delivered
	withdrawn map[string]time.Time // when a listener's playlist was taken back
	ticks     map[int32][]int64    // times of plain ticks, by partition in order of offset
	counts    map[zoneWeek]int
	waiting   map[zoneWeek]chan struct{}
	zoneOf    func(user string, at time.Time) string
}

// zoneWeek is one zone's emission.
type zoneWeek struct {
	zone, week string
}

func newJournal(topics schemas.Topics, zoneOf func(string, time.Time) string) *journal {
	return &journal{
		topics: topics, withdrawn: map[string]time.Time{}, ticks: map[int32][]int64{}, counts: map[zoneWeek]int{}, waiting: map[zoneWeek]chan struct{}{},
		zoneOf: zoneOf,
	}
}

// take is the follower's callback.
func (j *journal) take(records []stream.Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := range records {
		rec := &records[i]
		if rec.Topic == j.topics.Ticks {
			var tick schemas.Tick
			if err := tick.UnmarshalBinary(rec.Value); err != nil {
				return err
			}
			if tick.Zone == "" {
				j.ticks[rec.Partition] = append(j.ticks[rec.Partition], tick.At)
			}
			continue
		}
		if rec.Value == nil {
			j.withdrawn[string(rec.Key)] = rec.At
			continue
		}
		d := delivered{key: string(rec.Key), at: rec.At}
		if err := json.Unmarshal(rec.Value, &d.list); err != nil {
			return fmt.Errorf("playlist at offset %d: %w", rec.Offset, err)
		}
		j.playlists = append(j.playlists, d)
		emission := zoneWeek{zone: j.zoneOf(string(d.list.User), d.list.CreatedAt), week: d.list.Week}
		j.counts[emission]++
		if begun, ok := j.waiting[emission]; ok {
			close(begun)
			delete(j.waiting, emission)
		}
	}
	return nil
}

// begun returns a channel that is closed with the first playlist of an emission. It must be called before that.
func (j *journal) begun(emission zoneWeek) <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := make(chan struct{})
	j.waiting[emission] = c
	return c
}

// count returns how many playlists of an emission are committed.
func (j *journal) count(emission zoneWeek) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.counts[emission]
}

// tickFor returns the time of the tick that a partition was to answer: the first one in its log at or after an instant.
func (j *journal) tickFor(partition int32, instant time.Time) (time.Time, bool) {
	for _, at := range j.ticks[partition] {
		if at >= instant.UnixMilli() {
			return time.UnixMilli(at).UTC(), true
		}
	}
	return time.Time{}, false
}

// verdict counts what is wrong; the first few are reported one by one.
type verdict struct {
	tb                      testing.TB
	lost, duplicated, wrong int
	owed, erased            int // playlists that were owed, listeners who were erased
}

func (v *verdict) complain(counter *int, format string, args ...any) {
	v.tb.Helper()
	*counter++
	if v.lost+v.duplicated+v.wrong <= 20 {
		v.tb.Errorf(format, args...)
	}
}

// judge holds what was delivered against what each person is owed.
func (w *world) judge() *verdict {
	j := w.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	v := &verdict{tb: w.tb}
	got := map[string]map[string][]delivered{} // by listener, then week
	for _, d := range j.playlists {
		user := string(d.list.User)
		if got[user] == nil {
			got[user] = map[string][]delivered{}
		}
		got[user][d.list.Week] = append(got[user][d.list.Week], d)
	}
	for _, p := range w.people {
		w.judgeErasure(v, p)
		for n := range w.weeks {
			monday := w.monday(n)
			delivery := p.owedSince(monday)
			lists := got[p.id][weekID(n)]
			delete(got[p.id], weekID(n))
			if p.erasedOn(monday) && len(lists) < 2 {
				continue
			}
			if !p.knownBefore(delivery) {
				if len(lists) > 0 {
					v.complain(&v.wrong, "%s got a playlist of %s and was not known yet, or not any more", p.id, weekID(n))
				}
				continue
			}
			v.owed++
			switch len(lists) {
			case 0:
				v.complain(&v.lost, "%s of %s has no playlist of %s", p.id, p.zoneAt(monday), weekID(n))
			case 1:
				w.inspect(v, p, n, lists[0])
			default:
				v.complain(&v.duplicated, "%s has %d playlists of %s", p.id, len(lists), weekID(n))
			}
		}
		for week := range got[p.id] {
			v.complain(&v.wrong, "%s has a playlist of %s, which is no week of this run", p.id, week)
		}
		delete(got, p.id)
	}
	for user := range got {
		v.complain(&v.wrong, "there are playlists for %q, whom nobody knows", user)
	}
	return v
}

// judgeErasure wants the playlists of an erased listener withdrawn, after the last of them.
func (w *world) judgeErasure(v *verdict, p *person) {
	if p.erased.IsZero() || p.first.IsZero() || !p.first.Before(p.erased.Add(-24*time.Hour)) {
		return
	}
	v.erased++
	at, ok := w.journal.withdrawn[p.id]
	if !ok {
		v.complain(&v.wrong, "the playlist of %s, who was erased at %s, was not withdrawn", p.id, p.erased)
	}
	for _, d := range w.journal.playlists {
		if string(d.list.User) == p.id && d.at.After(at) {
			v.complain(&v.wrong, "%s got a playlist of %s at %s, and was erased at %s", p.id, d.list.Week, d.at, p.erased)
		}
	}
}

// judgeRemains looks for erased listeners in what instances would be restored from.
func (w *world) judgeRemains(ctx context.Context, v *verdict) {
	rows := map[string]map[string]bool{} // of each listener
	err := stream.ReadAll(ctx, w.options, []string{w.journal.topics.ListenerChangelog}, func(rec *stream.Record) error {
		key, err := state.ParseUserKey(rec.Key)
		if err != nil {
			return nil //nolint:nilerr // rows of no listener
		}
		id := string(key.User)
		if rows[id] == nil {
			rows[id] = map[string]bool{}
		}
		if rec.Value == nil {
			delete(rows[id], string(rec.Key))
		} else {
			rows[id][string(rec.Key)] = true
		}
		return nil
	})
	if err != nil {
		w.tb.Fatal(err)
	}
	for _, p := range w.people {
		if n := len(rows[p.id]); (n > 0) != p.erased.IsZero() && !p.first.IsZero() {
			v.complain(&v.wrong, "%s, erased at %s, has %d rows", p.id, p.erased, n)
		}
	}
}

// inspect checks one playlist: when it was made, for which week, and of what.
func (w *world) inspect(v *verdict, p *person, n int, d delivered) {
	monday := w.monday(n)
	delivery, late := p.owedSince(monday), w.latest(n)
	name := fmt.Sprintf("%s of %s, %s", p.id, p.zoneAt(monday), weekID(n))
	tick, ticked := w.journal.tickFor(stream.PartitionOf([]byte(p.id), partitions), delivery)
	if p.movesOn(monday) { // it comes with the news of the move, or by the old clock
		tick, ticked, late = d.list.CreatedAt, true, 12*time.Hour
	}
	switch {
	case d.at.Before(delivery):
		v.complain(&v.wrong, "%s: written at %s, before the delivery at %s", name, d.at.UTC(), delivery)
	case !ticked || !d.list.CreatedAt.Equal(tick):
		v.complain(&v.wrong, "%s: created at %s, but the first tick after the delivery at %s was %s", name, d.list.CreatedAt, delivery, tick)
	case d.at.Sub(delivery) > late:
		v.complain(&v.wrong, "%s: written %s after the delivery", name, d.at.Sub(delivery))
	case d.list.ID != schemas.PlaylistID(schemas.UserID(p.id), weekID(n)) || d.key != p.id:
		v.complain(&v.wrong, "%s: id %s and key %q", name, d.list.ID, d.key)
	case d.list.Status != schemas.PlaylistReady || len(d.list.Tracks) != tracks:
		v.complain(&v.wrong, "%s: status %s, reason %q, %d tracks", name, d.list.Status, d.list.Reason, len(d.list.Tracks))
	}
	seen := map[schemas.SongID]bool{}
	for _, track := range d.list.Tracks {
		// What was heard in the hours just before may lie behind the tick.
		if heard, ok := p.heard[track.Song]; ok && heard.Before(delivery.Add(-2*slot)) {
			v.complain(&v.wrong, "%s: %s was heard at %s", name, track.Song, heard)
		}
		if seen[track.Song] {
			v.complain(&v.wrong, "%s: %s is there twice", name, track.Song)
		}
		seen[track.Song] = true
	}
}
