package song

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"earworm/consumers/stream"
	"earworm/model/cooccur"
	"earworm/model/decay"
	"earworm/model/factor"
	"earworm/model/rank"
	"earworm/schemas"
	"earworm/state"
)

// row is one factor row in the hands of its writer.
type row struct {
	key     factor.Key
	kind    factor.Kind
	id      string
	factors factor.Row

	popularity      factor.Popularity
	firstAt, lastAt int64
	plays, updates  uint64
	epoch           uint32 // of the refit that it has taken in last
	acks            []schemas.Ack
	watch           []*watch // by region; the zero region is the world
	near            cooccur.Row
	blend           rank.Blend // of the row of kind KindBlend
	dirty           bool       // takes part in this transaction: something of the following changed
	changed         bool       // what its own record holds
	paired          bool       // near
}

// acksMax bounds the acknowledgements of a row: the listener partitions that changed it last.
const acksMax = 4096

// acknowledge notes that a change is part of the row.
func (r *row) acknowledge(partition int32, seq int64) {
	for i := range r.acks {
		if r.acks[i].Partition == partition {
			r.acks[i].Seq = max(r.acks[i].Seq, seq)
			return
		}
	}
	if len(r.acks) < acksMax {
		r.acks = append(r.acks, schemas.Ack{Partition: partition, Seq: seq})
	}
}

// row returns the row with this identity, in memory or new.
func (t *Task) row(kind factor.Kind, id []byte) *row {
	key := factor.KeyOf(kind, id)
	if r, ok := t.rows[key]; ok {
		return r
	}
	r := &row{key: key, kind: kind, id: string(id), factors: factor.NewRow(t.cfg.Learn, key)}
	t.rows[key] = r
	return r
}

// touch enters a row into the transaction, to be written.
func (t *Task) touch(r *row) {
	r.changed = true
	t.enter(r)
}

// enter is touch for a row whose own record stays as it is.
func (t *Task) enter(r *row) {
	if !r.dirty {
		r.dirty = true
		t.dirty = append(t.dirty, r)
	}
}

// load reads every row of the partition: all of them take part in trends and in what is published.
func (t *Task) load() error {
	err := t.store.Scan(nil, func(key, value []byte) error {
		if kind, id, err := state.ParseFactorKey(key); err == nil {
			return t.loadRow(factor.Kind(kind), id, value)
		}
		if song, err := state.ParseNeighboursKey(key); err == nil {
			return t.loadNeighbours(song, value)
		}
		if number, err := state.ParseHeldKey(key); err == nil {
			return t.loadHeld(number, value)
		}
		if bytes.Equal(key, state.ClockKey()) {
			return t.clock.unmarshalBinary(value)
		}
		return t.loadBeat(key, value)
	})
	if err != nil {
		return fmt.Errorf("loading factor rows: %w", err)
	}
	return nil
}

func (t *Task) loadRow(kind factor.Kind, id, value []byte) error {
	w := &t.wire
	if err := w.UnmarshalBinary(value); err != nil {
		return err
	}
	r := &row{
		key: factor.KeyOf(kind, id), kind: kind, id: string(id),
		factors: factor.Row{Vector: slices.Clone(w.Vector), Evidence: w.Evidence},
		firstAt: w.FirstAt, lastAt: w.LastAt, plays: w.Plays, updates: w.Updates, acks: slices.Clone(w.Acks), epoch: w.Epoch,
		popularity: factor.Popularity{
			Total: float64(w.Plays),
			Day:   decay.Counter{Value: w.Popularity.Value1d, At: w.Popularity.At},
			Week:  decay.Counter{Value: w.Popularity.Value7d, At: w.Popularity.At},
			Month: decay.Counter{Value: w.Popularity.Value28d, At: w.Popularity.At},
		},
	}
	if kind == factor.KindBlend {
		blend, err := rank.ParseBlend(w.Vector)
		if err != nil {
			return fmt.Errorf("%w: %w", state.ErrRow, err)
		}
		r.blend = blend
	} else if len(r.factors.Vector) != t.cfg.Learn.Dim {
		return fmt.Errorf("%w: vector of %d components, the model has %d", state.ErrRow, len(r.factors.Vector), t.cfg.Learn.Dim)
	}
	for _, l := range w.Listeners {
		r.popularity.Regions = append(r.popularity.Regions, factor.RegionCount{
			Region: factor.Region(l.Region), Week: decay.Counter{Value: l.Value7d, At: l.At},
		})
	}
	if err := t.loadWatches(r, w.State); err != nil {
		return err
	}
	t.rows[r.key] = r
	return nil
}

// write puts a row into the transaction: for the changelog and for every reader at once.
func (t *Task) write(r *row, out *stream.Output) {
	w := &t.wire
	t.id = append(t.id[:0], r.id...)
	*w = schemas.FactorRow{
		Kind: byte(r.kind), ID: t.id, Vector: r.factors.Vector, Evidence: r.factors.Evidence,
		FirstAt: r.firstAt, LastAt: r.lastAt, Plays: r.plays, Updates: r.updates, Acks: r.acks,
		Popularity: schemas.Popularity{
			At: r.popularity.Day.At, Value1d: r.popularity.Day.Value,
			Value7d: r.popularity.Week.Value, Value28d: r.popularity.Month.Value,
		},
		Listeners: w.Listeners[:0], Trend: w.Trend[:0], Epoch: r.epoch,
	}
	if r.kind == factor.KindBlend {
		w.Vector = r.blend.Append(nil)
	}
	for _, c := range r.popularity.Regions {
		w.Listeners = append(w.Listeners, schemas.RegionPopularity{Region: c.Region, Value7d: c.Week.Value, At: c.Week.At})
	}
	for _, v := range r.watch {
		if flag, ok := v.flag(); ok {
			w.Trend = append(w.Trend, flag)
		}
	}
	t.opaque = appendWatches(t.opaque[:0], r)
	w.State = t.opaque
	t.key = state.AppendFactorKey(t.key[:0], byte(r.kind), w.ID)
	t.value = w.AppendBinary(t.value[:0])
	out.Put(t.key, t.value)
	w.ID, w.Vector, w.Acks, w.State = nil, nil, nil, nil // they belong to others: the next decode must not write into them
}

// inOrder sorts rows so that the same transaction writes the same records.
func inOrder(rows []*row) {
	slices.SortFunc(rows, func(a, b *row) int { return cmp.Compare(a.key, b.key) })
}
