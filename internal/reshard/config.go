package reshard

import (
	"cmp"
	"errors"
	"time"

	"earworm/consumers/stream"
	"earworm/schemas"
)

var (
	// ErrMembers means that instances are running, or were until a moment ago.
	ErrMembers = errors.New("there are members in the groups")
	// ErrTarget means that the application cannot get that number of partitions.
	ErrTarget = errors.New("cannot reshard to that")
	// ErrNothing means that there is nothing to do.
	ErrNothing = errors.New("nothing to do")
	// ErrChanged means that somebody wrote to the old topics during the move: the next run begins the copy anew.
	ErrChanged = errors.New("the old topics have changed")
	// ErrDiffers means that the copy is not what it must be. The old generation stays in force.
	ErrDiffers = errors.New("the copy differs")
)

// Config says where the application is.
type Config struct {
	App string
	// Topics are those of the first generation.
	Topics        schemas.Topics
	ClientOptions stream.Options
	// Specs says how topics must be.
	Specs func(topics schemas.Topics, partitions int32) []stream.TopicSpec
	// Groups are those that must be empty. Listener and Song are among them.
	Groups []string
	// ListenerGroup reads listens and ticks, SongGroup the updates.
	ListenerGroup, SongGroup string
	// TransactionTimeout is the brokers' bound on a transaction.
	TransactionTimeout time.Duration
	// MembersWait is how long members may take to leave; OpenWait is how long a transaction may take to end.
	MembersWait, OpenWait time.Duration
	// WaitingOnly leaves listens behind that were processed.
	WaitingOnly bool
	// ChunkRecords and ChunkBytes bound a transaction; defaults 10,000 and 8 MiB.
	ChunkRecords, ChunkBytes int
	// Step, if set, is told what is being done; Progress is told about records as they are read.
	Step     func(what string)
	Progress func(records int64)
	Now      func() time.Time
}

func (c Config) withDefaults() Config {
	c.ChunkRecords = cmp.Or(c.ChunkRecords, 10_000)
	c.ChunkBytes = cmp.Or(c.ChunkBytes, 8<<20)
	if c.Step == nil {
		c.Step = func(string) {}
	}
	if c.Progress == nil {
		c.Progress = func(int64) {}
	}
	return c
}

// partitionsMax is the largest number of partitions, as for the setting.
const partitionsMax = 4096
