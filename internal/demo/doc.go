// Package demo drives the whole system through a simulated world: an embedded broker, the real roles, months of listening in
// event time, one tick of playlists a week, and the comparison with the truth that only the simulation knows.
//
// Invariant it protects: nothing reaches the roles but through the broker, and nothing of the truth does.
//
// It refuses to touch a data directory that it did not make.
package demo
