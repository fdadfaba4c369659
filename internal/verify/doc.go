// Package verify proves that what the system holds equals a naive fold of the events it was given.
//
// It folds the listens topic in plain maps, by the written rules and with none of the tasks' code, and compares: each listener's
// number of events, order-sensitive chain and plays by song with the changelog; each song's plays with the published rows; the playlists
// with one per listener and week; and, where a state directory is given, each local store with its changelog up to the store's offset.
//
// Invariant it protects: the verdict is about one moment. Nothing may arrive between the reading of the topics; if something
// does, they are read again.
//
// It refuses to judge what cannot be proved: a listens topic whose beginning has expired, or events that nobody has consumed yet.
package verify
