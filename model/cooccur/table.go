package cooccur

import (
	"math"
	"sync"

	"earworm/model/factor"
)

// Table holds the published neighbours of every song of a factor table. All its methods may be called concurrently.
type Table struct {
	params Params
	songs  *factor.Table

	mu   sync.RWMutex
	rows []*published // by factor.Index; nil = none
}

// published is a row as its writer published it. Only the places of the neighbours change, once each, under its lock.
type published struct {
	Row

	mu     sync.Mutex
	places []factor.Index // of the neighbours, None until the table of songs knows them
}

// NewTable returns an empty table beside a table of songs.
func NewTable(p Params, songs *factor.Table) *Table { return &Table{params: p, songs: songs} }

// Params returns the settings that the table was made with.
func (t *Table) Params() Params { return t.params }

// Load takes in a published row, which it keeps.
func (t *Table) Load(song factor.Index, r Row) {
	if song == factor.None {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for int(song) >= len(t.rows) {
		t.rows = append(t.rows, make([]*published, max(1024, len(t.rows)/4))...)
	}
	t.rows[song] = &published{Row: r, places: make([]factor.Index, len(r.Neighbours))}
}

func (t *Table) row(song factor.Index) *published {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if int(song) < len(t.rows) {
		return t.rows[song]
	}
	return nil
}

// Listeners returns how many came to a song, faded to when that was published last.
func (t *Table) Listeners(song factor.Index) float64 {
	if r := t.row(song); r != nil {
		return float64(r.Listeners)
	}
	return 0
}

// Norm returns (n + s)^−½ of a song at an instant: its part of every likeness.
func (t *Table) Norm(song factor.Index, at int64) float32 {
	listeners := 0.
	if r := t.row(song); r != nil {
		listeners = float64(r.Listeners) * t.fade(r, at)
	}
	return float32(1 / math.Sqrt(listeners+max(t.params.Shrink, 1e-3)))
}

func (t *Table) fade(r *published, at int64) float64 {
	return math.Exp2(-max(float64(at)-float64(r.At), 0) * 1e6 / float64(t.params.HalfLife))
}

// Each calls fn for the neighbours of a song with n_ij, the pairs of both at an instant.
func (t *Table) Each(song factor.Index, at int64, fn func(neighbour factor.Index, pairs float32)) {
	r := t.row(song)
	if r == nil {
		return
	}
	fade := float32(t.fade(r, at))
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, n := range r.Neighbours {
		if r.places[i] == factor.None {
			r.places[i], _ = t.songs.Lookup(n.Song)
		}
		if r.places[i] != factor.None {
			fn(r.places[i], n.Weight*fade)
		}
	}
}

// Pairs returns how many of the songs that a listener came to last are to be paired with a new one that has so many listeners, and how
// many pairs each stands for.
func (p Params) Pairs(listeners float64, last int) (count int, weight float32) {
	window := min(p.Window, last)
	if window == 0 {
		return 0, 0
	}
	share := min(1, p.Evidence/max(listeners, 1))
	count = max(1, int(math.Round(share*float64(window))))
	return count, float32(window) / float32(count)
}
