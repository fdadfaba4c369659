package stream

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// barrierKey is the key of the records that mark how far a restore must read. A task's keys must not begin with it.
var barrierKey = []byte("\x00barrier") //nolint:gochecknoglobals // a constant that Go cannot spell

// IsBarrier reports whether the changelog record is a mark of the runtime, not state. Readers of a changelog that is
// also a broadcast topic skip such records.
func IsBarrier(key []byte) bool { return bytes.Equal(key, barrierKey) }

// BarrierKey returns the key of such records: readers of topics pass over them.
func BarrierKey() []byte { return bytes.Clone(barrierKey) }

// storeAttemptsMax is how often opening a store or making a task is tried before the runtime gives up.
const storeAttemptsMax = 8

// restoreRetry bounds the wait between attempts.
const restoreRetryMax = 5 * time.Second

// errStoreBehind means that the changelog no longer has what the store needs next.
var errStoreBehind = errors.New("the store is behind the start of its changelog")

// restore brings the task to life: open the store, catch up with the changelog, make the task, let its inputs flow.
// Broker trouble is retried for as long as the task is owned; trouble with the store or the task ends the session.
func (s *session) restore(ctx context.Context, t *task) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return
	}
	backoff := 100 * time.Millisecond
	for attempts := 0; ; {
		err := s.restoreOnce(ctx, t)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			break
		}
		if errors.Is(err, ErrNotAdmitted) {
			s.fail(fatal(err))
			return
		}
		if _, local := errors.AsType[*localError](err); local {
			if attempts++; attempts >= storeAttemptsMax {
				s.fail(fatal(err))
				return
			}
		}
		s.r.log.Warn("restoring a task; trying again", slog.Int("partition", int(t.partition)), slog.Any("error", err))
		if !sleep(ctx, backoff) {
			return
		}
		backoff = min(backoff*2, restoreRetryMax)
	}
	s.r.metrics.restoring.DeleteLabelValues(strconv.Itoa(int(t.partition)))
	s.resume(t)
}

// localError is trouble with the store or the task, as opposed to the broker.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

func (s *session) restoreOnce(ctx context.Context, t *task) error {
	if err := t.admission.ask(ctx, s.r.cfg.Admit); err != nil {
		return fmt.Errorf("asking whether task %d may work: %w", t.partition, err)
	}
	if s.r.cfg.stateful() {
		if t.store == nil {
			store, err := s.r.cfg.OpenStore(ctx, t.partition)
			if err != nil {
				return &localError{fmt.Errorf("opening the store of task %d: %w", t.partition, err)}
			}
			t.store = store
		}
		if err := s.wipeStale(t); err != nil {
			return err
		}
		err := s.catchUp(ctx, t)
		if errors.Is(err, errStoreBehind) {
			s.r.log.Warn("wiping a store that is behind its changelog", slog.Int("partition", int(t.partition)))
			if err := t.store.Wipe(); err != nil {
				return &localError{fmt.Errorf("wiping the store of task %d: %w", t.partition, err)}
			}
			err = s.catchUp(ctx, t)
		}
		if err != nil {
			return fmt.Errorf("restoring task %d: %w", t.partition, err)
		}
	}
	user, err := s.r.cfg.NewTask(t.partition, t.store)
	if err != nil {
		return &localError{fmt.Errorf("making task %d: %w", t.partition, err)}
	}
	t.task = user
	return nil
}

// wipeStale drops a store so old that tombstones it never saw may be gone from the changelog: a row deleted meanwhile
// would come back to life.
func (s *session) wipeStale(t *task) error {
	aged, ok := t.store.(agedStore)
	if !ok || s.r.cfg.StoreMaxAge == 0 || t.store.Offset() == 0 {
		return nil
	}
	last := aged.LastApplied()
	if !last.IsZero() && time.Since(last) <= s.r.cfg.StoreMaxAge {
		return nil
	}
	s.r.log.Warn("wiping a stale store", slog.Int("partition", int(t.partition)))
	if err := t.store.Wipe(); err != nil {
		return &localError{fmt.Errorf("wiping the stale store of task %d: %w", t.partition, err)}
	}
	return nil
}

