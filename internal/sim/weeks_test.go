//go:build synctests

package sim_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"earworm/consumers/feed"
	"earworm/consumers/stream"
	"earworm/internal/broker"
	"earworm/internal/config"
	"earworm/internal/service"
	"earworm/state"
)

const (
	weeksInCI     = 12
	peopleCount   = 240
	tastes        = 6
	songsPerTaste = 120
	partitions    = 4
	tracks        = 30
	// chunk makes the emission of a zone many transactions: thirty listeners of Berlin in each partition are fifteen of them.
	chunk = 2
	// slot is how often what people did is sent.
	slot = 6 * time.Hour
	week = 7 * 24 * time.Hour

	// The intervals of an idle system are stretched, or twelve weeks would be nothing but heartbeats. What happens in a
	// transaction keeps the timeouts of production.
	tickInterval   = 15 * time.Minute
	sessionTimeout = 30 * time.Minute
	fetchWait      = 10 * time.Minute
)

// faultKind is what happens in the middle of an emission.
type faultKind int

const (
	killed    faultKind = iota // the process dies
	gone                       // it dies with its disk
	removed                    // it is stopped and taken out of the groups, so that they rebalance at once
	joining                    // it was stopped the day before, and comes back in the middle
	unplugged                  // the power goes, and with it some of what was not synced
	faultKinds
)

func (k faultKind) String() string {
	return [...]string{"killed", "killed, disk lost", "removed", "joining", "unplugged"}[k]
}

// fault is one entry of the plan.
type fault struct {
	week     int
	zone     string
	kind     faultKind
	instance int
	back     time.Duration // until the instance is started again
}

// plan has a crash in the weeks of both changes to daylight saving, and rebalances in others. After the weeks of CI, whose faults are the same
// each time, the seed chooses: a fault in two weeks of three, and one each in the weeks in which daylight saving ends.
func plan(weeks int) []fault {
	faults := []fault{
		{week: 2, zone: kathmandu, kind: killed, instance: 0, back: 3 * time.Hour},
		{week: 4, zone: berlin, kind: removed, instance: 1, back: 2 * time.Hour},
		{week: 5, zone: berlin, kind: killed, instance: 0, back: 10 * time.Second}, // daylight saving begins in Europe
		{week: 6, zone: newYork, kind: gone, instance: 1, back: time.Minute},       // and in New York
		{week: 8, zone: berlin, kind: joining, instance: 0},
		{week: 10, zone: berlin, kind: gone, instance: 1, back: 5 * time.Hour},
		{week: 11, zone: newYork, kind: unplugged, instance: 0, back: time.Hour},
	}
	rng := rand.New(rand.NewPCG(*seedFlag, 3))
	for week := weeksInCI; week < weeks; week++ {
		if rng.IntN(3) == 0 && week != dstEnds {
			continue
		}
		faults = append(faults, fault{
			week: week, zone: []string{berlin, newYork, kathmandu}[rng.IntN(3)], kind: faultKind(rng.IntN(int(faultKinds))), instance: rng.IntN(2),
			back: time.Duration(rng.Int64N(int64(5 * time.Hour))),
		})
	}
	return faults
}

// dstEnds is the week in which daylight saving has ended in Berlin and in New York.
const dstEnds = 36

// world is everything in the bubble.
type world struct {
	tb        testing.TB
	weeks     int
	faults    []fault
	rng       *rand.Rand // of the events; faults have their own
	begins    time.Time
	broker    *broker.Broker
	options   stream.Options
	client    *feed.Client
	instances []*instance
	people    []*person
	byID      map[string]*person
	journal   *journal
	events    int
}

// monday returns 00:00 UTC of the Monday of a week of the run.
func (w *world) monday(n int) time.Time { return w.begins.AddDate(0, 0, 5+7*n) }

// weekID names it: the run begins on the Wednesday of ISO week 7 of 2000, which has 52.
func weekID(n int) string {
	if n > 44 {
		return fmt.Sprintf("2001-W%02d", n-44)
	}
	return fmt.Sprintf("2000-W%02d", 8+n)
}

// latest is how long after a week's delivery its playlists may come: with a crash, when the group has noticed, has restored the
// tasks and has ticks again.
func (w *world) latest(n int) time.Duration {
	d := tickInterval + time.Minute
	for _, f := range w.faults {
		if f.week == n {
			d += 2 * (sessionTimeout + fetchWait)
		}
	}
	return d
}

