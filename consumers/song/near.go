package song

import (
	"earworm/consumers/stream"
	"earworm/model/cooccur"
	"earworm/model/factor"
	"earworm/model/rank"
	"earworm/schemas"
	"earworm/state"
)

// pair counts who came to a song and what they came to before and after.
func (t *Task) pair(r *row, u *schemas.SongUpdate) {
	t.edges = t.edges[:0]
	for _, p := range u.Pairs {
		t.edges = append(t.edges, cooccur.Edge{Song: factor.Key(p.Song), Weight: p.Weight})
	}
	r.near.Add(t.cfg.Near, u.PairsAt, float32(u.Listeners), t.edges)
	r.paired = true
}

// takeBack takes the pairs of somebody who was erased out of the counts.
func (t *Task) takeBack(r *row, u *schemas.SongUpdate) {
	t.edges = t.edges[:0]
	for _, p := range u.Pairs {
		t.edges = append(t.edges, cooccur.Edge{Song: factor.Key(p.Song), Weight: p.Weight})
	}
	r.near.Remove(t.cfg.Near, u.CameAt, float32(u.Listeners), nil)
	r.near.Remove(t.cfg.Near, u.PairsAt, 0, t.edges)
	r.paired = true
}

// forgetListens takes the listens of who was erased out of the popularity of songs, after those of the transaction were counted: they may
// be among them. What the trend detector was told stays, it fades in days, and so do the plays that ever were.
func (t *Task) forgetListens() {
	for i := range t.taken {
		o := &t.taken[i]
		o.row.popularity.Remove(factor.Region(o.Region), o.At, float64(o.Unique))
	}
	clear(t.taken)
	t.taken = t.taken[:0]
}

// writeNeighbours puts the neighbours of a song into the transaction: for the changelog and for every reader at once.
func (t *Task) writeNeighbours(r *row, out *stream.Output) {
	w := &t.neighbours
	w.At, w.Listeners, w.Pairs = r.near.At, r.near.Listeners, w.Pairs[:0]
	for _, e := range r.near.Neighbours {
		w.Pairs = append(w.Pairs, schemas.Pair{Song: uint64(e.Song), Weight: e.Weight})
	}
	t.key = state.AppendNeighboursKey(t.key[:0], []byte(r.id))
	t.value = w.AppendBinary(t.value[:0])
	out.Put(t.key, t.value)
}

// loadNeighbours reads a row of neighbours. A song's factor row was written in the same transaction, and comes before.
func (t *Task) loadNeighbours(song, value []byte) error {
	w := &t.neighbours
	if err := w.UnmarshalBinary(value); err != nil {
		return err
	}
	r := t.row(factor.KindSong, song)
	r.near = cooccur.Row{At: w.At, Listeners: w.Listeners}
	for _, p := range w.Pairs {
		r.near.Neighbours = append(r.near.Neighbours, cooccur.Edge{Song: factor.Key(p.Song), Weight: p.Weight})
	}
	return nil
}

// learnBlend adds what a listener task learnt of the worth of the sources.
func (r *row) learnBlend(u *schemas.SongUpdate) {
	if learnt, err := rank.ParseBlend(u.Vector); err == nil { // check has seen to that
		r.blend.Add(&learnt)
	}
	r.acknowledge(u.Partition, u.Seq)
}
