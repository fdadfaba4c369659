// Package ownership reads out of a changelog who owned which task when, and finds whoever wrote to one after losing it.
//
// Whoever takes a task over writes a barrier to its changelog first. What the former owner had not begun to commit by then can never be
// committed, so the committed records between one barrier and the next are by one producer.
//
// Invariant it protects: a task has one owner at a time, as far as anybody can see who reads committed records.
//
// It refuses to judge a compacted partition, which has lost barriers: the caller must know that nothing was compacted.
package ownership
