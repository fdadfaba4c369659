package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/plugin/kprom"
	"golang.org/x/sync/errgroup"
)

// session is one membership: from joining the group until something breaks it or the runtime stops.
type session struct {
	r      *Runtime
	ctx    context.Context //nolint:containedctx // the life of the session; group callbacks get no useful context
	cancel context.CancelCauseFunc
	// producing outlives ctx by the time that the transaction in hand may take to end.
	producing context.Context //nolint:containedctx // as ctx
	kc        *kgo.GroupTransactSession
	aux       *kgo.Client // barriers and raw requests, outside transactions
	balancer  *coBalancer
	waker     waker
	restores  errgroup.Group
	slots     chan struct{} // bounds restores at work
	opened    chan struct{} // closed once kc is set: the group may call back before its constructor has returned

	// flagged says that the transact session has seen a revoke or a loss since the last End. It would abort the next
	// transaction for that, although it began after the rebalance; see settle.
	flagged  atomic.Bool
	commits  atomic.Int64
	txn      transaction
	warned   time.Time
	suspects suspects
	brakes   brakes
	// unsure says that a connection was lost since the last mend: a broker may have been restarted.
	unsure  atomic.Bool
	waiting atomic.Pointer[context.CancelFunc] // ends the poll between two transactions
}

// brakes let a waiting rebalance shorten the transaction in hand.
type brakes struct {
	mu     sync.Mutex
	number int                // of the transaction
	gather context.CancelFunc // ends polling for more
	end    context.CancelFunc // breaks off the End
}

func (b *brakes) set(gather, end context.CancelFunc) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gather, b.end = gather, end
}

func (b *brakes) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.number++
	b.gather, b.end = nil, nil
}

// onBlocked is called in a goroutine of its own when a rebalance, or the news of having been thrown out of the group,
// waits for the transaction in hand. The transaction stops gathering. If its End then takes longer than the grace, it
// is broken off, its outcome unknown: an End waits for a heartbeat, and after a fatal group error there is no heartbeat
// any more and the callback that would tell the End waits for us.
func (s *session) onBlocked(context.Context, *kgo.Client) {
	s.brakes.mu.Lock()
	number := s.brakes.number
	if s.brakes.gather != nil {
		s.brakes.gather()
	}
	s.brakes.mu.Unlock()
	if !sleep(s.ctx, min(endGrace, s.r.cfg.TransactionTimeout/2)) { //nolint:contextcheck // the session's own context
		return
	}
	s.brakes.mu.Lock()
	defer s.brakes.mu.Unlock()
	if s.brakes.number == number && s.brakes.end != nil {
		s.brakes.end()
	}
}

// endGrace is many times what an End takes, and well below what a rebalance waits for.
const endGrace = 2 * time.Second

// run joins, processes and leaves.
func (s *session) run(parent context.Context) (err error) {
	s.ctx, s.cancel = context.WithCancelCause(parent)
	defer s.cancel(nil)
	var giveUp context.CancelFunc
	s.producing, giveUp = context.WithCancel(context.WithoutCancel(parent))
	defer giveUp()
	defer context.AfterFunc(s.ctx, func() { time.AfterFunc(s.r.cfg.endTimeout(), giveUp) })() //nolint:contextcheck // the session's own context
	s.slots = make(chan struct{}, s.r.cfg.RestoreWorkers)
	s.opened = make(chan struct{})
	s.suspects = make(suspects)
	s.balancer = newCoBalancer()
	s.waker = newWaker()
	if s.aux, err = kgo.NewClient(append(s.baseOptions(), kgo.RecordPartitioner(kgo.ManualPartitioner()))...); err != nil {
		return fatal(fmt.Errorf("making a kafka client: %w", err))
	}
	defer s.aux.Close()
	if err = s.enter(); err != nil || parent.Err() != nil { //nolint:contextcheck // the session's own context
		return err
	}
	if s.kc, err = kgo.NewGroupTransactSession(s.sessionOptions()...); err != nil {
		return fatal(fmt.Errorf("making a transactional kafka client: %w", err))
	}
	close(s.opened)
	var guards sync.WaitGroup
	guards.Go(s.completeRounds)
	guards.Go(s.watch)
	guards.Go(func() { s.waker.run(s.ctx, s.kc.Client()) })
	err = s.loop() //nolint:contextcheck // the session's own context
	s.cancel(err)
	guards.Wait()
	s.kc.CloseAllowingRebalance()
	closeErr := s.closeAll()
	_ = s.restores.Wait() // restores report through fail
	if err == nil && parent.Err() == nil {
		err = context.Cause(s.ctx) //nolint:contextcheck // the session's own context
	}
	if closeErr != nil && err == nil {
		err = fatal(closeErr)
	}
	return err
}

