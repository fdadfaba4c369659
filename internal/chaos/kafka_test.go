//go:build kafka

package chaos_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"earworm/internal/testkit/kafka"
	"earworm/internal/testkit/oracle"
	"earworm/internal/testkit/process"
)

// Faults of the test on Kafka.
const (
	kafkaKills        = 12              // of earworm, in CI
	kafkaWipesEvery   = 4               // kills, the state directory is lost too
	kafkaBrokersEvery = 4               // kills, the only broker is struck once: with SIGKILL and SIGTERM in turn
	kafkaPausesEvery  = 10              // kills, a process is stopped beyond its session
	kafkaRollsEvery   = 10              // kills, the nodes of three are restarted one after the other: with SIGTERM and SIGKILL in turn
	kafkaSession      = 6 * time.Second // the least that brokers take by default
	kafkaRate         = 2000            // events a second
)

// kafkaLimit is some times what so many faults take on a loaded machine. With those of CI both campaigns together stay below the time limit
// of the tests, so that there is a diagnosis.
func kafkaLimit(kills int) time.Duration { return 3*time.Minute + time.Duration(kills)*25*time.Second }

// besiege strikes the workers and the nodes of a plant.
type besiege func(s *besieger, ctx context.Context, kills int) error //nolint:revive // a method of besieger

// TestKafka runs the whole system on a real Apache Kafka, strikes its processes and the brokers, and judges by what was produced: on one
// node, which takes everything down with it, and on three, each of which can be missed.
func TestKafka(t *testing.T) {
	seed := seeded(t)
	kills := cmp.Or(*killsFlag, kafkaKills)
	var all []oracle.Result
	t.Run("nodes=1", func(t *testing.T) {
		cluster := kafka.Start(t, kafka.Config{})
		all = append(all, siege(t, cluster, 1, seed, kills, (*besieger).single))
	})
	t.Run("nodes=3", func(t *testing.T) {
		cluster := kafka.Start(t, kafka.Config{Nodes: 3, HeapMiB: 384})
		cluster.NeedsNodes(t)
		all = append(all, siege(t, cluster, 3, seed+1, kills, (*besieger).rolling))
	})
	if len(all) > 0 {
		t.Log(sum(all...))
	}
}

func siege(t *testing.T, cluster *kafka.Cluster, nodes int, seed uint64, kills int, strike besiege) oracle.Result {
	t.Helper()
	rng := random(seed)
	// Topics of their own: an external cluster keeps those of earlier runs.
	cfg := settings("earworm-"+strconv.FormatInt(time.Now().UnixNano(), 36), cluster.Addrs(), 100*time.Millisecond)
	cfg.Kafka.SessionTimeout, cfg.Kafka.TransactionTimeout = kafkaSession, 4*time.Second
	cfg.Topics.ReplicationFactor = nodes
	binary := builder.Binary(t, process.Build{Package: "earworm/cmd/earworm"})
	began := time.Now()
	p := build(t, cfg, binary, 2, kafkaLimit(kills), nil)
	w := world(seed, 400)
	w.EventsPerListenerWeek = 200
	l := newLoad(t, p, w, kafkaRate, rng)
	ctx := p.ctx
	done, sent := make(chan struct{}), make(chan error, 1)
	go func() { sent <- l.run(ctx, done) }()
	s := &besieger{plant: p, cluster: cluster, rng: rng, outages: measure(t, p), log: t.Logf}
	err := strike(s, ctx, kills)
	close(done)
	if err := errors.Join(err, s.lasting.Wait(), <-sent); err != nil {
		t.Fatal(err, context.Cause(ctx))
	}
	v := judge(t, l)
	t.Logf("%d events (%+v), %d playlists, %d listeners erased; %v; %d hanging transactions ended, %d own ends, %.0f s%v",
		l.sent, l.fold.Totals(), v.playlists, l.erased, s, p.logged("ended a transaction that its coordinator had left open"), p.ended,
		time.Since(began).Seconds(), s.outages)
	v.require(t)
	if len(l.lists) == 0 {
		t.Error("no week has passed: nothing is known of playlists")
	}
	if p99, of := s.outages.worst(); of >= outageSamples && p99 > outageMost {
		t.Errorf("the 99th percentile of %d times until progress is %v, want at most %v", of, p99, outageMost)
	}
	p.retire(t)
	t.Log(v.total())
	return v.total()
}

// outageMost bounds the 99th percentile of the time until progress, where there are enough of them to speak of one.
const (
	outageMost    = 30 * time.Second
	outageSamples = 100
)

