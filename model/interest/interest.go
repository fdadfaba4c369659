package interest

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Params says how eagerly songs are divided.
type Params struct {
	Max   int     // interests at most; below 2 nothing is divided
	Songs int     // songs that an interest has at least
	Gain  float64 // share of the scatter of all songs by which a division must lessen it
}

// DefaultParams returns the settings in use.
func DefaultParams() Params { return Params{Max: 4, Songs: 5, Gain: .05} }

// Validate reports every setting that is out of range.
func (p Params) Validate() error {
	var errs []error
	if p.Max < 0 || p.Max > 64 {
		errs = append(errs, fmt.Errorf("interests are out of range: %d", p.Max))
	}
	if p.Songs < 1 {
		errs = append(errs, fmt.Errorf("songs of an interest are out of range: %d", p.Songs))
	}
	if !(p.Gain >= 0 && p.Gain <= 1) {
		errs = append(errs, fmt.Errorf("gain of a division is out of range: %v", p.Gain))
	}
	return errors.Join(errs...)
}

// None is the interest of a song that belongs to none.
const None = -1

// Divider divides songs. The zero Divider is ready; it must not be used concurrently.
type Divider struct {
	distances []float32 // n×n: by how much the scatter grows if two clusters become one
	sizes     []float32
	alive     []bool
	chain     []int32
	merges    []merge
	roots     []int32 // by song: one towards the root of its cluster
	counts    []int32 // by root: songs of its cluster
	order     []int32 // roots of the interests, the most songs first
	labels    []int32
}

// merge is two clusters that became one.
type merge struct {
	a, b   int32   // a song of each
	growth float32 // of the scatter
}

// Divide returns for each of the songs, whose vectors of length 1 lie one behind the other, its interest, and how many interests there
// are. The songs of interest 0 are the most. A song that is like too few others has None. Where there is no reason to
// divide n is 1 and labels says nothing. labels is valid until the next call.
//
// It is agglomerative clustering by the criterion of Ward (1963): of all pairs of clusters those become one that make the scatter, the sum of
// the squared distances to the centres, grow least; found along chains of nearest neighbours (Murtagh, 1983) in O(songs²). From
// the last merge on they are undone while that lessens the scatter enough and there are not too many interests; of cuts that
// make equally many the one that undoes the most leaves out what is like nothing else.
func (d *Divider) Divide(p Params, vectors []float32, dim int) (labels []int32, n int) {
	songs := 0
	if dim > 0 {
		songs = len(vectors) / dim
	}
	if p.Max < 2 || songs < 2*p.Songs {
		return nil, 1
	}
	d.measure(vectors, songs, dim)
	d.agglomerate(songs)
	return d.cut(p, songs)
}

// measure sets the growth of the scatter for all pairs of single songs: half the squared distance.
func (d *Divider) measure(vectors []float32, songs, dim int) {
	d.distances = resize(d.distances, songs*songs)
	for i := range songs {
		for j := range i {
			growth := half(vectors[i*dim:][:dim], vectors[j*dim:][:dim])
			d.distances[i*songs+j], d.distances[j*songs+i] = growth, growth
		}
	}
}

// half is half the squared distance of two vectors of length 1.
func half(a, b []float32) float32 {
	var sum float32
	for k, x := range a {
		sum += (x - b[k]) * (x - b[k])
	}
	if !(sum < farthest) {
		return farthest
	}
	return sum / 2
}

// farthest is what two vectors are apart that are not of length 1, or no numbers.
const farthest = 4

