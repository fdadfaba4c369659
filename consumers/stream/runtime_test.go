package stream_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"earworm/consumers/stream"
)

func TestCountsExactlyOnce(t *testing.T) {
	w := newWorld(t, 4)
	d := newDisk()
	w.send(topicIn, "k", 50, 2000)
	w.send(topicTicks, "k", 50, 100)
	m := w.start(w.config("a", d))
	w.drained()
	w.send(topicIn, "k", 50, 1000)
	w.drained()
	if ok, why := m.Ready(); !ok {
		t.Errorf("not ready: %v", why)
	}
	if err := m.wait(); err != nil {
		t.Fatal(err)
	}
	w.checkState()
	for key, n := range w.sent {
		p := stream.PartitionOf([]byte(key), w.partitions)
		if v, _ := d.store(p).Get([]byte(key)); string(v) != strconv.FormatInt(n, 10) {
			t.Errorf("store has %s=%s, want %d", key, v, n)
		}
	}
}

func TestRestartRestoresOnlyTheTail(t *testing.T) {
	w := newWorld(t, 2)
	d := newDisk()
	w.send(topicIn, "k", 20, 1000)
	w.start(w.config("a", d)).waitDrained(t, w)
	before := d.store(0).applied + d.store(1).applied
	if before == 0 {
		t.Fatal("nothing was applied")
	}
	m := w.start(w.config("a", d))
	eventually(t, "both tasks live", func() bool { return len(m.Partitions()) == 2 })
	if after := d.store(0).applied + d.store(1).applied; after != before {
		t.Errorf("a restart on the same disk applied %d records again", after-before)
	}
	w.send(topicIn, "k", 20, 100)
	w.drained()
	m.mustStop(t)
	w.checkState()
}

// waitDrained stops the member once everything is processed.
func (m *member) waitDrained(t *testing.T, w *world) {
	t.Helper()
	w.drained()
	if err := m.wait(); err != nil {
		t.Fatal(err)
	}
}

func TestLostStoreIsRestored(t *testing.T) {
	w := newWorld(t, 2)
	w.send(topicIn, "k", 20, 1000)
	w.start(w.config("a", newDisk())).waitDrained(t, w)
	w.send(topicIn, "k", 20, 500)
	w.start(w.config("a", newDisk())).waitDrained(t, w)
	w.checkState()
}

func TestStaleStoreIsWiped(t *testing.T) {
	w := newWorld(t, 1)
	d := newDisk()
	w.send(topicIn, "k", 20, 100)
	w.start(w.config("a", d)).waitDrained(t, w)
	s := d.store(0)
	s.mu.Lock()
	s.rows["ghost"] = []byte("1") // a row whose tombstone is gone from the changelog
	s.last = time.Now().Add(-time.Hour)
	s.mu.Unlock()
	cfg := w.config("a", d)
	cfg.StoreMaxAge = time.Minute
	m := w.start(cfg)
	eventually(t, "the task is live", func() bool { return len(m.Partitions()) == 1 })
	m.mustStop(t)
	if v, _ := s.Get([]byte("ghost")); v != nil || s.wipes != 1 || len(s.rows) != 20 {
		t.Errorf("ghost %q, wipes %d, rows %d", v, s.wipes, len(s.rows))
	}
}

func TestStoreBehindOrAheadOfItsChangelogIsWiped(t *testing.T) {
	for name, offset := range map[string]int64{"behind": 5, "ahead": 1 << 40} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			d := newDisk()
			w.send(topicIn, "k", 20, 100)
			w.start(w.config("a", d)).waitDrained(t, w)
			w.send(topicIn, "k", 20, 100)
			w.start(w.config("a", newDisk())).waitDrained(t, w)
			if name == "behind" {
				// Everything up to the second round, which wrote all 20 keys again, is gone.
				if err := w.cluster.DeleteRecords(topicLog, 0, 22); err != nil {
					t.Fatal(err)
				}
			}
			s := d.store(0)
			s.mu.Lock()
			s.offset = offset
			s.rows["ghost"] = []byte("1")
			s.mu.Unlock()
			w.send(topicIn, "k", 20, 100)
			w.start(w.config("a", d)).waitDrained(t, w)
			if v, _ := s.Get([]byte("ghost")); v != nil || s.wipes != 1 {
				t.Errorf("ghost %q, wipes %d", v, s.wipes)
			}
			w.checkState()
		})
	}
}

