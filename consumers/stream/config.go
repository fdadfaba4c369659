package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
)

// DefaultWorkers is the number of tasks that process at the same time where Config does not say.
const DefaultWorkers = 2

// Config describes one role of one process. The zero value of a field means its default.
type Config struct {
	// App prefixes the group and the transactional id: group "<app>-<role>".
	App  string
	Role string
	// InstanceID is stable over restarts and unique in the group: static membership and the transactional id rest
	// on it. Two live processes with one InstanceID fence each other.
	InstanceID string
	// Inputs are the topics consumed. Partition p of every input goes to task p; inputs of a role with state must
	// have the same partition count.
	Inputs []string
	// Changelog is the compacted topic with the state of the tasks; empty for a role without state.
	Changelog string
	// Partitions is the number of partitions of Inputs and Changelog; only a role with state needs it.
	Partitions int32
	// Outputs are the topics that tasks emit to, besides Changelog and DeadLetters; any other is refused. They must be known
	// before a task runs: see session.mend.
	Outputs []string
	// DeadLetters is the topic of records that cannot be processed.
	DeadLetters string
	// DeadLetterStyle is the dialect of their headers; the default is that of Kafka Streams.
	DeadLetterStyle HeaderStyle

	// OpenStore opens the local store of a task; nil for a role without state. It may be called again for the same
	// partition after the previous store was closed.
	OpenStore func(ctx context.Context, partition int32) (Store, error)
	// Admit, if set, is asked after this member has joined and before a task gets its first record: the group alone cannot tell
	// whether anybody should work at all. ErrNotAdmitted ends Run, another error is tried again.
	Admit func(ctx context.Context) error
	// JoinAfter, if set, keeps this member out of the group until it is closed. Transactions that an earlier process of this instance left
	// open are ended meanwhile: whoever closes it may be waiting for what is in them.
	JoinAfter <-chan struct{}
	// NewTask makes the task of a partition on its restored store (nil for a role without state).
	NewTask func(partition int32, store Store) (Task, error)
	// ClientOptions are applied to every Kafka client of the runtime: brokers, TLS, SASL, hooks, see ClientOptions.
	ClientOptions []kgo.Opt

	// CommitInterval bounds the age of a transaction while the role keeps up. Default 200 ms; it is the floor of the
	// output latency.
	CommitInterval time.Duration
	// CommitIntervalMax bounds it while the role is behind. Default five times CommitInterval, at most a third of
	// TransactionTimeout.
	CommitIntervalMax time.Duration
	// TransactionTimeout is the broker's bound on a transaction; below SessionTimeout. Default 10 s.
	TransactionTimeout time.Duration
	// SessionTimeout is the group's. Default 15 s.
	SessionTimeout time.Duration
	// RebalanceTimeout is how long the group waits for this member. Default 30 s.
	RebalanceTimeout time.Duration
	// HeartbeatInterval is the group's. Default 3 s.
	HeartbeatInterval time.Duration
	// BufferBytesMax ends a transaction early when its changes and outputs are larger. Default 64 MiB.
	BufferBytesMax int
	// PollRecordsMax bounds the records of one poll. Default 20,000.
	PollRecordsMax int
	// Workers is the number of tasks that process at the same time. Default 2.
	Workers int
	// RestoreWorkers is the number of tasks that restore at the same time. Default 3.
	RestoreWorkers int
	// RestoreBatch is the number of records per restored store batch. Default 10,000.
	RestoreBatch int
	// StoreMaxAge is the age from which a store is wiped: half of the changelog's delete.retention.ms, because an
	// older one may miss tombstones that are gone from the topic. 0 means never.
	StoreMaxAge time.Duration
	// DeadLetterBytesMax is the size above which a dead letter becomes a stub. Default 900 KiB.
	DeadLetterBytesMax int
	// DecompressedBytesMax is the largest batch that is decompressed; a larger one is skipped. Default 16 MiB.
	DecompressedBytesMax int
	// BackoffMin and BackoffMax bound the wait before a session is started anew. Defaults 200 ms and 15 s.
	BackoffMin, BackoffMax time.Duration
	// FencedMax is how many times in a row, with no commit between, the runtime rejoins after it was fenced before
	// Run gives up with ErrFenced. Default 5.
	FencedMax int

	// watchLeast is the least time between two looks of the watch; only tests set it.
	watchLeast time.Duration
	// localFirst applies changes to the store before the Kafka commit. It is wrong on purpose: the negative control
	// of the crash test, set only by tests and by the build tag negativecontrol.
	localFirst bool
}

