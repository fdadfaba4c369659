//go:build !amd64

package factor

func dot(a, b []float32) float32 { return dotGo(a, b) }

func dots(user, rows, products []float32) { dotsGo(user, rows, products) }

func addRows(weights, rows, y []float32) { addRowsGo(weights, rows, y) }

func gram(a, b, sums []float32, n int) { gramGo(a, b, sums, n) }

func axpy(c float32, x, y []float32) { axpyGo(c, x, y) }

func decayAxpy(keep, c float32, x, y []float32) { decayAxpyGo(keep, c, x, y) }

func compose(c *combination, rows, user, q []float32) float32 { return composeGo(c, rows, user, q) }

func exchange(value, base, open, slab []float32) { exchangeGo(value, base, open, slab) }
