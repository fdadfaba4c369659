package stream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// unreadableMax is how often in a row a batch must fail to decode before it is taken for corrupt: a response that was
// damaged on its way is read again first.
const unreadableMax = 3

// faultsOf sorts the errors of a poll: batches to skip, what ends the session, and what the client mends by itself.
func (s *session) faultsOf(fetches kgo.Fetches) ([]skip, error) {
	var skips []skip
	var end error
	fetches.EachError(func(topic string, partition int32, err error) {
		var bomb *kgo.ErrDecompressTooLarge
		var loss *kgo.ErrDataLoss
		var group *kgo.ErrGroupSession
		switch {
		case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
			// A poll that ran out of time is no fault.
		case errors.Is(err, kgo.ErrClientClosed), errors.Is(err, kerr.FencedInstanceID):
			end = ended(err)
		case errors.As(err, &bomb):
			skips = append(skips, skip{
				topic: bomb.Topic, partition: bomb.Partition, from: bomb.Offset, next: bomb.NextOffset,
				epoch: bomb.Epoch, code: CodeBatchTooLarge, err: err,
			})
		case errors.As(err, &loss):
			s.warn("input offsets were reset, records are lost", err)
		case errors.As(err, &group):
			s.warn("the group is out of reach", err)
		case topic != "" && undecodable(err):
			tp := TopicPartition{Topic: topic, Partition: partition}
			sk, guilty, doubt := s.suspects.convict(s.ctx, s.aux, tp, s.position(topic, partition), err)
			if guilty {
				skips = append(skips, sk)
			} else if doubt != nil {
				s.warn("a batch cannot be read", doubt)
			}
		default:
			s.warn("a partition cannot be fetched", err)
		}
	})
	return skips, end
}

// startOffsets gives partitions without a committed offset the start of their log as a number. Left open, the client
// would know no position for such a partition before its first record, and could neither skip a first batch that is
// unreadable nor rewind to it.
func (s *session) startOffsets(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	var open []string
	for topic, partitions := range offsets {
		for _, o := range partitions {
			if o.EpochOffset().Offset < 0 {
				open = append(open, topic)
				break
			}
		}
	}
	if len(open) == 0 {
		return offsets, nil
	}
	starts, err := kadm.NewClient(s.aux).ListStartOffsets(ctx, open...)
	if err != nil {
		return nil, fmt.Errorf("listing start offsets: %w", err)
	}
	for _, topic := range open {
		for p, o := range offsets[topic] {
			if o.EpochOffset().Offset >= 0 {
				continue
			}
			start, ok := starts.Lookup(topic, p)
			if !ok || start.Err != nil {
				return nil, fmt.Errorf("listing the start offset of %s/%d: %w", topic, p, start.Err)
			}
			offsets[topic][p] = kgo.NewOffset().At(start.Offset)
		}
	}
	return offsets, nil
}

// undecodable reports whether the error is about the bytes of a batch, not about the broker or the way to it.
func undecodable(err error) bool {
	var protocol *kerr.Error
	var network net.Error
	return !errors.As(err, &network) && (!errors.As(err, &protocol) || errors.Is(err, kerr.CorruptMessage))
}

// suspects counts, for each partition, how often it could not be decoded since that was last looked into.
type suspects map[TopicPartition]int

// convict decides about a partition whose fetches fail again and again with an error that is not the broker's. Only the bytes themselves convict
// a batch: they are fetched raw, at the position of the reader, and decoded once more, alone. Whatever else is wrong is left to the client,
// because skipping a good batch would lose records; doubt says why.
func (s suspects) convict(ctx context.Context, cl *kgo.Client, tp TopicPartition, at int64, cause error) (sk skip, guilty bool, doubt error) {
	if s[tp]++; s[tp] < unreadableMax {
		return skip{}, false, nil
	}
	s[tp] = 0
	raw, err := rawFetch(ctx, cl, tp, at, 1)
	if err != nil {
		return skip{}, false, errors.Join(cause, err)
	}
	from, next, decodeErr := corrupt(raw)
	if decodeErr == nil || next <= at {
		return skip{}, false, cause
	}
	return skip{
		topic: tp.Topic, partition: tp.Partition, from: max(from, at), next: next, epoch: -1, code: CodeBatchCorrupt, err: decodeErr,
	}, true, nil
}

