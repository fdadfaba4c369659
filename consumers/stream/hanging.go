package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ErrHanging means that a partition holds an open transaction of this instance which its coordinator takes for ended, and
// that the runtime cannot end: it does not know how the transaction ended, or it may not write the marker. Whatever is
// written to the partition next would share the fate of those records, so the runtime does not process until an
// operator has ended the transaction; Ready and the log name the command.
var ErrHanging = errors.New("a transaction hangs")

// offsetsTopic holds the committed offsets of all groups; a transaction that commits offsets has a part in it.
const offsetsTopic = "__consumer_offsets"

// preparePoll is the wait between two looks at a transaction whose markers are being written.
const preparePoll = 100 * time.Millisecond

// States of a transaction, as the coordinator names them.
const (
	txnCompleteCommit = "CompleteCommit"
	txnCompleteAbort  = "CompleteAbort"
	txnPrepare        = "Prepare" // PrepareCommit, PrepareAbort, PrepareEpochFence
)

// hanging is a transaction in one partition that is open although its coordinator has forgotten it.
type hanging struct {
	kadm.DescribedProducer
	known, commit bool // whether the outcome is known, and which it is
}

// connections tells the session when it loses a connection.
type connections struct{ lost func() }

var _ kgo.HookBrokerDisconnect = connections{}

// OnBrokerDisconnect implements kgo.HookBrokerDisconnect.
func (c connections) OnBrokerDisconnect(kgo.BrokerMetadata, net.Conn) { c.lost() }

