//go:build crash

package chaos_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"earworm/internal/broker"
	"earworm/internal/testkit/process"
)

const (
	crashKills = 60 // in CI
	// roundKills bounds the kills of one round. Each round has a broker, processes and a world of its own, so that neither its topics nor
	// the books of the judge grow with the length of the campaign.
	roundKills     = 100
	instances      = 3
	sessionTimeout = 3 * time.Second
	crashRate      = 12_000  // events a second
	crashWeek      = 400_000 // events of a week: on Mondays nothing is sent until all is learnt, and the kills go on
)

// campaign is a series of faults and the binary they strike.
type campaign struct {
	faults plan
	tags   []string
	commit time.Duration
}

// outcome is what a round did and found.
type outcome struct {
	*verdict
	score
	load *load
}

func TestCrash(t *testing.T) {
	seed := seeded(t)
	var all outcome
	all.verdict = &verdict{}
	for left := cmp.Or(*killsFlag, crashKills); left > 0; left -= roundKills {
		kills := min(left, roundKills)
		t.Run("seed="+strconv.FormatUint(seed, 10), func(t *testing.T) {
			o := run(t, seed, campaign{commit: 50 * time.Millisecond, faults: plan{
				kills: kills, wipes: (kills + 3) / 4, pauses: (kills + 7) / 8, full: (kills + 24) / 25, starved: (kills + 24) / 25,
			}})
			o.require(t)
			o.load.plant.retire(t)
			if o.atWork < o.kills/3 {
				t.Errorf("only %d of %d kills hit a process at work: the pauses are too short for this machine", o.atWork, o.kills)
			}
			if o.inEnd == 0 {
				t.Error("no kill hit a transaction at its end")
			}
			t.Logf("%v; %d playlists, %d tasks taken over", o.score, o.playlists, o.taken)
			t.Log(o.total())
			all.add(o)
		})
		seed++
	}
	t.Logf("%v; %d playlists, %d tasks taken over", all.score, all.playlists, all.taken)
	t.Log(all.total())
}

// TestNegativeControl strikes a binary that applies changes to its local store before Kafka has committed them.
func TestNegativeControl(t *testing.T) {
	seed := seeded(t)
	kills := max(cmp.Or(*killsFlag, crashKills)/2, 1)
	// No lost disks: they would take the evidence with them, as a kill does with what is in memory only. A process that was paused has its
	// transaction aborted and lives on with what it wrote. Short transactions: more of them are at their end when the fault comes.
	o := run(t, seed, campaign{commit: 10 * time.Millisecond, faults: plan{kills: kills, pauses: 3 + kills/10}, tags: []string{"negativecontrol"}})
	if o.differences() == 0 {
		t.Errorf("local state was written before Kafka committed, and %d kills did not show it", o.kills)
	}
	t.Logf("negative control: %v; first: %s", o.verdict, strings.Join(o.notes, "; "))
	t.Log(o.score)
	t.Log(o.total())
}

func run(t *testing.T, seed uint64, c campaign) (o outcome) {
	t.Helper()
	rng := random(seed)
	embedded, err := broker.Start(t.Context(), broker.Config{Dir: filepath.Join(t.TempDir(), "broker")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := embedded.Close(); err != nil {
			t.Error(err)
		}
	})
	ends := slow(embedded)
	cfg := settings("crash", embedded.Addrs(), c.commit)
	cfg.Kafka.SessionTimeout, cfg.Kafka.TransactionTimeout = sessionTimeout, 2*time.Second
	binary := builder.Binary(t, process.Build{Package: "earworm/cmd/earworm", Tags: c.tags})
	began := time.Now()
	var small *disk
	if c.faults.full > 0 {
		small = mount(t)
	}
	p := build(t, cfg, binary, instances, 5*time.Minute+time.Duration(c.faults.kills)*10*time.Second, small)
	w := world(seed, 400)
	w.Listeners, w.Songs, w.EventsPerListenerWeek = 500, 3000, crashWeek/500
	o.load = newLoad(t, p, w, crashRate, rng)
	o.load.uncompacted = true // the embedded broker does not compact
	ctx := p.ctx
	done, sent := make(chan struct{}), make(chan error, 1)
	go func() { sent <- o.load.run(ctx, done) }()
	s := striker{plant: p, disk: small, ends: ends, outages: measure(t, p)}
	err = s.strike(t, c.faults.draw(rng))
	close(done)
	if err := errors.Join(err, <-sent); err != nil {
		t.Fatal(err, context.Cause(ctx))
	}
	t.Log(s.outages)
	o.verdict, o.score = judge(t, o.load), s.score
	o.events, o.erased, o.ended, o.seconds = o.load.sent, o.load.erased, p.ended, time.Since(began).Seconds()
	return o
}

// add sums rounds up.
func (o *outcome) add(other outcome) {
	o.score.add(other.score)
	o.counts = sum(o.counts, other.total())
	o.playlists += other.playlists
	o.taken += other.taken
}

// score counts what was done in a campaign.
type score struct {
	kills, atWork, inEnd, wipes, pauses, full, starved int
	ended                                              int           // own ends for another try
	slowest                                            time.Duration // from a full disk to the end of the process
	events, erased                                     int
	seconds                                            float64
}

func (s *score) add(more score) {
	s.kills += more.kills
	s.atWork += more.atWork
	s.inEnd += more.inEnd
	s.wipes += more.wipes
	s.pauses += more.pauses
	s.full += more.full
	s.starved += more.starved
	s.ended += more.ended
	s.slowest = max(s.slowest, more.slowest)
	s.events += more.events
	s.erased += more.erased
	s.seconds += more.seconds
}

// String is one line about all of it.
func (s score) String() string {
	return fmt.Sprintf("%d events, %d listeners erased; %d kills (%d of them at work, %d inside the end of a transaction, %d with the disk), "+
		"%d stops beyond the session timeout, %d full disks (left within %v), %d without memory, %d own ends, %.0f s",
		s.events, s.erased, s.kills, s.atWork, s.inEnd, s.wipes, s.pauses, s.full, s.slowest.Round(time.Millisecond), s.starved, s.ended, s.seconds)
}
