//go:build kafka

package stream_test

import (
	"context"
	"encoding/binary"
	"flag"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"earworm/consumers/stream"
	"earworm/internal/testkit/kafka"
)

var restoresFlag = flag.Int("restores", 128, "how many tasks TestKafkaRestoreBesideMarkers restores at least")

// restored is what a task found in its store when it came to life.
type restored struct {
	partition int32
	value     string
	end       int64 // of what the store holds: after the barrier of the restore
}

// decided is a record of a transaction, with the marker that decided it.
type decided struct {
	value          string
	offset, marker int64
	committed      bool
}

// TestKafkaRestoreBesideMarkers: while a former owner ends one transaction after the other in all partitions of a changelog, others restore from
// it. A restore that began when the end of a transaction was under way, with the records in the log and the marker not yet, must have
// them if they were committed. Only a real broker writes markers later than it answers.
func TestKafkaRestoreBesideMarkers(t *testing.T) {
	const partitions = 32
	cluster := kafka.Start(t, kafka.Config{})
	cluster.NeedsNodes(t)
	w := &world{tb: t, partitions: partitions, addrs: cluster.Addrs()}
	w.producer = w.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	cfg := w.config("a", newDisk())
	cfg.Inputs, cfg.SessionTimeout, cfg.TransactionTimeout = []string{topicIn}, 6*time.Second, 4*time.Second
	created, err := kadm.NewClient(w.producer).CreateTopics(t.Context(), partitions, 1, nil, topicIn, topicOut, topicLog, topicLetters)
	if err != nil || created.Error() != nil {
		t.Fatal(err, created.Error())
	}
	var mu sync.Mutex
	var found []restored
	cfg.NewTask = func(p int32, store stream.Store) (stream.Task, error) {
		value, err := store.Get([]byte("k"))
		mu.Lock()
		found = append(found, restored{partition: p, value: string(value), end: store.Offset()})
		mu.Unlock()
		if err != nil {
			return nil, err
		}
		return newCounter(p, store)
	}
	stop := w.formerOwner(cfg.App + "-" + cfg.Role + "-b")
	for round := 0; len(found) < *restoresFlag; round++ {
		if round%2 == 0 { // half of them from the beginning, half from where the last one ended
			cfg.OpenStore = newDisk().open
		}
		m := w.start(cfg)
		eventually(t, "all tasks are live", func() bool { return len(m.Partitions()) == partitions })
		m.mustStop(t)
	}
	transactions := stop()
	log := make(map[int32][]decided)
	for p := range int32(partitions) {
		log[p] = w.decided(p)
	}
	missed, beside := 0, 0
	for _, r := range found {
		want := ""
		for _, d := range log[r.partition] {
			if d.offset >= r.end {
				break
			}
			if d.committed {
				want = d.value
			}
			if d.marker >= r.end {
				beside++
			}
		}
		if r.value != want {
			missed++
			t.Errorf("partition %d up to offset %d: restored %q, committed was %q", r.partition, r.end, r.value, want)
		}
	}
	t.Logf("%d restores, %d of them before the marker of a transaction whose record they had to read or to leave out; %d transactions; %d missed their end",
		len(found), beside, transactions, missed)
	if beside == 0 {
		t.Error("no restore met a marker in flight: this shows nothing")
	}
}

// formerOwner ends transactions in all partitions of the changelog, every fifth with an abort, until stop is called, which returns how many.
func (w *world) formerOwner(id string) (stop func() int) {
	cl := w.client(kgo.TransactionalID(id), kgo.TransactionTimeout(4*time.Second), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	ctx, cancel := context.WithCancel(w.tb.Context())
	done := make(chan error, 1)
	n := 0
	go func() {
		done <- func() error {
			for ctx.Err() == nil {
				n++
				if err := cl.BeginTransaction(); err != nil {
					return err
				}
				for p := range w.partitions {
					cl.Produce(w.tb.Context(), &kgo.Record{Topic: topicLog, Partition: p, Key: []byte("k"), Value: strconv.AppendInt(nil, int64(n), 10)}, nil)
				}
				if err := cl.Flush(w.tb.Context()); err != nil {
					return err
				}
				if err := cl.EndTransaction(w.tb.Context(), kgo.TransactionEndTry(n%5 != 0)); err != nil {
					return err
				}
			}
			return nil
		}()
	}()
	return func() int {
		w.tb.Helper()
		cancel()
		if err := <-done; err != nil {
			w.tb.Fatal(err)
		}
		return n
	}
}

// decided reads a partition of the changelog with everything that is in it, and matches records with markers.
func (w *world) decided(partition int32) []decided {
	w.tb.Helper()
	ends, err := kadm.NewClient(w.producer).ListEndOffsets(w.tb.Context(), topicLog)
	if err != nil {
		w.tb.Fatal(err)
	}
	end, _ := ends.Lookup(topicLog, partition)
	cl := w.client(kgo.FetchIsolationLevel(kgo.ReadUncommitted()), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topicLog: {partition: kgo.NewOffset().AtStart()}}))
	defer cl.Close()
	var all []decided
	open := make(map[int64]int) // by producer, where its undecided record is
	ctx, cancel := context.WithTimeout(w.tb.Context(), 30*time.Second)
	defer cancel()
	for next := int64(0); next < end.Offset; {
		fetches := cl.PollRecords(ctx, -1)
		if err := fetches.Err(); err != nil {
			w.tb.Fatal(err)
		}
		for r := range fetches.RecordsAll() {
			next = r.Offset + 1
			at, waiting := open[r.ProducerID]
			switch {
			case r.Attrs.IsControl() && waiting:
				all[at].marker, all[at].committed = r.Offset, binary.BigEndian.Uint16(r.Key[2:]) == 1
				delete(open, r.ProducerID)
			case !r.Attrs.IsControl() && !stream.IsBarrier(r.Key):
				open[r.ProducerID] = len(all)
				all = append(all, decided{value: string(r.Value), offset: r.Offset})
			}
		}
	}
	if len(open) > 0 {
		w.tb.Fatalf("undecided records in partition %d", partition)
	}
	return slices.Clip(all)
}
