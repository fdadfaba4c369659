// Package chaos kills real processes under load and proves afterwards that nothing was lost, applied twice or made up.
//
// The tests are built with a tag: crash runs the binary against the embedded broker, kills it with SIGKILL at random moments, takes its
// disk away and stops it past its session timeout, and does the same to a binary that is wrong on purpose, which must be caught;
// kafka does it on a real Apache Kafka whose broker is killed as well.
//
// Invariant it protects: a listener's state, the songs' counts, the dead letters and the playlists follow from what was
// produced alone, whatever died in between. The judge is an independent fold of what was produced.
//
// It refuses to count a kill that hit nobody: a child that had ended by itself fails the test.
package chaos
