// Package refit fits the factors of a running system to all histories that it holds, and sends each row by how much it moves.
//
// What it sends adds up with what is learnt meanwhile, counts once per row, and leaves every vector meaning what it meant (ADR
// docs/adr/0023-refit.md). It reads topics and writes to one; it has no state of its own and refuses to change anything but vectors.
package refit