// Deps are what a Runtime needs from its process.
type Deps struct {
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// closed keeps nobody waiting.
var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// withDefaults fills the zero fields.
func (c Config) withDefaults() Config {
	setDuration := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	setInt := func(n *int, def int) {
		if *n == 0 {
			*n = def
		}
	}
	setDuration(&c.CommitInterval, 200*time.Millisecond)
	setDuration(&c.TransactionTimeout, 10*time.Second)
	setDuration(&c.CommitIntervalMax, max(c.CommitInterval, min(5*c.CommitInterval, c.TransactionTimeout/3)))
	setDuration(&c.SessionTimeout, 15*time.Second)
	setDuration(&c.RebalanceTimeout, 30*time.Second)
	setDuration(&c.HeartbeatInterval, 3*time.Second)
	setDuration(&c.BackoffMin, 200*time.Millisecond)
	setDuration(&c.BackoffMax, 15*time.Second)
	setInt(&c.BufferBytesMax, 64<<20)
	setInt(&c.PollRecordsMax, 20_000)
	setInt(&c.Workers, DefaultWorkers)
	setInt(&c.RestoreWorkers, 3)
	setInt(&c.RestoreBatch, 10_000)
	setInt(&c.DeadLetterBytesMax, 900<<10)
	setInt(&c.DecompressedBytesMax, 16<<20)
	setInt(&c.FencedMax, 5)
	setDuration(&c.watchLeast, watchLeast)
	if c.JoinAfter == nil {
		c.JoinAfter = closed
	}
	c.localFirst = c.localFirst || localFirstBuild
	return c
}

// Validate reports every problem of the configuration at once.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	need(c.App != "" && c.Role != "", "app and role must be set")
	need(c.InstanceID != "", "instance id must be set: static membership needs a stable one")
	need(len(c.Inputs) > 0, "no input topic")
	need(c.DeadLetters != "", "no dead-letter topic")
	need(c.DeadLetterStyle < headerStyles, "unknown style of dead-letter headers")
	need(c.NewTask != nil, "no task constructor")
	need((c.Changelog == "") == (c.OpenStore == nil), "a changelog needs a store and a store needs a changelog")
	need(c.Changelog == "" || c.Partitions > 0, "a role with state needs its partition count")
	need(c.TransactionTimeout < c.SessionTimeout,
		"transaction timeout %v must be below session timeout %v", c.TransactionTimeout, c.SessionTimeout)
	need(c.CommitInterval < c.TransactionTimeout/2,
		"commit interval %v must be below half the transaction timeout %v", c.CommitInterval, c.TransactionTimeout)
	need(c.CommitIntervalMax >= c.CommitInterval && c.CommitIntervalMax < c.TransactionTimeout/2,
		"longest commit interval %v must lie between commit interval %v and half the transaction timeout %v",
		c.CommitIntervalMax, c.CommitInterval, c.TransactionTimeout)
	need(c.HeartbeatInterval*3 <= c.SessionTimeout,
		"heartbeat interval %v must be at most a third of session timeout %v", c.HeartbeatInterval, c.SessionTimeout)
	need(c.Workers > 0 && c.RestoreWorkers > 0 && c.PollRecordsMax > 0 && c.RestoreBatch > 0,
		"workers, restore workers, poll records and restore batch must be positive")
	need(c.StoreMaxAge >= 0, "store max age must not be negative")
	return errors.Join(errs...)
}

// Group returns the consumer group of the role.
func (c Config) Group() string { return c.App + "-" + c.Role }

// transactionalID is unique per role and instance; a restart of the same instance fences its predecessor with it.
func (c Config) transactionalID() string { return c.Group() + "-" + c.InstanceID }

// endTimeout bounds the end of a transaction: brokers have given it up by then.
func (c Config) endTimeout() time.Duration { return c.TransactionTimeout + 5*time.Second }

// stateful reports whether the role keeps state.
func (c Config) stateful() bool { return c.OpenStore != nil }
