package cooccur

import (
	"math"
	"slices"

	"earworm/model/decay"
	"earworm/model/factor"
)

// Edge is a pair in which a song took part: the other song, and how many pairs it stands for.
type Edge struct {
	Song   factor.Key
	Weight float32
}

// CountMax bounds every count of a row. It is far beyond what can be counted, and small enough for a likeness to be a number: a
// count that was told wrong must fade like any other.
const CountMax = 1e18

// Row holds the counts of one song in the hands of its single writer. The zero Row has none.
type Row struct {
	At         int64   // Unix ms at which all counts are valid
	Listeners  float32 // faded number of first listens of the song
	Neighbours []Edge  // faded counts, in the order in which they came
}

// Add counts first listens of the song and its pairs at an instant in Unix ms. An instant before At counts as faded as At's age
// makes it. What is not a positive number is left out.
func (r *Row) Add(p Params, at int64, listeners float32, edges []Edge) {
	share := r.advance(p.HalfLife, at)
	if listeners > 0 && finite(listeners) {
		r.Listeners = min(r.Listeners+listeners*share, CountMax)
	}
	for _, e := range edges {
		if e.Weight > 0 && finite(e.Weight) {
			r.count(p.Neighbours, e.Song, min(e.Weight*share, CountMax))
		}
	}
}

// Remove takes first listens and pairs back that Add counted at the same instant. A neighbour that is gone meanwhile has nothing to give
// back; no count becomes negative, and a neighbour of whom nothing is left makes room.
func (r *Row) Remove(p Params, at int64, listeners float32, edges []Edge) {
	share := r.advance(p.HalfLife, at)
	if listeners > 0 && finite(listeners) {
		r.Listeners = max(0, r.Listeners-listeners*share)
	}
	for _, e := range edges {
		n := slices.IndexFunc(r.Neighbours, func(have Edge) bool { return have.Song == e.Song })
		if n < 0 || e.Weight <= 0 || !finite(e.Weight) {
			continue
		}
		if r.Neighbours[n].Weight -= e.Weight * share; r.Neighbours[n].Weight < nothing {
			r.Neighbours = slices.Delete(r.Neighbours, n, n+1)
		}
	}
}

// nothing is what rounding leaves of a pair that was taken back, and less than any pair that counts for something.
const nothing = 1e-4

// advance brings the counts to an instant and returns what something of that instant counts at At.
func (r *Row) advance(h decay.HalfLife, at int64) float32 {
	if r.At == 0 {
		r.At = at
	}
	fade := float32(math.Exp2(-math.Abs(float64(at)-float64(r.At)) * 1e6 / float64(h)))
	if at <= r.At {
		return fade
	}
	r.At = at
	r.Listeners *= fade
	for i := range r.Neighbours {
		r.Neighbours[i].Weight *= fade
	}
	return 1
}

// count adds to one neighbour. Where there is no free place, a new one of weight w takes that of the weakest, of weight m, with the
// chance w/(m + w), and goes on from m + w: the expected count of every neighbour stays what it is, and those that come often get
// in however crowded the row is (randomised admission: Ben Basat, Einziger, Friedman, Kassner, INFOCOM 2017).
func (r *Row) count(limit int, song factor.Key, weight float32) {
	weakest := 0
	for i := range r.Neighbours {
		n := &r.Neighbours[i]
		if n.Song == song {
			n.Weight = min(n.Weight+weight, CountMax)
			return
		}
		if n.Weight < r.Neighbours[weakest].Weight {
			weakest = i
		}
	}
	if len(r.Neighbours) < limit {
		r.Neighbours = append(r.Neighbours, Edge{Song: song, Weight: weight})
		return
	}
	n := &r.Neighbours[weakest]
	if total := n.Weight + weight; r.draw(song)*total < weight {
		*n = Edge{Song: song, Weight: min(total, CountMax)}
	}
}

// draw returns a number in [0, 1) that depends on the row and the song only: who applies the same changes gets the same row.
func (r *Row) draw(song factor.Key) float32 {
	x := uint64(song) ^ uint64(r.At) ^ uint64(math.Float32bits(r.Listeners))<<32 //nolint:gosec // bits
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9                                         // the finaliser of SplitMix64
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return float32((x^x>>31)>>40) / (1 << 24)
}

func finite(x float32) bool { return x-x == 0 }
