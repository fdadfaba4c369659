// Package rank finds and orders, for one listener, the songs of the whole catalogue that the listener has never heard.
//
// Every song gets a probability from each source: taste (factors), artist (the listener's share of the artist times the song's share of the
// artist's listens), popularity (worldwide and in the region) and trend. Their mixture is the score. The sources are
// calibrated alike, as the chance that the listener's next first listen is this song, so one set of weights holds for sparse and
// dense streams: a source that knows little is flat, and adds little (shared/models.md §0.1: no fixed model wins everywhere).
//
// The invariants it protects: a candidate is never a song of the listener's history or one that the listener excludes; the list follows
// from what the tables hold and from the listener, to the last bit, and not from the order in which it became known. So sums of what may
// lie in any order are exact or taken in an order of keys, and where values are equal keys decide.
//
// It refuses to choose: caps, slots, order and chance belong to package playlist.
package rank
