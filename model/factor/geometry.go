package factor

import (
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
	active := t.activeList()
	t.mu.RLock()
	rows := t.rows
	t.mu.RUnlock()
	g := &Geometry{
		Songs: len(active), dim: d, params: t.params, positives: positives, refitted: refitted,
		gram: make([]float64, d*d), gram32: make([]float32, d*d), songsOf: make([]float32, rows),
	}
	total := float64(positives) / evidenceUnit
	g.mean = float32(max(total, 1) / float64(max(len(active), 1)))
	prior := float64(t.params.Negatives * g.mean)
	spread := make([]float64, d*d)
	q := make([]float32, d)
	for _, song := range active {
		n := float64(t.effective(song, q, g.songsOf))
		for i, x := range q {
			row, weighed := g.gram[i*d:i*d+i+1], spread[i*d:i*d+i+1]
			for j := range row {
				xy := float64(x) * float64(q[j])
				row[j] += xy
				weighed[j] += (n + prior) * xy
			}
		}
	}
	mirror(g.gram, d)
	for i, x := range g.gram {
		g.gram32[i] = float32(x)
	}
	g.curvature = t.params.curvature(spread, (1+float64(t.params.Negatives))*max(total, 1), g.mean)
	return g
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

// effective sets dst to the effective vector of a song, counts the song for each of its rows, and returns its evidence.
func (t *Table) effective(song Index, dst, songsOf []float32) float32 {
	c, at := t.at(song)
	c.lock(at).RLock()
	copy(dst, c.vector(at, t.params.Dim))
	f, evidence := c.rows[at].features, c.evidence[at]
	c.lock(at).RUnlock()
	count := func(i Index) {
		if int(i) < len(songsOf) && i != None {
			songsOf[i]++
		}
	}
	count(song)
	t.addRow(f.artist, 1, dst)
	count(f.artist)
	t.addRow(f.language, 1, dst)
	count(f.language)
	for _, g := range f.genres {
		t.addRow(g, f.genreShare, dst)
		count(g)
	}
	return evidence
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
	for i := range dst {
		dst[i] = dot(g.curvature[i*g.dim:(i+1)*g.dim], p)
	}
	return dot(dst, p)
}

// Solver solves the least squares of one listener. The zero Solver is ready; it must not be used concurrently.
type Solver struct {
	matrix, rhs []float64
	q           []float32
}

// Solve sets dst to the vector of a listener, given the songs heard and the weight of each, without any earlier vector:
//
//	(Σ c·q̂q̂ᵀ + α₀·G + λ(C + α₀N)·I) p = Σ c·q̂        α₀ = Negatives·C/N,  C = Σ c
//
// the exact minimum of the loss of implicit ALS for one row (Rendle et al., RecSys 2022, with ν = 1). It reports false, and leaves dst, if
// there is no positive weight or the matrix is not positive definite.
func (s *Solver) Solve(dst []float32, t *Table, g *Geometry, songs []Index, weights []float32) bool {
	d := t.params.Dim
	s.matrix, s.rhs, s.q = resize(s.matrix, d*d), resize(s.rhs, d), resize(s.q, d)
	clear(s.matrix)
	clear(s.rhs)
	var total float64
	for n, song := range songs {
		c := float64(weights[n])
		if !(c > 0) || song == None {
			continue
		}
		total += c
		t.Effective(song, s.q)
		for i, x := range s.q {
			cx := c * float64(x)
			row := s.matrix[i*d : i*d+i+1]
			for j := range row {
				row[j] += cx * float64(s.q[j])
			}
			s.rhs[i] += cx
		}
	}
	if !(total > 0) || math.IsInf(total, 0) || g.Songs == 0 || g.dim != d || len(dst) != d {
		return false
	}
	alpha, ridge := float64(g.absence(float32(total))), float64(g.params.ListenerRidge(float32(total)))
	for i := range d {
		for j := range i + 1 {
			s.matrix[i*d+j] += alpha * g.gram[i*d+j]
		}
		s.matrix[i*d+i] += ridge
	}
	if !factorise(s.matrix, d) {
		return false
	}
	substitute(s.matrix, s.rhs)
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
