package kafka

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// BrokersVar names the environment variable that holds the addresses, separated by commas, of a cluster to use instead of
// starting one.
const BrokersVar = "EARWORM_TEST_KAFKA"

// Start gives a test or benchmark a usable cluster that ends with it, or the external one that BrokersVar names. It skips, with the
// reason, where Kafka cannot be run; the logs of the nodes lie in the test's artifact folder, and their ends are printed when
// the test fails. An empty cfg.Dir becomes a temporary folder.
func Start(tb testing.TB, cfg Config) *Cluster {
	tb.Helper()
	if env := os.Getenv(BrokersVar); env != "" && len(cfg.External) == 0 {
		cfg.External = strings.Split(env, ",")
	}
	if cfg.Dir == "" {
		cfg.Dir = tb.TempDir()
	}
	if cfg.LogDir == "" {
		cfg.LogDir = tb.ArtifactDir()
	}
	cluster, err := Launch(tb.Context(), cfg)
	if errors.Is(err, ErrUnavailable) {
		tb.Skipf("SKIPPED: %v", err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			tb.Error(err)
		}
		if !tb.Failed() {
			return
		}
		for i := range cluster.nodes {
			tb.Logf("the end of %s:\n%s", cluster.Log(i+1), cluster.Tail(i+1, 30))
		}
	})
	return cluster
}

// NeedsNodes skips a test that kills or restarts nodes when the cluster is external.
func (c *Cluster) NeedsNodes(tb testing.TB) {
	tb.Helper()
	if c.External() {
		tb.Skipf("SKIPPED: %s names an external cluster, whose nodes this test may not kill", BrokersVar)
	}
}

// MustKill is Kill for tests: it ends the test on an error.
func (c *Cluster) MustKill(tb testing.TB, id int) {
	tb.Helper()
	if err := c.Kill(id); err != nil {
		tb.Fatal(err)
	}
}

// MustStop is Stop for tests: it ends the test on an error.
func (c *Cluster) MustStop(tb testing.TB, id int) {
	tb.Helper()
	if err := c.Stop(id); err != nil {
		tb.Fatal(err)
	}
}

// MustRestart is Restart for tests: it ends the test on an error.
func (c *Cluster) MustRestart(tb testing.TB, ids ...int) {
	tb.Helper()
	if err := c.Restart(tb.Context(), ids...); err != nil {
		tb.Fatal(err)
	}
}
