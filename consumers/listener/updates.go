package listener

import (
	"slices"

	"earworm/consumers/stream"
	"earworm/model/factor"
	"earworm/schemas"
)

// bucketMs is the width of the event-time buckets in which listens are reported to the song tasks.
const bucketMs = 5 * 60 * 1000

// update collects what one transaction tells the song task of one row.
type update struct {
	kind     factor.Kind
	id       string
	vector   []float32
	evidence float32
	count    int32
	listens  []schemas.ListenBucket

	listeners uint32 // who came to the song
	pairs     []schemas.Pair
	pairsAt   int64 // event time of the latest of them
}

// update returns what the transaction tells the task of a row so far.
func (t *Task) update(key factor.Key, kind factor.Kind, id func() string) *update {
	u := t.updates[key]
	if u == nil {
		u = t.unused()
		u.kind, u.id = kind, id()
		t.updates[key] = u
	}
	return u
}

// unused returns an empty update, which is now the last in order: one of an earlier transaction, with the memory of its lists, or a
// new one.
func (t *Task) unused() *update {
	if n := len(t.ordered); n < cap(t.ordered) {
		t.ordered = t.ordered[:n+1]
		if u := t.ordered[n]; u != nil {
			*u = update{vector: u.vector[:0], listens: u.listens[:0], pairs: u.pairs[:0]}
			return u
		}
		t.ordered = t.ordered[:n]
	}
	u := &update{}
	t.ordered = append(t.ordered, u)
	return u
}

// updateOf is update for a song.
func (t *Task) updateOf(song factor.Index) *update {
	return t.update(t.table.KeyAt(song), factor.KindSong, func() string { return t.table.ID(song) })
}

// repeat is one listener with one song within one bucket.
type repeat struct {
	update *update
	person *person
	at     int64
}

// listenFacts are what the song task needs to know of one listen.
type listenFacts struct{ first, full, skipped bool }

// report counts one event for the song's task: by region and five minutes, so that the trend detector sees event time.
func (t *Task) report(p *person, song factor.Index, e *schemas.Event, f listenFacts) {
	t.reached.now = max(t.reached.now, e.At)
	u := t.updateOf(song)
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
			b.TopPlays = max(b.TopPlays, t.again(repeat{u, p, b.At}))
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
func (t *Task) again(r repeat) uint32 {
	n := t.repeats[r] + 1
	t.repeats[r] = n
	return n + 1
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

// updatesBytes is the size from which a record of updates is sent.
const updatesBytes = 32 << 10

// flushUpdates sends what is to be told of each row that was trained or listened to. What goes to the same song task shares records: there
// is such a change for every second event, and a record costs as much as what one says.
func (t *Task) flushUpdates(out *stream.Output) error {
	t.learner.Flush(t.seq, func(d factor.Delta) {
		u := t.update(d.Key, d.Kind, func() string { return d.ID })
		u.vector, u.evidence, u.count = append(u.vector[:0], d.Vector...), d.Evidence, d.Count
	})
	t.flushBlend()
	message := schemas.SongUpdate{Partition: t.partition, Seq: t.seq}
	for _, u := range t.ordered {
		message.Kind, message.ID, message.Vector, message.Evidence = byte(u.kind), []byte(u.id), u.vector, u.evidence
		message.Count, message.Listens = uint32(u.count), u.listens //nolint:gosec // counts are not negative
		message.Listeners, message.Pairs, message.PairsAt = u.listeners, u.pairs, u.pairsAt
		t.tell(&message, out)
	}
	for i := range t.taken { // after what they may have brought in this very transaction
		w := &t.taken[i]
		w.Partition, w.Seq = t.partition, t.seq
		t.tell(w, out)
	}
	for to := range t.outgoing {
		// Whoever gets no update still has to know how far we are: its trends wait for it.
		if len(t.outgoing[to]) > 0 || t.reached.now-t.reached.now%bucketMs > t.reached.told[to] {
			t.sendUpdates(int32(to), t.reached.now, out)
			t.reached.told[to] = t.reached.now
		}
	}
	t.metrics.updates.Add(float64(len(t.ordered)))
	t.forgetUpdates()
	return nil
}

// tell adds an update to the record for its song task, and sends that when it is full.
func (t *Task) tell(u *schemas.SongUpdate, out *stream.Output) {
	t.key = append(append(t.key[:0], u.Kind), u.ID...)
	to := stream.PartitionOf(t.key, t.cfg.Partitions)
	t.outgoing[to] = schemas.AppendSongUpdate(t.outgoing[to], u)
	if len(t.outgoing[to]) >= updatesBytes {
		t.sendUpdates(to, 0, out)
	}
}

// sendUpdates sends the record that is being filled, or one without updates. Only the last of a transaction says how far the task is: it
// may be that a song task has read no more than those before it when it commits.
func (t *Task) sendUpdates(to int32, reached int64, out *stream.Output) {
	t.outgoing[to] = schemas.MarkSongUpdates(t.outgoing[to], schemas.SongMark{Partition: t.partition, At: max(reached, 0)})
	out.Emit(stream.Message{Topic: t.cfg.SongUpdates, Partition: to, Value: t.outgoing[to]})
	t.outgoing[to] = t.outgoing[to][:0]
}

// reached is the event time of the newest listen that was read, Unix ms. It need not be stored: the song tasks remember the greatest
// they were told.
type reached struct {
	now, committed int64
	told           []int64 // by song partition
}

// abandon forgets what the transaction brought, the song tasks among it: what it had told them was not committed.
func (r *reached) abandon() {
	r.now = r.committed
	clear(r.told)
}

// forgetUpdates begins anew, and keeps the memory of as many updates as a large transaction has.
func (t *Task) forgetUpdates() {
	clear(t.updates)
	clear(t.repeats)
	clear(t.taken)
	t.taken = t.taken[:0]
	if len(t.ordered) > updatesKept {
		t.ordered = slices.Clone(t.ordered[:updatesKept])
	}
	t.ordered = t.ordered[:0]
}

const updatesKept = 1 << 15

// pair tells the tasks of a song that somebody came to, and of the songs that this listener had come to before, that they share a
// listener.
func (t *Task) pair(p *person, song factor.Index, at int64) {
	u := t.updateOf(song)
	u.listeners++
	u.pairsAt = max(u.pairsAt, at)
	params := t.near.Params()
	last := p.trained[max(0, len(p.trained)-params.Window):]
	count, weight := params.Pairs(t.near.Listeners(song), len(last))
	for n := range count {
		other := last[len(last)-1-n]
		if count < len(last) {
			other = last[t.rng.IntN(len(last))]
		}
		if other == song {
			continue
		}
		o := t.updateOf(other)
		u.pairs = append(u.pairs, schemas.Pair{Song: uint64(t.table.KeyAt(other)), Weight: weight})
		o.pairs = append(o.pairs, schemas.Pair{Song: uint64(t.table.KeyAt(song)), Weight: weight})
		o.pairsAt = max(o.pairsAt, at)
	}
}
