// Package ingest is the first role: it turns what producers send into valid, pseudonymous events keyed by listener.
//
// Invariants it protects: every input record becomes exactly one record of the listens topic or one dead letter; nothing
// behind this package ever sees an id that a producer gave a listener; an event's time never lies further ahead of the time at which
// it was produced than the configured clamp.
//
// It keeps no state, so it refuses to de-duplicate, to order and to learn.
package ingest
