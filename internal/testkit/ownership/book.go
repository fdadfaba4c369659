package ownership

import (
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"earworm/consumers/stream"
)

// Book is a hook of a client that reads committed records of changelogs from their start, each partition once. The zero value is an
// empty book.
type Book struct {
	mu      sync.Mutex
	owners  map[stream.TopicPartition]int64 // producer; nobody behind a barrier
	changes int
	strays  int
	first   string
}

// nobody stands for an owner that has written a barrier only.
const nobody = -1

var _ kgo.HookFetchRecordBuffered = (*Book)(nil)

// OnFetchRecordBuffered implements kgo.HookFetchRecordBuffered.
func (b *Book) OnFetchRecordBuffered(r *kgo.Record) {
	if r.Attrs.IsControl() {
		return
	}
	at := stream.TopicPartition{Topic: r.Topic, Partition: r.Partition}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.owners == nil {
		b.owners = make(map[stream.TopicPartition]int64)
	}
	owner, known := b.owners[at]
	switch {
	case stream.IsBarrier(r.Key):
		b.owners[at] = nobody
		b.changes++
	case !known || owner == nobody:
		b.owners[at] = r.ProducerID
	case owner != r.ProducerID:
		if b.strays++; b.first == "" {
			b.first = fmt.Sprintf("%s/%d offset %d is by producer %d, producer %d owned it", r.Topic, r.Partition, r.Offset, r.ProducerID, owner)
		}
	}
}

// Strays returns the number of records by somebody who did not own the task, and what is known of the first one.
func (b *Book) Strays() (n int, first string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.strays, b.first
}

// Changes returns how often a task was taken over: the number of barriers.
func (b *Book) Changes() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changes
}
