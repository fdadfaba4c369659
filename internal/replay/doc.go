// Package replay runs the tasks of the listener and song roles in one process, without Kafka and without a disk: what serve runs on a
// stream, replay runs over a history, as fast as it can and with the same result every time.
//
// Each shard stands for one instance of earworm: a table of factors, a ranker and the listener task of one partition. Song rows are
// sharded by song and published to all shards. A batch of events is one transaction of every listener task; the changes of
// songs that it made are applied in the next batch, at the same time as that one is learnt, and published at its end: so
// both cores work, and what a shard knows of the others is late by a stated number of batches.
package replay
