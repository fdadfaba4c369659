package factor

import (
	"cmp"
	"math"
	"slices"
)

// Geometry is what the least squares of one listener or one song need of the whole catalogue. It is never changed once measured, and
// depends on the table only, so one serves every learner and every ranking of a process.
type Geometry struct {
	Songs int // N: those that are listened to

	dim       int
	params    Params
	mean      float32   // n̄: evidence of an average song
	gram      []float64 // G = Σ q̂q̂ᵀ over the songs, dim×dim
	gram32    []float32 // the same
	curvature []float32 // M = (C + λI)⁻¹, dim×dim
	songsOf   []float32 // by Index: how many of the songs have the row as a part; 0 for rows of none
	positives int64     // Table.positives when it was measured
	refitted  int64     // likewise
}

// Geometry returns the geometry of the table. It is measured anew when evidence has grown by a thirty-second since, and by at least an
// eighth of the songs, or when a refit has moved as many rows: the sums over the whole catalogue change no faster. One caller measures, the others go on with the old one.
func (t *Table) Geometry() *Geometry {
	g := t.geometry.Load()
	if g != nil {
		grown := t.positives.Load() - g.positives
		moved := t.refitted.Load() - g.refitted
		if max(grown, -grown) < max(g.positives/32, int64(g.Songs)*evidenceUnit/8, 16*evidenceUnit) && moved < int64(max(g.Songs/8, 1)) {
			return g
		}
		if !t.measuring.TryLock() {
			return g
		}
	} else {
		t.measuring.Lock()
	}
	defer t.measuring.Unlock()
	g = t.measure()
	t.geometry.Store(g)
	return g
}

// evidenceUnit is the evidence of one first listen in Table.positives, which counts in whole numbers so that the sum does not depend on
// the order.
const evidenceUnit = 1024

// measure reads every song that is listened to.
//
// M is the shape in which the error of one listener moves a song. The least squares of a song with n first listens have the Hessian
//
//	H = Σ ppᵀ + α₀·Σ_all pᵤpᵤᵀ + λ(n + ν)·I ≈ (n + ν)·(C + λI)      C = mean of ppᵀ over first listens,  ν = Negatives·n̄
//
// because all listeners together weigh ν = α₀·listeners as much as first listens do, and are about as spread. So one matrix serves every
// song, and how much a song has been heard is a number. C itself need not be gathered from the listeners: where both sides are regularised
// alike by how much they are heard, Σ (c + α₀N)·ppᵀ over listeners and Σ (n + ν)·q̂q̂ᵀ over songs are equal wherever the gradient
// of the whole vanishes. The table has the second.
func (t *Table) measure() *Geometry {
	d := t.params.Dim
	positives, refitted := t.positives.Load(), t.refitted.Load()
	ordered := t.songsByKey() // before the rows are counted: it must hold none that is not
	t.mu.RLock()
	rows := t.rows
	t.mu.RUnlock()
	m := measurement{table: t, ordered: ordered, rows: rows, songs: t.Active(), songsOf: make([]float32, rows), shared: make([]int32, rows)}
	m.share()
	total := max(float64(positives)/evidenceUnit, 1)
	mean := float32(total / float64(max(m.songs, 1)))
	m.sum(t.params.Negatives * mean)
	mirror(m.gram.sums, d)
	g := &Geometry{
		Songs: m.songs, dim: d, params: t.params, positives: positives, refitted: refitted, mean: mean,
		gram: m.gram.sums, gram32: make([]float32, d*d), songsOf: m.songsOf,
	}
	for i, x := range g.gram {
		g.gram32[i] = float32(x)
	}
	g.curvature = t.params.curvature(m.spread.sums, (1+float64(t.params.Negatives))*total, mean)
	return g
}

// measurement is a pass over a table.
type measurement struct {
	table        *Table
	ordered      []Index // songs, by key
	rows, songs  int
	songsOf      []float32
	shared       []int32   // by Index: place in vectors of a row that songs share, counted from 1
	vectors      []float32 // of those rows
	gram, spread summed
}

// share copies the rows that are not songs. They are few, and most songs need several of them: songs then need a look at their own row only.
func (m *measurement) share() {
	d := m.table.params.Dim
	m.blocks(func(c *chunk, at int, i Index) {
		if c.rows[at].kind != KindSong {
			m.vectors = append(m.vectors, c.vector(at, d)...)
			m.shared[i] = int32(len(m.vectors) / d) //nolint:gosec // at most as many as rows
		}
	})
}

