package stream

import (
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	arenaChunk     = 256 << 10
	recordChunk    = 512
	retainedChunks = 64 // at most 16 MiB of arena and 32 k records per task stay allocated between transactions
)

var (
	errNoChangelog = errors.New("a task without a changelog has no state to change")
	errNoTopic     = errors.New("a message without a topic")
	errUndeclared  = errors.New("a message to a topic that is not among the outputs of the role")
)

// Output collects what a task does in a transaction. It belongs to one task; its methods are valid during Process
// and Flush only. Everything it is given is copied.
type Output struct {
	produce   func(*kgo.Record, func(*kgo.Record, error))
	promise   func(*kgo.Record, error)
	changelog string
	letters   string
	lettersAt int // size above which a dead letter becomes a stub
	style     HeaderStyle
	group     string // named by dead letters of some styles
	partition int32
	declared  []string // the topics that Emit accepts; nil accepts all

	bytes   arena
	records recordSlab
	changes []Change
	size    int
	outcome Outcome
	err     error
}

// Put sets a key of the task's state; nil deletes it. The store has it after the commit.
func (o *Output) Put(key, value []byte) {
	if o.changelog == "" {
		o.fail(errNoChangelog)
		return
	}
	r := o.records.next()
	r.Topic, r.Partition = o.changelog, o.partition
	r.Key, r.Value = o.bytes.copy(key), o.bytes.copy(value)
	o.changes = append(o.changes, Change{Key: r.Key, Value: r.Value})
	o.send(r)
}

// Delete removes a key of the task's state.
func (o *Output) Delete(key []byte) { o.Put(key, nil) }

// Emit produces a message in the transaction.
func (o *Output) Emit(m Message) {
	if m.Topic == "" {
		o.fail(errNoTopic)
		return
	}
	if o.declared != nil && !slices.Contains(o.declared, m.Topic) {
		o.fail(fmt.Errorf("%w: %s", errUndeclared, m.Topic))
		return
	}
	r := o.records.next()
	r.Topic, r.Partition = m.Topic, m.Partition
	r.Key, r.Value = o.bytes.copy(m.Key), o.bytes.copy(m.Value)
	for _, h := range m.Headers {
		r.Headers = append(r.Headers, Header{Key: h.Key, Value: o.bytes.copy(h.Value)})
	}
	o.send(r)
}

// Count sets the outcome of the record in hand; the last call counts. OutcomeDeadLettered is set by DeadLetter only.
func (o *Output) Count(outcome Outcome) {
	if outcome < OutcomeDeadLettered && o.outcome != OutcomeDeadLettered {
		o.outcome = outcome
	}
}

// DeadLetter sends the record in hand to the dead-letter topic, verbatim, and sets its outcome. Returning a *Poison
// from Process does the same. A record too large for a topic becomes a stub with the hash of its value.
func (o *Output) DeadLetter(rec *Record, code string, err error) {
	if o.outcome == OutcomeDeadLettered {
		return
	}
	o.outcome = OutcomeDeadLettered
	o.letter(rec, code, err, nil)
}

// send produces the record inside the open transaction. It may block when the producer's buffer is full: the buffer
// drains by itself, so this is back-pressure and no deadlock. Without brokers it ends some time after the session does.
func (o *Output) send(r *kgo.Record) {
	o.size += len(r.Key) + len(r.Value) + 64
	o.produce(r, o.promise)
}

func (o *Output) fail(err error) {
	if o.err == nil {
		o.err = err
	}
}

// reset makes the buffers ready for the next transaction. The caller knows that no record is in flight any more.
func (o *Output) reset() {
	o.bytes.reset()
	o.records.reset()
	clear(o.changes)
	o.changes = o.changes[:0]
	o.size, o.err = 0, nil
}

// drop forgets buffers that may still be in flight, instead of using them again.
func (o *Output) drop() {
	o.bytes, o.records, o.changes = arena{}, recordSlab{}, nil
	o.size, o.err = 0, nil
}

// arena hands out copies from chunks that are used again in the next transaction.
type arena struct {
	chunks [][]byte
	at     int // chunk in use
	used   int // bytes used of it
}

// copy returns a copy of b; nil stays nil and empty stays empty.
func (a *arena) copy(b []byte) []byte {
	if b == nil {
		return nil
	}
	if len(b) > arenaChunk/4 { // a large value gets memory of its own, so that chunks stay well filled
		return append(make([]byte, 0, len(b)), b...)
	}
	if len(a.chunks) == 0 || a.used+len(b) > arenaChunk {
		a.grow()
	}
	chunk := a.chunks[a.at]
	dst := chunk[a.used : a.used+len(b) : a.used+len(b)]
	copy(dst, b)
	a.used += len(b)
	return dst
}

func (a *arena) grow() {
	if len(a.chunks) > 0 {
		a.at++
	}
	a.used = 0
	if a.at == len(a.chunks) {
		a.chunks = append(a.chunks, make([]byte, arenaChunk))
	}
}

func (a *arena) reset() {
	if len(a.chunks) > retainedChunks {
		clear(a.chunks[retainedChunks:])
		a.chunks = a.chunks[:retainedChunks]
	}
	a.at, a.used = 0, 0
}

// recordSlab hands out zeroed records from chunks; their addresses are stable, as the producer needs.
type recordSlab struct {
	chunks   [][]kgo.Record
	at, used int
}

func (s *recordSlab) next() *kgo.Record {
	if len(s.chunks) == 0 || s.used == recordChunk {
		if len(s.chunks) > 0 {
			s.at++
		}
		s.used = 0
		if s.at == len(s.chunks) {
			s.chunks = append(s.chunks, make([]kgo.Record, recordChunk))
		}
	}
	r := &s.chunks[s.at][s.used]
	s.used++
	return r
}

// reset also forgets what the records hold. Kept until their places are needed again, headers of dead letters would come to fill all places: they are
// several times as large as a record.
func (s *recordSlab) reset() {
	for n, chunk := range s.chunks[:min(s.at+1, len(s.chunks))] {
		if n == s.at {
			chunk = chunk[:s.used]
		}
		clear(chunk)
	}
	if len(s.chunks) > retainedChunks {
		clear(s.chunks[retainedChunks:])
		s.chunks = s.chunks[:retainedChunks]
	}
	s.at, s.used = 0, 0
}
