// Package kafka starts a real Apache Kafka (KRaft, broker and controller in one process) on loopback ports, without containers,
// for tests behind `-tags kafka` and for benchmarks.
//
// Invariant: a cluster is handed out only when it is usable, which means that each node knows the whole cluster, and that every
// group and transaction coordinator answers; "Kafka Server started" in a log is earlier than that. A node never outlives its test.
//
// It refuses to be silent about a missing Java or Maven (Start skips with "SKIPPED: no Java 17+/Maven", Launch returns
// ErrUnavailable), to kill a broker it did not start (an external one, see BrokersVar), and to reopen the folder of another cluster.
//
// Tests call Start; a benchmark tool without a testing.TB calls Launch and Close.
package kafka
