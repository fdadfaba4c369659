// Package song is the role that knows songs: one task per partition of the song updates is the single writer of its factor
// rows, counts decayed popularity by region, and watches for songs that go viral.
//
// Invariants it protects: a row has one writer, so concurrent learning adds and never overwrites; each published row says which
// changes it contains; a trend is announced once per episode, in event time, whatever order the updates arrive in.
//
// It refuses to know listeners: what reaches it are sums over a transaction.
package song
