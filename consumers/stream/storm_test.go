package stream_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"earworm/consumers/stream"
	"earworm/internal/testkit/ownership"
)

var stormFlag = flag.Duration("storm", 4*time.Second, "how long members join and leave in the tests of a storm")

// A storm: every half second a member joins or leaves, and there are at least two and at most twelve.
const (
	stormEvery           = 500 * time.Millisecond
	stormLeast           = 2
	stormMost            = 12
	stormPartitions      = 16
	stormRate            = 2000 // records a second
	stormBatch           = 100
	stormLeastThroughput = .5
	stormLong            = time.Minute // a shorter one says nothing about throughput: members take their time to join
)

// storm is a group whose members come and go.
type storm struct {
	w       *world
	rng     *rand.Rand
	disks   map[string]*disk
	running map[string]*member
	leaving sync.WaitGroup
	mu      sync.Mutex
	gone    []string // who may join
	joined  int
	left    int
}

// turn lets somebody join or leave.
func (s *storm) turn() {
	n := len(s.running)
	if join := n == stormLeast || (n < stormMost && s.rng.IntN(2) == 0); join {
		s.join()
		return
	}
	names := slices.Sorted(maps.Keys(s.running))
	name := names[s.rng.IntN(n)]
	m := s.running[name]
	delete(s.running, name)
	s.left++
	s.leaving.Go(func() {
		if err := m.wait(); err != nil {
			s.w.tb.Errorf("%s: %v", name, err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.gone = append(s.gone, name)
	})
}

// join starts somebody who has left, with their own disk, or nobody while all others are still leaving.
func (s *storm) join() {
	s.mu.Lock()
	if len(s.gone) == 0 {
		s.mu.Unlock()
		return
	}
	at := s.rng.IntN(len(s.gone))
	name := s.gone[at]
	s.gone = append(s.gone[:at], s.gone[at+1:]...)
	s.mu.Unlock()
	cfg := s.w.config(name, s.disks[name])
	cfg.SessionTimeout, cfg.TransactionTimeout = time.Second, 500*time.Millisecond
	s.running[name] = s.w.start(cfg)
	s.joined++
}

// TestRebalanceStorm: rebalances follow one another for as long as it lasts, and still each task has one owner at a time, nothing is
// lost or counted twice, and the group gets on with its work.
func TestRebalanceStorm(t *testing.T) { weather(t, newWorld(t, stormPartitions)) }

func weather(t *testing.T, w *world) {
	t.Helper()
	t.Logf("seed %d", *seedFlag)
	s := &storm{w: w, rng: rand.New(rand.NewPCG(*seedFlag, 0)), disks: map[string]*disk{}, running: map[string]*member{}}
	for i := range stormMost {
		name := fmt.Sprintf("m%02d", i)
		s.disks[name] = newDisk()
		s.gone = append(s.gone, name)
	}
	for range stormLeast {
		s.join()
	}
	began, next, sent := time.Now(), time.Now(), 0
	for time.Since(began) < *stormFlag {
		if time.Now().After(next) {
			s.turn()
			next = next.Add(stormEvery)
		}
		w.send(topicIn, "k", stormBatch, stormBatch)
		sent += stormBatch
		time.Sleep(time.Until(began.Add(time.Duration(sent) * time.Second / stormRate)))
	}
	committed := w.committed()
	t.Logf("%d joined, %d left; %d of %d records committed at the end of %v", s.joined, s.left, committed, sent, *stormFlag)
	if *stormFlag >= stormLong && float64(committed) < stormLeastThroughput*float64(sent) {
		t.Errorf("only %d of %d records were committed when the storm ended", committed, sent)
	}
	w.drained()
	for name, m := range s.running {
		if err := m.wait(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.leaving.Wait()
	w.checkOwners()
	w.checkState()
}

// committed is how many records of the input the group has committed.
func (w *world) committed() (n int64) {
	w.tb.Helper()
	offsets, err := kadm.NewClient(w.producer).FetchOffsets(w.tb.Context(), "toy-counter")
	if err != nil {
		w.tb.Fatal(err)
	}
	for _, o := range offsets[topicIn] {
		n += o.At
	}
	return n
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
