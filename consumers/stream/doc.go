// Package stream runs tasks over co-partitioned Kafka topics with exactly-once effects on local state.
//
// A [Runtime] is one role of one process: a member of a consumer group that owns some partition numbers. Every
// partition number p has one [Task], which sees the records of partition p of every input topic, and, if it keeps
// state, one local [Store] and one partition of a changelog topic.
//
// The invariant it protects: local state is only ever behind Kafka. State changes of a transaction live in memory;
// one Kafka transaction holds the changelog records, the outputs, the dead letters and the input offsets; only after
// it committed does one atomic batch {changes, next changelog offset} reach the store. Whatever was in doubt is
// dropped and read again from the changelog.
//
// What it refuses to do: it emits nothing outside a transaction, it begins no transaction without an input record
// (such a transaction would carry no offset and would not fence a zombie), it never commits for a partition that it
// may have lost, it never puts an identifier in a metric label or a log line, and it knows no music.
//
// Rebalances happen only between transactions: the loop holds them off from the poll that begins a transaction until
// its end, at most [Config.CommitInterval] and one commit. So a task is never taken away in the middle of its work,
// and a rebalance costs no aborted transaction. A member that was fenced all the same (a pause longer than the
// session timeout) learns it when it ends the transaction; its tasks are abandoned.
package stream
