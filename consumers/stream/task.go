package stream

import "time"

// Store is the local state of one task. The runtime calls Apply and Wipe from one goroutine at a time; Get and Scan
// belong to the task, which the runtime also calls from one goroutine at a time.
type Store interface {
	// Get returns the committed value of the key, or nil, nil when there is none.
	Get(key []byte) (value []byte, err error)
	// Scan calls fn for every key with the prefix, in order; the slices are valid during the call only.
	Scan(prefix []byte, fn func(key, value []byte) error) error
	// Offset returns the changelog offset from which the state must be caught up; 0 means empty.
	Offset() int64
	// Apply makes the changes and the new offset visible atomically. It must not retain the slices.
	Apply(changes []Change, offset int64) error
	// Wipe removes everything, the offset included.
	Wipe() error
	// Close releases the store; it is idempotent.
	Close() error
}

// agedStore is a Store that knows when it last changed; stale ones are wiped (Config.StoreMaxAge).
type agedStore interface {
	LastApplied() time.Time
}

// Task processes one partition. The runtime never calls two methods of one task at the same time.
//
// Between two commits a task keeps its changes in memory and reads what is committed from its store.
type Task interface {
	// Process handles one record. A *Poison error sends the record to the dead-letter topic and goes on; any other
	// error aborts the transaction and ends Run.
	Process(rec *Record, out *Output) error
	// Flush writes every dirty row with out.Put and out.Delete, and emits what was combined over the transaction. It
	// is called once before a commit, and only if the task processed a record in the transaction.
	Flush(out *Output) error
	// Committed is called after the transaction committed and the store has the changes.
	Committed()
	// Abandon forgets everything since the last Committed: the records will come again, here or elsewhere.
	Abandon()
	// Close releases what the task holds; the store is closed by the runtime afterwards.
	Close() error
}

// Outcome says what became of an input record. Every record has exactly one.
type Outcome uint8

// The outcomes. A record is applied unless its task says otherwise.
const (
	OutcomeApplied Outcome = iota
	OutcomeDuplicate
	OutcomeTooLate
	OutcomeDeadLettered
	outcomes
)

// String returns the outcome's metric label.
func (o Outcome) String() string {
	switch o {
	case OutcomeApplied:
		return "applied"
	case OutcomeDuplicate:
		return "duplicate"
	case OutcomeTooLate:
		return "too_late"
	case OutcomeDeadLettered:
		return "dead_lettered"
	default:
		return "unknown"
	}
}

// TopicPartition names one partition of one topic.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// Counts are the records of one input partition whose transactions committed in this process.
// Consumed = Applied + Duplicate + TooLate + DeadLettered holds at every moment.
type Counts struct {
	Consumed, Applied, Duplicate, TooLate, DeadLettered int64
}

// Add returns the sum of both.
func (c Counts) Add(o Counts) Counts {
	return Counts{
		Consumed:     c.Consumed + o.Consumed,
		Applied:      c.Applied + o.Applied,
		Duplicate:    c.Duplicate + o.Duplicate,
		TooLate:      c.TooLate + o.TooLate,
		DeadLettered: c.DeadLettered + o.DeadLettered,
	}
}

// Balanced reports whether every consumed record has an outcome.
func (c Counts) Balanced() bool {
	return c.Consumed == c.Applied+c.Duplicate+c.TooLate+c.DeadLettered
}
