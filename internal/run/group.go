package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// Component is a part of the process. Run blocks until ctx ends or the component cannot go on; it owns every
// goroutine that it starts and has released everything when it returns.
type Component interface {
	Run(ctx context.Context) error
}

// Func is a function that is a Component.
type Func func(ctx context.Context) error

// Run calls f.
func (f Func) Run(ctx context.Context) error { return f(ctx) }

var _ Component = Func(nil)

// ErrStopTimeout is returned when components were still running after the time to stop.
var ErrStopTimeout = errors.New("components did not stop in time")

// GroupConfig sets a Group; zero means default.
type GroupConfig struct {
	StopTimeout time.Duration // for all components together, from the first wish to stop; default 10 s
}

// Group runs components. Add them leaf-first: what others need comes first, and is stopped last.
type Group struct {
	cfg     GroupConfig
	log     *slog.Logger
	members []member
}

type member struct {
	name      string
	component Component
}

// NewGroup returns an empty group.
func NewGroup(cfg GroupConfig, log *slog.Logger) *Group {
	if cfg.StopTimeout <= 0 {
		cfg.StopTimeout = 10 * time.Second
	}
	return &Group{cfg: cfg, log: log}
}

// Add appends a component. The name is for logs and errors. Not to be called once Run has started.
func (g *Group) Add(name string, c Component) {
	g.members = append(g.members, member{name: name, component: c})
}

// running is a started component: cancel asks it to stop, and done yields its error once.
type running struct {
	name   string
	cancel context.CancelFunc
	done   chan error
}

// Run starts the components in order and blocks until ctx ends or one of them returns, then stops the others in
// reverse order, each after its successor has returned. It returns the errors of all components, joined; a
// cancelled component has none. A component that returns nil early ends the group too, without an error. Components
// that are still running after the time to stop are left behind with ErrStopTimeout (CodeTemporary).
func (g *Group) Run(ctx context.Context) error {
	ended := make(chan int, len(g.members)) // Bound: each component ends once.
	var started []*running
	for i, m := range g.members {
		// Each component gets its own context that does not end with ctx: otherwise all would stop at once, and
		// a consumer could find its store closed in the middle of its last batch.
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		r := &running{name: m.name, cancel: cancel, done: make(chan error, 1)}
		started = append(started, r)
		go func() {
			r.done <- m.component.Run(own)
			ended <- i
		}()
	}
	first := -1
	if len(started) > 0 {
		select {
		case <-ctx.Done():
		case first = <-ended:
		}
	}
	return g.stop(started, first)
}

// causes stops waiting for components and returns the errors of those that have ended. What made the group stop is often among them:
// others may be unable to stop for the same reason, and it is the reason that gives the exit code.
func causes(left []*running) []error {
	var problems []error
	for _, r := range left {
		r.cancel()
		select {
		case err := <-r.done:
			if err != nil && !isCancellation(err) {
				problems = append(problems, fmt.Errorf("%s: %w", r.name, err))
			}
		default:
		}
	}
	return problems
}

func (g *Group) stop(started []*running, first int) error {
	began := time.Now()
	deadline := time.NewTimer(g.cfg.StopTimeout)
	defer deadline.Stop()
	var problems []error
	for i, r := range slices.Backward(started) {
		r.cancel()
		select {
		case err := <-r.done:
			if err != nil && !isCancellation(err) {
				problems = append(problems, fmt.Errorf("%s: %w", r.name, err))
			} else if i == first {
				g.log.Info("component ended by itself", "component", r.name)
			}
		case <-deadline.C:
			problems = append(problems, WithCode(CodeTemporary, fmt.Errorf("%s: %w of %s", r.name, ErrStopTimeout, g.cfg.StopTimeout)))
			return errors.Join(append(causes(started[:i]), problems...)...)
		}
	}
	g.log.Debug("components stopped", "components", len(started), "seconds", time.Since(began).Seconds())
	return errors.Join(problems...)
}
