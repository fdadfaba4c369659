package stream_test

import (
	"bytes"
	"context"
	"hash/crc32"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"earworm/consumers/stream"
)

// bomb produces one batch of a few kilobytes that decompresses to 40 MiB.
func (w *world) bomb(topic string, partition int32, codec kgo.CompressionCodec) {
	w.tb.Helper()
	cl := w.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(codec),
		kgo.ProducerBatchMaxBytes(64<<20), kgo.BrokerMaxWriteBytes(128<<20))
	r := &kgo.Record{Topic: topic, Partition: partition, Key: []byte("k"), Value: make([]byte, 40<<20)}
	if err := cl.ProduceSync(w.tb.Context(), r).FirstErr(); err != nil {
		w.tb.Fatal(err)
	}
	w.total[stream.TopicPartition{Topic: topic, Partition: partition}]++
}

func TestDecompressionBombIsSkipped(t *testing.T) {
	for name, codec := range map[string]kgo.CompressionCodec{
		"zstd": kgo.ZstdCompression(), "gzip": kgo.GzipCompression().WithLevel(9), "lz4": kgo.Lz4Compression(), "snappy": kgo.SnappyCompression(),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, kfake.BrokerConfigs(map[string]string{"message.max.bytes": "8000000"}))
			// First of all, between records, and last: none may hold up what comes after it.
			w.bomb(topicIn, 0, codec)
			w.send(topicIn, "k", 3, 30)
			w.bomb(topicIn, 0, codec)
			w.send(topicIn, "k", 3, 30)
			m := w.start(w.config("a", newDisk()))
			eventually(t, "62 records are accounted for", func() bool {
				return m.Accounting()[stream.TopicPartition{Topic: topicIn}].Consumed == 62
			})
			w.bomb(topicIn, 0, codec)
			w.drained()
			m.mustStop(t)
			got := m.Accounting()[stream.TopicPartition{Topic: topicIn}]
			if want := (stream.Counts{Consumed: 63, Applied: 60, DeadLettered: 3}); got != want {
				t.Errorf("accounting %+v, want %+v", got, want)
			}
			// The commit covers the bombs: a restart sees none of them again.
			m = w.start(w.config("a", newDisk()))
			w.send(topicIn, "k", 3, 3)
			w.drained()
			m.mustStop(t)
			letters := w.letters()
			if len(letters) != 3 {
				t.Fatalf("%d dead letters, want 3", len(letters))
			}
			for i, offset := range []int{0, 31, 62} {
				l := letters[i]
				if header(l, stream.HeaderOffset) != strconv.Itoa(offset) || header(l, stream.HeaderNextOffset) != strconv.Itoa(offset+1) ||
					header(l, stream.HeaderErrorCode) != stream.CodeBatchTooLarge {
					t.Errorf("letter %d: %v", i, l.Headers)
				}
			}
			w.checkState()
		})
	}
}

func TestBombInAnAbortedTransactionIsSkippedOnce(t *testing.T) {
	w := newWorld(t, 1)
	h := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.UnknownMemberID, Count: 2})
	w.bomb(topicIn, 0, kgo.ZstdCompression())
	w.send(topicIn, "k", 3, 30)
	m := w.start(w.config("a", newDisk()))
	w.drained()
	m.mustStop(t)
	if h.Hits() == 0 {
		t.Error("no fault was injected")
	}
	if n := len(w.letters()); n != 1 {
		t.Errorf("%d dead letters, want 1", n)
	}
	w.checkState()
}

// corrupt produces a batch of n records with a right checksum whose payload does not decompress.
func (w *world) corrupt(topic string, partition, n int32) {
	w.tb.Helper()
	w.throw(topic, partition, n, []byte("this is no zstd frame"))
}

// smallBomb is a frame of zstd that says "128 KiB of zeros" until it is too large, four bytes each time.
func smallBomb() []byte {
	const block, blocks = 128 << 10, 200
	frame := []byte{0x28, 0xB5, 0x2F, 0xFD, 0, 10 << 3} // magic, no size and no checksum, a window of 1 MiB
	for n := range blocks {
		header := uint32(block)<<3 | 1<<1 // one byte, repeated
		if n == blocks-1 {
			header |= 1 // the last block
		}
		frame = append(frame, byte(header), byte(header>>8), byte(header>>16), 0)
	}
	return frame
}