// mend ends the transactions of this instance that the brokers left open. It is called before a session joins its group, and,
// outside of any transaction, after a connection was lost.
//
// How a transaction comes to hang. A coordinator decides a transaction in its own log and then writes the markers. When
// the only broker of a cluster is killed in between and comes back, it is the leader of everything, by its old
// registration, until the controller ends that registration. In that time the coordinator is loaded and wants to write
// the markers, and cannot reach itself; or it aborts what has timed out. Then the registration ends, no partition has a
// leader, and Kafka (4.3) takes a partition without a leader for one that was deleted: "likely deleted already and hence
// can be skipped". The transaction counts as complete and its records stay undecided. Readers stop in front of them for
// good, the offsets of the group stay unstable, so nobody can start where they were; and when the same producer writes
// to the partition again, the old records are committed or aborted with the new ones, which loses or repeats them.
//
// What makes the repair safe. With Kafka 4 a producer's epoch grows with every transaction: one of epoch e ends as
// "complete, e+1", and the next has epoch e+1. So if the coordinator says "complete commit, e+1" and a partition has an
// open transaction of epoch e, that transaction was committed, whoever runs now. The marker is written with epoch e: a
// broker refuses it if a later transaction has begun in the partition.
func (s *session) mend(ctx context.Context) error {
	admin := kadm.NewClient(s.aux)
	last, err := s.lastTransaction(ctx, admin)
	if errors.Is(err, kerr.TransactionalIDNotFound) {
		return nil // a new instance
	}
	if err != nil {
		return err
	}
	found, err := s.findHanging(ctx, admin, last)
	if err != nil {
		return err
	}
	var errs []error
	for _, h := range found {
		if err := s.endHanging(ctx, admin, h); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// lastTransaction describes this instance's last transaction; it waits until its markers are written, or skipped.
func (s *session) lastTransaction(ctx context.Context, admin *kadm.Client) (kadm.DescribedTransaction, error) {
	id := s.r.cfg.transactionalID()
	for {
		described, err := admin.DescribeTransactions(ctx, id)
		var last kadm.DescribedTransaction
		if err == nil {
			last, err = described.On(id, nil)
		}
		if err == nil {
			err = last.Err
		}
		if err != nil {
			return last, fmt.Errorf("describing the last transaction: %w", err)
		}
		if !strings.HasPrefix(last.State, txnPrepare) {
			return last, nil
		}
		if !sleep(ctx, preparePoll) {
			return last, fmt.Errorf("waiting for the end of a transaction in state %s: %w", last.State, ctx.Err())
		}
	}
}

// findHanging looks for open transactions of the producer that are older than what its coordinator knows.
func (s *session) findHanging(ctx context.Context, admin *kadm.Client, last kadm.DescribedTransaction) ([]hanging, error) {
	topics, err := admin.ListTopicsWithInternal(ctx, s.written()...)
	if err != nil {
		return nil, fmt.Errorf("listing the topics of a transaction: %w", err)
	}
	var found []hanging
	for _, topic := range topics.Sorted() {
		if errors.Is(topic.Err, kerr.UnknownTopicOrPartition) {
			continue
		}
		if topic.Err != nil {
			return nil, fmt.Errorf("describing topic %s: %w", topic.Topic, topic.Err)
		}
		producers, err := openIn(ctx, admin, topic)
		if _, denied := errors.AsType[*kadm.AuthError](err); denied {
			s.r.log.Debug("may not look for hanging transactions", slog.String("topic", topic.Topic), slog.Any("error", err))
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, p := range producers {
			if p.ProducerID == last.ProducerID && p.ProducerEpoch < last.ProducerEpoch {
				ended := last.State == txnCompleteCommit || last.State == txnCompleteAbort
				found = append(found, hanging{
					DescribedProducer: p,
					known:             ended && p.ProducerEpoch == last.ProducerEpoch-1,
					commit:            last.State == txnCompleteCommit,
				})
			}
		}
	}
	return found, nil
}

// openIn returns the producers with an open transaction in the topic.
func openIn(ctx context.Context, admin *kadm.Client, topic kadm.TopicDetail) ([]kadm.DescribedProducer, error) {
	described, err := admin.DescribeProducers(ctx, kadm.TopicDetails{topic.Topic: topic}.TopicsSet())
	if err != nil {
		return nil, fmt.Errorf("describing the producers of %s: %w", topic.Topic, err)
	}
	var open []kadm.DescribedProducer
	var errs []error
	described.EachPartition(func(p kadm.DescribedProducersPartition) {
		if p.Err != nil {
			errs = append(errs, fmt.Errorf("describing the producers of %s/%d: %w", p.Topic, p.Partition, p.Err))
		}
	})
	described.EachProducer(func(p kadm.DescribedProducer) {
		if p.CurrentTxnStartOffset >= 0 {
			open = append(open, p)
		}
	})
	return open, errors.Join(errs...)
}

// outputs are the topics that a task of the role may emit to.
func (c Config) outputs() []string { return append(slices.Clone(c.Outputs), c.DeadLetters) }

// written are the topics that a transaction of the role may write to.
func (s *session) written() []string {
	topics := append(s.r.cfg.outputs(), offsetsTopic)
	if s.r.cfg.Changelog != "" {
		topics = append(topics, s.r.cfg.Changelog)
	}
	slices.Sort(topics)
	return slices.Compact(topics)
}

// endHanging writes the marker that is missing.
func (s *session) endHanging(ctx context.Context, admin *kadm.Client, h hanging) error {
	where := fmt.Sprintf("%s/%d from offset %d (producer %d, epoch %d)", h.Topic, h.Partition, h.CurrentTxnStartOffset, h.ProducerID, h.ProducerEpoch)
	operator := fmt.Sprintf("kafka-transactions.sh abort --topic %s --partition %d --start-offset %d", h.Topic, h.Partition, h.CurrentTxnStartOffset)
	if !h.known {
		s.r.metrics.hanging.WithLabelValues("left").Inc()
		return fmt.Errorf("%w: %s, and the coordinator no longer knows how it ended; see %s", ErrHanging, where, operator)
	}
	marker := kadm.TxnMarkers{
		ProducerID: h.ProducerID, ProducerEpoch: h.ProducerEpoch, Commit: h.commit, CoordinatorEpoch: max(0, h.CoordinatorEpoch),
	}
	marker.Topics.Add(h.Topic, h.Partition)
	responses, err := admin.WriteTxnMarkers(ctx, marker)
	for _, p := range responses.SortedPartitions() {
		err = errors.Join(err, p.Err)
	}
	if errors.Is(err, kerr.ClusterAuthorizationFailed) {
		s.r.metrics.hanging.WithLabelValues("left").Inc()
		return fmt.Errorf("%w: %s, committed: %t; the right to end it (cluster action) is missing; see %s: %w", ErrHanging, where, h.commit, operator, err)
	}
	if err != nil {
		return fmt.Errorf("ending a transaction that hangs in %s: %w", where, err)
	}
	s.r.metrics.hanging.WithLabelValues("ended").Inc()
	s.r.log.Warn("ended a transaction that its coordinator had left open", slog.String("topic", h.Topic), slog.Int("partition", int(h.Partition)),
		slog.Int64("offset", h.CurrentTxnStartOffset), slog.Int64("producer_id", h.ProducerID), slog.Bool("committed", h.commit))
	return nil
}
