//go:build crash

package chaos_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"earworm/internal/broker"
	"earworm/internal/testkit/process"
)

// plan says how many faults of which kind there are.
type plan struct {
	kills   int // SIGKILL
	wipes   int // of the kills: the state directory is gone as well
	pauses  int // SIGSTOP beyond the session timeout, then SIGCONT
	full    int // the disk of the first worker is full
	starved int // no more memory is given
}

type kind int

const (
	kill kind = iota
	wipe
	pause
	full
	starved
)

// fault is one of them.
type fault struct {
	kind   kind
	wait   time.Duration
	victim int
	atWork bool // rather one that is ready, from the victim on
	pause  time.Duration
}

// draw puts the faults into an order, with moments and victims.
func (p plan) draw(rng *rand.Rand) []fault {
	var faults []fault
	for _, part := range []struct {
		kind kind
		n    int
	}{{kill, p.kills - p.wipes}, {wipe, p.wipes}, {pause, p.pauses}, {full, p.full}, {starved, p.starved}} {
		for range part.n {
			faults = append(faults, fault{kind: part.kind})
		}
	}
	rng.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
	for i := range faults {
		f := &faults[i]
		f.victim, f.atWork = rng.IntN(instances), rng.IntN(4) > 0 // starting and restoring are moments, too
		f.wait = between(rng, 200*time.Millisecond, 1800*time.Millisecond)
		f.pause = between(rng, sessionTimeout+500*time.Millisecond, 2*sessionTimeout)
		if f.kind == full {
			f.victim, f.atWork = 0, false // the only one whose disk may be filled
		}
	}
	return faults
}

// striker deals the faults out.
type striker struct {
	plant   *plant
	disk    *disk // of the first worker; nil where there is none
	ends    *ends
	outages *outages

	mu sync.Mutex
	score
}

// Bounds of what a process may take to end when it is denied something. That of memory is the whole wait: a process that needs no
// more goes on, and is killed.
const (
	fullPatience    = 30 * time.Second
	starvedPatience = 5 * time.Second
)

// strike returns when the last fault is over. Faults that last go on while the next ones strike other workers.
func (s *striker) strike(t *testing.T, faults []fault) error {
	t.Helper()
	var lasting errgroup.Group
	for i, f := range faults {
		progress(t, i, len(faults))
		select {
		case <-s.plant.ctx.Done():
			return errors.Join(context.Cause(s.plant.ctx), lasting.Wait())
		case <-time.After(f.wait):
		}
		victim := s.plant.free(f.victim)
		if f.atWork {
			victim = s.plant.working(f.victim, workPatience)
		}
		var err error
		switch f.kind {
		case kill, wipe:
			err = s.kill(victim, f.kind == wipe)
		case pause:
			w := s.plant.seize(victim)
			lasting.Go(func() error { return s.pause(w, f.pause) })
		case full:
			if victim == f.victim && s.disk != nil {
				err = s.fill(victim)
			}
		case starved:
			err = s.starve(victim)
		}
		if err != nil {
			return errors.Join(err, lasting.Wait())
		}
	}
	return lasting.Wait()
}

func (s *striker) kill(n int, wipe bool) error {
	inEnd := s.ends.of(s.plant.workers[n].id)
	s.outages.struck(faultWorker)
	atWork, err := s.plant.kill(n, wipe)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kills++
	if wipe {
		s.wipes++
	}
	if atWork {
		s.atWork++
	}
	if inEnd {
		s.inEnd++
	}
	return nil
}

func (s *striker) pause(w *worker, d time.Duration) error {
	stopped, err := s.plant.pause(w, d)
	if stopped {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pauses++
	}
	return err
}

// Exit codes of a process that cannot write, and of a Go program that gets no memory.
const (
	cannotWrite = 74
	noMemory    = 2
)

func (s *striker) fill(n int) error {
	took, err := s.plant.deny(n, want{
		take: func(*process.Child) error { return s.disk.fill() }, giveBack: s.disk.empty, code: cannotWrite,
	}, fullPatience)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full++
	s.slowest = max(s.slowest, took)
	return nil
}

func (s *striker) starve(n int) error {
	_, err := s.plant.deny(n, want{take: starve, giveBack: func() error { return nil }, code: noMemory}, starvedPatience)
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, errLivesOn) {
		return nil
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starved++
	return nil
}

// commitDelay is what replication over slow disks costs a real broker. It makes the most delicate moment, between the last change of a
// transaction and its commit, long enough to be hit.
const commitDelay = 100 * time.Millisecond

// ends knows whose transactions are at that moment, by transactional id.
type ends struct {
	mu sync.Mutex
	at map[string]int
}

func (e *ends) change(id string, by int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.at[id] += by
}

// of reports whether any role of an instance is there.
func (e *ends) of(instance string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, n := range e.at {
		if n > 0 && strings.HasSuffix(id, "-"+instance) {
			return true
		}
	}
	return false
}

// slow delays the second last step of every commit.
func slow(b *broker.Broker) *ends {
	e := &ends{at: map[string]int{}}
	cluster := b.Cluster()
	cluster.ControlKey(kmsg.TxnOffsetCommit.Int16(), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		id := request.(*kmsg.TxnOffsetCommitRequest).TransactionalID //nolint:errcheck,forcetypeassert // the only request of this key
		cluster.SleepControl(func() {
			e.change(id, 1)
			defer e.change(id, -1)
			time.Sleep(commitDelay)
		})
		return nil, nil, false
	})
	return e
}
