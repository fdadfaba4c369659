// Package factor learns factor rows from a stream of first listens: one vector for each song, artist,
// genre and language, one bias for each song, by stochastic gradient descent on a squared loss.
//
// A song's effective vector is the sum of its own row, its artist's row, the mean of its genres' rows and its
// language's row, so a song that nobody has heard yet is already placed by its description. A first listen
// is a positive of target 1, against negatives of target 0 drawn uniformly from the songs that are
// listened to; songs of the listener's own history are replayed along with it, because a sparse stream sees each
// pair once (shared/models.md §0, §0.1; Rendle et al., "Revisiting the performance of iALS", 2022, for the loss).
//
// The invariant it protects: every row in the Table equals the row as its song task published it plus the
// changes of this process that the published row does not yet hold. Each change is counted once, whatever the order of
// flushes, acknowledgements and abandoned transactions.
//
// It refuses to do I/O, to read the clock, and to hold a value that is not finite.
package factor
