// Package history reads a listening history out of a CSV or NDJSON file: the events and the songs they imply.
//
// Invariant it protects: the same row always becomes the same event, id included, so that reading a file twice and sending
// it twice changes nothing; a row that cannot be used is kept with its line and reason.
//
// It refuses to send anything and to guess columns that it was not told.
package history
