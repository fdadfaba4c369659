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

// published is a row as its writer published it last.
type published struct {
	mu         sync.Mutex // guards the neighbours; held while Each calls back
	neighbours []Edge
	places     []factor.Index // of the neighbours, None until the table of songs knows them

	head      sync.Mutex // guards the others; taken after mu
	at        int64
	listeners float32
}

// NewTable returns an empty table beside a table of songs.
func NewTable(p Params, songs *factor.Table) *Table { return &Table{params: p, songs: songs} }

// Params returns the settings that the table was made with.
func (t *Table) Params() Params { return t.params }

// Load takes in a copy of a published row.
func (t *Table) Load(song factor.Index, r Row) {
	if song == factor.None {
		return
	}
	t.place(song).load(r)
}

// place returns where a song's row is, and makes room for the first one.
func (t *Table) place(song factor.Index) *published {
	if p := t.row(song); p != nil {
		return p
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for int(song) >= len(t.rows) {
		t.rows = append(t.rows, make([]*published, max(1024, len(t.rows)/4))...)
	}
	if t.rows[song] == nil {
		t.rows[song] = &published{}
	}
	return t.rows[song]
}

// load replaces a row by a later one. Most neighbours stay, each in its place of the list: what is known of them is kept.
func (p *published) load(r Row) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.head.Lock()
	p.at, p.listeners = r.At, r.Listeners
	p.head.Unlock()
	for i, n := range r.Neighbours {
		switch {
		case i >= len(p.neighbours):
			p.neighbours, p.places = append(p.neighbours, n), append(p.places, factor.None)
		case p.neighbours[i].Song != n.Song:
			p.neighbours[i], p.places[i] = n, factor.None
		default:
			p.neighbours[i].Weight = n.Weight
		}
	}
	p.neighbours, p.places = p.neighbours[:len(r.Neighbours)], p.places[:len(r.Neighbours)]
}

// count returns how many came to the song, and when that was valid.
func (p *published) count() (listeners float32, at int64) {
	p.head.Lock()
	defer p.head.Unlock()
	return p.listeners, p.at
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
		n, _ := r.count()
		return float64(n)
	}
	return 0
}

// Norm returns (n + s)^−½ of a song at an instant: its part of every likeness.
func (t *Table) Norm(song factor.Index, at int64) float32 {
	listeners := 0.
	if r := t.row(song); r != nil {
		n, when := r.count()
		listeners = float64(n) * t.fade(when, at)
	}
	return float32(1 / math.Sqrt(listeners+max(t.params.Shrink, 1e-3)))
}

// fade returns how much of what was valid at one instant is left at another.
func (t *Table) fade(from, at int64) float64 {
	return math.Exp2(-max(float64(at)-float64(from), 0) * 1e6 / float64(t.params.HalfLife))
}

// Each calls fn for the neighbours of a song with n_ij, the pairs of both at an instant.
func (t *Table) Each(song factor.Index, at int64, fn func(neighbour factor.Index, pairs float32)) {
	r := t.row(song)
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_, when := r.count()
	fade := float32(t.fade(when, at))
	for i, n := range r.neighbours {
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
