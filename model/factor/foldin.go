package factor

import "math"

// Gram holds what the regression of FoldIn needs of the whole catalogue: G = Σ q̂q̂ᵀ and the sum Σ b·q̂. It depends on the table only, so
// one serves many listeners.
type Gram struct {
	Songs int
	dim   int
	outer []float64 // dim×dim, row-major
	bias  []float64
}

// Gram computes the Gram matrix over the songs that are listened to.
func (t *Table) Gram() *Gram {
	d := t.params.Dim
	active := t.activeList()
	g := &Gram{Songs: len(active), dim: d, outer: make([]float64, d*d), bias: make([]float64, d)}
	q := make([]float32, d)
	for _, song := range active {
		b := t.Effective(song, q)
		for i, x := range q {
			row := g.outer[i*d : i*d+i+1]
			for j := range row {
				row[j] += float64(x) * float64(q[j])
			}
			g.bias[i] += float64(b) * float64(x)
		}
	}
	for i := range d {
		for j := range i {
			g.outer[j*d+i] = g.outer[i*d+j]
		}
	}
	return g
}

// Solver solves the regression of FoldIn. The zero Solver is ready; it must not be used concurrently.
type Solver struct {
	matrix []float64
	rhs    []float64
	q      []float32
}

// FoldIn sets dst to the vector of a listener, given the songs heard and the weight of each, without any earlier vector:
//
//	(Σ c·q̂q̂ᵀ + α₀·G + λC·I) p = Σ c·(1−b)·q̂ − α₀·Σ_all b·q̂        α₀ = ratio·C/N,  C = Σ c
//
// With ratio the number of negatives per positive this is where the learner's own steps for the listener tend to (models.md §0).
// It reports false, and leaves dst, if there is no positive weight or the matrix is not positive definite.
func (s *Solver) FoldIn(dst []float32, t *Table, g *Gram, songs []Index, weights []float32, ratio, lambda float64) bool {
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
		b := float64(t.Effective(song, s.q))
		for i, x := range s.q {
			cx := c * float64(x)
			row := s.matrix[i*d : i*d+i+1]
			for j := range row {
				row[j] += cx * float64(s.q[j])
			}
			s.rhs[i] += cx * (1 - b)
		}
	}
	if !(total > 0) || g.Songs == 0 || g.dim != d || len(dst) != d {
		return false
	}
	alpha := ratio * total / float64(g.Songs)
	for i := range d {
		for j := range i + 1 {
			s.matrix[i*d+j] += alpha * g.outer[i*d+j]
		}
		s.matrix[i*d+i] += lambda * total
		s.rhs[i] -= alpha * g.bias[i]
	}
	if !solveCholesky(s.matrix, s.rhs) {
		return false
	}
	for i, v := range s.rhs {
		dst[i] = float32(v)
	}
	bound(dst, t.params.NormMax)
	return true
}

// solveCholesky solves A·x = b for a symmetric positive definite A of which only the lower triangle is read: A = LLᵀ in place, then two
// triangular solutions. x replaces b. It needs no pivoting: a Cholesky factorisation is backward stable without.
func solveCholesky(a, b []float64) bool {
	n := len(b)
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
	for i := range n {
		for k := range i {
			b[i] -= a[i*n+k] * b[k]
		}
		b[i] /= a[i*n+i]
	}
	for i := n - 1; i >= 0; i-- {
		for k := i + 1; k < n; k++ {
			b[i] -= a[k*n+i] * b[k]
		}
		b[i] /= a[i*n+i]
		if math.IsNaN(b[i]) {
			return false
		}
	}
	return true
}
