package table

import (
	"fmt"

	"earworm/model/cooccur"
	"earworm/model/decay"
	"earworm/model/factor"
	"earworm/model/rank"
	"earworm/schemas"
	"earworm/state"
)

// Tables are what the published rows go into.
type Tables struct {
	Factors    *factor.Table
	Neighbours *cooccur.Table
	Ranker     *rank.Ranker // takes what its blend has learnt
}

// Loader brings published rows into tables. It must not be used concurrently; several loaders may feed the same tables.
type Loader struct {
	to         Tables
	row        schemas.FactorRow
	neighbours schemas.Neighbours
	model      factor.Published // row, translated
	edges      []cooccur.Edge   // of neighbours, translated
}

// NewLoader returns a Loader.
func NewLoader(to Tables) *Loader { return &Loader{to: to} }

// Row takes in a record of the song factors and reports whether it was one for readers: keys of another family are a song task's own
// business.
func (l *Loader) Row(key, value []byte) (taken bool, err error) {
	if len(value) == 0 {
		return false, nil
	}
	if song, err := state.ParseNeighboursKey(key); err == nil {
		return true, l.loadNeighbours(song, value)
	}
	if _, _, err := state.ParseFactorKey(key); err != nil {
		return false, nil //nolint:nilerr // not for readers
	}
	if err := l.row.UnmarshalBinary(value); err != nil {
		return false, err
	}
	if factor.Kind(l.row.Kind) == factor.KindBlend {
		blend, err := rank.ParseBlend(l.row.Vector)
		if err != nil {
			return false, fmt.Errorf("reading the blend: %w", err)
		}
		l.to.Ranker.SetBlend(blend, acks(l.row.Acks))
		return true, nil
	}
	l.to.Factors.Load(l.published())
	return true, nil
}

func (l *Loader) loadNeighbours(song, value []byte) error {
	n := &l.neighbours
	if err := n.UnmarshalBinary(value); err != nil {
		return err
	}
	l.edges = l.edges[:0]
	for _, p := range n.Pairs {
		l.edges = append(l.edges, cooccur.Edge{Song: factor.Key(p.Song), Weight: p.Weight})
	}
	l.to.Neighbours.Load(l.to.Factors.SongOf(song), cooccur.Row{At: n.At, Listeners: n.Listeners, Neighbours: l.edges})
	return nil
}

// published translates the wire's row for the model, which copies what it keeps.
func (l *Loader) published() factor.Published {
	r, p := &l.row, &l.model
	*p = factor.Published{
		Acks:  p.Acks[:0],
		Trend: factor.TrendInfo{Regions: p.Trend.Regions[:0]},
		Kind:  factor.Kind(r.Kind), ID: string(r.ID), Vector: r.Vector, Evidence: r.Evidence,
		FirstAt: r.FirstAt, LastAt: r.LastAt, Epoch: r.Epoch,
		Popularity: factor.Popularity{
			Total:   float64(r.Plays),
			Day:     decay.Counter{Value: r.Popularity.Value1d, At: r.Popularity.At},
			Week:    decay.Counter{Value: r.Popularity.Value7d, At: r.Popularity.At},
			Month:   decay.Counter{Value: r.Popularity.Value28d, At: r.Popularity.At},
			Regions: p.Popularity.Regions[:0],
		},
	}
	p.Acks = acks(r.Acks)
	for _, l := range r.Listeners {
		p.Popularity.Regions = append(p.Popularity.Regions, factor.RegionCount{
			Region: factor.Region(l.Region), Week: decay.Counter{Value: l.Value7d, At: l.At},
		})
	}
	for _, f := range r.Trend {
		status := factor.TrendOngoing
		if f.Quarantined {
			status = factor.TrendQuarantined
		}
		p.Trend.Regions = append(p.Trend.Regions, factor.RegionTrend{
			Region: factor.Region(f.Region), Status: status, StartedAt: f.StartedAt, Score: f.Score,
		})
	}
	return *p
}

// acks translates the acknowledgements of a row.
func acks(from []schemas.Ack) []factor.Origin {
	out := make([]factor.Origin, len(from))
	for i, a := range from {
		out[i] = factor.Origin{Partition: a.Partition, Seq: a.Seq}
	}
	return out
}
