package factor

import "slices"

// window is the least squares of one listener over what they heard last.
type window struct {
	l       *Learner
	user    []float32
	rows    []float32 // effective vectors
	weights []float32
	targets []float32
	total   float32 // Σ weights

	residual, next, applied []float32
	products                []float32 // of the rows with a vector
}

// begin empties the window for a listener.
func (w *window) begin(l *Learner, user []float32) {
	bound(user, l.params.NormMax)
	w.l, w.user, w.total = l, user, 0
	w.rows, w.weights, w.targets = w.rows[:0], w.weights[:0], w.targets[:0]
}

// add enters a row, as the table has it, that should score target.
func (w *window) add(i Index, weight, target float32) {
	if i == None || weight == 0 {
		return
	}
	n := w.l.slotOf(i)
	d, at := w.l.params.Dim, len(w.rows)
	w.rows = slices.Grow(w.rows, d)[:at+d]
	w.l.look(&w.l.slots[n], w.user, w.rows[at:])
	w.weights, w.targets = append(w.weights, weight), append(w.targets, target)
	w.total += weight
}

// solve moves p by some steps of conjugate gradients (Hestenes, Stiefel 1952) from where it stands towards the minimum of
//
//	Σ w·(target − ⟨p, q̂⟩)² + α₀·pᵀGp + λ(c + α₀N)·‖p‖²        c = Σ w,  α₀ = Negatives·c/N
//
// A listener's minimum moves little from one song to the next, so that few steps stay near it (Takács, Pilászy, Tikk, RecSys 2011).
func (w *window) solve(g *Geometry, p []float32, steps int) {
	d := len(p)
	if !(w.total > 0) {
		return
	}
	w.residual, w.next, w.applied = resize(w.residual, d), resize(w.next, d), resize(w.applied, d)
	w.products = resize(w.products, len(w.weights))
	w.apply(g, p)
	for i, x := range w.applied {
		w.residual[i] = -x
	}
	for k, weight := range w.weights {
		w.products[k] = weight * w.targets[k]
	}
	addRows(w.products, w.rows, w.residual)
	copy(w.next, w.residual)
	norm := dot(w.residual, w.residual)
	small := 1e-8 * max(norm, 1e-12)
	for range steps {
		if !(norm > small) {
			break
		}
		w.apply(g, w.next)
		curve := dot(w.next, w.applied)
		if !(curve > 0) {
			break
		}
		step := norm / curve
		axpy(step, w.next, p)
		axpy(-step, w.applied, w.residual)
		was := norm
		norm = dot(w.residual, w.residual)
		for i, r := range w.residual {
			w.next[i] = r + norm/was*w.next[i]
		}
	}
	bound(p, w.l.params.NormMax)
}

// apply sets w.applied to the matrix times v.
func (w *window) apply(g *Geometry, v []float32) {
	absence, ridge := g.absence(w.total), g.params.ListenerRidge(w.total)
	dots(v, g.gram32, w.applied)
	for i, x := range v {
		w.applied[i] = absence*w.applied[i] + ridge*x
	}
	dots(v, w.rows, w.products)
	for k, weight := range w.weights {
		w.products[k] *= weight
	}
	addRows(w.products, w.rows, w.applied)
}
