package erasure

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"earworm/consumers/letters"
	"earworm/consumers/stream"
	"earworm/schemas"
	"earworm/state"
)

// trace is what one topic holds of a person.
type trace struct {
	// live are the keys whose last value counts; for topics that are not compacted, the records.
	live int
	// content are the records that say something of the person, those that a later one has replaced included.
	content int
	// newest is the timestamp of the last such record, named that of the last one that names them at all, nulls included.
	newest, named time.Time
}

// survey is what all topics hold of a person.
type survey struct {
	topics  map[string]*trace
	names   map[string]bool // of the person, those under which rows are stored
	songs   int             // in the history
	letters letters.Found
}

// look reads the topics.
func (r *run) look(ctx context.Context) (*survey, error) {
	s := &survey{topics: map[string]*trace{}, names: map[string]bool{}}
	t := r.cfg.Topics
	for _, topic := range []struct {
		name      string
		compacted bool
		mine      func(*stream.Record) bool
	}{
		{t.ListenerChangelog, true, r.row},
		{t.Playlists, true, func(rec *stream.Record) bool { return string(rec.Key) == string(r.person.id) }},
		{t.Users, true, func(rec *stream.Record) bool { return r.person.in(rec.Key, rec.Value) }},
		{t.Events, false, func(rec *stream.Record) bool { return r.person.in(rec.Key, rec.Value) }},
		{t.Listens, false, func(rec *stream.Record) bool { return r.person.names[string(rec.Key)] }},
	} {
		found, err := r.read(ctx, topic.name, topic.compacted, topic.mine, s)
		if err != nil {
			return nil, err
		}
		s.topics[topic.name] = found
	}
	found, err := r.letters.Count(ctx, r.mine)
	if err != nil {
		return nil, err
	}
	s.letters = found
	return s, nil
}

// mine tells letters of the person.
func (r *run) mine(l *letters.Letter) bool { return r.person.in(l.Key, l.Value) }

// row tells rows of the person from others in the changelog.
func (r *run) row(rec *stream.Record) bool {
	if key, err := state.ParseUserKey(rec.Key); err == nil {
		return r.person.names[string(key.User)]
	}
	_, user, err := state.ParseZoneKey(rec.Key)
	return err == nil && r.person.names[string(user)]
}

// read looks through one topic.
func (r *run) read(ctx context.Context, topic string, compacted bool, mine func(*stream.Record) bool, s *survey) (*trace, error) {
	found := &trace{}
	last := map[string][]byte{} // the value of each key, nil for none
	err := stream.ReadAll(ctx, r.cfg.ClientOptions, []string{topic}, func(rec *stream.Record) error {
		if r.cfg.Progress != nil {
			r.cfg.Progress(1)
		}
		if !mine(rec) {
			return nil
		}
		if rec.At.After(found.named) {
			found.named = rec.At
		}
		if erasing(topic, r.cfg.Topics, rec) {
			last[string(rec.Key)] = nil
			return nil
		}
		found.content++
		if rec.At.After(found.newest) {
			found.newest = rec.At
		}
		if compacted {
			last[string(rec.Key)] = rec.Value
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", topic, err)
	}
	if !compacted {
		found.live = found.content
		return found, nil
	}
	for key, value := range last {
		if value != nil {
			found.live++
			s.learnt([]byte(key))
		}
	}
	return found, nil
}

// erasing reports whether a record takes something away and says nothing: a null, or the event of an erasure.
func erasing(topic string, t schemas.Topics, rec *stream.Record) bool {
	if rec.Value == nil {
		return true
	}
	if topic != t.Listens {
		return false
	}
	var event schemas.Event
	return event.UnmarshalBinary(rec.Value) == nil && event.Kind == schemas.KindErase
}

// learnt notes what a row in force says: under which name it is stored, and of which song.
func (s *survey) learnt(key []byte) {
	k, err := state.ParseUserKey(key)
	if err != nil {
		return
	}
	s.names[string(k.User)] = true
	if k.Row == state.RowHistory {
		s.songs++
	}
}

// settings are those of a topic that say how long it keeps what.
type settings map[string]string

// duration returns a setting, and false if it says "for ever" or is not known.
func (s settings) duration(name string) (time.Duration, bool) {
	ms, err := strconv.ParseInt(s[name], 10, 64)
	if err != nil || ms < 0 || ms > int64(1<<63-1)/int64(time.Millisecond) {
		return 0, false
	}
	return time.Duration(ms) * time.Millisecond, true
}

// sweeps is how long after it may go at the latest something goes, at the brokers' usual intervals of looking for it.
const sweeps = time.Hour

// deletedBy says when a record of a topic that deletes is gone: a segment goes when its last record is old enough, and it takes records
// for as long as segment.ms says.
func (s settings) deletedBy(at time.Time) *time.Time {
	retention, ok1 := s.duration("retention.ms")
	segment, ok2 := s.duration("segment.ms")
	return after(at, ok1 && ok2, retention, segment)
}

// replacedBy says when the value of a key of a compacted topic is gone that has a later one.
func (s settings) replacedBy(at time.Time) *time.Time {
	lag, ok := s.duration("max.compaction.lag.ms")
	return after(at, ok, lag)
}

// nulledBy says when a null, and with it the key, is gone.
func (s settings) nulledBy(at time.Time) *time.Time {
	lag, ok1 := s.duration("max.compaction.lag.ms")
	kept, ok2 := s.duration("delete.retention.ms")
	return after(at, ok1 && ok2, lag, kept, lag) // the null goes with the first compaction after its time
}

func after(at time.Time, known bool, waits ...time.Duration) *time.Time {
	if !known {
		return nil
	}
	for _, wait := range waits {
		at = at.Add(wait)
	}
	return new(at.Add(sweeps).UTC().Truncate(time.Second))
}
