//go:build crash || kafka

package chaos_test

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"earworm/internal/config"
	"earworm/internal/listeners"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the faults and of the world; 0 takes one from the clock")

// seeded prints the seed. It repeats the faults and the world, not the moments: those depend on the machine, too.
func seeded(t *testing.T) (uint64, *rand.Rand) {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	return seed, rand.New(rand.NewPCG(seed, 1))
}

func between(rng *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(rng.Int64N(int64(to-from)))
}

// settings of the processes. The topics of the producers have names of their own so that runs can share a cluster.
func settings(app string, brokers []string, commit time.Duration) config.Config {
	cfg := config.Default()
	cfg.App = app
	cfg.Kafka.Brokers = brokers
	cfg.CommitInterval = commit
	cfg.Topics.Partitions = 4
	cfg.Topics.Events, cfg.Topics.Catalog, cfg.Topics.Users = cfg.App+".events", cfg.App+".catalog", cfg.App+".users"
	cfg.Emit.Chunk = 10 // many transactions for the playlists of a week
	return cfg
}

// world is a small one for half a year: more than any campaign takes.
func world(seed uint64) listeners.Config {
	w := listeners.SmallTest()
	w.Seed, w.Weeks = seed, 26
	w.DuplicateShare, w.LateShare, w.BadShare = .03, .04, .003
	return w
}