// throw produces a batch of n records with a right checksum, whose payload is as given and said to be of zstd.
func (w *world) throw(topic string, partition, n int32, payload []byte) {
	w.tb.Helper()
	b := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, Attributes: 4, LastOffsetDelta: n - 1,
		FirstTimestamp: time.Now().UnixMilli(), MaxTimestamp: time.Now().UnixMilli(),
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: n, Records: payload,
	}
	raw := b.AppendTo(nil)
	b.Length = int32(len(raw) - 12)
	raw = b.AppendTo(nil)
	b.CRC = int32(crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, b.AppendTo(nil)
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic, rt.Partitions = topic, append(rt.Partitions, p)
	rt.TopicID = w.cluster.TopicInfo(topic).TopicID
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis, req.Topics = -1, 5000, append(req.Topics, rt)
	leader := w.cluster.LeaderFor(topic, partition)
	resp, err := req.RequestWith(w.tb.Context(), w.producer.Broker(int(leader)))
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
	}
	if err != nil {
		w.tb.Fatal(err)
	}
	w.total[stream.TopicPartition{Topic: topic, Partition: partition}] += int64(n)
}

func TestCorruptBatchIsSkipped(t *testing.T) {
	w := newWorld(t, 1)
	w.send(topicIn, "k", 3, 30)
	w.corrupt(topicIn, 0, 7)
	w.send(topicIn, "k", 3, 30)
	m := w.start(w.config("a", newDisk()))
	w.drained()
	m.mustStop(t)
	got := m.Accounting()[stream.TopicPartition{Topic: topicIn}]
	if want := (stream.Counts{Consumed: 67, Applied: 60, DeadLettered: 7}); got != want {
		t.Errorf("accounting %+v, want %+v", got, want)
	}
	letters := w.letters()
	if len(letters) != 1 || header(letters[0], stream.HeaderErrorCode) != stream.CodeBatchCorrupt ||
		header(letters[0], stream.HeaderOffset) != "30" || header(letters[0], stream.HeaderNextOffset) != "37" {
		t.Errorf("dead letters: %v", letters)
	}
	w.checkState()
}

// damagedOnDisk is a connection to a broker whose disk has flipped bits in one record: it is wrong each time that it is read.
type damagedOnDisk struct{ net.Conn }

var damaged = []byte("a record on a bad sector")

func (c damagedOnDisk) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if at := bytes.Index(p[:n], damaged); at >= 0 {
		p[at] ^= 0x20
	}
	return n, err
}

// TestBatchWithAWrongChecksumIsSkipped: the embedded broker refuses such a batch, so it becomes one on its way.
func TestBatchWithAWrongChecksumIsSkipped(t *testing.T) {
	w := newWorld(t, 1)
	w.send(topicIn, "k", 3, 30)
	bad := w.record(topicIn, "k0", string(damaged))
	w.produce(bad)
	w.send(topicIn, "k", 3, 30)
	cfg := w.config("a", newDisk())
	cfg.ClientOptions = append(cfg.ClientOptions, kgo.Dialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		return damagedOnDisk{conn}, err
	}))
	m := w.start(cfg)
	w.drained()
	m.mustStop(t)
	got := m.Accounting()[stream.TopicPartition{Topic: topicIn}]
	if want := (stream.Counts{Consumed: 61, Applied: 60, DeadLettered: 1}); got != want {
		t.Errorf("accounting %+v, want %+v", got, want)
	}
	letters := w.letters()
	if len(letters) != 1 || header(letters[0], stream.HeaderErrorCode) != stream.CodeBatchCorrupt ||
		header(letters[0], stream.HeaderOffset) != "30" || header(letters[0], stream.HeaderNextOffset) != "31" {
		t.Errorf("dead letters: %v", letters)
	}
	w.checkState()
}

// TestBombsInManyPartitionsAreSkipped: the client tells of such a batch once, and fetches its partition no more until it is told to go on. News
// that comes at the very moment at which a transaction ends must not be dropped, nor what has come of one partition when another is told to go on.
func TestBombsInManyPartitionsAreSkipped(t *testing.T) {
	const partitions, rounds = 4, 20
	w := newWorld(t, partitions)
	cfg := w.config("a", newDisk())
	cfg.CommitInterval = time.Millisecond
	cfg.DecompressedBytesMax = 1 << 20 // each bomb is unpacked again for each other one: under the race detector that takes its time
	m := w.start(cfg)
	for round := range int64(rounds) {
		w.send(topicIn, "k", 3, 3)
		for p := range int32(partitions) {
			w.throw(topicIn, p, 1, smallBomb())
		}
		eventually(t, "every batch is skipped", func() bool {
			n := int64(0)
			for _, c := range m.Accounting() {
				n += c.DeadLettered
			}
			return n == (round+1)*partitions
		})
	}
	m.mustStop(t)
	w.checkState()
}
