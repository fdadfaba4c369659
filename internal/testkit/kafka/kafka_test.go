//go:build kafka

package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"earworm/internal/testkit/kafka"
)

const stepTimeout = time.Minute

func client(t *testing.T, cluster *kafka.Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(cluster.Addrs()...), kgo.MetadataMinAge(100 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// topic makes a topic of its own: an external cluster keeps those of earlier runs.
func topic(t *testing.T, cluster *kafka.Cluster, replicas int16) string {
	t.Helper()
	name := "earworm-kit-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	admin := kadm.NewClient(client(t, cluster))
	if _, err := admin.CreateTopic(t.Context(), partitions, replicas, nil, name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cluster.External() {
			_, _ = admin.DeleteTopic(context.WithoutCancel(t.Context()), name)
		}
	})
	return name
}

// produce writes the values in one transaction, and commits or aborts it.
func produce(t *testing.T, cl *kgo.Client, topic string, end kgo.TransactionEndTry, values ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), stepTimeout)
	defer cancel()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for _, value := range values {
		record := &kgo.Record{Topic: topic, Key: []byte(value), Value: []byte(value)}
		if err := cl.ProduceSync(ctx, record).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if err := cl.EndTransaction(ctx, end); err != nil {
		t.Fatal(err)
	}
}

// partitions is how many each test topic has.
const partitions = 3

// mark commits one record to every partition and returns its value: a reader that has seen all of them has seen what was
// written before, in each partition.
func mark(t *testing.T, cluster *kafka.Cluster, topic string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), stepTimeout)
	defer cancel()
	value := "mark-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	cl := client(t, cluster, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for partition := range int32(partitions) {
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: partition, Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	return value
}

// expect reads all committed records of the topic and compares them, apart from marks, with want.
func expect(t *testing.T, cluster *kafka.Cluster, topic string, want ...string) {
	t.Helper()
	last := mark(t, cluster, topic)
	ctx, cancel := context.WithTimeout(t.Context(), stepTimeout)
	defer cancel()
	cl := client(t, cluster, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	got := make(map[string]int)
	for got[last] < partitions {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("read only %v", slices.Sorted(maps.Keys(got)))
		}
		fetches.EachRecord(func(r *kgo.Record) { got[string(r.Value)]++ })
	}
	maps.DeleteFunc(got, func(value string, _ int) bool { return strings.HasPrefix(value, "mark-") })
	slices.Sort(want)
	if have := slices.Sorted(maps.Keys(got)); !slices.Equal(have, want) {
		t.Errorf("read %v, want %v", have, want)
	}
	for value, times := range got {
		if times != 1 {
			t.Errorf("read %q %d times", value, times)
		}
	}
}

func numbered(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s-%02d", prefix, i)
	}
	return all
}

func TestOneNode(t *testing.T) {
	start := time.Now()
	cluster := kafka.Start(t, kafka.Config{})
	t.Logf("usable after %v", time.Since(start))
	name := topic(t, cluster, 1)
	producer := client(t, cluster, kgo.TransactionalID(name+"-a"), kgo.TransactionTimeout(10*time.Second))
	committed := numbered("first", 20)
	produce(t, producer, name, kgo.TryCommit, committed...)
	produce(t, producer, name, kgo.TryAbort, numbered("aborted", 20)...)
	committed = append(committed, "after-abort")
	produce(t, producer, name, kgo.TryCommit, "after-abort")
	expect(t, cluster, name, slices.Clone(committed)...)

	cluster.NeedsNodes(t)
	for _, end := range []func(){func() { cluster.MustKill(t, 1) }, func() { cluster.MustStop(t, 1) }} {
		end()
		if cluster.PID(1) != 0 {
			t.Error("the node has a process id although it is down")
		}
		if err := cluster.Kill(1); !errors.Is(err, kafka.ErrDown) {
			t.Errorf("Kill of a dead node: %v, want ErrDown", err)
		}
		restart := time.Now()
		cluster.MustRestart(t, 1)
		t.Logf("usable %v after its end", time.Since(restart))
		expect(t, cluster, name, slices.Clone(committed)...)
		// The same producer goes on: its coordinator has kept its epoch.
		value := "after-restart-" + strconv.Itoa(len(committed))
		committed = append(committed, value)
		produce(t, producer, name, kgo.TryCommit, value)
		expect(t, cluster, name, slices.Clone(committed)...)
	}
	if err := cluster.Restart(t.Context(), 1); !errors.Is(err, kafka.ErrRunning) {
		t.Errorf("Restart of a running node: %v, want ErrRunning", err)
	}
}

func TestThreeNodes(t *testing.T) {
	start := time.Now()
	cluster := kafka.Start(t, kafka.Config{Nodes: 3, HeapMiB: 256})
	cluster.NeedsNodes(t)
	t.Logf("usable after %v", time.Since(start))
	name := topic(t, cluster, 3)
	producer := client(t, cluster, kgo.TransactionalID(name+"-a"), kgo.TransactionTimeout(10*time.Second))
	committed := numbered("first", 10)
	produce(t, producer, name, kgo.TryCommit, committed...)
	cluster.MustKill(t, 2)
	second := numbered("without-node-2", 10)
	produce(t, producer, name, kgo.TryCommit, second...)
	committed = append(committed, second...)
	expect(t, cluster, name, slices.Clone(committed)...)

	// The whole cluster dies; no node has a quorum alone, so one call starts all.
	cluster.MustKill(t, 1)
	cluster.MustKill(t, 3)
	restart := time.Now()
	cluster.MustRestart(t)
	t.Logf("all usable %v after their end", time.Since(restart))
	expect(t, cluster, name, slices.Clone(committed)...)
	produce(t, producer, name, kgo.TryCommit, "after-restart")
	expect(t, cluster, name, append(slices.Clone(committed), "after-restart")...)
}

// A running cluster is found by its address, and may then not be killed.
func TestExternal(t *testing.T) {
	own := kafka.Start(t, kafka.Config{HeapMiB: 256})
	t.Setenv(kafka.BrokersVar, own.Bootstrap())
	cluster := kafka.Start(t, kafka.Config{})
	if !cluster.External() || cluster.Bootstrap() != own.Bootstrap() {
		t.Fatalf("external = %v at %s, want %s", cluster.External(), cluster.Bootstrap(), own.Bootstrap())
	}
	name := topic(t, cluster, 1)
	produce(t, client(t, cluster, kgo.TransactionalID(name)), name, kgo.TryCommit, "one")
	expect(t, cluster, name, "one")
	for _, err := range []error{cluster.Kill(1), cluster.Stop(1), cluster.Restart(t.Context())} {
		if !errors.Is(err, kafka.ErrExternal) {
			t.Errorf("error = %v, want ErrExternal", err)
		}
	}
}
