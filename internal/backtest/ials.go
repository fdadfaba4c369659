package backtest

import (
	"math"
	"time"

	"gonum.org/v1/gonum/blas/blas32"

	"earworm/model/als"
)

// ials refits implicit alternating least squares every week from nothing (Hu, Koren, Volinsky, "Collaborative filtering for implicit
// feedback datasets", ICDM 2008, in the form of Rendle et al., "Revisiting the performance of iALS on item recommendation
// benchmarks", RecSys 2022): it minimises
//
//	Σ_pairs c·(1−p·q)² + α₀·Σ_all (p·q)² + λ·Σ_rows (c_row + α₀·columns)^ν·‖row‖²
//
// with c the saturated count of the pair, 1 + ln(n) for n>1, whose events lose half of their weight in a half-life; 0 keeps them.
// Rows are solved by a few steps of conjugate gradients from where they stand (Takács, Pilászy, Tikk, RecSys 2011).
type ials struct {
	base
	p          params
	factors    int
	counts     decayed // by pair
	byItem     columns
	users      []float32
	items      []float32
	confidence []float32 // by pair, at the freeze; 0 where there is no event yet
}

var _ Model = (*ials)(nil)

// alsSteps is the number of conjugate gradient steps for each row and sweep.
const alsSteps = 3

func newIALS(b base, p params) Model {
	m := &ials{base: b, p: p, factors: max(int(p["factors"]), 1), counts: newDecayed(len(b.data.past.items), p["half_life"]), byItem: newColumns(b.data)}
	m.users = make([]float32, len(b.data.Listeners)*m.factors)
	m.items = make([]float32, len(b.data.Items)*m.factors)
	m.confidence = make([]float32, len(b.data.past.items))
	return m
}

// Learn implements Model.
func (m *ials) Learn(e *Event) error {
	if e.Positive {
		m.counts.add(e.pair, e.At)
	}
	return nil
}

// Freeze implements Model.
func (m *ials) Freeze(at time.Time) error {
	m.freeze(at)
	scale := m.counts.ageing.scale(at.UnixMilli())
	for pair, n := range m.counts.values {
		n *= scale
		if n > 1 {
			n = 1 + math.Log(n)
		}
		m.confidence[pair] = float32(n)
	}
	clear(m.users)
	dice := m.dice(1, uint64(at.UnixMilli()))
	spread := .1 / math.Sqrt(float64(m.factors))
	for i := range m.items[:m.catalogue*m.factors] {
		m.items[i] = float32(dice.NormFloat64() * spread)
	}
	past := &m.data.past
	for range max(int(m.p["sweeps"]), 1) {
		m.sweep(m.users, len(m.data.Listeners), m.items, m.catalogue, func(l int32, yield func(float32, int32)) {
			for pair := past.offset[l]; pair < past.offset[l+1]; pair++ {
				yield(m.confidence[pair], past.items[pair])
			}
		})
		m.sweep(m.items, m.catalogue, m.users, len(m.data.Listeners), func(item int32, yield func(float32, int32)) {
			for _, pair := range m.byItem.of(item) {
				yield(m.confidence[pair], m.byItem.listeners[pair])
			}
		})
	}
	return nil
}

// sweep solves every row of one side with the other side held fast. visit gives the entries of a row.
func (m *ials) sweep(rows []float32, n int, fixed []float32, nFixed int, visit func(row int32, yield func(c float32, column int32))) {
	d := m.factors
	gram := gramOf(fixed[:nFixed*d], d)
	alpha, lambda, nu := m.p["alpha"], m.p["lambda"], m.p["nu"]
	parallel(n, func() *als.Solver { return als.NewSolver(d) }, func(s *als.Solver, from, to int) {
		for row := from; row < to; row++ {
			x := rows[row*d : (row+1)*d]
			s.Begin()
			visit(int32(row), func(c float32, column int32) { s.Add(column, c, 1) }) //nolint:gosec // rows are numbered so
			if s.Weight() == 0 {
				clear(x)
				continue
			}
			ridge := lambda * math.Pow(s.Weight()+alpha*float64(nFixed), nu)
			s.Solve(x, fixed, als.System{Gram: gram, Share: float32(alpha), Ridge: float32(ridge)}, nil, alsSteps)
		}
	})
}

// gramOf is Σ y·yᵀ over rows.
func gramOf(rows []float32, d int) []float32 {
	gram := make([]float32, d*d)
	for ; len(rows) > 0; rows = rows[d:] {
		for i, v := range rows[:d] {
			axpy(v, rows[:d], gram[i*d:(i+1)*d])
		}
	}
	return gram
}

// Rank implements Model.
func (m *ials) Rank(listener int32, dst []int32) []int32 {
	d := m.factors
	user := m.users[int(listener)*d : int(listener+1)*d]
	return m.rank(listener, dst, func(scores []float32) { score(scores, m.items, user) })
}

// score sets the dot products of a vector with every row.
func score(scores, rows, vector []float32) {
	d := len(vector)
	for i := range scores {
		scores[i] = dot(rows[i*d:(i+1)*d], vector)
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