func TestPoisonGoesToDeadLettersVerbatim(t *testing.T) {
	w := newWorld(t, 1)
	rec := w.record(topicIn, "bad", "poison")
	rec.Headers = []kgo.RecordHeader{{Key: "h", Value: []byte("v")}}
	large := w.record(topicIn, strings.Repeat("x", 70<<10), "poison")
	w.produce(w.record(topicIn, "k", "ok"), rec, w.record(topicIn, "k", "dup"), w.record(topicIn, "k", "late"), large, w.record(topicIn, "k", "ok"))
	cfg := w.config("a", newDisk())
	cfg.DeadLetterBytesMax = 66 << 10
	m := w.start(cfg)
	w.drained()
	eventually(t, "six records are accounted for", func() bool {
		return m.Accounting()[stream.TopicPartition{Topic: topicIn}].Consumed == 6
	})
	got := m.Accounting()[stream.TopicPartition{Topic: topicIn}]
	want := stream.Counts{Consumed: 6, Applied: 2, Duplicate: 1, TooLate: 1, DeadLettered: 2}
	if got != want || !got.Balanced() {
		t.Errorf("accounting %+v, want %+v", got, want)
	}
	m.mustStop(t)
	w.checkState()
	letters := w.letters()
	if len(letters) != 2 {
		t.Fatalf("%d dead letters, want 2", len(letters))
	}
	l := letters[0]
	if string(l.Key) != "bad" || string(l.Value) != "poison" || header(l, "h") != "v" {
		t.Errorf("dead letter is not verbatim: %q %q %v", l.Key, l.Value, l.Headers)
	}
	for name, want := range map[string]string{
		stream.HeaderTopic: topicIn, stream.HeaderPartition: "0", stream.HeaderOffset: "1",
		stream.HeaderErrorCode: "bad_value", stream.HeaderMessage: "bad_value: cannot be counted",
		stream.HeaderException: "*errors.errorString",
	} {
		if got := header(l, name); got != want {
			t.Errorf("header %s is %q, want %q", name, got, want)
		}
	}
	stub := letters[1]
	if header(stub, stream.HeaderTruncated) != "true" || len(stub.Key) != 64<<10 || header(stub, stream.HeaderValueBytes) != "6" ||
		len(header(stub, stream.HeaderValueSHA256)) != 64 {
		t.Errorf("the stub of a large record: key of %d bytes, headers %v", len(stub.Key), stub.Headers)
	}
}

// faultEndTxn answers some EndTxn requests with an error, before or after they are applied.
func faultEndTxn(c *kfake.Cluster, err *kerr.Error, every, times int) {
	seen := 0
	c.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
		if times == 0 {
			return nil, nil, false
		}
		c.KeepControl()
		seen++
		if seen%every != 0 {
			return nil, nil, false
		}
		times--
		if err == nil {
			return nil, errors.New("connection cut"), true
		}
		resp := req.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode = err.Code
		return resp, nil, true
	})
}

func TestEndTxnFaults(t *testing.T) {
	for name, fault := range map[string]*kerr.Error{
		"unknown server error":    kerr.UnknownServerError,
		"abortable":               kerr.TransactionAbortable,
		"fenced":                  kerr.InvalidProducerEpoch,
		"concurrent transactions": kerr.ConcurrentTransactions,
		"not coordinator":         kerr.NotCoordinator,
		"connection cut":          nil,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 4)
			d := newDisk()
			m := w.start(w.config("a", d))
			eventually(t, "all tasks live", func() bool { return len(m.Partitions()) == 4 })
			faultEndTxn(w.cluster, fault, 2, 4)
			for range 15 {
				w.send(topicIn, "k", 40, 200)
				time.Sleep(15 * time.Millisecond) // several transactions
			}
			w.drained()
			if err := m.wait(); err != nil {
				t.Fatal(err)
			}
			w.checkState()
		})
	}
}

