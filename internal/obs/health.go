package obs

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Check reports whether a part of the process is ready and, if not, why. It must answer at once, may be called
// concurrently, and its reason names no listener.
type Check func() (ok bool, reason string)

// Heartbeat is touched by a loop each time it advances; it may go on being touched by several goroutines.
type Heartbeat struct{ last atomic.Int64 }

// Beat records that the loop advanced at now.
func (h *Heartbeat) Beat(now time.Time) { h.last.Store(now.UnixNano()) }

// age returns the time since the last beat, at now.
func (h *Heartbeat) age(now time.Time) time.Duration { return now.Sub(time.Unix(0, h.last.Load())) }

// Health knows whether the process lives and whether it is ready. The zero value is not usable; see NewHealth.
type Health struct {
	maxAge time.Duration
	now    func() time.Time

	mu         sync.Mutex
	heartbeats map[string]*Heartbeat
	names      []string
	checks     map[string]Check
	stopping   bool
}

// DefaultMaxAge is how long a loop may stand still before the process counts as dead.
const DefaultMaxAge = time.Minute

// NewHealth returns a Health without checks: alive and ready. maxAge 0 means DefaultMaxAge; now is the wall clock.
func NewHealth(maxAge time.Duration, now func() time.Time) *Health {
	if maxAge <= 0 {
		maxAge = DefaultMaxAge
	}
	return &Health{maxAge: maxAge, now: now, heartbeats: make(map[string]*Heartbeat), checks: make(map[string]Check)}
}

// Watch returns the heartbeat of the loop name: the process is alive only while every loop advances. The loop has
// one maxAge to start.
func (h *Health) Watch(name string) *Heartbeat {
	h.mu.Lock()
	defer h.mu.Unlock()
	beat := &Heartbeat{}
	beat.Beat(h.now())
	h.heartbeats[name] = beat
	return beat
}

// Unwatch forgets the loop name: it has ended as it should.
func (h *Health) Unwatch(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.heartbeats, name)
}

// AddCheck makes readiness depend on check; a check of the same name is replaced.
func (h *Health) AddCheck(name string, check Check) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, replaced := h.checks[name]; !replaced {
		h.names = append(h.names, name)
	}
	h.checks[name] = check
}

// Stopping makes the process not ready for good: the first step of going away.
func (h *Health) Stopping() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopping = true
}

// Alive reports whether every watched loop advances; reasons name those that do not.
func (h *Health) Alive() (ok bool, reasons []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	for _, name := range sortedKeys(h.heartbeats) {
		if age := h.heartbeats[name].age(now); age > h.maxAge {
			reasons = append(reasons, fmt.Sprintf("%s: stands still for %s", name, age.Round(time.Second)))
		}
	}
	return len(reasons) == 0, reasons
}

// Ready reports whether every check passes; reasons name those that do not, in the order they were added.
func (h *Health) Ready() (ok bool, reasons []string) {
	h.mu.Lock()
	if h.stopping {
		reasons = append(reasons, "process: stopping")
	}
	names, checks := h.names, make([]Check, 0, len(h.names))
	for _, name := range names {
		checks = append(checks, h.checks[name])
	}
	h.mu.Unlock() // Checks take locks of their own: holding ours would order them all.
	for i, check := range checks {
		if passed, reason := check(); !passed {
			reasons = append(reasons, names[i]+": "+reason)
		}
	}
	return len(reasons) == 0, reasons
}
