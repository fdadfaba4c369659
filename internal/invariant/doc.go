// Package invariant reports broken promises of the program to itself.
//
// It protects one rule: a bug is never silent. Under the build tag `invariants` a broken invariant panics, so that a test
// stops at the first one; without the tag it is counted and returned as an error that the caller turns fatal.
//
// It refuses to judge input: bad records are poison, sick disks are transient or fatal errors, and neither comes here.
// Note that Pebble knows the same build tag and checks itself more strictly under it too.
package invariant
