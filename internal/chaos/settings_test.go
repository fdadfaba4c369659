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

var (
	seedFlag  = flag.Uint64("seed", 0, "seed of the faults and of the world; 0 takes one from the clock")
	killsFlag = flag.Int("kills", 0, "how many times a process is killed; 0 is what the test takes in CI")
)

// seeded returns the seed and prints it. It repeats the faults and the world, not the moments: those depend on the machine, too.
func seeded(t *testing.T) uint64 {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	return seed
}

// random is where the faults of a seed come from.
func random(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// progressEvery is how many faults lie between two lines about them.
const progressEvery = 20

func progress(t *testing.T, done, of int) {
	t.Helper()
	if done > 0 && done%progressEvery == 0 {
		t.Logf("%d of %d faults", done, of)
	}
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

// world is a small one of so many weeks.
func world(seed uint64, weeks int) listeners.Config {
	w := listeners.SmallTest()
	w.Seed, w.Weeks = seed, weeks
	w.DuplicateShare, w.LateShare, w.BadShare = .03, .04, .003
	return w
}
