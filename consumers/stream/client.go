package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// OpenClient makes a plain client, for EnsureTopics and WaitDrained. The caller closes it.
func OpenClient(options []kgo.Opt) (*kgo.Client, error) {
	cl, err := kgo.NewClient(options...)
	if err != nil {
		return nil, fmt.Errorf("making a kafka client: %w", err)
	}
	return cl, nil
}

// Producer sends messages outside of any transaction, idempotently. It is safe for concurrent use.
type Producer struct {
	cl *kgo.Client

	mu       sync.Mutex
	err      error
	produced int64
}

// NewProducer makes a producer that partitions as the runtime does. The caller closes it.
func NewProducer(options []kgo.Opt) (*Producer, error) {
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.RecordPartitioner(keyedPartitioner("")),
		kgo.ProducerLinger(5 * time.Millisecond),
		kgo.MaxBufferedRecords(100_000),
	}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("making a producer: %w", err)
	}
	return &Producer{cl: cl}, nil
}

// Send buffers the message and returns; it blocks while the buffer is full. The slices must not change before Flush.
func (p *Producer) Send(ctx context.Context, m Message) {
	r := &kgo.Record{Topic: m.Topic, Partition: m.Partition, Key: m.Key, Value: m.Value, Headers: m.Headers}
	p.cl.Produce(ctx, r, p.done)
}

func (p *Producer) done(_ *kgo.Record, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		if p.err == nil {
			p.err = err
		}
		return
	}
	p.produced++
}

