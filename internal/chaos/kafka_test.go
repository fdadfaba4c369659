//go:build kafka

package chaos_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"earworm/internal/testkit/kafka"
	"earworm/internal/testkit/process"
)

// Faults of the test on Kafka.
const (
	kafkaKills   = 12 // of earworm
	kafkaWipes   = 3  // of them, with the state directory
	kafkaBrokers = 2  // kills of the broker
)

// kafkaLimit is twice what the test takes on a loaded machine, and leaves time for the diagnosis before the test uses up five minutes.
const kafkaLimit = 3*time.Minute + 30*time.Second

// TestKafka runs the whole system on a real Apache Kafka, kills its processes and the broker, and judges by what was produced.
func TestKafka(t *testing.T) {
	seed, rng := seeded(t)
	cluster := kafka.Start(t, kafka.Config{})
	// Topics of their own: an external cluster keeps those of earlier runs.
	cfg := settings("earworm-"+strconv.FormatInt(time.Now().UnixNano(), 36), cluster.Addrs(), 100*time.Millisecond)
	cfg.Kafka.SessionTimeout, cfg.Kafka.TransactionTimeout = 6*time.Second, 4*time.Second // 6 s is the least that brokers take by default
	binary := builder.Binary(t, process.Build{Package: "earworm/cmd/earworm"})
	began := time.Now()
	p := build(t, cfg, binary, 2, kafkaLimit)
	l := newLoad(t, p, world(seed), 800, rng)
	ctx := p.ctx
	done, sent := make(chan struct{}), make(chan error, 1)
	go func() { sent <- l.run(ctx, done) }()
	killed, err := strikeKafka(ctx, p, cluster, rng)
	close(done)
	if err := errors.Join(err, <-sent); err != nil {
		t.Fatal(err, context.Cause(ctx))
	}
	v := judge(t, l)
	t.Logf("%d events (%+v), %d playlists, %d listeners erased; %d kills of earworm, %d with the state directory, %d of the broker, %d own ends, %.0f s",
		l.sent, l.fold.Totals(), v.playlists, l.erased, kafkaKills, kafkaWipes, killed, p.ended, time.Since(began).Seconds())
	v.require(t)
	if len(l.lists) == 0 {
		t.Error("no week has passed: nothing is known of playlists")
	}
	p.retire(t)
	t.Log(v.counts)
}

// strikeKafka kills processes at random moments, and the broker twice in between. The nodes of an external cluster are left alone.
func strikeKafka(ctx context.Context, p *plant, cluster *kafka.Cluster, rng *rand.Rand) (brokers int, err error) {
	for i := range kafkaKills {
		select {
		case <-ctx.Done():
			return brokers, context.Cause(ctx)
		case <-time.After(between(rng, time.Second, 4*time.Second)):
		}
		if _, err := p.kill(rng.IntN(len(p.workers)), i%(kafkaKills/kafkaWipes) == 1); err != nil {
			return brokers, err
		}
		if (i+1)%(kafkaKills/kafkaBrokers) != 0 || cluster.External() {
			continue
		}
		time.Sleep(between(rng, 500*time.Millisecond, 2*time.Second))
		if err := cluster.Kill(1); err != nil {
			return brokers, err
		}
		brokers++
		time.Sleep(between(rng, 200*time.Millisecond, 3*time.Second))
		if err := cluster.Restart(ctx, 1); err != nil {
			return brokers, err
		}
	}
	return brokers, nil
}