// logged counts what the workers have logged.
func (p *plant) logged(text string) (n int) {
	for _, w := range p.workers {
		raw, err := os.ReadFile(w.log)
		if err != nil {
			continue // a worker that never started has failed the test already
		}
		n += bytes.Count(raw, []byte(text))
	}
	return n
}

// besieger deals the faults out and counts them.
type besieger struct {
	plant   *plant
	cluster *kafka.Cluster
	rng     *rand.Rand
	outages *outages
	log     func(format string, values ...any)
	lasting errgroup.Group

	kills, atWork, wipes       int
	pauses                     int
	brokersKilled, brokersQuit int
	rolls                      int
}

// String says what was done.
func (s *besieger) String() string {
	return fmt.Sprintf("%d kills of earworm (%d at work, %d with the disk), %d stops beyond the session timeout, %d SIGKILL and %d SIGTERM of a broker, %d rolling restarts",
		s.kills, s.atWork, s.wipes, s.pauses, s.brokersKilled, s.brokersQuit, s.rolls)
}

// single kills workers at random moments, and the only broker in between. The node of an external cluster is left alone.
func (s *besieger) single(ctx context.Context, kills int) error {
	for i := range kills {
		if i > 0 && i%progressEvery == 0 {
			s.log("%d of %d kills", i, kills)
		}
		if err := s.worker(ctx, i); err != nil {
			return err
		}
		if (i+1)%kafkaBrokersEvery != 0 || s.cluster.External() {
			continue
		}
		if err := s.pass(ctx, 500*time.Millisecond, 2*time.Second); err != nil {
			return err
		}
		if err := s.down(1, (i/kafkaBrokersEvery)%2 == 0); err != nil {
			return err
		}
		if err := s.pass(ctx, 200*time.Millisecond, 3*time.Second); err != nil {
			return err
		}
		if err := s.cluster.Restart(ctx, 1); err != nil {
			return err
		}
		if (i/kafkaBrokersEvery)%4 < 2 { // after others the next kill comes at once
			if err := s.outages.over(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// rolling restarts three nodes one after the other, again and again, and kills a worker before each node or while it is down.
func (s *besieger) rolling(ctx context.Context, kills int) error {
	for roll := range max(kills/kafkaRollsEvery, 1) {
		for _, node := range s.rng.Perm(3) {
			if err := s.renew(ctx, node+1, roll%2 == 1); err != nil {
				return err
			}
		}
		s.rolls++
		s.log("%d rolling restarts", s.rolls)
	}
	return nil
}

// renew restarts one node of three, and returns when the next one may follow: when all replicas are in sync and all is processed again.
func (s *besieger) renew(ctx context.Context, node int, hard bool) error {
	before := s.rng.IntN(2) == 0
	if before {
		if err := s.worker(ctx, s.kills); err != nil {
			return err
		}
	}
	if err := s.down(node, hard); err != nil {
		return err
	}
	if !before {
		if err := s.worker(ctx, s.kills); err != nil {
			return err
		}
	}
	if err := s.cluster.Restart(ctx, node); err != nil {
		return err
	}
	if err := s.cluster.AwaitInSync(ctx); err != nil {
		return err
	}
	return s.outages.over(ctx)
}

// worker waits a while and kills one worker. Now and then another is stopped as well, and goes on while the next faults strike.
func (s *besieger) worker(ctx context.Context, i int) error {
	if err := s.pass(ctx, time.Second, 4*time.Second); err != nil {
		return err
	}
	if i%kafkaPausesEvery == kafkaPausesEvery-1 {
		w, d := s.plant.seize(s.plant.free(s.rng.IntN(len(s.plant.workers)))), between(s.rng, kafkaSession, 2*kafkaSession)
		s.pauses++
		s.lasting.Go(func() error {
			_, err := s.plant.pause(w, d)
			return err
		})
	}
	wipe, n := i%kafkaWipesEvery == 1, s.rng.IntN(len(s.plant.workers))
	victim := s.plant.free(n)
	if s.rng.IntN(4) > 0 { // starting and restoring are moments, too
		victim = s.plant.working(n, workPatience)
	}
	s.outages.struck(faultWorker)
	atWork, err := s.plant.kill(victim, wipe)
	if err != nil {
		return err
	}
	if atWork {
		s.atWork++
	}
	s.kills++
	if wipe {
		s.wipes++
	}
	return nil
}

// down ends a node, hard or in peace.
func (s *besieger) down(node int, hard bool) error {
	if hard {
		s.outages.struck(faultKill)
		s.brokersKilled++
		return s.cluster.Kill(node)
	}
	s.outages.struck(faultQuit)
	s.brokersQuit++
	return s.cluster.Stop(node)
}

func (s *besieger) pass(ctx context.Context, from, to time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(between(s.rng, from, to)):
		return nil
	}
}
