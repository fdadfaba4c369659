package broker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"earworm/internal/broker"
)

// TestAbortedRecordsStayHidden reads partitions in which every second transaction was aborted, in answers that have room for only some of
// what there is: wherever one ends, a reader of committed records must not see the others.
func TestAbortedRecordsStayHidden(t *testing.T) {
	b := start(t, broker.Config{})
	writer := client(t, b, kgo.TransactionalID("writer"), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if _, err := kadm.NewClient(writer).CreateTopics(t.Context(), partitions, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	const transactions = 40
	for n := range transactions {
		if err := writer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		text, end := "committed", kgo.TryCommit
		if n%2 == 1 {
			text, end = "aborted", kgo.TryAbort
		}
		for p := range int32(partitions) {
			value := fmt.Appendf(make([]byte, 0, 2000), "%-2000s", text)
			writer.Produce(t.Context(), &kgo.Record{Topic: topic, Partition: p, Value: value}, nil)
		}
		if err := writer.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := writer.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	reader := client(t, b, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxBytes(50_000), kgo.FetchMaxPartitionBytes(40_000), kgo.FetchMaxWait(100*time.Millisecond))
	seen := map[string]int{}
	for seen["committed"] < partitions*transactions/2 {
		fetches := reader.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			var text string
			if _, err := fmt.Sscan(string(r.Value), &text); err != nil {
				t.Error(err)
			}
			seen[text]++
		})
	}
	if seen["aborted"] > 0 {
		t.Errorf("%d aborted records were read as committed", seen["aborted"])
	}
}
