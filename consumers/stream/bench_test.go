package stream_test

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"earworm/consumers/stream"
)

// tallyTask is a trivial task with state: a counter per key in memory, one row per dirty key at flush.
type tallyTask struct {
	rows  map[uint64]uint64
	dirty map[uint64]struct{}
}

func (t *tallyTask) Process(r *stream.Record, _ *stream.Output) error {
	k := binary.BigEndian.Uint64(r.Key)
	t.rows[k]++
	t.dirty[k] = struct{}{}
	return nil
}

func (t *tallyTask) Flush(out *stream.Output) error {
	var key, value [8]byte
	for k := range t.dirty {
		binary.BigEndian.PutUint64(key[:], k)
		binary.BigEndian.PutUint64(value[:], t.rows[k])
		out.Put(key[:], value[:])
	}
	clear(t.dirty)
	return nil
}
func (*tallyTask) Committed()   {}
func (t *tallyTask) Abandon()   { clear(t.rows) }
func (*tallyTask) Close() error { return nil }

// fill produces n records of 100 bytes over the keys, round robin over the partitions.
func (w *world) fill(topic string, n, keys int) {
	w.tb.Helper()
	cl := w.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(5*time.Millisecond), kgo.MaxBufferedRecords(200_000),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	value := make([]byte, 92)
	for i := range n {
		key := binary.BigEndian.AppendUint64(nil, uint64(i%keys))
		cl.Produce(w.tb.Context(), &kgo.Record{Topic: topic, Partition: int32(i % int(w.partitions)), Key: key, Value: value}, nil)
	}
	if err := cl.Flush(w.tb.Context()); err != nil {
		w.tb.Fatal(err)
	}
}

func BenchmarkTopicToCommittedState(b *testing.B) {
	const n, keys = 2_000_000, 20_000
	w := newWorld(b, 8)
	w.fill(topicIn, n, keys)
	b.ResetTimer()
	round := 0
	for b.Loop() {
		round++
		cfg := w.config("a", newDisk())
		cfg.Role = fmt.Sprintf("bench%d", round)
		cfg.CommitInterval, cfg.HeartbeatInterval = 200*time.Millisecond, time.Second
		cfg.ClientOptions = append(cfg.ClientOptions, kgo.ProducerBatchCompression(kgo.NoCompression()))
		cfg.NewTask = func(int32, stream.Store) (stream.Task, error) {
			return &tallyTask{rows: make(map[uint64]uint64), dirty: make(map[uint64]struct{})}, nil
		}
		m := w.start(cfg)
		for total := int64(0); total < n; {
			time.Sleep(2 * time.Millisecond)
			total = 0
			for _, c := range m.Accounting() {
				total += c.Consumed
			}
		}
		b.StopTimer()
		if err := m.wait(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkRestore(b *testing.B) {
	const n = 1_000_000
	w := newWorld(b, 1, kfake.NumBrokers(1))
	w.fill(topicLog, n, 500_000)
	b.ResetTimer()
	for b.Loop() {
		d := newDisk()
		m := w.start(w.config("a", d))
		for len(m.Partitions()) < 1 {
			time.Sleep(2 * time.Millisecond)
		}
		b.StopTimer()
		if err := m.wait(); err != nil || len(d.store(0).rows) != 500_000 {
			b.Fatal(err, len(d.store(0).rows))
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
