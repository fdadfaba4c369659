//go:build synctests

package stream_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"earworm/consumers/stream"
	"earworm/internal/testkit/ownership"
)

var stormFlag = flag.Duration("storm", time.Minute, "how long TestRebalanceStorm lasts, in virtual time")

const (
	stormPartitions = 12
	stormFew        = 2  // members that there are at least
	stormMany       = 12 // and at most
	stormEvery      = 500 * time.Millisecond
	// stormCost is what one record takes its task, so that time which a partition is not processed is lost for good.
	stormCost   = 20 * time.Millisecond
	stormSteady = 30 * time.Second // what throughput without a storm is measured over
	stormKeys   = 600
	// stormShare is the part of the throughput that must be left.
	stormShare = .5
)

// storm is a group that members join and leave all the time.
type storm struct {
	*world
	rng     *rand.Rand
	cost    atomic.Int64
	disks   []*disk
	members []*member // nil where none runs
	leaving sync.WaitGroup
	away    []atomic.Bool // a place that nobody is leaving any more

	mu    sync.Mutex
	done  int64 // records that members who are gone have committed
	joins int
	leave int
}

func newStorm(t *testing.T) *storm {
	t.Helper()
	network := &kfake.VirtualNetwork{}
	s := &storm{
		world: newWorldOn(t, stormPartitions, []kgo.Opt{kgo.Dialer(network.DialContext)}, kfake.ListenFn(network.Listen), kfake.Ports(9092)),
		rng:   rand.New(rand.NewPCG(*seedFlag, 5)), members: make([]*member, stormMany), away: make([]atomic.Bool, stormMany),
	}
	for i := range stormMany {
		s.disks = append(s.disks, newDisk())
		s.away[i].Store(true)
	}
	s.cost.Store(int64(stormCost))
	return s
}

func (s *storm) join(i int) {
	s.tb.Helper()
	cfg := s.config(fmt.Sprintf("m%02d", i), s.disks[i])
	cfg.CommitInterval, cfg.HeartbeatInterval = 200*time.Millisecond, 3*time.Second // as in production
	cfg.SessionTimeout, cfg.TransactionTimeout, cfg.RebalanceTimeout = 15*time.Second, 10*time.Second, 30*time.Second
	cfg.Workers, cfg.PollRecordsMax = stormPartitions, 100
	cfg.NewTask = func(p int32, store stream.Store) (stream.Task, error) {
		task, err := newCounter(p, store)
		task.(*counter).onProcess = func(*stream.Record) { time.Sleep(time.Duration(s.cost.Load())) }
		return task, err
	}
	s.members[i] = s.start(cfg)
	s.joins++
}

// part stops a member and takes it out of the group, as whoever scales down does: a static member would stay until its session times
// out.
func (s *storm) part(i int) {
	m := s.members[i]
	s.members[i] = nil
	s.away[i].Store(false)
	s.leave++
	s.leaving.Go(func() {
		if err := m.wait(); err != nil {
			s.tb.Errorf("m%02d: %v", i, err)
		}
		s.mu.Lock()
		s.done += consumed(m)
		s.mu.Unlock()
		_, err := kadm.NewClient(s.producer).LeaveGroup(context.Background(), kadm.LeaveGroup("toy-counter").InstanceIDs(fmt.Sprintf("m%02d", i)))
		if err != nil {
			s.tb.Errorf("removing m%02d: %v", i, err)
		}
		s.away[i].Store(true)
	})
}

func consumed(m *member) (n int64) {
	for _, c := range m.Accounting() {
		n += c.Consumed
	}
	return n
}

// committed returns how many records all members have committed.
func (s *storm) committed() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.done
	for _, m := range s.members {
		if m != nil {
			n += consumed(m)
		}
	}
	return n
}

// rate returns the records committed a second of virtual time while fn runs.
func (s *storm) rate(fn func()) float64 {
	before, began := s.committed(), time.Now()
	fn()
	return float64(s.committed()-before) / time.Since(began).Seconds()
}

// places lists where members run, and where one can.
func (s *storm) places() (taken, free []int) {
	for i, m := range s.members {
		if m != nil {
			taken = append(taken, i)
		} else if s.away[i].Load() {
			free = append(free, i)
		}
	}
	return taken, free
}