// TestWeeks lets two instances serve listeners in four zones for twelve weeks, over both changes to daylight saving time, with
// crashes and rebalances in the middle of emissions: each listener known before a week's delivery gets exactly one playlist of that
// week, at their own Monday morning, and nobody gets one who has been erased. With -weeks it goes on, to a year and further.
func TestWeeks(t *testing.T) {
	weeks := cmp.Or(*weeksFlag, weeksInCI)
	t.Logf("seed %d, %d weeks", *seedFlag, weeks)
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2000, 2, 16, 0, 0, 0, 0, time.UTC)))
		w := newWorld(t, weeks)
		ctx, cancel := context.WithCancel(t.Context())
		var background sync.WaitGroup
		end := func() {
			cancel()
			background.Wait()
			for _, i := range w.instances {
				i.stop(t)
			}
		}
		defer end()
		for _, i := range w.instances {
			i.start(t)
		}
		background.Go(func() { w.follow(ctx) })
		background.Go(func() { w.strike(ctx) })
		w.live(ctx)
		end()
		v := w.judge()
		w.judgeRemains(t.Context(), v)
		t.Logf("%d weeks, %d listeners of whom %d were erased, %d events, %d playlists, %d faults", weeks, len(w.people), v.erased, w.events, v.owed, len(w.faults))
		t.Logf("%d lost, %d duplicated, %d wrong of %d", v.lost, v.duplicated, v.wrong, v.owed)
	})
	t.Logf("%.1f s of wall time", time.Since(began).Seconds())
}

func newWorld(tb testing.TB, weeks int) *world {
	tb.Helper()
	network := &kfake.VirtualNetwork{}
	b, err := broker.Start(tb.Context(), broker.Config{
		Port:     9092,
		Settings: map[string]string{"log.cleaner.backoff.ms": "86400000"},
		Options:  []kfake.Opt{kfake.ListenFn(network.Listen), kfake.GroupMaxSessionTimeout(2 * sessionTimeout)},
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = b.Close() }) // memory only
	cfg := config.Default()
	cfg.Kafka.Brokers, cfg.Kafka.Compression = b.Addrs(), "none"
	cfg.Kafka.SessionTimeout = sessionTimeout
	cfg.Topics.Partitions = partitions
	cfg.State.LowDiskBytes = 0
	cfg.State.CacheBytes, cfg.State.MemtableBytes = config.MiB, config.MiB
	cfg.Emit.Chunk, cfg.Emit.Zone, cfg.Emit.Length = chunk, utc, tracks
	cfg.HTTP.Listen = ""
	if err := cfg.Validate(); err != nil {
		tb.Fatal(err)
	}
	options, err := service.KafkaOptions(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	w := &world{
		tb: tb, weeks: weeks, faults: plan(weeks), rng: rand.New(rand.NewPCG(*seedFlag, 1)), begins: time.Now().UTC(), broker: b,
		options: append(append(options, calm()...), kgo.Dialer(network.DialContext)), byID: map[string]*person{},
	}
	if w.client, err = feed.New(feed.Config{
		App: cfg.App, Topics: service.Topics(cfg), Partitions: partitions, ClientOptions: w.options,
	}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(w.client.Close)
	w.people = population(w.rng, w.begins, weeks)
	for _, p := range w.people {
		w.byID[p.id] = p
	}
	w.journal = newJournal(service.Topics(cfg), func(user string, at time.Time) string {
		if p := w.byID[user]; p != nil {
			return p.zoneAt(at)
		}
		return ""
	})
	for _, name := range []string{"a", "b"} {
		w.instances = append(w.instances, &instance{name: name, cfg: cfg, network: network, disk: state.NewCrashFS()})
	}
	return w
}

// follow fills the journal until ctx ends.
func (w *world) follow(ctx context.Context) {
	if !sleepUntil(ctx, w.begins.Add(time.Minute)) { // the instances create the topics
		return
	}
	f, err := stream.NewFollower(stream.FollowerConfig{
		Topics: []string{w.journal.topics.Playlists, w.journal.topics.Ticks}, ClientOptions: w.options, OnBatch: w.journal.take,
	})
	if err == nil {
		err = f.Run(ctx)
	}
	if err != nil {
		w.tb.Errorf("following the playlists: %v", err)
	}
}

// live sends what people do, slot by slot, and returns when the last of it has been worked off.
func (w *world) live(ctx context.Context) {
	must := func(err error) {
		w.tb.Helper()
		if err != nil {
			w.tb.Fatal(err)
		}
	}
	sleepUntil(ctx, w.begins.Add(2*time.Minute))
	must(catalogue(ctx, w.client, w.begins.AddDate(-1, 0, 0)))
	for _, p := range w.people {
		if p.told {
			must(p.profile(ctx, w.client, w.begins))
		}
	}
	for from := w.begins; from.Before(w.begins.AddDate(0, 0, 7*w.weeks)); from = from.Add(slot) {
		to := from.Add(slot)
		sleepUntil(ctx, to)
		for _, p := range w.people {
			w.events += p.listen(ctx, w.client, w.rng, from, to)
			if p.newZone != "" && !p.moves.Before(from) && p.moves.Before(to) {
				must(p.profile(ctx, w.client, to))
			}
			if !p.erased.Before(from) && p.erased.Before(to) {
				must(w.client.Erase(ctx, []byte(p.id)))
			}
		}
		if weeks := int(to.Sub(w.begins) / week); weeks%4 == 0 && to.Equal(w.begins.AddDate(0, 0, 7*weeks)) {
			w.tb.Logf("%d of %d weeks, %d events", weeks, w.weeks, w.events)
		}
		must(w.client.Flush(ctx))
	}
	drain, cancel := context.WithTimeout(ctx, 24*time.Hour)
	defer cancel()
	must(w.client.Drain(drain))
}

// strike carries out the plan.
func (w *world) strike(ctx context.Context) {
	rng := rand.New(rand.NewPCG(*seedFlag, 2))
	for _, f := range w.faults {
		w.strikeOnce(ctx, f, rng)
	}
}

// strikeOnce waits for the first playlist of the emission, and then for a moment that the seed chooses.
func (w *world) strikeOnce(ctx context.Context, f fault, rng *rand.Rand) {
	i := w.instances[f.instance]
	emission := zoneWeek{zone: f.zone, week: weekID(f.week)}
	delivery := deliveryOf(f.zone, w.monday(f.week))
	begun := w.journal.begun(emission)
	if f.kind == joining {
		if !sleepUntil(ctx, delivery.Add(-12*time.Hour)) {
			return
		}
		i.stop(w.tb)
	}
	if !sleepUntil(ctx, delivery.Add(-time.Minute)) {
		return
	}
	epoch := w.epoch()
	select {
	case <-ctx.Done():
		return
	case <-begun:
	case <-time.After(2 * time.Hour):
		w.tb.Errorf("%s: %v never began", f.kind, emission)
		return
	}
	time.Sleep(time.Duration(rng.Int64N(int64(200 * time.Millisecond))))
	switch f.kind {
	case killed:
		i.kill(i.disk.Crash(100, rng)) // what was written is in the hands of the operating system
	case gone:
		i.kill(state.NewCrashFS())
	case unplugged:
		i.kill(i.disk.Crash([]int{0, 10, 50, 90}[rng.IntN(4)], rng))
	case removed:
		i.stop(w.tb)
		w.remove(ctx, i)
		w.awaitEpoch(ctx, epoch)
	case joining:
		i.start(w.tb)
		w.awaitEpoch(ctx, epoch)
	default:
		w.tb.Errorf("no fault is called %d", f.kind)
	}
	done, all := w.journal.count(emission), w.size(f)
	w.tb.Logf("%s, %s: %s %s after %d of %d playlists", emission.week, emission.zone, i, f.kind, done, all)
	if done == 0 || done >= all {
		w.tb.Errorf("that was not in the middle of the emission")
	}
	if f.kind != joining && sleepUntil(ctx, time.Now().Add(f.back)) {
		i.start(w.tb)
	}
}

// sleepUntil reports whether ctx is still alive at an instant.
func sleepUntil(ctx context.Context, at time.Time) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(time.Until(at)):
		return true
	}
}

