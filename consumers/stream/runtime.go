package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Runtime runs one role. Make it with New, run it once with Run; the other methods are safe for concurrent use.
type Runtime struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	kafka   prometheus.Registerer // of the client's own metrics; each session registers and removes its own

	// gate is held from Begin until after the commit, and by View. It is a channel and not a mutex because it is held
	// over network calls.
	gate chan struct{}

	mu      sync.Mutex
	tasks   map[int32]*task
	joined  bool
	problem string    // why the last session ended, or what the brokers say
	until   time.Time // when the problem counts as past; zero means never
	counts  map[TopicPartition]Counts
}

// New validates the configuration and starts nothing.
func New(cfg Config, deps Deps) (*Runtime, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("stream configuration: %w", err)
	}
	cfg = cfg.withDefaults()
	log := deps.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	reg := deps.Registerer
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	r := &Runtime{
		cfg:    cfg,
		log:    log.With(slog.String("role", cfg.Role)),
		gate:   make(chan struct{}, 1),
		tasks:  make(map[int32]*task),
		counts: make(map[TopicPartition]Counts),
	}
	m, err := newMetrics(prometheus.WrapRegistererWith(prometheus.Labels{"role": cfg.Role}, reg), r)
	if err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	r.metrics = m
	r.kafka = prometheus.WrapRegistererWith(prometheus.Labels{"role": cfg.Role}, reg)
	return r, nil
}

// Ready reports whether every owned task is restored and running, with the reasons why not.
func (r *Runtime) Ready() (ready bool, reasons []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.joined {
		reasons = append(reasons, r.cfg.Role+": not a member of the group yet")
	}
	if r.problem != "" && (r.until.IsZero() || time.Now().Before(r.until)) {
		reasons = append(reasons, r.cfg.Role+": "+r.problem)
	}
	restoring := 0
	for _, t := range r.tasks {
		if t.state == taskRestoring {
			restoring++
		}
	}
	if restoring > 0 {
		reasons = append(reasons, fmt.Sprintf("%s: restoring %d of %d tasks", r.cfg.Role, restoring, len(r.tasks)))
	}
	return len(reasons) == 0, reasons
}

// Partitions returns the partition numbers whose tasks are running here, sorted.
func (r *Runtime) Partitions() []int32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var live []int32
	for p, t := range r.tasks {
		if t.state == taskLive {
			live = append(live, p)
		}
	}
	slices.Sort(live)
	return live
}

// Accounting returns the committed counts of every input partition that this process handled since it started.
func (r *Runtime) Accounting() map[TopicPartition]Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.counts)
}

// View calls fn with the running task of the partition while no transaction is open, so fn sees committed state only.
// It waits for the transaction in hand, and holds up the next one: fn must be short. ErrNotOwned when the task is not
// here.
func (r *Runtime) View(partition int32, fn func(Task) error) error {
	r.gate <- struct{}{}
	defer func() { <-r.gate }()
	r.mu.Lock()
	t := r.tasks[partition]
	live := t != nil && t.state == taskLive
	r.mu.Unlock()
	if !live {
		return ErrNotOwned
	}
	return fn(t.task)
}

func (r *Runtime) setJoined(joined bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.joined = joined
}

// setProblem shows a problem in Ready for a while, or with age 0 until the next call; "" clears it.
func (r *Runtime) setProblem(text string, age time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problem, r.until = text, time.Time{}
	if age > 0 {
		r.until = time.Now().Add(age)
	}
}

// Run joins the group and processes until ctx ends, which is no error: the transaction in hand is finished first.
// A session that breaks (a fenced member, an unknown outcome, a broker that is away) is replaced after a capped
// backoff; everything local is checked against the changelog again. Run returns an error for what a new session
// cannot mend: a failing task or store, a wrong configuration, or being fenced or stalled again and again.
func (r *Runtime) Run(ctx context.Context) error {
	backoff := r.cfg.BackoffMin
	fenced, stalled := 0, 0
	for {
		s := &session{r: r}
		err := s.run(ctx)
		r.setJoined(false)
		if ctx.Err() != nil && (err == nil || !isFatal(err)) {
			return nil
		}
		if isFatal(err) {
			return err
		}
		if s.commits.Load() > 0 {
			backoff, fenced = r.cfg.BackoffMin, 0
			if !errors.Is(err, ErrStalled) {
				stalled = 0
			}
		}
		if errors.Is(err, ErrStalled) {
			if stalled++; stalled >= stalledMax {
				return err
			}
		}
		if errors.Is(err, ErrFenced) {
			if fenced++; fenced >= r.cfg.FencedMax {
				return err
			}
		}
		r.setProblem(textOf(err), 0)
		r.metrics.restarts.Inc()
		r.log.Warn("session ended; joining again", slog.Any("error", err), slog.Duration("backoff", backoff))
		if !sleep(ctx, backoff) {
			return nil
		}
		backoff = min(backoff*2, r.cfg.BackoffMax)
	}
}
