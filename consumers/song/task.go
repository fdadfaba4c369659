package song

import (
	"cmp"
	"fmt"
	"slices"

	"earworm/consumers/stream"
	"earworm/model/cooccur"
	"earworm/model/factor"
	"earworm/model/rank"
	"earworm/model/trend"
	"earworm/schemas"
)

// Task is the task of one partition. It is not safe for concurrent use.
type Task struct {
	cfg     Config
	store   stream.Store
	metrics *Metrics

	broken   error // the store could not be read after an abandoned transaction
	rows     map[factor.Key]*row
	beats    beats
	detector *trend.Detector
	clock    int64 // event time up to which trends were evaluated, Unix ms
	dirty    []*row
	edges    []cooccur.Edge
	taken    []observation // listens of who was erased, to be taken back at the end of the transaction
	pending  []observation // listens of the transaction, evaluated in event time at its end
	order    []instant     // of pending, by time

	updates    schemas.SongUpdates
	wire       schemas.FactorRow
	neighbours schemas.Neighbours
	key        []byte
	value      []byte
	opaque     []byte
}

// observation is what one bucket says about one song.
type observation struct {
	row *row
	schemas.ListenBucket
}

// instant orders an observation: by event time, and as it came.
type instant struct {
	at     int64
	number int
}

var _ stream.Task = (*Task)(nil)

// New returns the task of a partition with all its rows in memory.
func New(cfg Config, metrics *Metrics, store stream.Store) (*Task, error) {
	t := &Task{cfg: cfg, store: store, metrics: metrics, detector: trend.NewDetector(cfg.Trend)}
	return t, t.reset()
}

func (t *Task) reset() error {
	t.metrics.rows.Sub(float64(len(t.rows)))
	t.rows, t.dirty, t.pending, t.taken = map[factor.Key]*row{}, t.dirty[:0], t.pending[:0], t.taken[:0]
	t.beats, t.clock = beats{}, 0
	if err := t.load(); err != nil {
		return err
	}
	t.metrics.rows.Add(float64(len(t.rows)))
	return nil
}

// Process adds combined changes to their rows and notes their listens.
func (t *Task) Process(rec *stream.Record, _ *stream.Output) error {
	if t.broken != nil {
		return t.broken
	}
	if err := t.updates.UnmarshalBinary(rec.Value); err != nil {
		return &stream.Poison{Code: schemas.CodeCorrupt.String(), Err: err}
	}
	for i := range t.updates.Updates { // before the first is applied: a record counts as a whole or is a dead letter
		if err := check(&t.updates.Updates[i]); err != nil {
			return err
		}
	}
	before := len(t.rows)
	for i := range t.updates.Updates {
		t.apply(&t.updates.Updates[i])
	}
	t.metrics.rows.Add(float64(len(t.rows) - before))
	return nil
}

// check refuses what apply could not take.
func check(u *schemas.SongUpdate) error {
	kind := factor.Kind(u.Kind)
	if kind == factor.KindBlend {
		if _, err := rank.ParseBlend(u.Vector); err != nil {
			return &stream.Poison{Code: schemas.CodeCorrupt.String(), Err: err}
		}
		return nil
	}
	if !kind.Valid() {
		return &stream.Poison{Code: schemas.CodeOutOfRange.String()}
	}
	return nil
}

// apply adds one combined change to its row.
func (t *Task) apply(u *schemas.SongUpdate) {
	kind := factor.Kind(u.Kind)
	r := t.row(kind, u.ID)
	t.touch(r)
	r.updates++
	if kind == factor.KindBlend {
		r.learnBlend(u)
		return
	}
	if u.Withdraws {
		t.takeBack(r, u)
	} else if u.Listeners > 0 || len(u.Pairs) > 0 {
		t.pair(r, u)
	}
	if len(u.Vector) > 0 || u.Bias != 0 {
		whole := r.factors.Apply(t.cfg.Learn, factor.Delta{
			Vector: u.Vector, Bias: u.Bias, Count: int32(u.Count), //nolint:gosec // a count of steps
		})
		if !whole {
			t.metrics.bounded.Inc()
		}
	}
	r.acknowledge(u.Partition, u.Seq)
	for _, b := range u.Listens {
		if u.Withdraws {
			t.taken = append(t.taken, observation{row: r, ListenBucket: b})
		} else {
			t.pending = append(t.pending, observation{row: r, ListenBucket: b})
		}
	}
}

// Flush evaluates the listens of the transaction in the order of their event time, then writes every row that changed once.
//
// A transaction may span hours of event time when history is replayed, and holds one record per song: only sorting its
// buckets shows the detector time as it passed.
func (t *Task) Flush(out *stream.Output) error {
	t.order = t.order[:0]
	for i := range t.pending {
		t.order = append(t.order, instant{at: t.pending[i].At, number: i})
	}
	slices.SortFunc(t.order, func(a, b instant) int {
		if c := cmp.Compare(a.at, b.at); c != 0 {
			return c
		}
		return a.number - b.number
	})
	for _, i := range t.order {
		o := &t.pending[i.number]
		if err := t.advance(o.At, out); err != nil {
			return err
		}
		t.observe(o)
	}
	clear(t.pending)
	t.pending = t.pending[:0]
	t.forgetListens()
	inOrder(t.dirty)
	for _, r := range t.dirty {
		t.write(r, out)
		if r.paired {
			t.writeNeighbours(r, out)
		}
	}
	t.writeBeats(out)
	return nil
}

// observe counts one bucket.
func (t *Task) observe(o *observation) {
	r := o.row
	if o.Plays == 0 && o.Likes == 0 {
		return
	}
	if r.firstAt == 0 || o.At < r.firstAt {
		r.firstAt = o.At
	}
	r.lastAt = max(r.lastAt, o.At)
	r.plays += uint64(o.Plays)
	if o.Unique > 0 {
		r.popularity.Add(t.cfg.Learn, factor.Region(o.Region), o.At, float64(o.Unique))
	}
	r.popularity.Total = float64(r.plays)
	t.watchListens(r, &o.ListenBucket)
}

// Committed keeps what was written.
func (t *Task) Committed() {
	for _, r := range t.dirty {
		r.dirty, r.paired = false, false
	}
	t.dirty = t.dirty[:0]
}

// Abandon reads everything again from the store: evaluation touches rows that no record named.
func (t *Task) Abandon() {
	if err := t.reset(); err != nil {
		t.broken = fmt.Errorf("reading the rows again: %w", err)
	}
}

// Close forgets the rows.
func (t *Task) Close() error {
	t.metrics.rows.Sub(float64(len(t.rows)))
	t.rows = nil
	return nil
}
