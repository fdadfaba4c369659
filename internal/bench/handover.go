package bench

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"earworm/consumers/feed"
)

// Handover is what it takes to move partitions to an instance that comes new, with an empty disk.
type Handover struct {
	// Partitions of listeners moved, Listeners that a partition has on average, Records restored for all roles.
	Partitions int   `json:"partitions"`
	Listeners  int   `json:"listeners_per_partition"`
	Records    int64 `json:"restored_records"`
	// Seconds is from the start of the new instance until it has its share of all roles, Idle how much of it nobody processed the
	// partitions of listeners that move.
	Seconds float64 `json:"seconds"`
	Idle    float64 `json:"idle_seconds"`
	// CPU is the processor time of both instances and of the embedded broker meanwhile, in seconds.
	CPU float64 `json:"cpu_seconds"`
}

// handover starts a second instance beside the first.
func (r *Result) handover(ctx context.Context, o Options, s *system) (err error) {
	second := &system{cfg: s.cfg, log: s.log}
	second.cfg.Instance, second.cfg.State.Dir = s.cfg.Instance+"-2", filepath.Join(o.Dir, "state-2")
	share := o.Partitions / 2
	if share == 0 {
		return errors.New("bench: one partition cannot be shared; hand-over needs two")
	}
	began, cpu := time.Now(), cpuTime()
	if err := second.start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, second.halt()) }()
	var left time.Time
	err = second.await(ctx, func() bool {
		if left.IsZero() && len(s.svc.Owned(feed.RoleListener)) < o.Partitions {
			left = time.Now()
		}
		return len(second.svc.Owned(feed.RoleListener)) >= share
	})
	if err != nil {
		return err
	}
	idle := time.Since(left)
	if err := second.ready(ctx); err != nil {
		return err
	}
	h := &Handover{
		Partitions: len(second.svc.Owned(feed.RoleListener)), Listeners: o.Workload.Listeners / o.Partitions,
		Seconds: time.Since(began).Seconds(), Idle: idle.Seconds(), CPU: (cpuTime() - cpu).Seconds(),
	}
	if h.Records, err = second.counted("earworm_stream_restored_records_total"); err != nil {
		return err
	}
	r.Handover = h
	say(o.Log, "%d partitions with %d listeners each were handed over in %.1f s (%.1f s of processor time); nobody had them for %.2f s", h.Partitions, h.Listeners, h.Seconds, h.CPU, h.Idle)
	return nil
}
