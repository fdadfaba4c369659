// Command earworm learns listeners' taste from Kafka, flags songs that go viral and writes a weekly playlist for each
// listener.
//
// Invariant: every way to end has one exit code (internal/run), and nothing but results goes to the standard output.
//
// The package refuses to hold logic: it reads settings, connects the packages and prints.
package main
