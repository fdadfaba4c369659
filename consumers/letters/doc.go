// Package letters works on the dead letters from outside: it reads them and sends them again.
//
// Invariant: a letter is sent again at most once, and no letter that was sent is missing from the marks, because one Kafka
// transaction holds the record and the mark that says so. Whoever holds the transactional id can commit, and nobody else; the marks
// are read after it was taken over. A reader of the target that reads uncommitted records can still see those of an aborted
// transaction, and the promise ends with the retention of the marks.
//
// The package refuses to send a letter that is not whole, that does not say where its record came from, or whose person was erased.
package letters