// baseOptions are common to all clients of the session.
func (s *session) baseOptions() []kgo.Opt {
	opts := []kgo.Opt{
		kgo.FetchMaxBytes(fetchBytesMax),
		kgo.FetchMaxPartitionBytes(fetchPartitionBytesMax),
		kgo.MaxConcurrentFetches(fetchesMax),
		kgo.BrokerMaxReadBytes(brokerReadBytesMax),
		kgo.FetchMaxWait(fetchWaitMax),
		kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.DisableClientMetrics(),
		kgo.ProducerBatchCompression(kgo.Lz4Compression()),
	}
	opts = append(opts, s.r.cfg.ClientOptions...)
	return append(opts, kgo.MaxDecompressBatchBytes(s.r.cfg.DecompressedBytesMax))
}

// sessionOptions put what exactly-once rests on last, so that ClientOptions cannot change it.
func (s *session) sessionOptions() []kgo.Opt {
	c := s.r.cfg
	opts := []kgo.Opt{
		kgo.ProducerLinger(5 * time.Millisecond),
		// More than one transaction's worth: Produce blocks rather than fails when it is full, while the sinks drain.
		kgo.MaxBufferedRecords(400_000),
		kgo.MaxBufferedBytes(2 * c.BufferBytesMax),
		kgo.ConcurrentTransactionsBackoff(5 * time.Millisecond),
	}
	opts = append(opts, s.baseOptions()...)
	// The client registers its metrics when it is made and removes them when it closes, so they are the session's.
	opts = append(opts, kgo.WithHooks(kprom.NewMetrics("earworm_kafka",
		kprom.Registerer(s.r.kafka), kprom.FetchAndProduceDetail(kprom.ByTopic, kprom.Records, kprom.UncompressedBytes)),
		connections{lost: s.lostConnection}))
	return append(opts,
		kgo.ConsumerGroup(c.Group()),
		kgo.InstanceID(c.InstanceID),
		kgo.ConsumeTopics(c.Inputs...),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.Balancers(s.balancer),
		kgo.SessionTimeout(c.SessionTimeout),
		kgo.RebalanceTimeout(c.RebalanceTimeout),
		kgo.HeartbeatInterval(c.HeartbeatInterval),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.BlockRebalanceOnPoll(),
		kgo.AdjustFetchOffsetsFn(s.startOffsets),
		kgo.OnPartitionsAssigned(s.onAssigned),
		kgo.OnPartitionsRevoked(s.onRevoked),
		kgo.OnPartitionsLost(s.onLost),
		kgo.OnPartitionsCallbackBlocked(s.onBlocked),
		kgo.TransactionalID(c.transactionalID()),
		kgo.TransactionTimeout(c.TransactionTimeout),
		kgo.RecordPartitioner(keyedPartitioner(c.DeadLetters)),
	)
}

// Waits before a member asks for a round that should have come by itself: a multiple of the heartbeat interval, within
// which the others learn of it; later ones grow up to roundWaitMax.
const (
	roundHeartbeats = 3
	roundWaitMax    = 30 * time.Second
)

// completeRounds asks for another round when the last one left a partition without an owner and none comes: see
// coBalancer.
func (s *session) completeRounds() {
	least := roundHeartbeats * s.r.cfg.HeartbeatInterval
	wait := least
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		var late <-chan time.Time
		if s.balancer.waiting() {
			timer.Reset(wait)
			late = timer.C
		}
		select {
		case <-s.ctx.Done():
			return
		case <-s.balancer.news:
		case <-late:
			s.r.log.Warn("partitions without an owner, and nobody asks for the next round; joining again", slog.Duration("waited", wait))
			s.r.metrics.rounds.Inc()
			s.kc.Client().ForceRebalance()
			wait = min(2*wait, max(roundWaitMax, least))
			continue
		}
		if s.balancer.settled() {
			wait = least
		}
	}
}

// fail ends the session from another goroutine.
func (s *session) fail(err error) { s.cancel(err) }

// loop polls and runs transactions until the session ends. From a poll that returned something until AllowRebalance
// no group callback runs, so what was polled still belongs to this member when it is processed.
func (s *session) loop() error {
	for s.ctx.Err() == nil {
		if s.unsure.Swap(false) {
			if err := s.mendAll(); err != nil {
				return err
			}
		}
		fetches := s.poll()
		if s.ctx.Err() != nil {
			break
		}
		err := s.settle(fetches)
		s.kc.AllowRebalance()
		if err != nil {
			return err
		}
	}
	return nil //nolint:nilerr // the end of the session's context is no error here: run asks for its cause
}

