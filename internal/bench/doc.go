// Package bench measures the whole path: how many events a second go from the events topic to committed state, how long one
// event takes at a moderate rate, and where the processor's time goes.
//
// Invariant it protects: what it measures is the product. The roles, their settings and the brokers are those of
// the service; only the events are made here. A figure is refused when an event was lost or counted twice on its way.
//
// It refuses to compare: docs/benchmarks holds the figures, with machine, commit and command.
package bench
