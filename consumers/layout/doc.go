// Package layout reads which generation of the internal topics is in force, and whether an application is being moved to another.
//
// Invariant it protects: whoever works on the internal topics has read, after becoming a member of its group, that they are the ones in
// force.
//
// It refuses to write: only a move does.
package layout
