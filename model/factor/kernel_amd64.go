package factor

import "golang.org/x/sys/cpu"

// hasAVX2 says whether this processor, and its operating system, can run the kernels in kernel_amd64.s.
var hasAVX2 = cpu.X86.HasAVX2 //nolint:gochecknoglobals // a fact about the machine, never changed

// The kernels need n > 0, a multiple of 8. They compute what their twins in kernel.go compute, to the last bit: no fused
// multiplication, and dot adds its eight lanes in the same order.

//go:noescape
func dotAVX2(a, b *float32, n int) float32

//go:noescape
func dotsAVX2(user, rows, products *float32, count, n int)

//go:noescape
func addRowsAVX2(weights, rows, y *float32, count, n int)

//go:noescape
func gramAVX2(a, b, sums *float32, count, n int)

//go:noescape
func axpyAVX2(c float32, x, y *float32, n int)

//go:noescape
func decayAxpyAVX2(keep, c float32, x, y *float32, n int)

//go:noescape
func exchangeAVX2(value, base, open, slab *float32, n int)

//go:noescape
func composeAVX2(at *int, share *float32, count int, rows, user, q *float32, n int) float32

// dotMin is the width from which the sum of the lanes is paid for.
const dotMin = 64

func dot(a, b []float32) float32 {
	if n := len(a); hasAVX2 && n >= dotMin && n%8 == 0 && n <= len(b) {
		return dotAVX2(&a[0], &b[0], n)
	}
	return dotGo(a, b)
}

func dots(user, rows, products []float32) {
	if n := len(user); hasAVX2 && n >= 8 && n%8 == 0 && len(products) > 0 && n*len(products) <= len(rows) {
		dotsAVX2(&user[0], &rows[0], &products[0], len(products), n)
		return
	}
	dotsGo(user, rows, products)
}

func addRows(weights, rows, y []float32) {
	if n := len(y); hasAVX2 && n >= 8 && n%8 == 0 && len(weights) > 0 && n*len(weights) <= len(rows) {
		addRowsAVX2(&weights[0], &rows[0], &y[0], len(weights), n)
		return
	}
	addRowsGo(weights, rows, y)
}

func gram(a, b, sums []float32, n int) {
	if hasAVX2 && n >= 8 && n%8 == 0 && len(a) >= n && len(a)%n == 0 && len(a) <= len(b) && n*n <= len(sums) {
		gramAVX2(&a[0], &b[0], &sums[0], len(a)/n, n)
		return
	}
	gramGo(a, b, sums, n)
}

func axpy(c float32, x, y []float32) {
	if n := len(x); hasAVX2 && n >= 8 && n%8 == 0 && n <= len(y) {
		axpyAVX2(c, &x[0], &y[0], n)
		return
	}
	axpyGo(c, x, y)
}

func decayAxpy(keep, c float32, x, y []float32) {
	if n := len(x); hasAVX2 && n >= 8 && n%8 == 0 && n <= len(y) {
		decayAxpyAVX2(keep, c, &x[0], &y[0], n)
		return
	}
	decayAxpyGo(keep, c, x, y)
}

func compose(c *combination, rows, user, q []float32) float32 {
	if n := len(q); hasAVX2 && n >= 8 && n%8 == 0 && n <= len(user) && c.within(len(rows)-n) {
		return composeAVX2(&c.at[0], &c.share[0], c.count, &rows[0], &user[0], &q[0], n)
	}
	return composeGo(c, rows, user, q)
}

// within reports whether every row begins at most at last: the kernels do not check.
func (c *combination) within(last int) bool {
	for _, at := range c.at[:c.count] {
		if uint(at) > uint(last) {
			return false
		}
	}
	return c.count > 0 && last >= 0
}

func exchange(value, base, open, slab []float32) {
	if n := len(value); hasAVX2 && n >= 8 && n%8 == 0 && n <= len(base) && n <= len(open) && n <= len(slab) {
		exchangeAVX2(&value[0], &base[0], &open[0], &slab[0], n)
		return
	}
	exchangeGo(value, base, open, slab)
}
