// Package erasure has a listener forgotten and says in a receipt what that reached, what remains where, and until when.
//
// Invariant: a receipt is complete only if a reading of the topics after the erasure found nothing of the listener that still counts. It
// names nobody: no id, no pseudonym, no hash of one.
//
// The package refuses to promise what it cannot see: what lies on the disks of other processes is stated as a bound, not as verified.
package erasure
