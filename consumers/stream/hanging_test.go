package stream_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"earworm/consumers/stream"
)

// leftOpen leaves a transaction of another producer open in the outputs, with one record, and makes the coordinator answer that it is the
// last one of instance a: state names its end, and later says how many transactions ago that was. kfake writes the markers of every
// transaction, so what a broker forgets after a kill has to be told. It counts how often the coordinator was asked.
func (w *world) leftOpen(state string, later int16) (asked func() int) {
	w.tb.Helper()
	ghost := w.client(kgo.TransactionalID("ghost"), kgo.TransactionTimeout(time.Minute), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := ghost.BeginTransaction(); err != nil {
		w.tb.Fatal(err)
	}
	if err := ghost.ProduceSync(w.tb.Context(), &kgo.Record{Topic: topicOut, Key: []byte("ghost"), Value: []byte("1")}).FirstErr(); err != nil {
		w.tb.Fatal(err)
	}
	id, epoch, err := ghost.ProducerID(w.tb.Context())
	if err != nil {
		w.tb.Fatal(err)
	}
	var mu sync.Mutex
	n := 0
	w.cluster.ControlKey(int16(kmsg.DescribeTransactions), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		w.cluster.KeepControl()
		mu.Lock()
		n++
		mu.Unlock()
		resp := kreq.ResponseKind().(*kmsg.DescribeTransactionsResponse)
		t := kmsg.NewDescribeTransactionsResponseTransactionState()
		t.TransactionalID, t.State, t.ProducerID, t.ProducerEpoch = "toy-counter-a", state, id, epoch+1+later
		resp.TransactionStates = append(resp.TransactionStates, t)
		return resp, nil, true
	})
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// markers notes the outcomes of the transactions that somebody ends by hand.
func (w *world) markers() func() []bool {
	var mu sync.Mutex
	var committed []bool
	w.cluster.ControlKey(int16(kmsg.WriteTxnMarkers), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		w.cluster.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		for _, m := range kreq.(*kmsg.WriteTxnMarkersRequest).Markers {
			committed = append(committed, m.Committed)
		}
		return nil, nil, false
	})
	return func() []bool {
		mu.Lock()
		defer mu.Unlock()
		return committed
	}
}

// TestHangingTransactionIsEnded: the coordinator decided a transaction of the predecessor, was killed, and took it for complete when it
// came back; the marker was never written.
func TestHangingTransactionIsEnded(t *testing.T) {
	t.Parallel()
	for state, commit := range map[string]bool{"CompleteCommit": true, "CompleteAbort": false} {
		t.Run(state, func(t *testing.T) {
			w := newWorld(t, 1)
			w.leftOpen(state, 0)
			markers := w.markers()
			m := w.start(w.config("a", newDisk()))
			w.send(topicIn, "k", 1, 10)
			w.drained()
			m.mustStop(t)
			if got := markers(); len(got) != 1 || got[0] != commit {
				t.Fatalf("markers written (true commits): %v, want %v", got, commit)
			}
			seen := false
			err := stream.ReadAll(t.Context(), w.options(), []string{topicOut}, func(r *stream.Record) error {
				seen = seen || string(r.Key) == "ghost"
				return nil
			})
			if err != nil || seen != commit {
				t.Errorf("the record of the transaction is visible: %v, want %v (%v)", seen, commit, err)
			}
		})
	}
}

// TestHangingTransactionIsEndedBeforeTheRoleMayJoin: what the role waits for may be behind the records of that transaction.
func TestHangingTransactionIsEndedBeforeTheRoleMayJoin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	markers := w.markers()
	cfg := w.config("a", newDisk())
	caughtUp := make(chan struct{})
	cfg.JoinAfter = caughtUp
	m := w.start(cfg)
	w.send(topicIn, "k", 1, 10)
	w.leftOpen("CompleteAbort", 0) // before the role has looked, or after
	eventually(t, "the marker is written", func() bool { return len(markers()) == 1 })
	if n := m.Accounting(); len(n) != 0 || len(m.Partitions()) != 0 {
		t.Errorf("it has joined: %v", n)
	}
	close(caughtUp)
	w.drained()
	m.mustStop(t)
	w.checkState()
}

// TestHangingTransactionOfUnknownOutcomeStopsTheRole: whatever is written next would decide those records.
func TestHangingTransactionOfUnknownOutcomeStopsTheRole(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		state  string
		later  int16
		denied bool
	}{
		"forgotten":            {state: "Empty"},
		"two transactions ago": {state: "CompleteCommit", later: 1},
		"no right to end it":   {state: "CompleteCommit", denied: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			asked := w.leftOpen(c.state, c.later)
			if c.denied {
				w.cluster.ControlKey(int16(kmsg.WriteTxnMarkers), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
					w.cluster.KeepControl()
					req := kreq.(*kmsg.WriteTxnMarkersRequest)
					resp := req.ResponseKind().(*kmsg.WriteTxnMarkersResponse)
					for _, rm := range req.Markers {
						m := kmsg.NewWriteTxnMarkersResponseMarker()
						m.ProducerID = rm.ProducerID
						for _, rt := range rm.Topics {
							topic := kmsg.NewWriteTxnMarkersResponseMarkerTopic()
							topic.Topic = rt.Topic
							for _, p := range rt.Partitions {
								partition := kmsg.NewWriteTxnMarkersResponseMarkerTopicPartition()
								partition.Partition, partition.ErrorCode = p, kerr.ClusterAuthorizationFailed.Code
								topic.Partitions = append(topic.Partitions, partition)
							}
							m.Topics = append(m.Topics, topic)
						}
						resp.Markers = append(resp.Markers, m)
					}
					return resp, nil, true
				})
			}
			markers := w.markers()
			m := w.start(w.config("a", newDisk()))
			w.send(topicIn, "k", 1, 10)
			eventually(t, "it looked again", func() bool { return asked() > 2 })
			_, reasons := m.Ready()
			if text := strings.Join(reasons, "\n"); !strings.Contains(text, stream.ErrHanging.Error()) ||
				!strings.Contains(text, "kafka-transactions.sh abort --topic out --partition 0 --start-offset 0") {
				t.Errorf("ready says %q", text)
			}
			m.mustStop(t)
			if got := markers(); !c.denied && len(got) != 0 {
				t.Errorf("markers written although the outcome is unknown: %v", got)
			}
			if n := m.Accounting(); len(n) != 0 {
				t.Errorf("it went on: %v", n)
			}
		})
	}
}

// TestIdleSessionLooksForHangingTransactionsAfterAnInterruption: the next record may never come, and others wait for the last transaction.
func TestIdleSessionLooksForHangingTransactionsAfterAnInterruption(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	m := w.start(w.config("a", newDisk()))
	w.send(topicIn, "k", 1, 10)
	w.drained()
	w.leftOpen("CompleteCommit", 0)
	markers := w.markers()
	w.cluster.ControlKey(int16(kmsg.Heartbeat), func(kmsg.Request) (kmsg.Response, error, bool) {
		return nil, errors.New("the broker is killed"), true
	})
	eventually(t, "the marker is written", func() bool { return len(markers()) == 1 })
	m.mustStop(t)
}
