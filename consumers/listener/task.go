package listener

import (
	"fmt"
	"math/rand/v2"
	"time"

	"earworm/consumers/stream"
	"earworm/model/cooccur"
	"earworm/model/factor"
	"earworm/model/rank"
	"earworm/schemas"
	"earworm/state"
)

// Revealer gives the id behind a pseudonym; only outgoing playlists carry it.
type Revealer interface {
	Reveal(pseudonym []byte) ([]byte, error)
}

// Task is the task of one partition. It is not safe for concurrent use.
type Task struct {
	cfg       Config
	params    factor.Params
	partition int32
	store     stream.Store
	table     *factor.Table
	ranker    *rank.Ranker
	reveal    Revealer
	metrics   *Metrics
	zones     *zones
	rng       *rand.Rand

	people  map[string]*person
	cached  int // approximate bytes in people
	dirty   []*person
	learner *factor.Learner
	updates map[factor.Key]*update
	repeats map[repeat]uint32    // plays within a day of the last, in this transaction
	ordered []*update            // as they came: the same events make the same records
	taken   []schemas.SongUpdate // what listeners who were erased in this transaction had brought
	near    *cooccur.Table
	study   study
	done    doneWeeks // per zone, the weeks that were emitted to the end

	outgoing  [][]byte // records of updates that are being filled, by partition
	reached   reached
	seq       int64 // listens offset after the last record of the transaction
	firsts    int   // first listens since one was ranked
	key, row  []byte
	entry     state.HistoryEntry // buffers of rows that are read or written, as are weeks and trust
	weeks     []byte
	trust     []byte
	event     schemas.Event
	candidate []rank.Candidate
}

// Deps are what the tasks of one process share.
type Deps struct {
	Table    *factor.Table
	Near     *cooccur.Table // of the table
	Ranker   *rank.Ranker   // of both
	Revealer Revealer
	Metrics  *Metrics
}

var _ stream.Task = (*Task)(nil)

// New returns the task of a partition, with the committed state of its store.
func New(cfg Config, deps Deps, partition int32, store stream.Store) (*Task, error) {
	zones, err := newZones(cfg.Zone)
	if err != nil {
		return nil, err
	}
	seed := cfg.Seed ^ uint64(uint32(partition))<<32 //nolint:gosec // a partition is not negative
	t := &Task{
		cfg: cfg, params: deps.Table.Params(), partition: partition, store: store, table: deps.Table,
		near: deps.Near, ranker: deps.Ranker, reveal: deps.Revealer, metrics: deps.Metrics, zones: zones,
		rng:    rand.New(rand.NewPCG(seed, 0x5eed)), //nolint:gosec // exploration is no secret
		people: map[string]*person{}, updates: map[factor.Key]*update{}, repeats: map[repeat]uint32{}, outgoing: make([][]byte, max(1, cfg.Partitions)),
		reached: reached{told: make([]int64, max(1, cfg.Partitions))},
		learner: factor.NewLearner(deps.Table, cfg.Learn, partition, seed),
	}
	if err := t.done.load(store); err != nil {
		return nil, err
	}
	t.ranker.Join(partition, max(1, cfg.Partitions))
	return t, nil
}

// Process applies one listen or answers one tick.
func (t *Task) Process(rec *stream.Record, out *stream.Output) error {
	if rec.Topic == t.cfg.Ticks {
		return t.tick(rec, out)
	}
	t.seq = rec.Offset + 1
	if err := t.event.UnmarshalBinary(rec.Value); err != nil {
		return &stream.Poison{Code: schemas.CodeCorrupt.String(), Err: err}
	}
	t.event.User = rec.Key
	t.learner.Hurry(t.late(rec))
	outcome, err := t.apply(&t.event, out)
	if err != nil {
		return err
	}
	out.Count(outcome)
	switch {
	case outcome == stream.OutcomeTooLate:
		return t.keepTooLate(out)
	case t.event.Kind == schemas.KindErase:
		return t.withdraw(t.event.User, out)
	default:
		return nil
	}
}

// liveFor is the age up to which an event counts as one of now, and not of a history that is brought in.
const liveFor = 6 * time.Hour

// late says whether a record of now has waited for too long: then there is more to do than can be done, and learning does less for each.
func (t *Task) late(rec *stream.Record) bool {
	return t.cfg.ReplayLag > 0 && rec.Lag > t.cfg.ReplayLag && rec.At.UnixMilli()-t.event.At < liveFor.Milliseconds()
}

// keepTooLate puts an event that may be a copy of an applied one beside the dead letters, as its producer could have sent it: nothing is
// lost, and whoever knows that it is no copy can send it again under a new id.
func (t *Task) keepTooLate(out *stream.Output) error {
	user, err := t.reveal.Reveal(t.event.User)
	if err != nil {
		return fmt.Errorf("revealing a listener: %w", err)
	}
	e := t.event
	e.User = user
	t.row = e.AppendJSON(t.row[:0])
	out.Emit(stream.Message{
		Topic: t.cfg.DeadLetters, Partition: -1, Key: user, Value: t.row,
		Headers: []stream.Header{{Key: stream.HeaderErrorCode, Value: []byte(stream.OutcomeTooLate.String())}},
	})
	return nil
}

// Flush writes every row that changed once and sends one combined update for every song and feature row.
func (t *Task) Flush(out *stream.Output) error {
	if err := t.flushUpdates(out); err != nil {
		return err
	}
	for _, p := range t.dirty {
		if err := t.write(p, out); err != nil {
			return err
		}
	}
	return t.done.write(out)
}

// Committed keeps what was written and makes room.
func (t *Task) Committed() {
	for _, p := range t.dirty {
		if p.erased {
			t.drop(p)
			continue
		}
		p.settled()
	}
	t.dirty = t.dirty[:0]
	t.done.settled()
	t.reached.committed = t.reached.now
	t.learner.Committed()
	t.study.committed = t.seq
	t.shrink()
}

// Abandon forgets the transaction: touched listeners are read again from the store.
func (t *Task) Abandon() {
	for _, p := range t.dirty {
		t.drop(p)
	}
	t.dirty = t.dirty[:0]
	t.forgetUpdates()
	t.reached.abandon()
	t.ranker.WithdrawBlend(t.partition, t.study.committed)
	t.learner.Abandon()
	// The offsets of abandoned ticks come again, so the weeks must be as stored.
	if err := t.done.load(t.store); err != nil {
		t.done = doneWeeks{broken: fmt.Errorf("reading emitted weeks again: %w", err)}
	}
}

// Close withdraws what was not committed.
func (t *Task) Close() error {
	t.learner.Abandon()
	t.ranker.WithdrawBlend(t.partition, t.study.committed)
	t.ranker.Leave(t.partition)
	t.people = nil
	return nil
}

// at converts event time.
func at(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
