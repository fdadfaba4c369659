// Package listener is the role that knows listeners: one task per partition of the listens topic keeps each listener's
// history, session and taste vector, learns from every event, and emits the weekly playlists.
//
// Invariants it protects: an event changes a listener once (events are recognised by id within a window, and what can no longer
// be told from a duplicate is refused as too late); a listener gets at most one playlist per ISO week; a row is
// written at most once per transaction; nothing is emitted but in answer to a record.
//
// It refuses to read the wall clock, to reveal a listener's id anywhere but in an outgoing playlist, and to write
// factor rows itself: it sends combined changes to the song tasks.
package listener