// Flush waits until everything sent is acknowledged, and returns the first failure since the last Flush.
func (p *Producer) Flush(ctx context.Context) error {
	if err := p.cl.Flush(ctx); err != nil {
		return fmt.Errorf("flushing a producer: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.err
	p.err = nil
	if err != nil {
		return fmt.Errorf("producing: %w", err)
	}
	return nil
}

// Acknowledged returns how many messages the brokers have acknowledged.
func (p *Producer) Acknowledged() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.produced
}

// Close drops what is not flushed.
func (p *Producer) Close() { p.cl.Close() }

// FollowerConfig describes a broadcast consumer: it belongs to no group and reads every partition from the start.
type FollowerConfig struct {
	Topics []string
	// Spans, if set, are the partitions of Topics to read, and from where to where; what lies behind an end may be handed over too.
	Spans         map[TopicPartition]Span
	ClientOptions []kgo.Opt
	Logger        *slog.Logger
	// OnBatch gets committed records of one partition, in order, barriers left out; the slice and what it points to
	// are valid during the call. It is called from one goroutine. An error ends Run.
	OnBatch func(records []Record) error
	// Until makes Run return nil once everything that was there at its start has been read, or an error if a batch of it is damaged: who
	// reads once wants all of it. A follower without end steps over such a batch, as the tasks do.
	Until bool
	// SettleInterval is how long no record must come before a follower that is not at its target asks the brokers
	// whether anything is left. Default 500 ms.
	SettleInterval time.Duration
}

// Follower reads whole topics and then follows them.
type Follower struct {
	cfg    FollowerConfig
	caught chan struct{}
	next   map[TopicPartition]int64
	target map[TopicPartition]int64
	batch  []Record
	warned time.Time

	suspects suspects
	waker    waker
}

// NewFollower validates and starts nothing.
func NewFollower(cfg FollowerConfig) (*Follower, error) {
	if len(cfg.Topics) == 0 || cfg.OnBatch == nil {
		return nil, errors.New("a follower needs topics and a callback")
	}
	if cfg.SettleInterval == 0 {
		cfg.SettleInterval = 500 * time.Millisecond
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Follower{cfg: cfg, caught: make(chan struct{}), suspects: make(suspects), waker: newWaker()}, nil
}

// CaughtUp is closed when everything that was in the topics at the start of Run has been handed over.
func (f *Follower) CaughtUp() <-chan struct{} { return f.caught }

// Run reads until ctx ends, which is no error. It is called once.
//
// "Everything" is the high watermark at the start, not the last stable offset: a transaction that committed just
// before may still wait for its markers, and its records would be missed. The position advances over markers, which is
// why they are kept.
func (f *Follower) Run(ctx context.Context) error {
	opts := append([]kgo.Opt{
		kgo.FetchMaxBytes(fetchBytesMax),
		kgo.FetchMaxPartitionBytes(fetchPartitionBytesMax),
		kgo.MaxDecompressBatchBytes(decompressedBytesMax),
		kgo.FetchMaxWait(fetchWaitMax),
		kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.DisableClientMetrics(),
	}, f.cfg.ClientOptions...)
	cl, err := kgo.NewClient(append(opts,
		f.consume(),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords())...)
	if err != nil {
		return fmt.Errorf("making a follower: %w", err)
	}
	defer cl.Close()
	ctx, cancel := context.WithCancel(ctx)
	var awake sync.WaitGroup
	awake.Go(func() { f.waker.run(ctx, cl) })
	defer awake.Wait()
	defer cancel()
	if err := f.aim(ctx, cl); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	for ctx.Err() == nil {
		if f.arrived() && f.cfg.Until {
			return nil
		}
		if err := f.step(ctx, cl); err != nil {
			return err
		}
	}
	return nil
}

// consume says what to read.
func (f *Follower) consume() kgo.Opt {
	if f.cfg.Spans == nil {
		return kgo.ConsumeTopics(f.cfg.Topics...)
	}
	from := make(map[string]map[int32]kgo.Offset)
	for tp, span := range f.cfg.Spans {
		if from[tp.Topic] == nil {
			from[tp.Topic] = make(map[int32]kgo.Offset)
		}
		from[tp.Topic][tp.Partition] = kgo.NewOffset().At(span.Start)
	}
	return kgo.ConsumePartitions(from)
}

// aim notes the high watermark of every partition, trying until the brokers answer.
func (f *Follower) aim(ctx context.Context, cl *kgo.Client) error {
	f.next = make(map[TopicPartition]int64)
	f.target = make(map[TopicPartition]int64)
	for tp, span := range f.cfg.Spans {
		f.next[tp] = span.Start
		if span.Start < span.End {
			f.target[tp] = span.End
		}
	}
	if f.cfg.Spans != nil {
		return nil
	}
	admin := kadm.NewClient(cl)
	for backoff := 100 * time.Millisecond; ; backoff = min(2*backoff, 5*time.Second) {
		starts, err := admin.ListStartOffsets(ctx, f.cfg.Topics...)
		var ends kadm.ListedOffsets
		if err == nil {
			ends, err = admin.ListEndOffsets(ctx, f.cfg.Topics...)
		}
		if err == nil {
			err = errors.Join(starts.Error(), ends.Error())
		}
		if err == nil {
			ends.Each(func(o kadm.ListedOffset) {
				tp := TopicPartition{Topic: o.Topic, Partition: o.Partition}
				start, ok := starts.Lookup(o.Topic, o.Partition)
				if !ok {
					return
				}
				f.next[tp] = start.Offset
				if start.Offset < o.Offset {
					f.target[tp] = o.Offset
				}
			})
			return nil
		}
		f.cfg.Logger.Warn("listing the topics to follow; trying again", slog.Any("error", err))
		if !sleep(ctx, backoff) {
			return ctx.Err()
		}
	}
}

// arrived reports, and once announces, that every target is reached.
func (f *Follower) arrived() bool {
	for tp, end := range f.target {
		if f.next[tp] < end {
			return false
		}
		delete(f.target, tp)
	}
	select {
	case <-f.caught:
	default:
		close(f.caught)
	}
	return true
}

// step handles one poll.
func (f *Follower) step(ctx context.Context, cl *kgo.Client) error {
	waiting := len(f.target) > 0
	pollCtx, cancel := ctx, context.CancelFunc(func() {})
	if waiting {
		pollCtx, cancel = context.WithTimeout(ctx, f.cfg.SettleInterval)
	}
	defer cancel()
	fetches := cl.PollRecords(pollCtx, 10_000)
	var err error
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if err == nil {
			err = f.deliver(p)
		}
	})
	if err != nil {
		return err
	}
	// A poll that ran out of time may still bring the news of a batch that cannot be read, which the client tells only once.
	skipped, err := f.faults(ctx, cl, fetches)
	if err != nil {
		return err
	}
	if waiting && !skipped && pollCtx.Err() != nil && ctx.Err() == nil && fetches.NumRecords() == 0 {
		f.settle(ctx, cl)
	}
	return nil
}