// sum adds up the songs that are listened to, block by block in single precision and the blocks in double.
//
// It takes them in the order of their keys. The rows lie in the order in which they became known: in that one two processes with the
// same rows would differ in the last bits, and where two songs are all but equal for a listener they would make different playlists.
func (m *measurement) sum(prior float32) {
	d := m.table.params.Dim
	vectors, weighed := make([]float32, 0, blockRows*d), make([]float32, 0, blockRows*d)
	m.gram, m.spread = newSummed(d), newSummed(d)
	for _, i := range m.ordered {
		c, at := m.table.at(i)
		c.lock(at).RLock()
		if !c.rows[at].active {
			c.lock(at).RUnlock()
			continue
		}
		vectors = append(vectors, c.vector(at, d)...)
		f, evidence := c.features[at], c.evidence[at]
		c.lock(at).RUnlock()
		q := vectors[len(vectors)-d:]
		m.songsOf[i]++
		m.add(f.artist, 1, q)
		m.add(f.language, 1, q)
		for _, g := range f.genres {
			m.add(g, f.genreShare, q)
		}
		weighed = append(weighed, q...)
		scale(evidence+prior, weighed[len(weighed)-d:])
		if len(vectors) == cap(vectors) {
			m.gram.add(vectors, vectors)
			m.spread.add(weighed, vectors)
			vectors, weighed = vectors[:0], weighed[:0]
		}
	}
	m.gram.add(vectors, vectors)
	m.spread.add(weighed, vectors)
}

// songsByKey returns all songs in the order of their keys. It remembers it, since songs are added and never leave.
func (t *Table) songsByKey() []Index {
	byKey := func(a, b Index) int { return cmp.Compare(t.KeyAt(a), t.KeyAt(b)) }
	var known []Index // of the songs that came first
	if p := t.byKey.Load(); p != nil {
		known = *p
	}
	songs := t.SongList()
	if len(known) >= len(songs) {
		return known
	}
	added := slices.SortedFunc(slices.Values(songs[len(known):]), byKey)
	merged := make([]Index, 0, len(songs))
	for len(known) > 0 && len(added) > 0 {
		from := &known
		if byKey(added[0], known[0]) < 0 {
			from = &added
		}
		merged, *from = append(merged, (*from)[0]), (*from)[1:]
	}
	merged = append(append(merged, known...), added...)
	t.byKey.Store(&merged)
	return merged
}

// add adds a shared row to a song's vector and counts the song for it. A row that came after share has no place yet.
func (m *measurement) add(i Index, share float32, q []float32) {
	if i == None || int(i) >= m.rows || m.shared[i] == 0 {
		return
	}
	at := int(m.shared[i]-1) * len(q)
	axpy(share, m.vectors[at:at+len(q)], q)
	m.songsOf[i]++
}

// blocks calls fn for every row, in order, with the lock of its block.
func (m *measurement) blocks(fn func(c *chunk, at int, i Index)) {
	chunks := *m.table.chunks.Load()
	for first := 0; first < m.rows; first += blockRows {
		c, at := chunks[first/chunkRows], first%chunkRows
		c.lock(at).RLock()
		for n := range min(blockRows, m.rows-first) {
			fn(c, at+n, Index(first+n))
		}
		c.lock(at).RUnlock()
	}
}

// summed is Σ abᵀ of many rows, of which the lower triangle counts.
type summed struct {
	sums  []float64
	block []float32
	dim   int
}

func newSummed(dim int) summed {
	return summed{sums: make([]float64, dim*dim), block: make([]float32, dim*dim), dim: dim}
}

// add adds a block of rows.
func (s *summed) add(a, b []float32) {
	clear(s.block)
	gram(a, b, s.block, s.dim)
	for i := range s.dim {
		for j, x := range s.block[i*s.dim : i*s.dim+i+1] {
			s.sums[i*s.dim+j] += float64(x)
		}
	}
}

// curvature returns (spread/scale + λI)⁻¹ of a symmetric matrix of which only the lower triangle is read.
func (p Params) curvature(spread []float64, scale float64, mean float32) []float32 {
	d := p.Dim
	lambda := float64(p.SongRidge(mean))
	factored, column := make([]float64, d*d), make([]float64, d)
	for i := range d {
		for k := range i + 1 {
			factored[i*d+k] = spread[i*d+k] / scale
		}
		factored[i*d+i] += lambda
	}
	sound := factorise(factored, d)
	out := make([]float32, d*d)
	for j := range d {
		clear(column)
		column[j] = 1
		if sound {
			substitute(factored, column)
		} else { // what has no inverse is not the shape of anything
			column[j] = 1 / lambda
		}
		for i, x := range column {
			out[i*d+j] = float32(x)
		}
	}
	return out
}

// mirror copies the lower triangle to the upper.
func mirror(m []float64, d int) {
	for i := range d {
		for j := range i {
			m[j*d+i] = m[i*d+j]
		}
	}
}

