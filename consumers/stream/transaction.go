package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// workItem is a task with the input partitions polled for it.
type workItem struct {
	task   *task
	inputs []kgo.FetchTopicPartition
}

// transaction is what the open transaction touched.
type transaction struct {
	tasks []*task
	skips []skip
	abort bool
	work  []workItem
}

func (x *transaction) reset() {
	clear(x.tasks)
	x.tasks = x.tasks[:0]
	x.skips = nil
	x.abort = false
}

// touch makes the task part of the transaction.
func (x *transaction) touch(t *task) {
	if !t.touched {
		t.begin()
		x.tasks = append(x.tasks, t)
	}
}

// size returns the bytes of changes and outputs so far.
func (x *transaction) size() int {
	n := 0
	for _, t := range x.tasks {
		n += t.out.size
	}
	return n
}

// behind reports whether its inputs hold more records that wait than it has processed.
func (x *transaction) behind() bool {
	var done, waiting int64
	for _, t := range x.tasks {
		for _, tally := range t.tally {
			n := int64(0)
			for _, count := range tally.counts {
				n += count
			}
			if n > 0 {
				done += n
				waiting += max(0, tally.high-tally.next)
			}
		}
	}
	return waiting > done
}

// finish ends the transaction. A nil cause asks for a commit; anything else aborts and is returned.
//
// The order is the whole point: Kafka commits first, then the stores get the changes. Suppose it were the other way
// round and the process died in between: the store would hold effects of records that come again. In this order the
// store misses effects that the changelog has, and the next start reads them from there.
func (s *session) finish(cause error) error {
	// Shutting down must not break off the end of a transaction, but a dead broker must not hold it for ever either.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), s.r.cfg.endTimeout())
	defer cancel()
	s.brakes.set(nil, cancel)
	if cause == nil && !s.txn.abort {
		cause = s.flushed(ctx)
	}
	if cause != nil || s.txn.abort {
		return s.rollback(ctx, cause)
	}
	if s.r.cfg.localFirst {
		if err := s.each(s.txn.tasks, (*task).apply); err != nil {
			return s.rollback(ctx, fatal(err))
		}
	}
	committed, err := s.kc.End(kgo.PreTxnCommitFnContext(ctx, s.commitSkips), kgo.TryCommit)
	s.flagged.Store(false) // End cleared the transact session's flags
	switch {
	case err != nil:
		s.r.metrics.aborts.Inc()
		s.abandon(true)
		return ended(fmt.Errorf("ending a transaction: %w", err))
	case !committed:
		s.r.metrics.aborts.Inc()
		s.abandon(false)
		s.retry(s.txn.skips)
		return nil
	}
	return s.committed()
}

// flushed waits until every record is acknowledged and returns the first refusal. A refused record does not by itself
// keep a transaction from committing, so this must be known before End.
func (s *session) flushed(ctx context.Context) error {
	if err := s.kc.Client().Flush(ctx); err != nil {
		return fmt.Errorf("flushing a transaction: %w", err)
	}
	for _, t := range s.txn.tasks {
		if err := t.failure(); err != nil {
			err = fmt.Errorf("producing for task %d: %w", t.partition, err)
			if permanent(err) {
				return fatal(err)
			}
			return err
		}
	}
	return nil
}