// size returns how many playlists an emission owes.
func (w *world) size(f fault) (n int) {
	monday := w.monday(f.week)
	for _, p := range w.people {
		if p.zoneAt(monday) == f.zone && p.knownBefore(deliveryOf(f.zone, monday)) {
			n++
		}
	}
	return n
}

const listenerGroup = "earworm-" + feed.RoleListener

// epoch returns the generation of the listeners' group.
func (w *world) epoch() int32 {
	if g := w.broker.Cluster().GroupInfo(listenerGroup); g != nil {
		return g.Epoch
	}
	return -1
}

// awaitEpoch returns when the group has moved on from a generation.
func (w *world) awaitEpoch(ctx context.Context, old int32) {
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	_, err := w.broker.Cluster().WaitGroupInfo(ctx, listenerGroup, func(g *kfake.GroupInfo) bool {
		return g != nil && g.Epoch != old
	})
	if err != nil {
		w.tb.Errorf("no rebalance: %v", err)
	}
}

// remove takes an instance out of its groups, as an operator does who scales down: static members stay until the session times out.
func (w *world) remove(ctx context.Context, i *instance) {
	client, err := stream.OpenClient(w.options)
	if err != nil {
		w.tb.Error(err)
		return
	}
	defer client.Close()
	for _, role := range []string{feed.RoleIngest, feed.RoleListener, feed.RoleSong} {
		b := kadm.LeaveGroup("earworm-" + role).InstanceIDs(i.name).Reason("scaled down")
		if _, err := kadm.NewClient(client).LeaveGroup(ctx, b); err != nil {
			w.tb.Errorf("removing %s from %s: %v", i, role, err)
		}
	}
}