// poll waits for records, or until the session becomes unsure: others may wait for the end of its last transaction, and
// the next record may never come.
func (s *session) poll() kgo.Fetches {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	s.waiting.Store(&cancel)
	defer s.waiting.Store(nil)
	if s.unsure.Load() {
		cancel() // it became so before there was anything to cancel
	}
	return s.kc.PollRecords(ctx, s.r.cfg.PollRecordsMax)
}

// lostConnection makes the session unsure and wakes it up.
func (s *session) lostConnection() {
	s.unsure.Store(true)
	if cancel := s.waiting.Load(); cancel != nil {
		(*cancel)()
	}
}

// mendEvery is how often a session that may not join yet looks for transactions to mend: its broker may be restarted meanwhile.
const mendEvery = time.Second

// enter returns when the session may join, or its context ends. It has mended then, and nothing was waited for since.
func (s *session) enter() error {
	for ready := false; !ready && s.ctx.Err() == nil; {
		select {
		case <-s.r.cfg.JoinAfter:
			ready = true
		default:
		}
		if err := s.mendAll(); err != nil {
			return err
		}
		if ready {
			return nil
		}
		wait := time.NewTimer(mendEvery)
		select {
		case <-s.ctx.Done():
		case <-s.r.cfg.JoinAfter:
		case <-wait.C:
		}
		wait.Stop()
	}
	return nil
}

// mendAll calls mend until the brokers have answered. Only ErrHanging ends the session, and the end of its context.
func (s *session) mendAll() error {
	for backoff := 100 * time.Millisecond; ; backoff = min(2*backoff, time.Second) {
		ctx, cancel := context.WithTimeout(s.ctx, s.r.cfg.endTimeout())
		err := s.mend(ctx)
		cancel()
		if err == nil || errors.Is(err, ErrHanging) {
			return err
		}
		if s.ctx.Err() == nil {
			s.warn("cannot tell whether a transaction hangs", err)
		}
		if !sleep(s.ctx, backoff) {
			return nil
		}
	}
}

// settle handles one poll: usually by one transaction, which may poll more.
func (s *session) settle(fetches kgo.Fetches) error {
	skips, err := s.faultsOf(fetches)
	if err != nil {
		return err
	}
	if s.flagged.Swap(false) {
		// A rebalance took place since the last End. The transact session would abort the coming transaction for it;
		// an End without a transaction clears its flags and rewinds to the committed offsets, so that the records in
		// hand come again.
		if _, err := s.kc.End(s.ctx, kgo.TryAbort); err != nil {
			return fmt.Errorf("clearing the transact session: %w", err)
		}
		s.retry(skips)
		return nil
	}
	if fetches.NumRecords() == 0 && len(skips) == 0 {
		return nil
	}
	select {
	case s.r.gate <- struct{}{}:
	case <-s.ctx.Done():
		return nil
	}
	defer func() { <-s.r.gate }()
	defer s.brakes.release()
	return s.transact(fetches, skips)
}

// transact runs one transaction from Begin until its effects are in the stores.
func (s *session) transact(fetches kgo.Fetches, skips []skip) error {
	started := time.Now()
	if err := s.kc.Begin(); err != nil {
		return ended(fmt.Errorf("beginning a transaction: %w", err))
	}
	s.txn.reset()
	err := s.gather(started, fetches, skips)
	if err == nil {
		err = s.each(s.txn.tasks, func(t *task) error {
			if err := t.task.Flush(&t.out); err != nil {
				return fatal(fmt.Errorf("flushing task %d: %w", t.partition, err))
			}
			return nil
		})
	}
	if err := s.finish(err); err != nil {
		return err
	}
	s.r.metrics.duration.Observe(time.Since(started).Seconds())
	return nil
}

// gather processes what was polled, and polls on, until the transaction is old or large enough.
//
// How old depends on the load: who keeps up commits every CommitInterval, who is behind by more than the transaction in hand holds
// goes on up to CommitIntervalMax. A larger transaction writes each row once for more events, so falling behind makes the work
// cheaper, and nobody waits for the output of a lagging role within a commit interval anyway.
func (s *session) gather(started time.Time, fetches kgo.Fetches, skips []skip) error {
	ctx, cancel := context.WithDeadline(s.ctx, started.Add(s.r.cfg.CommitIntervalMax))
	defer cancel()
	s.brakes.set(cancel, nil)
	for {
		for _, sk := range skips {
			s.letterSkip(sk)
		}
		if err := s.process(fetches); err != nil {
			return err
		}
		// Rebalances wait for the end of this transaction; a flag can only come from a loss, which ends it.
		if s.txn.abort || s.txn.size() >= s.r.cfg.BufferBytesMax || s.flagged.Load() || ctx.Err() != nil {
			return nil
		}
		until := started.Add(s.r.cfg.CommitInterval)
		if s.txn.behind() {
			until = started.Add(s.r.cfg.CommitIntervalMax)
		}
		if !time.Now().Before(until) {
			return nil
		}
		poll, end := context.WithDeadline(ctx, until)
		fetches = s.kc.PollRecords(poll, s.r.cfg.PollRecordsMax)
		over := poll.Err() != nil
		end()
		var err error
		if skips, err = s.faultsOf(fetches); err != nil {
			return err
		}
		// A poll that ran out of time may still bring the news of a batch that cannot be read, which the client tells only once.
		if over && fetches.NumRecords() == 0 && len(skips) == 0 {
			return nil
		}
	}
}

