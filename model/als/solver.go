package als

import "gonum.org/v1/gonum/blas/blas32"

// System is what all rows of one side of a factorisation share, and the ridge of one of them: α·G + r·I.
type System struct {
	Gram         []float32 // G, dim×dim
	Share, Ridge float32   // α and r
}

// Solver solves the least squares of one row with the other side held fast:
//
//	(α·G + Σ w·y·yᵀ + r·I)·x = Σ w·t·y + b
//
// by a few conjugate gradient steps from where it stands and without building the matrix (Hestenes, Stiefel 1952; Takács, Pilászy,
// Tikk, RecSys 2011). It must not be used concurrently.
type Solver struct {
	weights, targets         []float32
	columns                  []int32
	total                    float64
	residual, along, applied []float32
}

// NewSolver returns a solver for rows of a width.
func NewSolver(dim int) *Solver {
	return &Solver{residual: make([]float32, dim), along: make([]float32, dim), applied: make([]float32, dim)}
}

// Begin forgets the entries of the row before.
func (s *Solver) Begin() {
	s.weights, s.targets, s.columns, s.total = s.weights[:0], s.targets[:0], s.columns[:0], 0
}

// Add enters that the product with a column of the other side should be target. Entries without weight are left out.
func (s *Solver) Add(column int32, weight, target float32) {
	if weight > 0 {
		s.weights, s.targets, s.columns = append(s.weights, weight), append(s.targets, target), append(s.columns, column)
		s.total += float64(weight)
	}
}

// Weight is Σ w of the entries.
func (s *Solver) Weight() float64 { return s.total }

// Solve improves x by some steps. fixed holds the columns, b may be nil.
func (s *Solver) Solve(x, fixed []float32, sys System, b []float32, steps int) {
	d := len(x)
	s.apply(x, fixed, sys)
	for i, v := range s.applied {
		s.residual[i] = -v
	}
	if b != nil {
		axpy(1, b, s.residual)
	}
	for k, w := range s.weights {
		column := int(s.columns[k]) * d
		axpy(w*s.targets[k], fixed[column:column+d], s.residual)
	}
	copy(s.along, s.residual)
	norm := dot(s.residual, s.residual)
	for range steps {
		if norm < 1e-20 {
			return
		}
		s.apply(s.along, fixed, sys)
		step := norm / dot(s.along, s.applied)
		axpy(step, s.along, x)
		axpy(-step, s.applied, s.residual)
		next := dot(s.residual, s.residual)
		for i, r := range s.residual {
			s.along[i] = r + next/norm*s.along[i]
		}
		norm = next
	}
}

// apply sets applied to the matrix times v.
func (s *Solver) apply(v, fixed []float32, sys System) {
	d := len(v)
	for i := range d {
		s.applied[i] = sys.Share*dot(sys.Gram[i*d:(i+1)*d], v) + sys.Ridge*v[i]
	}
	for k, w := range s.weights {
		column := int(s.columns[k]) * d
		y := fixed[column : column+d]
		axpy(w*dot(y, v), y, s.applied)
	}
}

// dot is Σ xᵢyᵢ.
func dot(x, y []float32) float32 {
	return blas32.Implementation().Sdot(len(x), x, 1, y, 1)
}

// axpy adds a·x to y.
func axpy(a float32, x, y []float32) {
	blas32.Implementation().Saxpy(len(x), a, x, 1, y, 1)
}
