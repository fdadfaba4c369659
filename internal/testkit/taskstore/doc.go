// Package taskstore is a stream.Store in memory for tests of tasks; stream.Detached runs the transactions over it.
//
// Invariant it protects: it lends slices as the store on disk does, and spoils them afterwards, so that a task that keeps one is
// found out; and it refuses a transaction that writes a row twice.
//
// It refuses to be imported outside of tests.
package taskstore