// catchUp applies the changelog from the store's offset up to a barrier that it writes first.
//
// Why a barrier and not the last stable offset: suppose the previous owner's transaction is being committed while we
// take over. Its EndTxn has been answered or is about to be, but the markers are not written everywhere, so the last
// stable offset still lies before its records, and stopping there would miss them. The group's generation has moved,
// so nothing older than the barrier can begin to commit any more, and a read_committed reader cannot pass an open
// transaction. So when the barrier comes back, everything that can commit has been read.
func (s *session) catchUp(ctx context.Context, t *task) error {
	topic := s.r.cfg.Changelog
	from := t.store.Offset()
	// A predecessor with our transactional id, killed or abandoned, may have left a transaction open: the barrier would
	// lie behind it until it times out. Taking the id over aborts it at once.
	if _, _, err := s.kc.Client().ProducerID(ctx); err != nil {
		return fmt.Errorf("taking over the transactional id: %w", err)
	}
	ends, err := s.bounds(ctx, TopicPartition{Topic: topic, Partition: t.partition})
	if err != nil {
		return err
	}
	if from > ends.end || (from > 0 && from < ends.start) {
		return errStoreBehind
	}
	token := []byte(rand.Text())
	mark := &kgo.Record{Topic: topic, Partition: t.partition, Key: barrierKey, Value: token}
	if err := s.aux.ProduceSync(ctx, mark).FirstErr(); err != nil {
		return fmt.Errorf("writing a restore barrier: %w", err)
	}
	start := kgo.NewOffset().At(from)
	if from == 0 {
		start = kgo.NewOffset().AtStart()
	}
	reader, err := kgo.NewClient(append(s.baseOptions(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {t.partition: start}}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))...)
	if err != nil {
		return fmt.Errorf("making a restore client: %w", err)
	}
	defer reader.Close()
	return s.replay(ctx, t, reader, token)
}

// partitionBounds are the log start and the high watermark of a partition.
type partitionBounds struct{ start, end int64 }

// bounds lists the log start and the high watermark.
func (s *session) bounds(ctx context.Context, tp TopicPartition) (partitionBounds, error) {
	admin := kadm.NewClient(s.aux)
	starts, err := admin.ListStartOffsets(ctx, tp.Topic)
	if err != nil {
		return partitionBounds{}, fmt.Errorf("listing start offsets: %w", err)
	}
	ends, err := admin.ListEndOffsets(ctx, tp.Topic)
	if err != nil {
		return partitionBounds{}, fmt.Errorf("listing end offsets: %w", err)
	}
	start, ok1 := starts.Lookup(tp.Topic, tp.Partition)
	end, ok2 := ends.Lookup(tp.Topic, tp.Partition)
	if err := errors.Join(start.Err, end.Err); err != nil {
		return partitionBounds{}, fmt.Errorf("listing offsets: %w", err)
	}
	if !ok1 || !ok2 {
		return partitionBounds{}, fmt.Errorf("%s has no partition %d", tp.Topic, tp.Partition)
	}
	return partitionBounds{start: start.Offset, end: end.Offset}, nil
}

// restoreSilence is how long a restore reads nothing before it says so. The barrier is there, so only an open transaction
// or a broker that is away can be in the way.
const restoreSilence = 10 * time.Second

// restoreWaits says what a restore waits for.
func (s *session) restoreWaits(ctx context.Context, t *task) {
	tp := TopicPartition{Topic: s.r.cfg.Changelog, Partition: t.partition}
	stable, err := kadm.NewClient(s.aux).ListCommittedOffsets(ctx, tp.Topic)
	o, _ := stable.Lookup(tp.Topic, tp.Partition)
	s.r.log.Warn("a restore waits for the end of its changelog", slog.String("topic", tp.Topic), slog.Int("partition", int(tp.Partition)),
		slog.Int64("offset", t.store.Offset()), slog.Int64("stable_offset", o.Offset), slog.Any("error", errors.Join(err, o.Err)))
}

// replay applies batches until the barrier with the token comes.
func (s *session) replay(ctx context.Context, t *task, reader *kgo.Client, token []byte) error {
	remaining := s.r.metrics.restoring.WithLabelValues(strconv.Itoa(int(t.partition)))
	changes := make([]Change, 0, s.r.cfg.RestoreBatch)
	for {
		poll, end := context.WithTimeout(ctx, restoreSilence)
		fetches := reader.PollRecords(poll, s.r.cfg.RestoreBatch)
		silent := poll.Err() != nil && fetches.NumRecords() == 0
		end()
		if err := ctx.Err(); err != nil {
			return err
		}
		if silent {
			s.restoreWaits(ctx, t)
			continue
		}
		var fault error
		fetches.EachError(func(_ string, _ int32, err error) { fault = err })
		if errors.Is(fault, kerr.OffsetOutOfRange) {
			return errStoreBehind
		}
		if fault != nil {
			return fmt.Errorf("reading the changelog: %w", fault)
		}
		changes = changes[:0]
		next, done := int64(-1), false
		fetches.EachPartition(func(f kgo.FetchTopicPartition) {
			for _, r := range f.Records {
				next = r.Offset + 1
				if !IsBarrier(r.Key) {
					changes = append(changes, Change{Key: r.Key, Value: r.Value})
				} else if bytes.Equal(r.Value, token) {
					done = true
					break
				}
			}
			remaining.Set(float64(max(0, f.HighWatermark-next)))
		})
		if next >= 0 {
			if err := t.store.Apply(changes, max(next, t.store.Offset())); err != nil {
				return &localError{fmt.Errorf("applying restored changes: %w", err)}
			}
			s.r.metrics.restored.Add(float64(len(changes)))
		}
		if done {
			return nil
		}
	}
}
