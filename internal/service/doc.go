// Package service assembles the roles of one process from its configuration: stores, factor table, task runtimes, ticker and
// HTTP. The commands serve and demo run it, and so do the end-to-end tests.
//
// Invariant it protects: no task processes a record before the table has caught up with what was published.
//
// It refuses to read flags and environment and to hold any logic of a role.
package service