func TestOffsetCommitFaultsAbort(t *testing.T) {
	w := newWorld(t, 2)
	m := w.start(w.config("a", newDisk()))
	eventually(t, "all tasks live", func() bool { return len(m.Partitions()) == 2 })
	h := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.UnknownMemberID, Count: 3})
	for range 10 {
		w.send(topicIn, "k", 40, 100)
		time.Sleep(15 * time.Millisecond)
	}
	w.drained()
	m.mustStop(t)
	if h.Hits() == 0 {
		t.Error("no fault was injected")
	}
	w.checkState()
}

func TestTaskErrorEndsRun(t *testing.T) {
	w := newWorld(t, 1)
	w.produce(w.record(topicIn, "k", "ok"), w.record(topicIn, "k", "fatal"))
	r, err := stream.New(w.config("a", newDisk()), stream.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := r.Run(ctx); err == nil || !strings.Contains(err.Error(), "broken task") {
		t.Errorf("Run returned %v", err)
	}
	if got := r.Accounting(); len(got) != 0 {
		t.Errorf("an aborted transaction was accounted for: %v", got)
	}
}

func TestStoreErrorEndsRunAndTheNextStartConverges(t *testing.T) {
	w := newWorld(t, 1)
	d := newDisk()
	m := w.start(w.config("a", d))
	eventually(t, "the task is live", func() bool { return len(m.Partitions()) == 1 })
	s := d.store(0)
	s.mu.Lock()
	s.fail = errors.New("disk is gone")
	s.mu.Unlock()
	w.send(topicIn, "k", 5, 10)
	select {
	case err := <-m.done:
		if err == nil || !strings.Contains(err.Error(), "disk is gone") {
			t.Errorf("Run returned %v", err)
		}
		m.done <- err
	case <-time.After(20 * time.Second):
		t.Fatal("Run goes on without its disk")
	}
	s.mu.Lock()
	s.fail = nil
	s.mu.Unlock()
	w.send(topicIn, "k", 5, 10)
	w.start(w.config("a", d)).waitDrained(t, w)
	w.checkState()
}

func TestViewSeesCommittedStateOnly(t *testing.T) {
	w := newWorld(t, 1)
	m := w.start(w.config("a", newDisk()))
	eventually(t, "the task is live", func() bool { return len(m.Partitions()) == 1 })
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			err := m.View(0, func(task stream.Task) error {
				if n := len(task.(*counter).dirty); n != 0 {
					t.Errorf("a view saw %d uncommitted rows", n)
				}
				return nil
			})
			if err != nil {
				t.Errorf("view: %v", err)
				return
			}
		}
	}()
	for range 10 {
		w.send(topicIn, "k", 10, 100)
	}
	w.drained()
	close(stop)
	<-done
	if err := m.View(7, func(stream.Task) error { return nil }); !errors.Is(err, stream.ErrNotOwned) {
		t.Errorf("view of a partition that is not here: %v", err)
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t, 1)
	w.send(topicIn, "k", 10, 100)
	m := w.start(w.config("a", newDisk()))
	w.drained()
	eventually(t, "100 applied records in the metrics", func() bool { return metric(t, m.reg, "earworm_stream_records_total") == 100 })
	if n := metric(t, m.reg, "earworm_stream_commits_total"); n < 1 {
		t.Errorf("%v commits", n)
	}
	if n := metric(t, m.reg, "earworm_stream_consumer_lag_records"); n != 0 {
		t.Errorf("lag %v after draining", n)
	}
}

func metric(tb testing.TB, reg *prometheus.Registry, name string) float64 {
	tb.Helper()
	families, err := reg.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}