// prior is how many first listens the absence of all others weighs as for a row: those of as many average songs as have it.
func (g *Geometry) prior(i Index) float32 {
	songs := float32(1)
	if int(i) < len(g.songsOf) {
		songs = max(songs, g.songsOf[i])
	}
	return g.params.Negatives * g.mean * songs
}

// absence is α₀ of a listener with c first listens: the weight of each song that they have not heard.
func (g *Geometry) absence(c float32) float32 {
	return g.params.Negatives * c / float32(max(g.Songs, 1))
}

// shape sets dst to M·p and returns pᵀMp.
func (g *Geometry) shape(dst, p []float32) float32 {
	dots(p, g.curvature, dst)
	return dot(dst, p)
}

// Solver solves the least squares of one listener. The zero Solver is ready; it must not be used concurrently.
type Solver struct {
	sums          summed
	rhs           []float64
	rows, weighed []float32
}

// Solve sets dst to the vector of a listener, given the songs heard and the weight of each, without any earlier vector:
//
//	(Σ c·q̂q̂ᵀ + α₀·G + λ(C + α₀N)·I) p = Σ c·q̂        α₀ = Negatives·C/N,  C = Σ c
//
// the exact minimum of the loss of implicit ALS for one row (Rendle et al., RecSys 2022, with ν = 1). It reports false, and leaves dst, if
// there is no positive weight or the matrix is not positive definite.
func (s *Solver) Solve(dst []float32, t *Table, g *Geometry, songs []Index, weights []float32) bool {
	d := t.params.Dim
	if s.sums.dim != d {
		s.sums, s.rhs = newSummed(d), make([]float64, d)
	}
	clear(s.sums.sums)
	clear(s.rhs)
	s.rows, s.weighed = s.rows[:0], s.weighed[:0]
	var total float64
	for n, song := range songs {
		c := weights[n]
		if !(c > 0) || song == None {
			continue
		}
		total += float64(c)
		at := len(s.rows)
		s.rows = slices.Grow(s.rows, d)[:at+d]
		t.Effective(song, s.rows[at:])
		s.weighed = append(s.weighed, s.rows[at:]...)
		scale(c, s.weighed[at:])
		for i, x := range s.weighed[at:] {
			s.rhs[i] += float64(x)
		}
	}
	for at := 0; at < len(s.rows); at += blockRows * d {
		end := min(at+blockRows*d, len(s.rows))
		s.sums.add(s.weighed[at:end], s.rows[at:end])
	}
	matrix := s.sums.sums
	if !(total > 0) || math.IsInf(total, 0) || g.Songs == 0 || g.dim != d || len(dst) != d {
		return false
	}
	alpha, ridge := float64(g.absence(float32(total))), float64(g.params.ListenerRidge(float32(total)))
	for i := range d {
		for j := range i + 1 {
			matrix[i*d+j] += alpha * g.gram[i*d+j]
		}
		matrix[i*d+i] += ridge
	}
	if !factorise(matrix, d) {
		return false
	}
	substitute(matrix, s.rhs)
	if slices.ContainsFunc(s.rhs, math.IsNaN) {
		return false
	}
	for i, v := range s.rhs {
		dst[i] = float32(v)
	}
	bound(dst, t.params.NormMax)
	return true
}

// factorise replaces the lower triangle of a symmetric positive definite n×n matrix by its Cholesky factor L, A = LLᵀ. It needs no pivoting:
// a Cholesky factorisation is backward stable without. It reports whether the matrix was positive definite.
func factorise(a []float64, n int) bool {
	for j := range n {
		rowJ := a[j*n : j*n+j+1]
		sum := rowJ[j]
		for _, v := range rowJ[:j] {
			sum -= v * v
		}
		if !(sum > 0) || math.IsInf(sum, 0) {
			return false
		}
		pivot := math.Sqrt(sum)
		rowJ[j] = pivot
		for i := j + 1; i < n; i++ {
			rowI := a[i*n : i*n+j+1]
			sum := rowI[j]
			for k, v := range rowJ[:j] {
				sum -= rowI[k] * v
			}
			rowI[j] = sum / pivot
		}
	}
	return true
}

// substitute solves LLᵀ·x = b. x replaces b.
func substitute(l, b []float64) {
	n := len(b)
	for i := range n {
		for k := range i {
			b[i] -= l[i*n+k] * b[k]
		}
		b[i] /= l[i*n+i]
	}
	for i := n - 1; i >= 0; i-- {
		for k := i + 1; k < n; k++ {
			b[i] -= l[k*n+i] * b[k]
		}
		b[i] /= l[i*n+i]
	}
}