// process hands the records to their tasks, in parallel, and waits.
func (s *session) process(fetches kgo.Fetches) error {
	work := s.txn.work[:0]
	index := make(map[int32]int, 16)
	fetches.EachPartition(func(f kgo.FetchTopicPartition) {
		if len(f.Records) == 0 {
			return
		}
		t := s.r.live(f.Topic, f.Partition)
		if t == nil {
			// Polled for a task that is gone or still restoring: its offset must not be committed.
			s.txn.abort = true
			return
		}
		i, ok := index[f.Partition]
		if !ok {
			i = len(work)
			index[f.Partition] = i
			work = append(work, workItem{task: t})
			s.txn.touch(t)
		}
		work[i].inputs = append(work[i].inputs, f)
	})
	s.txn.work = work
	err := parallel(s.r.cfg.Workers, work, func(w workItem) error { return w.task.process(w.inputs) })
	clear(work)
	return err
}

// each calls fn for the tasks, in parallel, and waits.
func (s *session) each(tasks []*task, fn func(*task) error) error {
	return parallel(s.r.cfg.Workers, tasks, fn)
}

// parallel calls fn for every item on up to n goroutines and returns the first error; all items are done afterwards,
// or an error came first.
func parallel[T any](n int, items []T, fn func(T) error) error {
	if len(items) == 1 || n == 1 {
		for _, item := range items {
			if err := fn(item); err != nil {
				return err
			}
		}
		return nil
	}
	var next atomic.Int64
	var failed atomic.Bool
	var once sync.Once
	var first error
	var wg sync.WaitGroup
	for range min(n, len(items)) {
		wg.Go(func() {
			for !failed.Load() {
				i := int(next.Add(1)) - 1
				if i >= len(items) {
					return
				}
				if err := fn(items[i]); err != nil {
					once.Do(func() { first = err })
					failed.Store(true)
				}
			}
		})
	}
	wg.Wait()
	return first
}

// process runs the user's task over the records of its inputs.
func (t *task) process(inputs []kgo.FetchTopicPartition) error {
	for _, in := range inputs {
		tally := t.tallyOf(in.Topic)
		tally.high = in.HighWatermark
		now := time.Now()
		for _, r := range in.Records {
			t.rec = Record{
				Topic: in.Topic, Partition: in.Partition, Offset: r.Offset,
				Key: r.Key, Value: r.Value, Headers: r.Headers, At: r.Timestamp, Lag: now.Sub(r.Timestamp),
			}
			t.out.outcome = OutcomeApplied
			if err := t.task.Process(&t.rec, &t.out); err != nil {
				var poison *Poison
				if !errors.As(err, &poison) {
					return fatal(fmt.Errorf("processing offset %d of %s/%d: %w", r.Offset, in.Topic, in.Partition, err))
				}
				t.out.DeadLetter(&t.rec, poison.Code, err)
			}
			tally.counts[t.out.outcome]++
		}
		last := in.Records[len(in.Records)-1]
		tally.next, tally.lastAt = last.Offset+1, last.Timestamp.UnixMilli()
	}
	return t.out.err
}

func (t *task) tallyOf(topic string) *inputTally {
	tally := t.tally[topic]
	if tally == nil {
		tally = &inputTally{}
		t.tally[topic] = tally
	}
	return tally
}

// ended classifies an error of a Begin or an End: somebody took this member's place, or the outcome is unknown.
func ended(err error) error {
	for _, fenced := range []error{
		kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.FencedInstanceID, kerr.InvalidProducerIDMapping,
	} {
		if errors.Is(err, fenced) {
			return fmt.Errorf("%w: %w", ErrFenced, err)
		}
	}
	return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
}

// sleep waits and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// warnEvery bounds how often the same trouble is logged; problemAge is how long it keeps the runtime from being ready
// when it does not come again.
const (
	warnEvery  = 5 * time.Second
	problemAge = 15 * time.Second
)

// warn logs a group or fetch error and shows it in Ready.
func (s *session) warn(text string, err error) {
	s.r.setProblem(text+": "+textOf(err), problemAge)
	if time.Since(s.warned) >= warnEvery {
		s.warned = time.Now()
		s.r.log.Warn("fetching", slog.String("problem", text), slog.Any("error", err))
	}
}
