// Package state keeps the rows of tasks on local disk: one Pebble store per (role, partition), the key layout and the row codecs.
//
// The invariant it protects: rows and changelog offset change together or not at all. A store that opens holds exactly the
// effects of a prefix of what was applied, and Offset says which; a store that cannot promise that is set aside and starts empty.
//
// It refuses to be a source of truth (Kafka is; a lost store is rebuilt from its changelog), to open a directory of another
// application or a directory in use, to keep working on a sick disk (Health, OnFatal), and to read the clock: time is injected.
// It is the only package that imports Pebble.
package state
