package backtest

import "time"

// isgd is incremental matrix factorisation on positive-only streams (Vinagre, Jorge, Gama, "Fast incremental matrix factorization for
// recommendation with positive-only feedback", UMAP 2014): for each new pair, a few steps of gradient descent on (1−p·q)², and a list
// of the items whose score is nearest to 1. With queue > 0 it is RAISGD (Vinagre, Jorge, Gama, "Collaborative filtering with
// recency-based negative feedback", SAC 2015): before each positive, as many items as queue says are taken that have been consumed
// least recently, and the listener alone is moved away from them.
type isgd struct {
	base
	factors      int
	rate, decay  float32
	passes       int
	negatives    int
	users, items []float32
	queue        recency
}

var _ Live = (*isgd)(nil)

func newISGD(b base, p params) Model {
	m := &isgd{
		base: b, factors: max(int(p["factors"]), 1), rate: float32(p["rate"]), decay: float32(p["lambda"]),
		passes: max(int(p["passes"]), 1), negatives: int(p["queue"]), queue: newRecency(len(b.data.Items)),
	}
	dice := b.dice(2, 0)
	m.users = make([]float32, len(b.data.Listeners)*m.factors)
	m.items = make([]float32, len(b.data.Items)*m.factors)
	for _, rows := range [][]float32{m.users, m.items} {
		for i := range rows {
			rows[i] = float32(dice.NormFloat64() * p["init"])
		}
	}
	return m
}

// Learn implements Model.
func (m *isgd) Learn(e *Event) error {
	if !e.First {
		return nil
	}
	d := m.factors
	p := m.users[int(e.Listener)*d : int(e.Listener+1)*d]
	for range m.negatives {
		item, ok := m.queue.oldest()
		if !ok || item == e.Item {
			break
		}
		m.queue.touch(item)
		q := m.items[int(item)*d : int(item+1)*d]
		for range m.passes {
			wrong := -dot(p, q)
			for i, v := range q {
				p[i] += m.rate * (wrong*v - m.decay*p[i])
			}
		}
	}
	q := m.items[int(e.Item)*d : int(e.Item+1)*d]
	for range m.passes {
		wrong := 1 - dot(p, q)
		for i, v := range p {
			p[i] += m.rate * (wrong*q[i] - m.decay*v)
			q[i] += m.rate * (wrong*p[i] - m.decay*q[i]) // with the new p, as in the authors' code
		}
	}
	m.queue.touch(e.Item)
	return nil
}

// Freeze implements Model.
func (m *isgd) Freeze(at time.Time) error {
	m.freeze(at)
	return nil
}

// Refresh implements Live.
func (m *isgd) Refresh(at time.Time) error { return m.Freeze(at) }

// Rank implements Model.
func (m *isgd) Rank(listener int32, dst []int32) []int32 {
	d := m.factors
	p := m.users[int(listener)*d : int(listener+1)*d]
	return m.rank(listener, dst, func(scores []float32) {
		score(scores, m.items, p)
		for i, s := range scores {
			if s > 1 {
				scores[i] = 2 - s // −|1−s|, up to a constant
			}
		}
	})
}

// recency is a queue of items, in the order in which they were touched last.
type recency struct {
	next, last []int32 // of each item, -1 at the ends
	head, tail int32
	queued     []bool
}

func newRecency(items int) recency {
	return recency{next: make([]int32, items), last: make([]int32, items), queued: make([]bool, items), head: -1, tail: -1}
}

// oldest is the item that was touched least recently.
func (q *recency) oldest() (int32, bool) { return q.head, q.head >= 0 }

// touch puts an item at the end.
func (q *recency) touch(item int32) {
	if q.queued[item] {
		q.unlink(item)
	}
	q.queued[item] = true
	q.next[item], q.last[item] = -1, q.tail
	if q.tail >= 0 {
		q.next[q.tail] = item
	} else {
		q.head = item
	}
	q.tail = item
}

func (q *recency) unlink(item int32) {
	before, after := q.last[item], q.next[item]
	if before >= 0 {
		q.next[before] = after
	} else {
		q.head = after
	}
	if after >= 0 {
		q.last[after] = before
	} else {
		q.tail = before
	}
}
