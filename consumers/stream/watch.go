package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// ErrStalled means that records wait for a running task and are not processed, for no reason that the runtime knows. Run
// starts a new session, and returns ErrStalled when that does not help either.
var ErrStalled = errors.New("records wait and are not processed")

// Bounds of the watch: how often it looks at least apart, and how many sessions in a row may stall.
const (
	watchLeast = 30 * time.Second
	stalledMax = 3
)

// standing is where an input partition stands for the group.
type standing struct{ committed, stable, end int64 }

// watcher compares what the brokers say of the partitions held here with what they said one interval ago.
type watcher struct {
	s      *session
	before map[TopicPartition]standing
	still  map[TopicPartition]int   // looks in a row in which a partition with a record did not move
	empty  map[TopicPartition]int64 // stable offset up to which a gap was found to hold no record
	commit int64                    // transactions committed up to the last look
}

// watch looks after the session: that no input partition stands still while records wait in it. Whatever the reason, a lost
// wake-up here or in the client or a broker that answers without end, it would otherwise be a healthy process that does
// nothing. It asks the brokers, because a client that does not fetch does not know what it misses.
func (s *session) watch() {
	w := &watcher{s: s, still: make(map[TopicPartition]int), empty: make(map[TopicPartition]int64)}
	every := max(3*s.r.cfg.TransactionTimeout, 2*s.r.cfg.SessionTimeout, s.r.cfg.watchLeast)
	for sleep(s.ctx, every) {
		ctx, cancel := context.WithTimeout(s.ctx, every)
		err := w.look(ctx)
		cancel()
		if errors.Is(err, ErrStalled) {
			s.r.metrics.stalls.Inc()
			// Here and not only when the session has ended: what stalls it may keep it from ending.
			s.r.log.Error("records wait and are not processed; ending the session", slog.Any("error", err))
			s.fail(err)
			return
		}
		if err != nil && s.ctx.Err() == nil {
			// Brokers that are away are the business of those who need them; a look that fails says nothing.
			s.r.log.Debug("cannot look after the inputs", slog.Any("error", err))
			w.before = nil
		}
	}
}

// partitionsPerLook is how many partitions a busy session gets round to, at the very least, between two looks.
const partitionsPerLook = 8

// look returns ErrStalled if a partition did not move since the last look although it held a record then: at once when the
// session has committed nothing in between, and after enough looks when it has; then it may only be busy with others.
func (w *watcher) look(ctx context.Context) error {
	now, err := w.s.standings(ctx)
	if err != nil {
		return err
	}
	commits := w.s.commits.Load()
	patience := 1
	if commits != w.commit {
		patience += 1 + len(now)/partitionsPerLook
	}
	w.commit = commits
	gaps := make(map[TopicPartition]gap)
	for tp, is := range now {
		was, known := w.before[tp]
		if !known || was.committed != is.committed {
			delete(w.still, tp)
			continue
		}
		if was.stable == is.stable && is.stable < is.end {
			w.s.r.log.Warn("an open transaction holds readers back", slog.String("topic", tp.Topic), slog.Int("partition", int(tp.Partition)),
				slog.Int64("stable_offset", is.stable), slog.Int64("end_offset", is.end))
		}
		// A record must have been there at the last look already.
		if was.committed < was.stable && w.empty[tp] < was.stable {
			if w.still[tp]++; w.still[tp] >= patience {
				gaps[tp] = gap{from: is.committed, to: was.stable}
			}
		}
	}
	w.before = now
	if len(gaps) == 0 {
		return nil
	}
	err = gapsEmpty(ctx, w.s.aux, gaps)
	if errors.Is(err, errNotEmpty) {
		return fmt.Errorf("%w: %w", ErrStalled, err)
	}
	if err == nil {
		for tp, g := range gaps {
			w.empty[tp] = g.to
			delete(w.still, tp)
		}
	}
	return err
}

// standings asks where the inputs of the running tasks stand. A task that restores is left out: its inputs wait for it.
func (s *session) standings(ctx context.Context) (map[TopicPartition]standing, error) {
	held := make(map[TopicPartition]struct{})
	s.r.mu.Lock()
	for p, t := range s.r.tasks {
		for topic := range t.topics {
			if t.state == taskLive {
				held[TopicPartition{Topic: topic, Partition: p}] = struct{}{}
			}
		}
	}
	s.r.mu.Unlock()
	if len(held) == 0 {
		return nil, nil
	}
	admin := kadm.NewClient(s.aux)
	committed, err := admin.FetchOffsets(ctx, s.r.cfg.Group())
	if err != nil {
		return nil, fmt.Errorf("fetching the offsets of the group: %w", err)
	}
	stable, err := admin.ListCommittedOffsets(ctx, s.r.cfg.Inputs...)
	if err != nil {
		return nil, fmt.Errorf("listing stable offsets: %w", err)
	}
	ends, err := admin.ListEndOffsets(ctx, s.r.cfg.Inputs...)
	if err != nil {
		return nil, fmt.Errorf("listing end offsets: %w", err)
	}
	starts, err := admin.ListStartOffsets(ctx, s.r.cfg.Inputs...)
	if err != nil {
		return nil, fmt.Errorf("listing start offsets: %w", err)
	}
	out := make(map[TopicPartition]standing, len(held))
	for tp := range held {
		start, ok1 := starts.Lookup(tp.Topic, tp.Partition)
		last, ok2 := stable.Lookup(tp.Topic, tp.Partition)
		end, ok3 := ends.Lookup(tp.Topic, tp.Partition)
		if err := errors.Join(start.Err, last.Err, end.Err); err != nil || !ok1 || !ok2 || !ok3 {
			return nil, fmt.Errorf("listing the offsets of %s/%d: %w", tp.Topic, tp.Partition, err)
		}
		at := start.Offset
		if c, ok := committed.Lookup(tp.Topic, tp.Partition); ok {
			at = max(at, c.At)
		}
		out[tp] = standing{committed: at, stable: last.Offset, end: end.Offset}
	}
	return out, nil
}
