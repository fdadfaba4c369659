package ownership_test

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"earworm/internal/testkit/ownership"
)

func TestBook(t *testing.T) {
	const barrier = "\x00barrier"
	record := func(partition int32, offset, producer int64, key string) *kgo.Record {
		return &kgo.Record{Topic: "log", Partition: partition, Offset: offset, ProducerID: producer, Key: []byte(key)}
	}
	var b ownership.Book
	for _, r := range []*kgo.Record{
		record(0, 0, 9, barrier), record(0, 1, 1, "a"), record(0, 2, 1, "b"),
		record(1, 0, 9, barrier), record(1, 1, 2, "a"), // another partition, another owner
		record(0, 3, 8, barrier), record(0, 4, 7, barrier), record(0, 5, 2, "a"),
	} {
		b.OnFetchRecordBuffered(r)
	}
	if n, first := b.Strays(); n != 0 || b.Changes() != 4 {
		t.Errorf("%d strays (%s), %d changes; want none and 4", n, first, b.Changes())
	}
	b.OnFetchRecordBuffered(record(0, 6, 1, "a")) // the former owner
	b.OnFetchRecordBuffered(record(0, 7, 2, "a"))
	if n, first := b.Strays(); n != 1 || !strings.HasPrefix(first, "log/0 offset 6") {
		t.Errorf("%d strays (%s), want the one at offset 6", n, first)
	}
}
