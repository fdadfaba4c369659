package als

import "math"

// Rotation returns the orthogonal matrix R, dim×dim, that brings the vectors of from nearest to those of to when each is multiplied by it
// from the right: the minimum of Σ w·‖x·R − y‖² (orthogonal Procrustes problem: Schönemann 1966). Factorisations are equal up to
// such a matrix, so it takes out of a change what changes no prediction. Directions in which the vectors say nothing stay as they are.
//
// R is the orthogonal factor of the polar decomposition of M = Σ w·x·yᵀ, found by Newton's iteration X ← ½(γX + (γX)⁻ᵀ) (Higham 1986).
func Rotation(from, to []float32, dim int, weight func(row int) float32) []float64 {
	m := make([]float64, dim*dim)
	for n := range len(from) / dim {
		w, x, y := float64(weight(n)), from[n*dim:(n+1)*dim], to[n*dim:(n+1)*dim]
		for i, v := range x {
			for j, u := range y {
				m[i*dim+j] += w * float64(v) * float64(u)
			}
		}
	}
	small := 1e-9 * norm(m)
	for i := range dim {
		m[i*dim+i] += max(small, math.SmallestNonzeroFloat32) // what says nothing has no direction of its own
	}
	const stepsMax = 100
	inverse := make([]float64, dim*dim)
	for range stepsMax {
		if !invert(m, inverse, dim) {
			return identity(dim)
		}
		gamma := math.Sqrt(norm(inverse) / norm(m))
		moved, size := 0., 0.
		for i := range dim {
			for j := range dim {
				next := (gamma*m[i*dim+j] + inverse[j*dim+i]/gamma) / 2
				moved += (next - m[i*dim+j]) * (next - m[i*dim+j])
				size += next * next
				inverse[j*dim+i] = next // the place is read once
			}
		}
		transpose(inverse, m, dim)
		if moved <= 1e-24*size {
			break
		}
	}
	return m
}

// Rotate multiplies every row by R from the right.
func Rotate(rows []float32, r []float64, dim int) {
	turned := make([]float64, dim)
	for ; len(rows) >= dim; rows = rows[dim:] {
		clear(turned)
		for i, v := range rows[:dim] {
			for j := range turned {
				turned[j] += float64(v) * r[i*dim+j]
			}
		}
		for j, v := range turned {
			rows[j] = float32(v)
		}
	}
}

// Cosine returns the mean cosine of the rows of two sets of vectors, over those that are not zero.
func Cosine(a, b []float32, dim int) float64 {
	sum, count := 0., 0
	for ; len(a) >= dim; a, b = a[dim:], b[dim:] {
		x, y := a[:dim], b[:dim]
		if product := float64(dot(x, x)) * float64(dot(y, y)); product > 0 {
			sum += float64(dot(x, y)) / math.Sqrt(product)
			count++
		}
	}
	return sum / float64(max(count, 1))
}

func norm(m []float64) float64 {
	sum := 0.
	for _, v := range m {
		sum += v * v
	}
	return math.Sqrt(sum)
}

func identity(dim int) []float64 {
	m := make([]float64, dim*dim)
	for i := range dim {
		m[i*dim+i] = 1
	}
	return m
}

func transpose(from, to []float64, dim int) {
	for i := range dim {
		for j := range dim {
			to[j*dim+i] = from[i*dim+j]
		}
	}
}

// invert sets out to the inverse of m, by Gauss and Jordan with partial pivoting, and reports whether there is one.
func invert(m, out []float64, dim int) bool {
	a := append([]float64(nil), m...)
	copy(out, identity(dim))
	for c := range dim {
		pivot := c
		for r := c + 1; r < dim; r++ {
			if math.Abs(a[r*dim+c]) > math.Abs(a[pivot*dim+c]) {
				pivot = r
			}
		}
		top := a[pivot*dim+c]
		if top == 0 || math.IsNaN(top) || math.IsInf(top, 0) {
			return false
		}
		for j := range dim {
			a[c*dim+j], a[pivot*dim+j] = a[pivot*dim+j], a[c*dim+j]
			out[c*dim+j], out[pivot*dim+j] = out[pivot*dim+j], out[c*dim+j]
		}
		for j := range dim {
			a[c*dim+j] /= top
			out[c*dim+j] /= top
		}
		for r := range dim {
			if by := a[r*dim+c]; r != c && by != 0 {
				for j := range dim {
					a[r*dim+j] -= by * a[c*dim+j]
					out[r*dim+j] -= by * out[c*dim+j]
				}
			}
		}
	}
	return true
}
