// Package schemas holds the wire contracts of earworm: what a listening event,
// a song, a listener profile, a playlist, a trend and a dead letter look like
// on Kafka, how they are decoded from JSON and CloudEvents, the compact
// encodings used on internal topics, and the names of the topics.
//
// The invariant it protects: a value that leaves a decoder is bounded and well
// formed. Sizes are checked before anything is parsed, ids are non-empty valid
// UTF-8, numbers are finite and in range, times lie between 2000 and 2100, and
// every encoding round-trips exactly. Whatever is refused is refused with a
// [Code] from a closed set and a text that never repeats the payload.
//
// It refuses to do I/O, to read the clock, to know Kafka clients, and to decide
// what an event means: that belongs to the models and the roles.
package schemas

//go:generate go test . -run ^TestReferenceIsCurrent$ -update
