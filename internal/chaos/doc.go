// Package chaos kills real processes under load and proves afterwards that nothing was lost, applied twice or made up.
//
// The tests are built with a tag: crash runs the binary against the embedded broker, in rounds with a broker and a world of their own,
// kills it with SIGKILL at random moments, takes its disk away, fills it, stops it past its session timeout and gives it no more memory,
// and does the like to a binary that is wrong on purpose, which must be caught; kafka does it on a real Apache Kafka whose brokers are
// killed and stopped as well: the only one of one node, and three of three one after the other.
//
// Invariant it protects: a listener's state, the songs' counts, the dead letters and the playlists follow from what was
// produced alone, whatever died in between. The judge is an independent fold of what was produced.
//
// It refuses to count a kill that hit nobody: a child that had ended by itself fails the test.
package chaos