// permanent reports whether producing the same record again must fail again.
func permanent(err error) bool {
	for _, e := range []error{
		kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp, errNoChangelog, errNoTopic, errUndeclared,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// rollback aborts; the records come again.
func (s *session) rollback(ctx context.Context, cause error) error {
	s.r.metrics.aborts.Inc()
	_, err := s.kc.End(ctx, kgo.TryAbort)
	s.flagged.Store(false)
	s.abandon(err != nil)
	if err != nil {
		err = ended(fmt.Errorf("aborting a transaction: %w", err))
		if isFatal(cause) {
			return cause
		}
		return errors.Join(cause, err)
	}
	s.retry(s.txn.skips)
	return cause
}

// abandon makes every task of the transaction forget it.
func (s *session) abandon(inFlight bool) {
	for _, t := range s.txn.tasks {
		t.task.Abandon()
		t.end(inFlight)
	}
	s.txn.tasks = s.txn.tasks[:0]
}

// committed brings the effects into the stores, then into the counters.
func (s *session) committed() error {
	s.commits.Add(1)
	s.r.metrics.commits.Inc()
	if !s.r.cfg.localFirst {
		if err := s.each(s.txn.tasks, (*task).apply); err != nil {
			return fatal(err)
		}
	}
	s.moveSkips()
	s.book()
	err := s.each(s.txn.tasks, func(t *task) error {
		t.task.Committed()
		t.end(false)
		return nil
	})
	s.txn.tasks = s.txn.tasks[:0]
	return err
}

// apply writes the changes and the changelog offset in one batch.
func (t *task) apply() error {
	if t.store == nil || len(t.out.changes) == 0 {
		return nil
	}
	if err := t.store.Apply(t.out.changes, max(t.changelogEnd.Load(), t.store.Offset())); err != nil {
		return fmt.Errorf("applying a transaction to the store of task %d: %w", t.partition, err)
	}
	return nil
}

// book moves the tallies of the transaction into the committed counts.
func (s *session) book() {
	r := s.r
	r.mu.Lock()
	for _, t := range s.txn.tasks {
		for topic, tally := range t.tally {
			tp := TopicPartition{Topic: topic, Partition: t.partition}
			n := tally.counts
			r.counts[tp] = r.counts[tp].Add(Counts{
				Consumed:     n[OutcomeApplied] + n[OutcomeDuplicate] + n[OutcomeTooLate] + n[OutcomeDeadLettered],
				Applied:      n[OutcomeApplied],
				Duplicate:    n[OutcomeDuplicate],
				TooLate:      n[OutcomeTooLate],
				DeadLettered: n[OutcomeDeadLettered],
			})
		}
	}
	r.mu.Unlock()
	for _, t := range s.txn.tasks {
		for topic, tally := range t.tally {
			r.metrics.committed(TopicPartition{Topic: topic, Partition: t.partition}, tally)
		}
	}
}

// skip is a batch that cannot be read: a decompression bomb or a corrupt one.
type skip struct {
	topic      string
	partition  int32
	from, next int64
	epoch      int32
	code       string
	err        error
}

// letterSkip dead-letters a stub for the batch and counts its records.
func (s *session) letterSkip(sk skip) {
	t := s.r.live(sk.topic, sk.partition)
	if t == nil {
		s.txn.abort = true
		s.txn.skips = append(s.txn.skips, sk) // to be found again when the task is live
		return
	}
	for _, have := range s.txn.skips {
		if have.topic == sk.topic && have.partition == sk.partition && have.from == sk.from {
			return
		}
	}
	s.txn.touch(t)
	rec := Record{Topic: sk.topic, Partition: sk.partition, Offset: sk.from}
	t.out.letter(&rec, sk.code, sk.err, []Header{
		{Key: HeaderNextOffset, Value: strconv.AppendInt(nil, sk.next, 10)},
		{Key: HeaderTruncated, Value: []byte("true")},
	})
	tally := t.tallyOf(sk.topic)
	tally.counts[OutcomeDeadLettered] += sk.next - sk.from
	tally.next = sk.next
	s.txn.skips = append(s.txn.skips, sk)
	s.r.log.Error("skipping an unreadable batch", slog.String("topic", sk.topic), slog.Int("partition", int(sk.partition)),
		slog.Int64("offset", sk.from), slog.Int64("next_offset", sk.next), slog.String("code", sk.code))
}

// commitSkips adds the offsets after the skipped batches to the commit of the transaction: the client knows only the
// offsets of records that it delivered.
func (s *session) commitSkips(req *kmsg.TxnOffsetCommitRequest) error {
	for _, sk := range s.txn.skips {
		p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = sk.partition, sk.next, sk.epoch, &req.MemberID
		setOffset(req, sk.topic, p)
	}
	return nil
}

func setOffset(req *kmsg.TxnOffsetCommitRequest, topic string, p kmsg.TxnOffsetCommitRequestTopicPartition) {
	for i := range req.Topics {
		t := &req.Topics[i]
		if t.Topic != topic {
			continue
		}
		for j := range t.Partitions {
			if t.Partitions[j].Partition == p.Partition {
				t.Partitions[j].Offset = max(t.Partitions[j].Offset, p.Offset)
				return
			}
		}
		t.Partitions = append(t.Partitions, p)
		return
	}
	t := kmsg.NewTxnOffsetCommitRequestTopic()
	t.Topic = topic
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
}

// moveSkips makes the client fetch on after the skipped batches.
func (s *session) moveSkips() {
	if len(s.txn.skips) == 0 {
		return
	}
	past := make(map[TopicPartition]kgo.EpochOffset, len(s.txn.skips))
	for _, sk := range s.txn.skips {
		tp := TopicPartition{Topic: sk.topic, Partition: sk.partition}
		s.r.metrics.skipped.WithLabelValues(sk.topic, strconv.Itoa(int(sk.partition))).Inc()
		delete(s.suspects, tp)
		past[tp] = kgo.EpochOffset{Epoch: sk.epoch, Offset: max(sk.next, past[tp].Offset)}
	}
	s.renew(past)
}

// retry makes the client find the batches again after an abort.
func (s *session) retry(skips []skip) {
	again := make(map[TopicPartition]kgo.EpochOffset, len(skips))
	committed := s.kc.Client().CommittedOffsets()
	for _, sk := range skips {
		if c, ok := committed[sk.topic][sk.partition]; !ok || c.Offset < 0 {
			again[TopicPartition{Topic: sk.topic, Partition: sk.partition}] = kgo.EpochOffset{Epoch: sk.epoch, Offset: sk.from}
		}
	}
	s.renew(again)
}

// renew makes the client fetch every input from where the group has committed, some from elsewhere. No transaction is open.
//
// The client stops fetching a partition in which it finds a batch that it cannot read, tells so once, and begins again when it is given an offset
// that differs. And whenever it is given any offset, be it by an abort that rewinds it, it throws away what it has fetched and not handed over yet:
// such news of other partitions too, which then are never fetched again. So all of them are given one that differs, and then the right one.
func (s *session) renew(from map[TopicPartition]kgo.EpochOffset) {
	cl := s.kc.Client()
	at := cl.CommittedOffsets()
	if at == nil {
		at = make(map[string]map[int32]kgo.EpochOffset)
	}
	for tp, o := range from {
		if at[tp.Topic] == nil {
			at[tp.Topic] = make(map[int32]kgo.EpochOffset)
		}
		at[tp.Topic][tp.Partition] = o
	}
	other := make(map[string]map[int32]kgo.EpochOffset, len(at))
	for topic, partitions := range at {
		other[topic] = make(map[int32]kgo.EpochOffset, len(partitions))
		for p, o := range partitions {
			if o.Offset < 0 {
				delete(partitions, p)
				continue
			}
			other[topic][p] = kgo.EpochOffset{Epoch: o.Epoch, Offset: o.Offset + 1}
		}
	}
	cl.SetOffsets(other)
	cl.SetOffsets(at)
	s.waker.tell()
}
