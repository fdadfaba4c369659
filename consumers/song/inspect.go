package song

import (
	"time"

	"earworm/model/factor"
)

// Inspection is what is known of one song, for people.
type Inspection struct {
	Plays      uint64             `json:"plays"`
	Updates    uint64             `json:"updates"`
	FirstAt    string             `json:"first_at,omitempty"`
	LastAt     string             `json:"last_at,omitempty"`
	Popularity map[string]float64 `json:"popularity"` // decayed daily listeners, at the latest listen
	Regions    map[string]float64 `json:"regions"`
	Evidence   float32            `json:"evidence"`
	Vector     []float32          `json:"vector"`
}

// Inspect returns the committed state of a song, nil if nothing is known. It must not run beside Process.
func (t *Task) Inspect(id string) *Inspection {
	r, ok := t.rows[factor.KeyOf(factor.KindSong, id)]
	if !ok {
		return nil
	}
	out := &Inspection{
		Plays: r.plays, Updates: r.updates, Evidence: r.factors.Evidence, Vector: r.factors.Vector, Regions: map[string]float64{},
		Popularity: map[string]float64{
			"1d":  r.popularity.Day.Read(r.lastAt, factor.HalfLifeDay),
			"7d":  r.popularity.Week.Read(r.lastAt, factor.HalfLifeWeek),
			"28d": r.popularity.Month.Read(r.lastAt, factor.HalfLifeMonth),
		},
	}
	for _, c := range r.popularity.Regions {
		out.Regions[c.Region.String()] = c.Week.Read(r.lastAt, factor.HalfLifeWeek)
	}
	if r.firstAt != 0 {
		out.FirstAt = time.UnixMilli(r.firstAt).UTC().Format(time.RFC3339)
		out.LastAt = time.UnixMilli(r.lastAt).UTC().Format(time.RFC3339)
	}
	return out
}
