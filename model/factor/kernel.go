package factor

import "math"

// The kernels below are those of every machine; kernel_amd64.go has faster ones where the processor can run them.

// dotGo returns Σ aᵢbᵢ with eight accumulators, which hide the latency of the addition. len(b) must be at least len(a).
func dotGo(a, b []float32) float32 {
	b = b[:len(a)]
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	for len(a) >= 8 && len(b) >= 8 {
		s0 += a[0] * b[0]
		s1 += a[1] * b[1]
		s2 += a[2] * b[2]
		s3 += a[3] * b[3]
		s4 += a[4] * b[4]
		s5 += a[5] * b[5]
		s6 += a[6] * b[6]
		s7 += a[7] * b[7]
		a, b = a[8:], b[8:]
	}
	for i, x := range a {
		s0 += x * b[i]
	}
	return ((s0 + s4) + (s1 + s5)) + ((s2 + s6) + (s3 + s7))
}

// dotsGo sets products to those of user with each of the rows that lie one behind the other. len(rows) must be at least
// len(user)·len(products).
func dotsGo(user, rows, products []float32) {
	for i := range products {
		products[i] = dotGo(user, rows[i*len(user):][:len(user)])
	}
}

// addRowsGo adds Σ weightₖ·rowₖ to y, where rows lie one behind the other. len(rows) must be at least len(y)·len(weights).
func addRowsGo(weights, rows, y []float32) {
	for k, c := range weights {
		axpyGo(c, rows[k*len(y):][:len(y)], y)
	}
}

// gramGo adds Σ aₖbₖᵀ to the n×n sums, where rows of width n lie one behind the other. Of the sums only the lower triangle is good for
// anything afterwards. len(b) must be at least len(a).
func gramGo(a, b, sums []float32, n int) {
	for k := 0; k+n <= len(a) && n > 0; k += n {
		for i, c := range a[k : k+n] {
			axpyGo(c, b[k : k+n][:i+1], sums[i*n:])
		}
	}
}

// axpyGo adds c·x to y. len(y) must be at least len(x).
func axpyGo(c float32, x, y []float32) {
	y = y[:len(x)]
	for len(x) >= 8 && len(y) >= 8 {
		y[0] += c * x[0]
		y[1] += c * x[1]
		y[2] += c * x[2]
		y[3] += c * x[3]
		y[4] += c * x[4]
		y[5] += c * x[5]
		y[6] += c * x[6]
		y[7] += c * x[7]
		x, y = x[8:], y[8:]
	}
	for i, v := range x {
		y[i] += c * v
	}
}

// decayAxpyGo sets y to (1−λ)·y + c·x: one gradient step with L2 regularisation. len(y) must be at least len(x).
func decayAxpyGo(keep, c float32, x, y []float32) {
	y = y[:len(x)]
	for len(x) >= 8 && len(y) >= 8 {
		y[0] = keep*y[0] + c*x[0]
		y[1] = keep*y[1] + c*x[1]
		y[2] = keep*y[2] + c*x[2]
		y[3] = keep*y[3] + c*x[3]
		y[4] = keep*y[4] + c*x[4]
		y[5] = keep*y[5] + c*x[5]
		y[6] = keep*y[6] + c*x[6]
		y[7] = keep*y[7] + c*x[7]
		x, y = x[8:], y[8:]
	}
	for i, v := range x {
		y[i] = keep*y[i] + c*v
	}
}

// composeGo sets q to the sum of a song's rows and returns its product with the listener's vector.
func composeGo(c *combination, rows, user, q []float32) float32 {
	copy(q, rows[c.at[0]:])
	for i := 1; i < c.count; i++ {
		axpyGo(c.share[i], rows[c.at[i]:][:len(q)], q)
	}
	return dotGo(user, q)
}

// exchangeGo adds what a private copy has changed since it was equal to the slab to an open change and to the slab, and makes the copy
// equal to the slab again:
//
//	d = value − base    open += d    slab += d    value = base = slab
func exchangeGo(value, base, open, slab []float32) {
	base, open, slab = base[:len(value)], open[:len(value)], slab[:len(value)]
	for i, v := range value {
		d := v - base[i]
		open[i] += d
		slab[i] += d
		value[i], base[i] = slab[i], slab[i]
	}
}

// scale multiplies x by c.
func scale(c float32, x []float32) {
	for i := range x {
		x[i] *= c
	}
}

// finite reports whether v is a number: the difference of an infinity or NaN with itself is NaN.
func finite(v float32) bool { return v-v == 0 }

// bound makes x finite with a norm of at most limit. A component that is not a number becomes 0 together with the whole vector,
// because the rest of such a vector is no evidence of anything. It reports whether x was within bounds.
func bound(x []float32, limit float32) bool {
	square := dot(x, x)
	if square <= limit*limit {
		return true
	}
	if !finite(square) { // also when finite components overflow: rescaling those would need a second pass for no gain
		clear(x)
		return false
	}
	scale(limit/float32(math.Sqrt(float64(square))), x)
	return false
}

// clip bounds v to ±limit; NaN becomes 0.
func clip(v, limit float32) float32 {
	switch {
	case v > limit:
		return limit
	case v < -limit:
		return -limit
	case v != v:
		return 0
	default:
		return v
	}
}
