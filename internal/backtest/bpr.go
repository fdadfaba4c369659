package backtest

import (
	"math"
	"slices"
	"time"
)

// bpr is matrix factorisation by Bayesian personalised ranking (Rendle et al., UAI 2009): gradient descent on ln σ(s_ui − s_uj) with i
// consumed and j not, j drawn uniformly from the catalogue, with a bias for each item. At every freeze it goes on, over all pairs so
// far, from where it stood the week before.
type bpr struct {
	base
	factors           int
	rate, decay       float32
	epochs            int
	users, items      []float32
	biases            []float32
	listeners, firsts []int32 // the pairs so far
	known             [][]int32
	init              float64
}

var _ Model = (*bpr)(nil)

func newBPR(b base, p params) Model {
	m := &bpr{
		base: b, factors: max(int(p["factors"]), 1), rate: float32(p["rate"]), decay: float32(p["lambda"]), epochs: max(int(p["epochs"]), 1),
		biases: make([]float32, len(b.data.Items)), known: make([][]int32, len(b.data.Listeners)), init: p["init"],
	}
	dice := b.dice(3, 0)
	m.users = make([]float32, len(b.data.Listeners)*m.factors)
	m.items = make([]float32, len(b.data.Items)*m.factors)
	for _, rows := range [][]float32{m.users, m.items} {
		for i := range rows {
			rows[i] = float32(dice.NormFloat64() * m.init)
		}
	}
	return m
}

// Learn implements Model.
func (m *bpr) Learn(e *Event) error {
	if e.First {
		m.listeners, m.firsts = append(m.listeners, e.Listener), append(m.firsts, e.Item)
		m.known[e.Listener] = append(m.known[e.Listener], e.Item)
	}
	return nil
}

// Freeze implements Model.
func (m *bpr) Freeze(at time.Time) error {
	m.freeze(at)
	for _, items := range m.known {
		slices.Sort(items)
	}
	dice := m.dice(4, uint64(at.UnixMilli()))
	for range m.epochs * len(m.firsts) {
		k := dice.IntN(len(m.firsts))
		l, i, j := m.listeners[k], m.firsts[k], int32(dice.IntN(m.catalogue)) //nolint:gosec // items are numbered so
		if _, has := slices.BinarySearch(m.known[l], j); !has {
			m.step(l, i, j)
		}
	}
	return nil
}

// step lets a listener prefer item i to item j a little more.
func (m *bpr) step(listener, i, j int32) {
	d := m.factors
	u := m.users[int(listener)*d : int(listener+1)*d]
	x, y := m.items[int(i)*d:int(i+1)*d], m.items[int(j)*d:int(j+1)*d]
	margin := m.biases[i] - m.biases[j] + dot(u, x) - dot(u, y)
	pull := m.rate * float32(1/(1+math.Exp(float64(margin))))
	keep := 1 - m.rate*m.decay
	m.biases[i] = keep*m.biases[i] + pull
	m.biases[j] = keep*m.biases[j] - pull
	x, y = x[:len(u)], y[:len(u)]
	for k, v := range u {
		u[k] = keep*v + pull*(x[k]-y[k])
		x[k] = keep*x[k] + pull*v
		y[k] = keep*y[k] - pull*v
	}
}

// Rank implements Model.
func (m *bpr) Rank(listener int32, dst []int32) []int32 {
	d := m.factors
	u := m.users[int(listener)*d : int(listener+1)*d]
	return m.rank(listener, dst, func(scores []float32) {
		score(scores, m.items, u)
		for i := range scores {
			scores[i] += m.biases[i]
		}
	})
}