// faults steps over batches that are too large or too damaged to read, and logs what the client mends by itself; it reports whether there was
// anything to step over, or that it may not. All partitions are told where to go on then: what the client had to tell of the others is lost
// when one is told, see session.renew.
func (f *Follower) faults(ctx context.Context, cl *kgo.Client, fetches kgo.Fetches) (skipped bool, fatal error) {
	step := func(tp TopicPartition, offset, next int64, code string) {
		f.cfg.Logger.Error("skipping an unreadable batch", slog.String("topic", tp.Topic), slog.Int("partition", int(tp.Partition)),
			slog.Int64("offset", offset), slog.Int64("next_offset", next), slog.String("code", code))
		f.next[tp] = next
		delete(f.suspects, tp)
		skipped = true
	}
	fetches.EachError(func(topic string, partition int32, err error) {
		tp := TopicPartition{Topic: topic, Partition: partition}
		var bomb *kgo.ErrDecompressTooLarge
		switch {
		case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		case errors.As(err, &bomb):
			step(tp, bomb.Offset, bomb.NextOffset, CodeBatchTooLarge)
		case topic != "" && undecodable(err):
			sk, guilty, _ := f.suspects.convict(ctx, cl, tp, f.next[tp], err)
			switch {
			case guilty && f.cfg.Until:
				fatal = fmt.Errorf("the batch at offset %d of %s/%d is damaged: %w", sk.from, topic, partition, sk.err)
			case guilty:
				step(tp, sk.from, sk.next, sk.code)
			default:
				f.cfg.Logger.Warn("following", slog.String("topic", topic), slog.Any("error", err))
			}
		default:
			f.cfg.Logger.Warn("following", slog.String("topic", topic), slog.Any("error", err))
		}
	})
	if !skipped || fatal != nil {
		return false, fatal
	}
	on := make(map[string]map[int32]kgo.EpochOffset)
	for tp, at := range f.next {
		if on[tp.Topic] == nil {
			on[tp.Topic] = make(map[int32]kgo.EpochOffset)
		}
		on[tp.Topic][tp.Partition] = kgo.EpochOffset{Epoch: -1, Offset: at}
	}
	cl.SetOffsets(on)
	f.waker.tell()
	return true, nil
}

// deliver hands the records of one partition over.
func (f *Follower) deliver(p kgo.FetchTopicPartition) error {
	if len(p.Records) == 0 {
		return nil
	}
	f.batch = f.batch[:0]
	for _, r := range p.Records {
		if r.Attrs.IsControl() || IsBarrier(r.Key) {
			continue
		}
		f.batch = append(f.batch, Record{
			Topic: p.Topic, Partition: p.Partition, Offset: r.Offset,
			Key: r.Key, Value: r.Value, Headers: r.Headers, At: r.Timestamp,
		})
	}
	tp := TopicPartition{Topic: p.Topic, Partition: p.Partition}
	f.next[tp] = p.Records[len(p.Records)-1].Offset + 1
	if len(f.batch) == 0 {
		return nil
	}
	if err := f.cfg.OnBatch(f.batch); err != nil {
		return fmt.Errorf("handling records of %s: %w", p.Topic, err)
	}
	return nil
}

// settle decides about targets that are not reached although nothing comes. The last offsets of a partition may hold
// no record that is delivered (compaction emptied the last batch), so a position cannot reach them. Silence proves
// nothing: the fetch may be slow, or the transaction before the target still open. So the brokers are asked: the last
// stable offset has passed the target, and no batch from the position up to it holds a record.
func (f *Follower) settle(ctx context.Context, cl *kgo.Client) {
	stable, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, f.cfg.Topics...)
	if err != nil {
		f.cfg.Logger.Warn("listing stable offsets", slog.Any("error", err))
		return
	}
	for tp, end := range f.target {
		o, ok := stable.Lookup(tp.Topic, tp.Partition)
		if !ok || o.Err != nil || o.Offset < end {
			f.waits(tp, end, o)
			continue
		}
		empty, err := tailEmpty(ctx, cl, tp, f.next[tp], end)
		if err != nil {
			f.cfg.Logger.Warn("looking at the end of a topic", slog.String("topic", tp.Topic), slog.Any("error", err))
		} else if empty {
			f.next[tp] = end
		}
	}
}

