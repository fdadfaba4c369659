package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ErrTransaction means that a transaction of a Transactor did not end as asked; whether it was committed is not known.
var ErrTransaction = errors.New("the transaction did not end as asked")

// Transactor sends messages in transactions outside of any consumer group. What keeps two of them apart is the transactional id
// alone: the one that calls Fence last is the only one that can still commit. It must not be used concurrently.
type Transactor struct {
	cl   *kgo.Client
	open bool

	mu  sync.Mutex
	err error // of the first message of the transaction that was refused
}

// NewTransactor makes a transactor that partitions as the runtime does. The caller closes it.
func NewTransactor(options []kgo.Opt, id string, timeout time.Duration) (*Transactor, error) {
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.RecordPartitioner(keyedPartitioner("")),
		kgo.TransactionalID(id),
		kgo.TransactionTimeout(timeout),
		// A topic that was just created is asked for again at once: with the usual 5 s the transaction would time out meanwhile.
		kgo.MetadataMinAge(250 * time.Millisecond),
	}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("making a transactor: %w", err)
	}
	return &Transactor{cl: cl}, nil
}

// Fence takes the transactional id over. What an earlier holder left open is ended when it returns, and that one can commit no more.
func (t *Transactor) Fence(ctx context.Context) error {
	if _, _, err := t.cl.ProducerID(ctx); err != nil {
		return fmt.Errorf("taking over the transactional id: %w", err)
	}
	return nil
}

// Send adds a message to the transaction, which it begins if there is none. The slices must not change before Commit.
func (t *Transactor) Send(ctx context.Context, m Message) error {
	if !t.open {
		if err := t.cl.BeginTransaction(); err != nil {
			return fmt.Errorf("beginning a transaction: %w", err)
		}
		t.open = true
	}
	r := &kgo.Record{Topic: m.Topic, Partition: m.Partition, Key: m.Key, Value: m.Value, Headers: m.Headers, Timestamp: m.At}
	t.cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.err == nil {
			t.err = err
		}
	})
	return nil
}

// Commit ends the transaction, if there is one. A message that was refused aborts it, and is the error; ErrTransaction means that
// the brokers' answer is missing.
func (t *Transactor) Commit(ctx context.Context) error {
	if !t.open {
		return nil
	}
	err := t.cl.Flush(ctx)
	t.mu.Lock()
	err = errors.Join(err, t.err)
	t.mu.Unlock()
	if err != nil {
		return fmt.Errorf("sending a transaction: %w", errors.Join(err, t.Abort(ctx)))
	}
	t.open = false
	if err := t.cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return fmt.Errorf("%w: %w", ErrTransaction, err)
	}
	return nil
}

// Abort gives the transaction up, if there is one.
func (t *Transactor) Abort(ctx context.Context) error {
	if !t.open {
		return nil
	}
	t.open = false
	err := t.cl.AbortBufferedRecords(ctx)
	if err == nil {
		err = t.cl.EndTransaction(ctx, kgo.TryAbort)
	}
	t.mu.Lock()
	t.err = nil
	t.mu.Unlock()
	if err != nil {
		return fmt.Errorf("aborting a transaction: %w", err)
	}
	return nil
}

// Close drops what is not committed.
func (t *Transactor) Close() { t.cl.Close() }

// PartitionCounts returns how many partitions each of the topics has now; one that does not exist is left out. The brokers are asked
// each time: a client remembers for a while that a topic is missing.
func PartitionCounts(ctx context.Context, cl *kgo.Client, topics ...string) (map[string]int32, error) {
	counts := map[string]int32{}
	if len(topics) == 0 {
		return counts, nil
	}
	request := kmsg.NewPtrMetadataRequest()
	for _, topic := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &topic
		request.Topics = append(request.Topics, t)
	}
	response, err := request.RequestWith(ctx, cl)
	if err != nil {
		return nil, fmt.Errorf("asking for topics: %w", err)
	}
	for _, t := range response.Topics {
		switch err := kerr.ErrorForCode(t.ErrorCode); {
		case err == nil && t.Topic != nil:
			counts[*t.Topic] = int32(len(t.Partitions)) //nolint:gosec // Kafka counts partitions in 32 bits
		case errors.Is(err, kerr.UnknownTopicOrPartition):
		default:
			return nil, fmt.Errorf("asking for topics: %w", err)
		}
	}
	return counts, nil
}
