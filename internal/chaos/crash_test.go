//go:build crash

package chaos_test

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"earworm/internal/broker"
	"earworm/internal/testkit/process"
)

// campaign is a series of faults.
type campaign struct {
	kills, wipes, pauses int
	tags                 []string
	commit               time.Duration
	rate                 int
}

// fault is one of them.
type fault struct {
	wait   time.Duration
	victim int
	wipe   bool
	pause  time.Duration // 0: kill
}

const (
	crashKills     = 60
	instances      = 2
	sessionTimeout = 3 * time.Second
)

// outcome is what a campaign did and found.
type outcome struct {
	*verdict
	load                       *load
	kills, atWork, wipes, stop int
	seconds                    float64
}

func TestCrash(t *testing.T) {
	kills := cmp.Or(*killsFlag, crashKills)
	o := run(t, campaign{
		kills: kills, wipes: (kills + 3) / 4, pauses: (kills + 9) / 10, commit: 50 * time.Millisecond, rate: 1500,
	})
	o.require(t)
	o.load.plant.retire(t)
	if o.atWork < o.kills/3 {
		t.Errorf("only %d of %d kills hit a process at work: the pauses are too short for this machine", o.atWork, o.kills)
	}
	t.Log(o.total())
}

// TestNegativeControl runs the same campaign on a binary that applies changes to its local store before Kafka has committed them.
func TestNegativeControl(t *testing.T) {
	kills := max(cmp.Or(*killsFlag, crashKills)/2, 1)
	// No lost disks: they would take the evidence with them, as a kill does with what is in memory only. A process that was paused has its
	// transaction aborted and lives on with what it wrote. Short transactions: more of them are at their end when the fault comes.
	o := run(t, campaign{kills: kills, pauses: 3 + kills/10, tags: []string{"negativecontrol"}, commit: 10 * time.Millisecond, rate: 1500})
	if o.differences() == 0 {
		t.Errorf("local state was written before Kafka committed, and %d kills did not show it", o.kills)
	}
	t.Logf("negative control: %v; first: %s", o.verdict, strings.Join(o.notes, "; "))
	t.Log(o.total())
}

func run(t *testing.T, c campaign) outcome {
	t.Helper()
	seed, rng := seeded(t)
	embedded, err := broker.Start(t.Context(), broker.Config{Dir: filepath.Join(t.TempDir(), "broker")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := embedded.Close(); err != nil {
			t.Error(err)
		}
	})
	slow(embedded)
	cfg := settings("crash", embedded.Addrs(), c.commit)
	cfg.Kafka.SessionTimeout, cfg.Kafka.TransactionTimeout = sessionTimeout, 2*time.Second
	binary := builder.Binary(t, process.Build{Package: "earworm/cmd/earworm", Tags: c.tags})
	began := time.Now()
	p := build(t, cfg, binary, instances, 3*time.Minute+time.Duration(c.kills)*3*time.Second)
	l := newLoad(t, p, world(seed, c.kills), c.rate, rng)
	o := outcome{load: l}
	t.Cleanup(func() {
		t.Logf("%d events (%+v), %d playlists, %d listeners erased; %d kills, %d of them at work, %d lost disks, %d stops beyond the session timeout, "+
			"%d own ends, %.0f s", l.sent, l.fold.Totals(), o.playlists, l.erased, o.kills, o.atWork, o.wipes, o.stop, p.ended, o.seconds)
	})
	ctx := p.ctx
	done, sent := make(chan struct{}), make(chan error, 1)
	go func() { sent <- l.run(ctx, done) }()
	err = o.strike(t, p, c.plan(rng))
	close(done)
	if err := errors.Join(err, <-sent); err != nil {
		t.Fatal(err, context.Cause(ctx))
	}
	o.verdict = judge(t, l)
	o.seconds = time.Since(began).Seconds()
	return o
}

// commitDelay is what replication over slow disks costs a real broker. It makes the most delicate moment, between the last change of a
// transaction and its commit, long enough to be hit.
const commitDelay = 100 * time.Millisecond

// slow delays the second last step of every commit.
func slow(b *broker.Broker) {
	cluster := b.Cluster()
	cluster.ControlKey(kmsg.TxnOffsetCommit.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		cluster.SleepControl(func() { time.Sleep(commitDelay) })
		return nil, nil, false
	})
}

// plan draws the faults.
func (c campaign) plan(rng *rand.Rand) []fault {
	faults := make([]fault, c.kills+c.pauses)
	for i := range faults {
		faults[i].wipe = i < c.wipes
		if i >= c.kills {
			faults[i].pause = sessionTimeout + between(rng, 500*time.Millisecond, 1500*time.Millisecond)
		}
	}
	rng.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
	for i := range faults {
		faults[i].victim = rng.IntN(instances)
		faults[i].wait = between(rng, 200*time.Millisecond, 1500*time.Millisecond)
	}
	return faults
}

func (o *outcome) strike(t *testing.T, p *plant, faults []fault) error {
	t.Helper()
	for i, f := range faults {
		progress(t, i, len(faults))
		select {
		case <-p.ctx.Done():
			return context.Cause(p.ctx)
		case <-time.After(f.wait):
		}
		if f.pause > 0 {
			if err := p.pause(f.victim, f.pause); err != nil {
				return err
			}
			o.stop++
			continue
		}
		atWork, err := p.kill(f.victim, f.wipe)
		if err != nil {
			return err
		}
		o.kills++
		if atWork {
			o.atWork++
		}
		if f.wipe {
			o.wipes++
		}
	}
	return nil
}
