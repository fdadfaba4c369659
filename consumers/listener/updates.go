package listener

import (
	"earworm/consumers/stream"
	"earworm/model/factor"
	"earworm/schemas"
)

// bucketMs is the width of the event-time buckets in which listens are reported to the song tasks.
const bucketMs = 5 * 60 * 1000

// update collects what one transaction tells the song task of one row.
type update struct {
	kind    factor.Kind
	id      string
	vector  []float32
	bias    float32
	count   int32
	listens []schemas.ListenBucket
	repeats map[repeat]uint32 // plays within a day of the last, nil until there is one
}

// repeat is one listener within one bucket.
type repeat struct {
	person *person
	at     int64
}

// listenFacts are what the song task needs to know of one listen.
type listenFacts struct{ first, full, skipped bool }

// report counts one event for the song's task: by region and five minutes, so that the trend detector sees event time.
func (t *Task) report(p *person, song factor.Index, e *schemas.Event, f listenFacts) {
	key := t.table.KeyAt(song)
	u := t.updates[key]
	if u == nil {
		u = &update{kind: factor.KindSong, id: t.table.ID(song)}
		t.updates[key] = u
	}
	region := p.core.Region
	if e.Region != ([2]byte{}) {
		region = e.Region // where it was heard counts for regional trends
	}
	b := bucketOf(u, region, e.At-e.At%bucketMs)
	switch e.Kind {
	case schemas.KindPlay, schemas.KindSkip:
		b.Plays++
		if f.first {
			weight := float32(p.trust.Weight(t.cfg.Trend, e.At))
			b.Unique++
			b.Trusted += weight
			if p.trust.New(t.cfg.Trend, e.At) {
				b.NewAccounts++
			}
		}
		b.TopPlays = max(b.TopPlays, 1)
		if !f.first {
			b.TopPlays = max(b.TopPlays, u.again(p, b.At))
		}
		if f.full {
			b.Completions++
		}
		if f.skipped {
			b.Skips++
		}
		if e.PlayedMs >= shortCompletionMin && e.PlayedMs <= shortCompletionMax {
			b.ShortPlays++
		}
	case schemas.KindLike, schemas.KindPlaylistAdd, schemas.KindShare:
		b.Likes++
	default:
	}
}

// again counts a play that is not the listener's first of the day, and returns the listener's plays within the bucket, the
// first included.
func (u *update) again(p *person, at int64) uint32 {
	if u.repeats == nil {
		u.repeats = map[repeat]uint32{}
	}
	u.repeats[repeat{p, at}]++
	return u.repeats[repeat{p, at}] + 1
}

// Streams are paid for from 30 seconds on: bought ones end just after (models.md C.4).
const (
	shortCompletionMin = 30_000
	shortCompletionMax = 36_000
)

func bucketOf(u *update, region [2]byte, at int64) *schemas.ListenBucket {
	for i := range u.listens {
		if u.listens[i].At == at && u.listens[i].Region == region {
			return &u.listens[i]
		}
	}
	u.listens = append(u.listens, schemas.ListenBucket{Region: region, At: at})
	return &u.listens[len(u.listens)-1]
}

// flushUpdates sends one record for each row that was trained or listened to.
func (t *Task) flushUpdates(out *stream.Output) error {
	t.learner.Flush(t.seq, func(d factor.Delta) {
		key := factor.KeyOf(d.Kind, d.ID)
		u := t.updates[key]
		if u == nil {
			u = &update{kind: d.Kind, id: d.ID}
			t.updates[key] = u
		}
		u.vector, u.bias, u.count = append(u.vector[:0], d.Vector...), d.Bias, d.Count
	})
	message := schemas.SongUpdate{Partition: t.partition, Seq: t.seq}
	for _, u := range t.updates {
		message.Kind, message.ID, message.Vector, message.Bias = byte(u.kind), []byte(u.id), u.vector, u.bias
		message.Count, message.Listens = uint32(u.count), u.listens //nolint:gosec // counts are not negative
		t.key = append(append(t.key[:0], byte(u.kind)), u.id...)
		t.row = message.AppendBinary(t.row[:0])
		out.Emit(stream.Message{Topic: t.cfg.SongUpdates, Partition: -1, Key: t.key, Value: t.row})
	}
	t.metrics.updates.Add(float64(len(t.updates)))
	clear(t.updates)
	return nil
}
