//go:build crash || kafka

package chaos_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"earworm/consumers/feed"
	"earworm/consumers/stream"
	"earworm/internal/service"
)

// Kinds of outages.
const (
	faultWorker = "SIGKILL of a worker"
	faultKill   = "SIGKILL of a broker"
	faultQuit   = "SIGTERM of a broker"
)

// outages measures how long a fault keeps inputs waiting: the time from a fault until the group of each role has committed progress in
// every input partition in which records waited, the slowest partition counts.
type outages struct {
	mu    sync.Mutex
	last  standings
	open  []*outage
	times map[string][]time.Duration // by kind of fault
	mixed int                        // faults that were not over when the next one struck: they say nothing about either
	looks int                        // that were answered
	err   error                      // of the last one that was not
}

// place is an input partition as one group sees it.
type place struct {
	group string
	stream.TopicPartition
}

type standing struct{ committed, end int64 }

type standings map[place]standing

type outage struct {
	kind  string
	began time.Time
	at    standings // when it began
	open  map[place]bool
	took  time.Duration // of the slowest partition in which records waited, so far; 0: none waited
}

// Intervals of the measurement. An answer that takes longer than lookPatience is given up: the broker is away.
const (
	lookEvery    = 100 * time.Millisecond
	lookPatience = 2 * time.Second
	// lookSettle is how long a partition without waiting records is watched before it counts as untouched.
	lookSettle = 500 * time.Millisecond
	// overPatience is many times what any fault takes to be over, on a loaded machine, too.
	overPatience = 3 * time.Minute
)

// measure looks until the plant is done.
func measure(t *testing.T, p *plant) *outages {
	t.Helper()
	o := &outages{times: map[string][]time.Duration{}}
	options, err := service.KafkaOptions(p.cfg)
	if err != nil {
		t.Fatal(err)
	}
	client, err := stream.OpenClient(append(options, kgo.MetadataMinAge(lookEvery), kgo.DialTimeout(time.Second), kgo.RetryTimeout(lookPatience)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(p.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			now, err := look(ctx, kadm.NewClient(client), p)
			o.seen(time.Now(), now, err)
			select {
			case <-ctx.Done():
			case <-time.After(lookEvery):
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		client.Close()
	})
	return o
}

func look(ctx context.Context, admin *kadm.Client, p *plant) (standings, error) {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	topics := service.Topics(p.cfg)
	ends, err := admin.ListEndOffsets(ctx, topics.Events, topics.Listens)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, err
	}
	now := standings{}
	for role, topic := range map[string]string{feed.RoleIngest: topics.Events, feed.RoleListener: topics.Listens} {
		committed, err := admin.FetchOffsets(ctx, p.cfg.App+"-"+role)
		if err != nil {
			return nil, err
		}
		for _, end := range ends[topic] {
			c, _ := committed.Lookup(topic, end.Partition)
			now[place{role, stream.TopicPartition{Topic: topic, Partition: end.Partition}}] = standing{committed: c.At, end: end.Offset}
		}
	}
	return now, nil
}

// struck begins an outage. One that is not over yet is not measured: from now on nobody can tell which fault it is that lasts.
func (o *outages) struck(kind string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.last) == 0 {
		return
	}
	o.mixed += len(o.open)
	fresh := &outage{kind: kind, began: time.Now(), at: o.last, open: map[place]bool{}}
	for at := range o.last {
		fresh.open[at] = true
	}
	o.open = []*outage{fresh}
}

// over waits until no outage lasts any more.
func (o *outages) over(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, overPatience, fmt.Errorf("%w %v after a fault that nothing followed", errStill, overPatience))
	defer cancel()
	for {
		o.mu.Lock()
		lasting := len(o.open)
		o.mu.Unlock()
		if lasting == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(lookEvery):
		}
	}
}

// seen compares what is committed now with what was when each outage began.
func (o *outages) seen(now time.Time, all standings, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.err = err
		return
	}
	o.last = all
	o.looks++
	o.open = slices.DeleteFunc(o.open, func(x *outage) bool {
		took := now.Sub(x.began)
		maps.DeleteFunc(x.open, func(at place, _ bool) bool {
			is := all[at]
			if is.committed > x.at[at].committed {
				x.took = took
				return true
			}
			return is.committed == is.end && took > lookSettle
		})
		if len(x.open) > 0 {
			return false
		}
		if x.took > 0 {
			o.times[x.kind] = append(o.times[x.kind], x.took)
		}
		return true
	})
}

// worst is the 99th percentile of all kinds together, and of how many.
func (o *outages) worst() (p99 time.Duration, of int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := slices.Concat(slices.Collect(maps.Values(o.times))...)
	return percentile(all, .99), len(all)
}

func percentile(all []time.Duration, p float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(int(p*float64(len(sorted))), len(sorted)-1)]
}

// String has a line for each kind of fault.
func (o *outages) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var b strings.Builder
	if o.looks == 0 {
		fmt.Fprintf(&b, "\nno time until progress is known: %v", o.err)
	}
	for _, kind := range slices.Sorted(maps.Keys(o.times)) {
		times := o.times[kind]
		fmt.Fprintf(&b, "\nuntil progress after %s: p50 %.1f s, p99 %.1f s, longest %.1f s, of %d",
			kind, percentile(times, .5).Seconds(), percentile(times, .99).Seconds(), slices.Max(times).Seconds(), len(times))
	}
	fmt.Fprintf(&b, "\nnot measured, because the next fault struck earlier: %d", o.mixed)
	return b.String()
}
