// Package decay sums weights that lose half their worth every half-life: Counter for values read one key at a
// time, Forward for values ranked across keys.
//
// The invariant it protects: the sum depends on the set of observations, not on their order, and it is finite
// whatever is thrown at it. A late observation counts exactly what it would have counted in time, and never
// moves a counter's clock back.
//
// It refuses NaN and infinite weights, to read the clock, and to be a time series: the past cannot be read back.
package decay
