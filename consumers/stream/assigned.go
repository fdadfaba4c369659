package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// taskState is the state of an owned partition.
type taskState uint8

const (
	taskRestoring taskState = iota
	taskLive
	taskDead
)

// task is one owned partition number: the user's Task, its store and what it did in the open transaction.
//
// state, topics and the handles are changed under Runtime.mu; the rest belongs to the loop while the task is live.
type task struct {
	partition int32
	state     taskState
	topics    map[string]struct{}
	cancel    context.CancelFunc // ends the restore
	done      chan struct{}      // closed when the restore goroutine is gone

	store Store
	task  Task
	out   Output

	touched      bool
	rec          Record
	tally        map[string]*inputTally
	changelogEnd atomic.Int64 // highest produced changelog offset + 1, from the promises of the open transaction
	produceErr   atomic.Pointer[error]
	admission    *admission
}

// admission is the question of whether the tasks of one assignment may work, asked once for all of them.
type admission struct {
	turn    chan struct{} // held over the question
	granted bool
}

func newAdmission() *admission { return &admission{turn: make(chan struct{}, 1)} }

// ask asks unless it was granted before. The assignment that it belongs to came before, so this member is known to the group by now:
// whoever forbids it to work first and looks at the members then sees it, or is seen here.
func (a *admission) ask(ctx context.Context, admit func(context.Context) error) error {
	if admit == nil {
		return nil
	}
	select {
	case a.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // the caller looks at the same context
	}
	defer func() { <-a.turn }()
	if a.granted {
		return nil
	}
	if err := admit(ctx); err != nil {
		return err
	}
	a.granted = true
	return nil
}

// inputTally counts one input partition in the open transaction, and where it stands.
type inputTally struct {
	counts [outcomes]int64
	next   int64 // offset after the last processed record
	high   int64 // high watermark of its last fetch
	lastAt int64 // broker time of the last processed record, Unix ms
}

// promised is the callback of every produced record of the task.
func (t *task) promised(rec *kgo.Record, err error) {
	if err != nil {
		t.produceErr.CompareAndSwap(nil, &err)
		return
	}
	if rec.Partition != t.partition || rec.Topic != t.out.changelog {
		return
	}
	next := rec.Offset + 1
	for {
		old := t.changelogEnd.Load()
		if old >= next || t.changelogEnd.CompareAndSwap(old, next) {
			return
		}
	}
}

// failure returns the first error of the transaction: a refused record or a misuse of Output.
func (t *task) failure() error {
	if p := t.produceErr.Load(); p != nil {
		return *p
	}
	return t.out.err
}

// begin marks the task as part of the open transaction.
func (t *task) begin() {
	t.touched = true
	t.changelogEnd.Store(0)
	t.produceErr.Store(nil)
}

// end forgets the transaction. inFlight says that the producer may still hold records of it.
func (t *task) end(inFlight bool) {
	t.touched = false
	for _, tally := range t.tally {
		tally.counts = [outcomes]int64{}
	}
	if inFlight {
		t.out.drop()
	} else {
		t.out.reset()
	}
}

// close stops the restore if there is one, then closes the task and its store. The caller has marked it dead.
func (t *task) close() error {
	if t.cancel != nil {
		t.cancel()
		<-t.done
	}
	var errs []error
	if t.task != nil {
		if t.touched {
			t.task.Abandon()
			t.end(true)
		}
		errs = append(errs, t.task.Close())
	}
	if t.store != nil {
		errs = append(errs, t.store.Close())
	}
	return errors.Join(errs...)
}

// onAssigned registers tasks for new partitions. It also repairs what the session's callbacks may have hidden: the
// transact session swallows a second revoke or loss until the next End, so what is held is compared with the
// assignment that the balancer saw, and a partition that is assigned anew although it is held was lost in between.
func (s *session) onAssigned(_ context.Context, _ *kgo.Client, added map[string][]int32) {
	<-s.opened
	s.r.gate <- struct{}{}
	defer func() { <-s.r.gate }()
	s.dropUnassigned()
	s.forget(added)
	asked := newAdmission()
	for topic, partitions := range added {
		for _, p := range partitions {
			s.register(topic, p, asked) //nolint:contextcheck // the session has a context of its own: it outlives the callback
		}
	}
	s.waker.tell()
	s.r.setJoined(true)
	s.r.setProblem("", 0)
}

// onRevoked closes tasks before the callback returns; with the gate held, no transaction and no view uses them.
func (s *session) onRevoked(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	<-s.opened
	s.r.gate <- struct{}{}
	defer func() { <-s.r.gate }()
	if len(lost) > 0 {
		s.flagged.Store(true)
		s.waker.tell()
	}
	s.forget(lost)
}