// corrupt returns the bounds of the first batch and why it cannot be decoded; nil when it can, or when the bytes do
// not even tell where it ends. Its size is bounded: a batch that decompresses to more is reported as too large by the
// client and never comes here.
func corrupt(raw []byte) (from, next int64, decodeErr error) {
	from, next, _, err := batchBounds(raw)
	if err != nil {
		return 0, 0, nil //nolint:nilerr // unknown bounds convict nothing
	}
	size := 12 + int(int32(binary.BigEndian.Uint32(raw[8:12]))) //nolint:gosec // the wire format is signed
	if size < batchHeaderBytes || size > len(raw) {
		return 0, 0, nil
	}
	in := kmsg.NewFetchResponseTopicPartition()
	in.RecordBatches = raw[:size]
	out, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		KeepControlRecords: true, Offset: from, IsolationLevel: kgo.ReadUncommitted(),
	}, &in, kgo.DefaultDecompressor(), nil)
	return from, next, out.Err
}

// position returns the offset that the client fetches next.
func (s *session) position(topic string, partition int32) int64 {
	cl := s.kc.Client()
	if at, ok := cl.UncommittedOffsets()[topic][partition]; ok {
		return at.Offset
	}
	return max(0, cl.CommittedOffsets()[topic][partition].Offset)
}

// tailEmpty reports whether no batch from the offset up to the end holds a record: compaction may keep an empty last
// batch, and a position never gets past it.
func tailEmpty(ctx context.Context, cl *kgo.Client, tp TopicPartition, at, end int64) (bool, error) {
	for at < end {
		raw, err := rawFetch(ctx, cl, tp, at, fetchPartitionBytesMax)
		if err != nil {
			return false, err
		}
		before := at
		for len(raw) >= batchHeaderBytes {
			_, next, records, err := batchBounds(raw)
			size := 12 + int(int32(binary.BigEndian.Uint32(raw[8:12]))) //nolint:gosec // the wire format is signed
			if err != nil || size < batchHeaderBytes {
				return false, err
			}
			if records > 0 && next > before {
				return false, nil
			}
			at = max(at, next)
			if size >= len(raw) {
				break
			}
			raw = raw[size:]
		}
		if at == before {
			return len(raw) == 0, nil
		}
	}
	return true, nil
}

// rawFetch returns the committed batches at the offset, as they are on the wire; at least one if there is one.
func rawFetch(ctx context.Context, cl *kgo.Client, tp TopicPartition, at int64, bytesMax int32) ([]byte, error) {
	leader, id, err := leaderOf(ctx, cl, tp)
	if err != nil {
		return nil, err
	}
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = 500, 1, bytesMax, -1
	req.ReplicaID, req.IsolationLevel = -1, 1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = tp.Topic, id
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = tp.Partition, at, bytesMax, -1
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, cl.Broker(int(leader)))
	if err != nil {
		return nil, fmt.Errorf("fetching raw batches: %w", err)
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, fmt.Errorf("fetching raw batches: %w", err)
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil, errors.New("fetching raw batches: an answer without the partition")
	}
	answer := resp.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(answer.ErrorCode); err != nil {
		return nil, fmt.Errorf("fetching raw batches: %w", err)
	}
	return answer.RecordBatches, nil
}

// leaderOf asks for the leader of the partition and the id of its topic.
func leaderOf(ctx context.Context, cl *kgo.Client, tp TopicPartition) (leader int32, id [16]byte, err error) {
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = new(tp.Topic)
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return 0, id, fmt.Errorf("asking for a leader: %w", err)
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if p.Partition == tp.Partition {
				return p.Leader, t.TopicID, nil
			}
		}
	}
	return 0, id, errors.New("asking for a leader: no such partition")
}

// batchHeaderBytes is the length of the header of a batch in format 2, up to its records.
const batchHeaderBytes = 61

// batchBounds reads base offset (bytes 0–7), last offset delta (23–26) and record count (57–60) of a batch in format 2.
func batchBounds(raw []byte) (from, next int64, records int32, err error) {
	if len(raw) < batchHeaderBytes || raw[16] != 2 {
		return 0, 0, 0, errors.New("not a record batch of format 2")
	}
	from = int64(binary.BigEndian.Uint64(raw))           //nolint:gosec // the wire format is signed
	delta := int32(binary.BigEndian.Uint32(raw[23:27]))  //nolint:gosec // the wire format is signed
	records = int32(binary.BigEndian.Uint32(raw[57:61])) //nolint:gosec // the wire format is signed
	if from < 0 || delta < 0 || from > math.MaxInt64-int64(delta)-1 {
		return 0, 0, 0, errors.New("a record batch with impossible offsets")
	}
	return from, from + int64(delta) + 1, records, nil
}
