package song

import (
	"fmt"

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
	clock    clock
	held     held
	dirty    []*row
	edges    []cooccur.Edge
	taken    []observation // listens of who was erased, to be taken back at the end of the transaction
	pending  []observation // listens of the transaction, for the trends

	reported int // of held, to the metrics

	updates    schemas.SongUpdates
	wire       schemas.FactorRow
	neighbours schemas.Neighbours
	key        []byte
	id         []byte
	value      []byte
	opaque     []byte
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
	t.beats, t.clock, t.held = beats{}, clock{}, held{}
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
	if t.updates.Mark.Partition != schemas.NoPartition {
		t.clock.hear(t.updates.Mark, rec.At, t.cfg.Wait)
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
		if u.Epoch == 0 {
			return nil
		}
	}
	if !kind.Valid() { // a refit has no blend
		return &stream.Poison{Code: schemas.CodeOutOfRange.String()}
	}
	return nil
}

// apply adds one combined change to its row.
func (t *Task) apply(u *schemas.SongUpdate) {
	kind := factor.Kind(u.Kind)
	r := t.row(kind, u.ID)
	if u.Epoch != 0 {
		t.refit(r, u)
		return
	}
	if r.updates > 0 && onlyPairs(u) {
		t.enter(r)
		t.pair(r, u)
		return
	}
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
	if len(u.Vector) > 0 || u.Evidence != 0 {
		t.move(r, u)
	}
	r.acknowledge(u.Partition, u.Seq)
	for i := range u.Listens {
		if u.Withdraws {
			t.taken = append(t.taken, observation{row: r, from: u.Partition, ListenBucket: u.Listens[i]})
		} else {
			t.listen(r, u.Partition, &u.Listens[i])
		}
	}
}

// onlyPairs says whether all that came of a song is whom its listeners came to besides: that goes into the record of its neighbours, and
// nobody waits for an acknowledgement, which is for changes of factors. Most songs of a transaction are such.
func onlyPairs(u *schemas.SongUpdate) bool {
	return len(u.Pairs) > 0 && len(u.Vector) == 0 && u.Evidence == 0 && len(u.Listens) == 0 && !u.Withdraws && factor.Kind(u.Kind) == factor.KindSong
}

// move adds a change to the factors of a row.
func (t *Task) move(r *row, u *schemas.SongUpdate) {
	whole := r.factors.Apply(t.cfg.Learn, factor.Delta{
		Vector: u.Vector, Evidence: u.Evidence, Count: int32(u.Count), //nolint:gosec // a count of steps
	})
	if !whole {
		t.metrics.bounded.Inc()
	}
}

// refit takes a row to where a refit has it. The update says by how much the refit moves the row as it was at the cut, so what was learnt
// since stays on top, in whatever order they come. It counts once: whatever came between the cut and now that was no ordinary change,
// this very update among it, has left the row in another epoch.
func (t *Task) refit(r *row, u *schemas.SongUpdate) {
	if r.epoch != u.Base || u.Epoch <= r.epoch {
		t.metrics.refits.WithLabelValues(refitRefused).Inc()
		return
	}
	t.touch(r)
	r.epoch = u.Epoch
	t.move(r, u)
	t.metrics.refits.WithLabelValues(refitApplied).Inc()
}

// Flush brings the trends to where all listens partitions have come, then writes every row that changed once.
func (t *Task) Flush(out *stream.Output) error {
	if err := t.judge(out); err != nil {
		return err
	}
	t.forgetListens()
	inOrder(t.dirty)
	for _, r := range t.dirty {
		if r.changed {
			t.write(r, out)
		}
		if r.paired {
			t.writeNeighbours(r, out)
		}
	}
	t.writeBeats(out)
	t.metrics.held.Add(float64(t.held.count - t.reported))
	t.reported = t.held.count
	return nil
}

// listen counts one bucket: at once for popularity, whose sums do not mind the order, and at its time for the trends.
func (t *Task) listen(r *row, from int32, b *schemas.ListenBucket) {
	if b.Plays == 0 && b.Likes == 0 {
		return
	}
	if r.firstAt == 0 || b.At < r.firstAt {
		r.firstAt = b.At
	}
	r.lastAt = max(r.lastAt, b.At)
	r.plays += uint64(b.Plays)
	if b.Unique > 0 {
		r.popularity.Add(t.cfg.Learn, factor.Region(b.Region), b.At, float64(b.Unique))
	}
	r.popularity.Total = float64(r.plays)
	if r.kind == factor.KindSong {
		t.pending = append(t.pending, observation{row: r, from: from, ListenBucket: *b})
	}
}

// Committed keeps what was written.
func (t *Task) Committed() {
	for _, r := range t.dirty {
		r.dirty, r.changed, r.paired = false, false, false
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
	t.metrics.held.Sub(float64(t.reported))
	t.rows, t.reported = nil, 0
	return nil
}
