package stream_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"earworm/consumers/stream"
)

// sessionFetchWait tells the fetches of sessions from those of other readers.
const sessionFetchWait = 250

// silence makes the brokers answer the fetches of sessions with nothing, as if there were nothing, while mute says so.
func (w *world) silence(mute *atomic.Bool) {
	w.cluster.ControlKey(int16(kmsg.Fetch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		w.cluster.KeepControl()
		req := kreq.(*kmsg.FetchRequest)
		if req.MaxWaitMillis != sessionFetchWait || !mute.Load() {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.FetchResponse)
		resp.ThrottleMillis = 20 // the client waits: requests that sleep in kfake, one after another, are a data race of its own
		resp.SessionID = req.SessionID
		return resp, nil, true
	})
}

// watched starts a member without state, because a restore fetches as a session does.
func (w *world) watched(mute *atomic.Bool) *member {
	cfg := w.config("a", newDisk())
	cfg.Changelog, cfg.OpenStore = "", nil
	cfg.NewTask = func(int32, stream.Store) (stream.Task, error) { return forward{}, nil }
	cfg.TransactionTimeout, cfg.SessionTimeout = 300*time.Millisecond, 500*time.Millisecond
	stream.SetWatch(&cfg, time.Millisecond)
	m := w.start(cfg)
	w.send(topicIn, "k", 40, 100)
	w.drained()
	w.silence(mute)
	mute.Store(true)
	w.send(topicIn, "k", 40, 100)
	return m
}

// TestStalledSessionIsReplaced: a client that misses what is there says nothing; the brokers know better.
func TestStalledSessionIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	var mute atomic.Bool
	m := w.watched(&mute)
	eventually(t, "the session is given up", func() bool { return strings.Contains(m.Problem(), stream.ErrStalled.Error()) })
	mute.Store(false)
	w.drained()
	m.mustStop(t)
}

// TestStallThatNoSessionMendsEndsTheRuntime: the process ends with the code for another try.
func TestStallThatNoSessionMendsEndsTheRuntime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	var mute atomic.Bool
	m := w.watched(&mute)
	select {
	case err := <-m.done:
		if !errors.Is(err, stream.ErrStalled) || !strings.Contains(err.Error(), "in/") {
			t.Errorf("the runtime ended with %v, want ErrStalled and the partition", err)
		}
		m.done <- err
	case <-time.After(30 * time.Second):
		t.Error("it stands still for ever")
	}
}

// TestQuietInputsAreNoStall: markers behind the last record, and records that were aborted, are nothing to process.
func TestQuietInputsAreNoStall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	var mute atomic.Bool
	cfg := w.config("a", newDisk())
	cfg.TransactionTimeout, cfg.SessionTimeout = 300*time.Millisecond, 500*time.Millisecond
	stream.SetWatch(&cfg, time.Millisecond)
	m := w.start(cfg)
	for _, end := range []bool{true, false} {
		w.transaction(topicIn, end)
	}
	w.drained()
	w.silence(&mute) // nothing is fetched any more, and nothing has to be
	mute.Store(true)
	time.Sleep(4 * time.Second)
	if p := m.Problem(); strings.Contains(p, stream.ErrStalled.Error()) {
		t.Errorf("it stalls: %s", p)
	}
	m.mustStop(t)
}

// transaction sends a record to the topic in a transaction that is committed or aborted.
func (w *world) transaction(topic string, commit bool) {
	w.tb.Helper()
	cl := w.client(kgo.TransactionalID("sender"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := cl.BeginTransaction(); err != nil {
		w.tb.Fatal(err)
	}
	if err := cl.ProduceSync(w.tb.Context(), w.record(topic, "k", "ok")).FirstErr(); err != nil {
		w.tb.Fatal(err)
	}
	if err := cl.EndTransaction(w.tb.Context(), kgo.TransactionEndTry(commit)); err != nil {
		w.tb.Fatal(err)
	}
}

// TestStopWhileTheProducerIsFull: brokers that take nothing any more must not keep a process from ending.
func TestStopWhileTheProducerIsFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	cfg := w.config("a", newDisk())
	cfg.TransactionTimeout, cfg.SessionTimeout = 300*time.Millisecond, 500*time.Millisecond
	cfg.ClientOptions = append(cfg.ClientOptions, kgo.MaxBufferedRecords(10))
	m := w.start(cfg)
	eventually(t, "the task is live", func() bool { return len(m.Partitions()) == 1 })
	w.send(topicIn, "k", 40, 100)
	w.drained()
	dead := make(chan struct{})
	var once sync.Once
	w.cluster.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		w.cluster.KeepControl()
		if kreq.(*kmsg.ProduceRequest).TransactionID == nil {
			return nil, nil, false
		}
		once.Do(func() { close(dead) })
		return nil, errors.New("no answer"), true
	})
	w.send(topicIn, "k", 40, 100)
	<-dead
	began := time.Now()
	m.mustStop(t)
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it took %v to stop", took)
	}
}
