// Package factor learns factor rows from a stream of first listens, one vector for each song, artist, genre and language, by least
// squares.
//
// A song's effective vector is the sum of its own row, its artist's row, the mean of its genres' rows and its
// language's row, so a song that nobody has heard yet is already placed by its description. The loss is that of implicit ALS (Rendle et
// al., "Revisiting the performance of iALS", RecSys 2022). No negatives are drawn: what a listener has not heard enters through the Gram
// matrix of the catalogue. A listener's vector is solved from what they heard last; a song takes a step of recursive least squares for each
// new listener, and some songs of the listener's history are trained again, because a sparse stream sees each pair once.
//
// The invariant it protects: every row in the Table equals the row as its song task published it plus the
// changes of this process that the published row does not yet hold. Each change is counted once, whatever the order of
// flushes, acknowledgements and abandoned transactions.
//
// It refuses to do I/O, to read the clock, and to hold a value that is not finite.
package factor