// agglomerate makes one cluster of all songs, and leaves the merges in order of growth, which is an order in which they can be made because
// a merge by Ward's criterion makes no pair closer.
func (d *Divider) agglomerate(songs int) {
	d.sizes, d.alive = resize(d.sizes, songs), resize(d.alive, songs)
	for i := range songs {
		d.sizes[i], d.alive[i] = 1, true
	}
	d.chain, d.merges = d.chain[:0], d.merges[:0]
	for len(d.merges) < songs-1 {
		if len(d.chain) == 0 {
			d.chain = append(d.chain, int32(slices.Index(d.alive, true))) //nolint:gosec // a few hundred
		}
		top := d.chain[len(d.chain)-1]
		before := int32(None)
		if len(d.chain) > 1 {
			before = d.chain[len(d.chain)-2]
		}
		next := d.nearest(top, before, songs)
		if next != before {
			d.chain = append(d.chain, next)
			continue
		}
		d.chain = d.chain[:len(d.chain)-2]
		d.unite(min(top, next), max(top, next), songs)
	}
	slices.SortStableFunc(d.merges, func(x, y merge) int { return cmp.Compare(x.growth, y.growth) })
}

// nearest returns the cluster nearest to one; of equals that which comes first, but the favourite before all.
func (d *Divider) nearest(to, favourite int32, songs int) int32 {
	row := d.distances[int(to)*songs:][:songs]
	best, least := int32(None), float32(math.Inf(1))
	if favourite >= 0 {
		best, least = favourite, row[favourite]
	}
	for i, alive := range d.alive {
		if alive && int32(i) != to && row[i] < least {
			best, least = int32(i), row[i]
		}
	}
	return best
}

// unite makes one of two clusters, under the name of the first (Lance and Williams, 1967):
//
//	g(i∪j, k) = ((nᵢ + nₖ)·g(i, k) + (nⱼ + nₖ)·g(j, k) − nₖ·g(i, j)) / (nᵢ + nⱼ + nₖ)
func (d *Divider) unite(i, j int32, songs int) {
	a, b := d.distances[int(i)*songs:][:songs], d.distances[int(j)*songs:][:songs]
	growth, ni, nj := a[j], d.sizes[i], d.sizes[j]
	d.merges = append(d.merges, merge{a: i, b: j, growth: growth})
	d.alive[j] = false
	d.sizes[i] += nj
	for k, alive := range d.alive {
		if !alive || int32(k) == i {
			continue
		}
		nk := d.sizes[k]
		g := ((ni+nk)*a[k] + (nj+nk)*b[k] - nk*growth) / (ni + nj + nk)
		a[k], d.distances[k*songs+int(i)] = g, g
	}
}

// cut undoes merges, the last first, and stops where there are the most interests.
func (d *Divider) cut(p Params, songs int) (labels []int32, n int) {
	var scatter float64
	for _, m := range d.merges {
		scatter += float64(m.growth)
	}
	made := len(d.merges)
	for undone := made - 1; undone >= 0; undone-- {
		growth := float64(d.merges[undone].growth)
		found := d.interests(p, songs, undone)
		if !(growth > 0) || growth < p.Gain*scatter || found > p.Max {
			break
		}
		if found >= n {
			made, n = undone, found
		}
	}
	if n < 2 {
		return nil, 1
	}
	d.interests(p, songs, made)
	slices.SortStableFunc(d.order, func(x, y int32) int { return cmp.Compare(d.counts[y], d.counts[x]) })
	d.labels = resize(d.labels, songs)
	for i := range d.labels {
		d.labels[i] = int32(slices.Index(d.order, d.root(int32(i)))) //nolint:gosec // a few hundred; −1 is None
	}
	return d.labels, n
}

// interests makes the first merges and counts the clusters that have songs enough.
func (d *Divider) interests(p Params, songs, merges int) int {
	d.roots, d.counts = resize(d.roots, songs), resize(d.counts, songs)
	for i := range d.roots {
		d.roots[i], d.counts[i] = int32(i), 0
	}
	for _, m := range d.merges[:merges] {
		d.roots[d.root(m.b)] = d.root(m.a)
	}
	for i := range d.roots {
		d.counts[d.root(int32(i))]++
	}
	d.order = d.order[:0]
	for i, count := range d.counts {
		if int(count) >= p.Songs {
			d.order = append(d.order, int32(i))
		}
	}
	return len(d.order)
}

// root finds what stands for a song's cluster.
func (d *Divider) root(i int32) int32 {
	for d.roots[i] != i {
		d.roots[i] = d.roots[d.roots[i]]
		i = d.roots[i]
	}
	return i
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}
