//go:build kafka

package stream_test

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"earworm/consumers/stream"
	"earworm/internal/testkit/kafka"
)

// TestKafkaHangingTransaction leaves a transaction open in a real Kafka behind the back of its coordinator, in an output and in the offsets
// of the group, and has a session mend it.
func TestKafkaHangingTransaction(t *testing.T) {
	cluster := kafka.Start(t, kafka.Config{
		// What a broker does when it is killed at the right moment, a client can only do to one that does not ask the coordinator.
		Properties: map[string]string{"transaction.partition.verification.enable": "false"},
	})
	cluster.NeedsNodes(t)
	for name, end := range map[string]kgo.TransactionEndTry{"committed": kgo.TryCommit, "aborted": kgo.TryAbort} {
		t.Run(name, func(t *testing.T) {
			hangs(t, &world{tb: t, partitions: 1, addrs: cluster.Addrs()}, name, end)
		})
	}
}

func hangs(t *testing.T, w *world, app string, end kgo.TransactionEndTry) {
	t.Helper()
	w.producer = w.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	admin := kadm.NewClient(w.producer)
	cfg := w.config("a", newDisk())
	cfg.App, cfg.Inputs, cfg.Outputs, cfg.Changelog, cfg.DeadLetters = app, []string{app + "-in"}, []string{app + "-out"}, app+"-log", app+"-letters"
	topics := slices.Concat(cfg.Inputs, cfg.Outputs, []string{cfg.Changelog, cfg.DeadLetters})
	created, err := admin.CreateTopics(t.Context(), 1, 1, nil, topics...)
	if err != nil || created.Error() != nil {
		t.Fatal(err, created.Error())
	}
	cfg.SessionTimeout, cfg.TransactionTimeout = 6*time.Second, 4*time.Second
	group := cfg.App + "-" + cfg.Role
	predecessor := w.client(kgo.TransactionalID(group+"-a"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	id, epoch, err := predecessor.ProducerID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := predecessor.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := predecessor.ProduceSync(t.Context(), &kgo.Record{Topic: cfg.Changelog, Key: []byte("k"), Value: []byte("0")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := predecessor.EndTransaction(t.Context(), end); err != nil {
		t.Fatal(err)
	}
	leaveOpen(t, w.producer, cfg, id, epoch)
	if got := stableEnd(t, admin, cfg.Outputs[0]); got != 0 {
		t.Fatalf("the transaction is not open: committed readers see up to %d", got)
	}
	m := w.start(cfg)
	eventually(t, "the output is readable", func() bool { return stableEnd(t, admin, cfg.Outputs[0]) >= 2 })
	eventually(t, "the task is live", func() bool { return len(m.Partitions()) == 1 })
	seen := 0
	if err := stream.ReadAll(t.Context(), w.options(), cfg.Outputs, func(*stream.Record) error { seen++; return nil }); err != nil {
		t.Fatal(err)
	}
	if (seen == 1) != bool(end) || seen > 1 {
		t.Errorf("%d records of a transaction whose commit is %v", seen, end)
	}
	offsets, err := admin.FetchOffsets(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	if o, ok := offsets.Lookup(cfg.Inputs[0], 0); ok != bool(end) || (ok && o.At != 0) {
		t.Errorf("the group's offset: %v %v, want it to be there: %v", o.At, ok, end)
	}
	m.mustStop(t)
}

func stableEnd(t *testing.T, admin *kadm.Client, topic string) int64 {
	t.Helper()
	offsets, err := admin.ListCommittedOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	o, _ := offsets.Lookup(topic, 0)
	return o.Offset
}

// leaveOpen produces a record and commits an offset for the producer, in a transaction that its coordinator does not know.
func leaveOpen(t *testing.T, cl *kgo.Client, cfg stream.Config, id int64, epoch int16) {
	t.Helper()
	// The last versions of the requests in which brokers do not add the partition to the transaction by themselves.
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(kmsg.Produce), 11)
	versions.SetMaxKeyVersion(int16(kmsg.TxnOffsetCommit), 4)
	old, err := kgo.NewClient(append(cl.Opts(), kgo.MaxVersions(versions))...)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	produce := kmsg.NewPtrProduceRequest()
	produce.TransactionID, produce.Acks, produce.TimeoutMillis = new(cfg.App+"-"+cfg.Role+"-a"), -1, 5000
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = cfg.Outputs[0]
	partition := kmsg.NewProduceRequestTopicPartition()
	partition.Records = transactionalBatch(id, epoch)
	topic.Partitions = append(topic.Partitions, partition)
	produce.Topics = append(produce.Topics, topic)
	produced, err := produce.RequestWith(t.Context(), old.Broker(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := kerr.ErrorForCode(produced.Topics[0].Partitions[0].ErrorCode); err != nil {
		t.Fatal(err)
	}
	commit := kmsg.NewPtrTxnOffsetCommitRequest()
	commit.TransactionalID, commit.Group, commit.ProducerID, commit.ProducerEpoch = *produce.TransactionID, cfg.App+"-"+cfg.Role, id, epoch
	commit.Generation = -1
	ct := kmsg.NewTxnOffsetCommitRequestTopic()
	ct.Topic = cfg.Inputs[0]
	cp := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	ct.Partitions = append(ct.Partitions, cp)
	commit.Topics = append(commit.Topics, ct)
	committed, err := commit.RequestWith(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	if err := kerr.ErrorForCode(committed.Topics[0].Partitions[0].ErrorCode); err != nil {
		t.Fatal(err)
	}
}

// transactionalBatch is one record as it is on the wire.
func transactionalBatch(id int64, epoch int16) []byte {
	record := kmsg.NewRecord()
	record.Key, record.Value = []byte("ghost"), []byte("1")
	record.Length = int32(len(record.AppendTo(nil))) - 1 // without the length itself
	batch := kmsg.NewRecordBatch()
	batch.Magic, batch.Attributes = 2, 0x10 // transactional
	batch.PartitionLeaderEpoch = -1
	now := time.Now().UnixMilli()
	batch.FirstTimestamp, batch.MaxTimestamp = now, now
	batch.ProducerID, batch.ProducerEpoch, batch.NumRecords = id, epoch, 1
	batch.Records = record.AppendTo(nil)
	raw := batch.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12)) // length and checksum cover what follows them
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}
