// Package feed is the outside of the system as a client sees it: it produces events, songs, profiles and ticks, waits until
// the roles have drained what was produced, and reads playlists and trends back.
//
// Invariant it protects: a tick is sent only when its caller says so, and Drain returns only when every role has committed
// everything that was produced before.
//
// It refuses to join a group and to touch state: whatever it does, a producer or consumer outside could do as well.
package feed
