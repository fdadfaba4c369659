// Package poison holds the test that feeds the real binary with broken records: bits flipped, cut off, of the wrong type, nested ten thousand
// deep, in formats that nobody reads, and batches that unpack to a gigabyte.
//
// The test is built with the tag crash, on Linux: it reads there what a process takes of memory and of the processor.
//
// Invariant it protects: every record that was produced takes effect once or is one dead letter, verbatim; good records
// between the broken ones are counted once; nothing that a producer sends ends the process, holds it up or stays in its memory.
//
// It refuses to believe the process alone: what must be refused is decided by encoding/json as well, and dead letters are compared with
// what was sent, byte for byte.
package poison
