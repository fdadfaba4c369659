//go:build kafka

package chaos_test

import (
	"cmp"
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
	kafkaKills        = 12 // of earworm, in CI
	kafkaWipesEvery   = 4  // kill, the state directory is lost too
	kafkaBrokersEvery = 6  // kills, the broker is killed once
)

// kafkaLimit is twice what so many kills take on a loaded machine. With those of CI it is 3.5 minutes and leaves time for the diagnosis
// before the test uses up five.
func kafkaLimit(kills int) time.Duration { return 90*time.Second + time.Duration(kills)*10*time.Second }

// TestKafka runs the whole system on a real Apache Kafka, kills its processes and the broker, and judges by what was produced.
func TestKafka(t *testing.T) {
	seed := seeded(t)
	rng := random(seed)
	kills := cmp.Or(*killsFlag, kafkaKills)
	cluster := kafka.Start(t, kafka.Config{})
	// Topics of their own: an external cluster keeps those of earlier runs.
	cfg := settings("earworm-"+strconv.FormatInt(time.Now().UnixNano(), 36), cluster.Addrs(), 100*time.Millisecond)
	cfg.Kafka.SessionTimeout, cfg.Kafka.TransactionTimeout = 6*time.Second, 4*time.Second // 6 s is the least that brokers take by default
	binary := builder.Binary(t, process.Build{Package: "earworm/cmd/earworm"})
	began := time.Now()
	p := build(t, cfg, binary, 2, kafkaLimit(kills), nil)
	l := newLoad(t, p, world(seed, 26+kills/2), 800, rng)
	ctx := p.ctx
	done, sent := make(chan struct{}), make(chan error, 1)
	go func() { sent <- l.run(ctx, done) }()
	killed, err := strikeKafka(t, p, cluster, rng, kills)
	close(done)
	if err := errors.Join(err, <-sent); err != nil {
		t.Fatal(err, context.Cause(ctx))
	}
	v := judge(t, l)
	t.Logf("%d events (%+v), %d playlists, %d listeners erased; %d kills of earworm, %d with the state directory, %d of the broker, %d own ends, %.0f s",
		l.sent, l.fold.Totals(), v.playlists, l.erased, kills, (kills+2)/kafkaWipesEvery, killed, p.ended, time.Since(began).Seconds())
	v.require(t)
	if len(l.lists) == 0 {
		t.Error("no week has passed: nothing is known of playlists")
	}
	p.retire(t)
	t.Log(v.total())
}

// strikeKafka kills processes at random moments, and the broker twice in between. The nodes of an external cluster are left alone.
func strikeKafka(t *testing.T, p *plant, cluster *kafka.Cluster, rng *rand.Rand, kills int) (brokers int, err error) {
	t.Helper()
	ctx := p.ctx
	for i := range kills {
		progress(t, i, kills)
		select {
		case <-ctx.Done():
			return brokers, context.Cause(ctx)
		case <-time.After(between(rng, time.Second, 4*time.Second)):
		}
		if _, err := p.kill(rng.IntN(len(p.workers)), i%kafkaWipesEvery == 1); err != nil {
			return brokers, err
		}
		if (i+1)%kafkaBrokersEvery != 0 || cluster.External() {
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