// blow lets somebody join or leave at each beat.
func (s *storm) blow(d time.Duration) {
	for began := time.Now(); time.Since(began) < d; time.Sleep(stormEvery) {
		taken, free := s.places()
		switch {
		case len(free) > 0 && (len(taken) == stormFew || s.rng.IntN(2) == 0):
			i := free[s.rng.IntN(len(free))]
			if s.rng.IntN(4) == 0 {
				s.disks[i] = newDisk()
			}
			s.join(i)
		case len(taken) > stormFew:
			s.part(taken[s.rng.IntN(len(taken))])
		}
	}
}

// TestRebalanceStorm lets members join and leave every half second, and wants every record counted once and half of the throughput.
func TestRebalanceStorm(t *testing.T) {
	t.Logf("seed %d", *seedFlag)
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		s := newStorm(t)
		capacity := float64(stormPartitions) / stormCost.Seconds()
		total := int(capacity * (2*stormSteady + *stormFlag).Seconds())
		for sent := 0; sent < total; sent += 10_000 {
			s.send(topicIn, "k", stormKeys, 10_000)
		}
		for i := range (stormFew + stormMany) / 2 {
			s.join(i)
		}
		time.Sleep(stormSteady)
		steady := s.rate(func() { time.Sleep(stormSteady) })
		t.Logf("%.0f records/s with %d members; %.0f are possible", steady, (stormFew+stormMany)/2, capacity)
		stormy := s.rate(func() {
			for blown := time.Duration(0); blown < *stormFlag; blown += time.Minute {
				s.blow(min(time.Minute, *stormFlag-blown))
				t.Logf("%v of %v: %d joins, %d leaves, %d records", blown+time.Minute, *stormFlag, s.joins, s.leave, s.committed())
			}
		})
		s.cost.Store(0)
		s.leaving.Wait()
		s.drained()
		for i := range s.members {
			if s.members[i] != nil {
				s.part(i)
			}
		}
		s.leaving.Wait()
		s.checkOwners()
		lost, duplicated, wrong := s.tally()
		if stormy < stormShare*steady {
			t.Errorf("%.0f records/s in the storm, %.0f without", stormy, steady)
		}
		t.Logf("%.0f records/s in the storm, %.1f %% of %.0f; %d joins and %d leaves in %v", stormy, 100*stormy/steady, steady, s.joins, s.leave, *stormFlag)
		t.Logf("%d lost, %d duplicated, %d wrong of %d", lost, duplicated, wrong, total)
	})
	t.Logf("%.1f s of wall time", time.Since(began).Seconds())
}

// tally is checkState with counts: records that are not counted, that are counted twice, and outputs that are not 1, 2, 3 and so on.
func (w *world) tally() (lost, duplicated, wrong int64) {
	w.tb.Helper()
	state, outputs := map[string]int64{}, map[string]int64{}
	err := stream.ReadAll(w.tb.Context(), w.options(), []string{topicLog, topicOut}, func(r *stream.Record) error {
		n, err := strconv.ParseInt(string(r.Value), 10, 64)
		switch {
		case err != nil:
			return err
		case r.Topic == topicLog:
			state[string(r.Key)] = n
			return nil
		}
		if outputs[string(r.Key)]++; n != outputs[string(r.Key)] {
			wrong++
		}
		return nil
	})
	if err != nil {
		w.tb.Fatal(err)
	}
	for key, sent := range w.sent {
		switch missing := sent - state[key]; {
		case missing > 0:
			lost += missing
		case missing < 0:
			duplicated -= missing
		}
	}
	if lost+duplicated+wrong > 0 {
		w.tb.Errorf("%d lost, %d duplicated, %d outputs out of order", lost, duplicated, wrong)
	}
	return lost, duplicated, wrong
}

// checkOwners judges by the changelog that each task had one owner at a time.
func (w *world) checkOwners() {
	w.tb.Helper()
	var book ownership.Book
	err := stream.ReadAll(context.WithoutCancel(w.tb.Context()), append(w.options(), kgo.WithHooks(&book)), []string{topicLog}, func(*stream.Record) error { return nil })
	if err != nil {
		w.tb.Fatal(err)
	}
	n, first := book.Strays()
	if n > 0 {
		w.tb.Errorf("%d records by former owners: %s", n, first)
	}
	if book.Changes() == 0 {
		w.tb.Error("no task was ever taken over")
	}
	w.tb.Logf("tasks were taken over %d times", book.Changes())
}