// waits says, now and then, that a target lies behind an open transaction.
func (f *Follower) waits(tp TopicPartition, end int64, stable kadm.ListedOffset) {
	if time.Since(f.warned) < warnEvery {
		return
	}
	if !f.warned.IsZero() { // a transaction that is just being committed deserves no warning
		f.cfg.Logger.Warn("an open transaction holds readers back", slog.String("topic", tp.Topic), slog.Int("partition", int(tp.Partition)),
			slog.Int64("stable_offset", stable.Offset), slog.Int64("end_offset", end), slog.Any("error", stable.Err))
	}
	f.warned = time.Now()
}

// ReadAll hands every committed record that is in the topics now to fn, partition by partition in order.
func ReadAll(ctx context.Context, options []kgo.Opt, topics []string, fn func(*Record) error) error {
	return readUntil(ctx, FollowerConfig{Topics: topics, ClientOptions: options}, fn)
}

// ReadSpan hands the committed records of a partition that lie in a span to fn, in order.
func ReadSpan(ctx context.Context, options []kgo.Opt, tp TopicPartition, span Span, fn func(*Record) error) error {
	cfg := FollowerConfig{Topics: []string{tp.Topic}, Spans: map[TopicPartition]Span{tp: span}, ClientOptions: options}
	return readUntil(ctx, cfg, func(r *Record) error {
		if r.Offset >= span.End {
			return nil
		}
		return fn(r)
	})
}

// readUntil follows up to what is there now.
func readUntil(ctx context.Context, cfg FollowerConfig, fn func(*Record) error) error {
	cfg.Until = true
	cfg.OnBatch = func(records []Record) error {
		for i := range records {
			if err := fn(&records[i]); err != nil {
				return err
			}
		}
		return nil
	}
	f, err := NewFollower(cfg)
	if err != nil {
		return err
	}
	if err := f.Run(ctx); err != nil {
		return err
	}
	return ctx.Err() //nolint:wrapcheck // a read that was cut off is not complete
}

// WaitDrained returns when the group has committed everything that was in the topics at one moment after the call,
// and everything that it sent to these topics itself while it did so. It polls every interval (default 100 ms) until
// ctx ends; the error then names a partition that is not drained.
//
// A committed offset stops before trailing transaction markers, so an offset short of the end is drained as well if
// what lies between holds no committed record; that gap is read.
func WaitDrained(ctx context.Context, cl *kgo.Client, group string, topics []string, interval time.Duration) error {
	if interval == 0 {
		interval = 100 * time.Millisecond
	}
	admin := kadm.NewClient(cl)
	var last error
	for {
		err := drainedNow(ctx, cl, admin, group, topics)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err // a look that was cut short says less than the one before
		}
		if ctx.Err() != nil || !sleep(ctx, interval) {
			return fmt.Errorf("waiting until %s has drained its topics: %w", group, errors.Join(ctx.Err(), last))
		}
	}
}

// WaitPassed returns when the group has committed past the ends of the spans: everything that was there when they were taken. In contrast
// to WaitDrained it comes to an end while more arrives.
func WaitPassed(ctx context.Context, cl *kgo.Client, group string, spans map[TopicPartition]Span, interval time.Duration) error {
	if interval == 0 {
		interval = 100 * time.Millisecond
	}
	admin := kadm.NewClient(cl)
	for {
		err := passedNow(ctx, cl, admin, group, spans)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || !sleep(ctx, interval) {
			return fmt.Errorf("waiting until %s has passed what is there: %w", group, errors.Join(ctx.Err(), err))
		}
	}
}

// passedNow returns nil if the group has passed the spans, or what is left.
func passedNow(ctx context.Context, cl *kgo.Client, admin *kadm.Client, group string, spans map[TopicPartition]Span) error {
	committed, err := admin.FetchOffsets(ctx, group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return fmt.Errorf("fetching offsets of the group: %w", err)
	}
	gaps := make(map[TopicPartition]gap)
	for tp, span := range spans {
		at := span.Start
		if c, ok := committed.Lookup(tp.Topic, tp.Partition); ok {
			at = max(at, c.At)
		}
		if at < span.End {
			gaps[tp] = gap{from: at, to: span.End}
		}
	}
	if len(gaps) == 0 {
		return nil
	}
	return gapsEmpty(ctx, cl, gaps)
}

