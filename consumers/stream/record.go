package stream

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Header is one record header.
type Header = kgo.RecordHeader

// Record is one input record. Key, Value and Headers are valid until Process returns: copy what must outlive it.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	Key       []byte
	Value     []byte
	Headers   []Header
	// At is the broker's timestamp of the record (the time of producing), not the time of the event.
	At time.Time
	// Lag is how long the record had waited since then when its batch was processed, by the wall clock; 0 outside a Runtime.
	Lag time.Duration
}

// Message is one record to produce. Output copies Key, Value and header values, so the caller may reuse them.
type Message struct {
	Topic string
	// Partition is the partition to produce to; negative means by key (murmur2, as Kafka's default partitioner).
	Partition int32
	Key       []byte
	// Value nil is a tombstone.
	Value   []byte
	Headers []Header
	// At is the timestamp of a record that a Transactor copies; zero is the time of producing, as everywhere else.
	At time.Time
}

// Change is one change of a task's local state; Value nil deletes the key.
type Change struct {
	Key, Value []byte
}