// onLost is onRevoked for a member that the group has thrown out.
func (s *session) onLost(ctx context.Context, cl *kgo.Client, lost map[string][]int32) {
	s.flagged.Store(true)
	s.r.setJoined(false)
	s.onRevoked(ctx, cl, lost)
}

// dropUnassigned forgets what the newest assignment does not contain.
func (s *session) dropUnassigned() {
	now := s.balancer.assigned()
	if now == nil {
		return
	}
	gone := make(map[string][]int32)
	s.r.mu.Lock()
	for p, t := range s.r.tasks {
		for topic := range t.topics {
			if _, ok := now[TopicPartition{Topic: topic, Partition: p}]; !ok {
				gone[topic] = append(gone[topic], p)
			}
		}
	}
	s.r.mu.Unlock()
	s.forget(gone)
}

// register adds the input partition to its task, and makes the task if it is new.
func (s *session) register(topic string, partition int32, asked *admission) {
	r := s.r
	r.mu.Lock()
	t, ok := r.tasks[partition]
	if ok {
		t.topics[topic] = struct{}{}
		restoring := t.state == taskRestoring
		r.mu.Unlock()
		if restoring {
			s.pause(topic, partition)
		}
		return
	}
	t = &task{
		partition: partition,
		topics:    map[string]struct{}{topic: {}},
		tally:     make(map[string]*inputTally),
		admission: asked,
	}
	t.out = Output{
		produce: func(r *kgo.Record, promise func(*kgo.Record, error)) {
			s.kc.Client().Produce(s.producing, r, promise)
		},
		promise:   t.promised,
		changelog: r.cfg.Changelog,
		letters:   r.cfg.DeadLetters,
		lettersAt: r.cfg.DeadLetterBytesMax,
		style:     r.cfg.DeadLetterStyle,
		group:     r.cfg.Group(),
		partition: partition,
		declared:  r.cfg.outputs(),
	}
	ctx, cancel := context.WithCancel(s.ctx)
	t.cancel, t.done = cancel, make(chan struct{})
	r.tasks[partition] = t
	r.mu.Unlock()
	s.pause(topic, partition)
	s.restores.Go(func() error {
		defer close(t.done)
		defer cancel()
		s.restore(ctx, t)
		return nil
	})
}

// forget removes input partitions; a task without any is closed.
func (s *session) forget(partitions map[string][]int32) {
	var dead []*task
	s.r.mu.Lock()
	for topic, ps := range partitions {
		for _, p := range ps {
			t, ok := s.r.tasks[p]
			if !ok {
				continue
			}
			delete(t.topics, topic)
			s.r.metrics.forgetLag(topic, p)
			if len(t.topics) == 0 {
				t.state = taskDead
				delete(s.r.tasks, p)
				dead = append(dead, t)
			}
		}
	}
	s.r.mu.Unlock()
	s.kc.Client().ResumeFetchPartitions(partitions)
	_ = s.closeTasks(dead) // logged there; the partition is gone either way
}

// closeAll closes every task at the end of the session.
func (s *session) closeAll() error {
	s.r.mu.Lock()
	var dead []*task
	for p, t := range s.r.tasks {
		t.state = taskDead
		delete(s.r.tasks, p)
		dead = append(dead, t)
		for topic := range t.topics {
			s.r.metrics.forgetLag(topic, p)
		}
	}
	s.r.mu.Unlock()
	return s.closeTasks(dead)
}

func (s *session) closeTasks(dead []*task) error {
	var errs []error
	for _, t := range dead {
		if err := t.close(); err != nil {
			err = fmt.Errorf("closing task %d: %w", t.partition, err)
			s.r.log.Warn("task did not close cleanly", slog.Any("error", err))
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (s *session) pause(topic string, partition int32) {
	s.kc.Client().PauseFetchPartitions(map[string][]int32{topic: {partition}})
}

// resume makes a restored task live and lets its inputs flow; false when it died meanwhile.
func (s *session) resume(t *task) bool {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if t.state == taskDead {
		return false
	}
	t.state = taskLive
	flow := make(map[string][]int32, len(t.topics))
	for topic := range t.topics {
		flow[topic] = []int32{t.partition}
	}
	// Under the lock: a topic that is registered now must not be paused after this.
	s.kc.Client().ResumeFetchPartitions(flow)
	return true
}

// live returns the running task of the partition if the topic is one of its inputs.
func (r *Runtime) live(topic string, partition int32) *task {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tasks[partition]
	if t == nil || t.state != taskLive {
		return nil
	}
	if _, ok := t.topics[topic]; !ok {
		return nil
	}
	return t
}
