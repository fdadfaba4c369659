// Package broker embeds a Kafka broker (franz-go's kfake) in this process, so that the demo and the tests
// speak the real protocol, with groups and transactions, on a machine that has only Go.
//
// It protects one invariant: what a client saw committed is there again after Close and Start on the same
// directory, or after the process was killed. The directory is locked, so two processes never share one log.
//
// It refuses to be a production broker. Limits found in kfake, which callers rely on knowing:
//
//   - One goroutine serves every request, so throughput ends at about one core.
//   - Records go to the operating system with each produce (write(2)) and are not forced to disk. A kill -9 of
//     the process loses nothing acknowledged; a power cut can. Config.Sync forces every batch, at a price.
//   - EndTxn is not atomic on disk: the commit markers are written partition by partition, then the group
//     offsets, without a transaction log. Killing the broker's process inside that window (microseconds) leaves
//     a transaction committed on some partitions and aborted on others. Tests that kill the broker and demand
//     exactly once need the real Apache Kafka; killing only the clients of an embedded broker is safe.
//   - A transaction open at the crash is aborted at the next start and its producer's epoch goes up by one.
//   - Group membership does not survive a crash: members join again; committed offsets survive.
//   - There is no initial rebalance delay: a group forms with its first member.
//   - An answer to a fetch that reaches the size asked for says nothing of the aborted transactions of its last partition;
//     see Repair, with which answers are bounded by partition only, so one can be as large as all its partitions' bounds together.
//   - Retention looks at record timestamps. Simulated months lie in the past, so time retention is off here
//     (log.retention.ms = -1) unless a topic says otherwise.
//   - Compaction takes the records of an open transaction for committed ones, and an abort then loses what they would have replaced. So
//     it does not run by itself, and a directory grows until it is deleted; a test may call Cluster().Compact while no transaction is open.
package broker