// drainedNow returns nil if the group has drained the topics, or what is left.
//
// The order of the looks is what makes "drained" true. Suppose the ends came first: a member reads the last record,
// commits its offset and, in the same transaction, sends a record to one of its own inputs (a tick that continues).
// Then the offset is fetched, equals the end, and the new record is overlooked. With the offsets first, whatever was
// sent before they were committed lies below the ends.
func drainedNow(ctx context.Context, cl *kgo.Client, admin *kadm.Client, group string, topics []string) error {
	committed, err := admin.FetchOffsets(ctx, group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return fmt.Errorf("fetching offsets of the group: %w", err)
	}
	ends, err := admin.ListEndOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("listing end offsets: %w", err)
	}
	starts, err := admin.ListStartOffsets(ctx, topics...)
	if err != nil {
		return fmt.Errorf("listing start offsets: %w", err)
	}
	gaps := make(map[TopicPartition]gap)
	ends.Each(func(end kadm.ListedOffset) {
		at := int64(0)
		if start, ok := starts.Lookup(end.Topic, end.Partition); ok {
			at = start.Offset
		}
		if c, ok := committed.Lookup(end.Topic, end.Partition); ok {
			at = max(at, c.At)
		}
		if at < end.Offset {
			gaps[TopicPartition{Topic: end.Topic, Partition: end.Partition}] = gap{from: at, to: end.Offset}
		}
	})
	if len(gaps) == 0 {
		return nil
	}
	return gapsEmpty(ctx, cl, gaps)
}

// gap is a range of offsets of a partition: from is the first, to is after the last.
type gap struct{ from, to int64 }

// errNotEmpty means that a gap holds a record.
var errNotEmpty = errors.New("not drained")

func (g gap) held(tp TopicPartition, why string) error {
	return fmt.Errorf("%w: %s/%d from offset %d to %d: %s", errNotEmpty, tp.Topic, tp.Partition, g.from, g.to, why)
}

// gapsEmpty reads the gaps and returns nil if there is nothing but markers and aborted records in them. The first
// committed record settles it: the error is then errNotEmpty.
func gapsEmpty(ctx context.Context, cl *kgo.Client, gaps map[TopicPartition]gap) error {
	from := make(map[string]map[int32]kgo.Offset)
	for tp, g := range gaps {
		if from[tp.Topic] == nil {
			from[tp.Topic] = make(map[int32]kgo.Offset)
		}
		from[tp.Topic][tp.Partition] = kgo.NewOffset().At(g.from)
	}
	reader, err := kgo.NewClient(append(cl.Opts(),
		kgo.ConsumePartitions(from), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.FetchMaxWait(100*time.Millisecond))...)
	if err != nil {
		return fmt.Errorf("making a reader: %w", err)
	}
	defer reader.Close()
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	rest := maps.Clone(gaps)
	for len(rest) > 0 && short.Err() == nil {
		var data error
		reader.PollRecords(short, 1000).EachPartition(func(p kgo.FetchTopicPartition) {
			tp := TopicPartition{Topic: p.Topic, Partition: p.Partition}
			g, waiting := rest[tp]
			for _, r := range p.Records {
				if !r.Attrs.IsControl() && data == nil {
					data = gaps[tp].held(tp, fmt.Sprintf("there is a record at %d", r.Offset))
				}
				g.from = r.Offset + 1
			}
			if waiting {
				rest[tp] = g
			}
			if g.from >= g.to {
				delete(rest, tp)
			}
		})
		if data != nil {
			return data
		}
	}
	return tailsEmpty(ctx, reader, rest)
}

// tailsEmpty is gapsEmpty for what a reader did not get past: the last offsets of a partition may hold nothing that is
// delivered. The brokers are asked instead.
func tailsEmpty(ctx context.Context, cl *kgo.Client, rest map[TopicPartition]gap) error {
	if len(rest) == 0 {
		return nil
	}
	topics := make(map[string]struct{}, len(rest))
	for tp := range rest {
		topics[tp.Topic] = struct{}{}
	}
	stable, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, slices.Collect(maps.Keys(topics))...)
	if err != nil {
		return fmt.Errorf("listing stable offsets: %w", err)
	}
	for tp, g := range rest {
		o, ok := stable.Lookup(tp.Topic, tp.Partition)
		if !ok || o.Err != nil || o.Offset < g.to {
			return g.held(tp, fmt.Sprintf("an open transaction: the last stable offset is %d (%v)", o.Offset, o.Err))
		}
		empty, err := tailEmpty(ctx, cl, tp, g.from, g.to)
		if err != nil {
			return err
		}
		if !empty {
			return g.held(tp, "a record that could not be read in time")
		}
	}
	return nil
}
