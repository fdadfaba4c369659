package stream

import (
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Detached runs the transactions of one task without Kafka, as the runtime would: what the task emits, changes and counts is kept
// for the caller to look at. It is for tests of roles. It must not be used concurrently.
type Detached struct {
	task    task
	emitted []Message
	settled int // messages of committed transactions
	counts  map[string]Counts
	open    map[string]Counts // of the transaction in hand
}

// DetachedConfig names what a Detached stands in for.
type DetachedConfig struct {
	Task Task
	// Store gets the changes of committed transactions; nil for a role without state.
	Store                  Store
	Changelog, DeadLetters string
	DeadLetterStyle        HeaderStyle
	Partition              int32
}

// NewDetached returns a Detached for one task.
func NewDetached(cfg DetachedConfig) *Detached {
	d := &Detached{counts: map[string]Counts{}, open: map[string]Counts{}}
	d.task.partition, d.task.store, d.task.task = cfg.Partition, cfg.Store, cfg.Task
	d.task.out = Output{
		produce: d.produce, changelog: cfg.Changelog, letters: cfg.DeadLetters, lettersAt: 900 << 10,
		style: cfg.DeadLetterStyle, partition: cfg.Partition,
	}
	return d
}

func (d *Detached) produce(r *kgo.Record, _ func(*kgo.Record, error)) {
	if r.Topic == d.task.out.changelog {
		return // seen as a change
	}
	m := Message{Topic: r.Topic, Partition: r.Partition, Key: slices.Clone(r.Key), Value: slices.Clone(r.Value)}
	for _, h := range r.Headers {
		m.Headers = append(m.Headers, Header{Key: h.Key, Value: slices.Clone(h.Value)})
	}
	d.emitted = append(d.emitted, m)
}

// Process hands one record to the task and returns its outcome. The error is one that would end the runtime.
func (d *Detached) Process(rec *Record) (Outcome, error) {
	out := &d.task.out
	out.outcome = OutcomeApplied
	if err := d.task.task.Process(rec, out); err != nil {
		var poison *Poison
		if !errors.As(err, &poison) {
			return 0, fmt.Errorf("processing a record: %w", err)
		}
		out.DeadLetter(rec, poison.Code, err)
	}
	one := Counts{Consumed: 1}
	switch out.outcome {
	case OutcomeApplied:
		one.Applied = 1
	case OutcomeDuplicate:
		one.Duplicate = 1
	case OutcomeTooLate:
		one.TooLate = 1
	default:
		one.DeadLettered = 1
	}
	d.open[rec.Topic] = d.open[rec.Topic].Add(one)
	return out.outcome, out.err
}

// Commit flushes the task, brings its changes into the store and tells it so. The store's offset grows by the number of changes.
func (d *Detached) Commit() error {
	out := &d.task.out
	if err := d.task.task.Flush(out); err != nil {
		return fmt.Errorf("flushing: %w", err)
	}
	if out.err != nil {
		return out.err
	}
	if d.task.store != nil && len(out.changes) > 0 {
		if err := d.task.store.Apply(out.changes, d.task.store.Offset()+int64(len(out.changes))); err != nil {
			return fmt.Errorf("applying: %w", err)
		}
	}
	d.task.task.Committed()
	for topic, c := range d.open {
		d.counts[topic] = d.counts[topic].Add(c)
	}
	d.settled = len(d.emitted)
	d.begin()
	return nil
}

// Flush calls the task's Flush and nothing else: a transaction that fails after it is then given up with Abandon.
func (d *Detached) Flush() error { return d.task.task.Flush(&d.task.out) }

// Abandon gives the transaction up: the task forgets it, and so does d.
func (d *Detached) Abandon() {
	d.task.task.Abandon()
	d.emitted = d.emitted[:d.settled]
	d.begin()
}

// Take returns the messages of committed transactions since the last Take: dead letters are among them, changes are not.
func (d *Detached) Take() []Message {
	taken := slices.Clone(d.emitted[:d.settled])
	d.emitted = slices.Delete(d.emitted, 0, d.settled)
	d.settled = 0
	return taken
}

// Counts returns the outcomes of the records of an input topic whose transactions were committed.
func (d *Detached) Counts(topic string) Counts { return d.counts[topic] }

func (d *Detached) begin() {
	d.task.out.reset()
	clear(d.open)
}
