package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"earworm/consumers/stream"
	"earworm/internal/broker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	topicIn      = "in"
	topicTicks   = "ticks"
	topicOut     = "out"
	topicLog     = "changelog"
	topicLetters = "letters"
)

// memStore is a Store in memory that outlives its task, as a disk would.
type memStore struct {
	mu      sync.Mutex
	rows    map[string][]byte
	offset  int64
	last    time.Time
	open    bool
	wipes   int
	applied int
	fail    error
}

var _ stream.Store = (*memStore)(nil)

func newMemStore() *memStore { return &memStore{rows: make(map[string][]byte)} }

func (s *memStore) Get(key []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows[string(key)], nil
}

func (s *memStore) Scan(prefix []byte, fn func(key, value []byte) error) error {
	s.mu.Lock()
	rows := maps.Clone(s.rows)
	s.mu.Unlock()
	for _, k := range slices.Sorted(maps.Keys(rows)) {
		if bytes.HasPrefix([]byte(k), prefix) {
			if err := fn([]byte(k), rows[k]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *memStore) Offset() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.offset
}

func (s *memStore) LastApplied() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

func (s *memStore) Apply(changes []stream.Change, offset int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	if !s.open {
		return errors.New("apply to a closed store")
	}
	if offset < s.offset {
		return fmt.Errorf("offset went back from %d to %d", s.offset, offset)
	}
	for _, c := range changes {
		if c.Value == nil {
			delete(s.rows, string(c.Key))
			continue
		}
		s.rows[string(c.Key)] = bytes.Clone(c.Value)
	}
	s.offset = offset
	s.last = time.Now()
	s.applied += len(changes)
	return nil
}

func (s *memStore) Wipe() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows, s.offset, s.last = make(map[string][]byte), 0, time.Time{}
	s.wipes++
	return nil
}

func (s *memStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = false
	return nil
}

// disk is the state directory of one instance.
type disk struct {
	mu     sync.Mutex
	stores map[int32]*memStore
}

func newDisk() *disk { return &disk{stores: make(map[int32]*memStore)} }

func (d *disk) open(_ context.Context, p int32) (stream.Store, error) {
	s := d.store(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open {
		return nil, fmt.Errorf("store %d is open already", p)
	}
	s.open = true
	return s, nil
}

func (d *disk) store(p int32) *memStore {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stores[p] == nil {
		d.stores[p] = newMemStore()
	}
	return d.stores[p]
}

// counter counts records per key. Values steer it: see Process.
type counter struct {
	partition int32
	store     stream.Store
	dirty     map[string]int64
	onProcess func(*stream.Record)
}

func newCounter(p int32, s stream.Store) (stream.Task, error) {
	return &counter{partition: p, store: s, dirty: make(map[string]int64)}, nil
}

func (c *counter) Process(rec *stream.Record, out *stream.Output) error {
	if rec.Partition != c.partition {
		return fmt.Errorf("record of partition %d in task %d", rec.Partition, c.partition)
	}
	if c.onProcess != nil {
		c.onProcess(rec)
	}
	switch string(rec.Value) {
	case "poison":
		return &stream.Poison{Code: "bad_value", Err: errors.New("cannot be counted")}
	case "dup":
		out.Count(stream.OutcomeDuplicate)
		return nil
	case "late":
		out.Count(stream.OutcomeTooLate)
		return nil
	case "fatal":
		return errors.New("broken task")
	}
	n, err := c.count(rec.Key)
	if err != nil {
		return err
	}
	c.dirty[string(rec.Key)] = n + 1
	out.Emit(stream.Message{Topic: topicOut, Partition: -1, Key: rec.Key, Value: strconv.AppendInt(nil, n+1, 10)})
	return nil
}

func (c *counter) count(key []byte) (int64, error) {
	if n, ok := c.dirty[string(key)]; ok {
		return n, nil
	}
	v, err := c.store.Get(key)
	if err != nil || v == nil {
		return 0, err
	}
	return strconv.ParseInt(string(v), 10, 64)
}

func (c *counter) Flush(out *stream.Output) error {
	for k, n := range c.dirty {
		out.Put([]byte(k), strconv.AppendInt(nil, n, 10))
	}
	return nil
}

func (c *counter) Committed() { clear(c.dirty) }
func (c *counter) Abandon()   { clear(c.dirty) }
func (*counter) Close() error { return nil }

// world is a fake cluster with the topics of the toy application.
type world struct {
	tb         testing.TB
	cluster    *kfake.Cluster // nil on a real one
	addrs      []string
	partitions int32
	producer   *kgo.Client
	extra      []kgo.Opt
	sent       map[string]int64 // good records per key
	total      map[stream.TopicPartition]int64
}

func newWorld(tb testing.TB, partitions int32, opts ...kfake.Opt) *world {
	tb.Helper()
	return newWorldOn(tb, partitions, nil, opts...)
}

// newWorldOn is newWorld with options for every client.
func newWorldOn(tb testing.TB, partitions int32, extra []kgo.Opt, opts ...kfake.Opt) *world {
	tb.Helper()
	opts = append([]kfake.Opt{
		kfake.NumBrokers(1),
		kfake.SeedTopics(partitions, topicIn, topicTicks, topicOut, topicLog),
		kfake.SeedTopics(2, topicLetters),
		kfake.GroupMinSessionTimeout(100 * time.Millisecond),
	}, opts...)
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(cluster.Close)
	broker.Repair(cluster)
	w := &world{
		tb: tb, cluster: cluster, addrs: cluster.ListenAddrs(), partitions: partitions, extra: extra,
		sent: make(map[string]int64), total: make(map[stream.TopicPartition]int64),
	}
	w.producer = w.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	return w
}

func (w *world) options() []kgo.Opt {
	return append([]kgo.Opt{kgo.SeedBrokers(w.addrs...), kgo.MetadataMinAge(50 * time.Millisecond)}, w.extra...)
}

func (w *world) client(opts ...kgo.Opt) *kgo.Client {
	w.tb.Helper()
	cl, err := kgo.NewClient(append(w.options(), opts...)...)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.tb.Cleanup(cl.Close)
	return cl
}

// send produces n good records over the keys of the prefix, to the topic.
func (w *world) send(topic, prefix string, keys, n int) {
	w.tb.Helper()
	records := make([]*kgo.Record, 0, n)
	for i := range n {
		key := fmt.Sprintf("%s%d", prefix, i%keys)
		records = append(records, w.record(topic, key, "ok"))
	}
	w.produce(records...)
}

func (w *world) record(topic, key, value string) *kgo.Record {
	p := stream.PartitionOf([]byte(key), w.partitions)
	w.total[stream.TopicPartition{Topic: topic, Partition: p}]++
	if value == "ok" {
		w.sent[key]++
	}
	return &kgo.Record{Topic: topic, Partition: p, Key: []byte(key), Value: []byte(value)}
}

func (w *world) produce(records ...*kgo.Record) {
	w.tb.Helper()
	if err := w.producer.ProduceSync(w.tb.Context(), records...).FirstErr(); err != nil {
		w.tb.Fatal(err)
	}
}

func (w *world) config(instance string, d *disk) stream.Config {
	return stream.Config{
		App: "toy", Role: "counter", InstanceID: instance,
		Inputs: []string{topicIn, topicTicks}, Changelog: topicLog, Partitions: w.partitions, DeadLetters: topicLetters,
		Outputs: []string{topicOut}, OpenStore: d.open, NewTask: newCounter, ClientOptions: w.options(),
		CommitInterval: 20 * time.Millisecond, HeartbeatInterval: 50 * time.Millisecond,
		SessionTimeout: 3 * time.Second, TransactionTimeout: 2 * time.Second, RebalanceTimeout: 5 * time.Second,
		BackoffMin: 10 * time.Millisecond, BackoffMax: 100 * time.Millisecond,
	}
}

// member is a running runtime.
type member struct {
	*stream.Runtime
	reg  *prometheus.Registry
	stop context.CancelFunc
	done chan error
	once sync.Once
	err  error
}

func (w *world) start(cfg stream.Config) *member {
	w.tb.Helper()
	reg := prometheus.NewPedanticRegistry()
	var log *slog.Logger
	if os.Getenv("STREAM_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil)).With(slog.String("instance", cfg.InstanceID))
	}
	r, err := stream.New(cfg, stream.Deps{Registerer: reg, Logger: log})
	if err != nil {
		w.tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{Runtime: r, reg: reg, stop: cancel, done: make(chan error, 1)}
	go func() { m.done <- r.Run(ctx) }()
	w.tb.Cleanup(func() { _ = m.wait() })
	return m
}

// wait stops the member and returns what Run returned.
func (m *member) wait() error {
	m.once.Do(func() {
		m.stop()
		m.err = <-m.done
	})
	return m.err
}

// mustStop stops the member, which must not have failed.
func (m *member) mustStop(tb testing.TB) {
	tb.Helper()
	if err := m.wait(); err != nil {
		tb.Fatal(err)
	}
}

func (w *world) drained() {
	w.tb.Helper()
	ctx, cancel := context.WithTimeout(w.tb.Context(), 30*time.Second)
	defer cancel()
	if err := stream.WaitDrained(ctx, w.producer, "toy-counter", []string{topicIn, topicTicks}, 20*time.Millisecond); err != nil {
		w.tb.Fatal(err)
	}
}

// eventually polls a condition that depends on other goroutines.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			tb.Fatalf("never happened: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// checkState compares the changelog with what was sent, and the outputs of every key with 1, 2, 3 and so on.
func (w *world) checkState() {
	w.tb.Helper()
	state := make(map[string]string)
	outputs := make(map[string][]string)
	small := append(w.options(), kgo.FetchMaxBytes(64<<10), kgo.FetchMaxPartitionBytes(4<<10)) // many responses, whose ends matter
	err := stream.ReadAll(w.tb.Context(), small, []string{topicLog, topicOut}, func(r *stream.Record) error {
		if r.Topic == topicLog {
			state[string(r.Key)] = string(r.Value)
		} else {
			outputs[string(r.Key)] = append(outputs[string(r.Key)], string(r.Value))
		}
		return nil
	})
	if err != nil {
		w.tb.Fatal(err)
	}
	wrong := 0
	for key, n := range w.sent {
		if state[key] != strconv.FormatInt(n, 10) {
			wrong++
			w.tb.Errorf("state of %s is %q, want %d", key, state[key], n)
		}
		for i, v := range outputs[key] {
			if v != strconv.Itoa(i+1) {
				wrong++
				w.tb.Errorf("output %d of %s is %s", i+1, key, v)
				break
			}
		}
		if wrong > 10 {
			w.tb.Fatal("and more")
		}
	}
	if len(state) != len(w.sent) {
		w.tb.Errorf("state has %d keys, want %d", len(state), len(w.sent))
	}
}

// letters reads the dead letters.
func (w *world) letters() []stream.Record {
	w.tb.Helper()
	var all []stream.Record
	err := stream.ReadAll(w.tb.Context(), w.options(), []string{topicLetters}, func(r *stream.Record) error {
		c := *r
		c.Key, c.Value, c.Headers = bytes.Clone(r.Key), bytes.Clone(r.Value), slices.Clone(r.Headers)
		all = append(all, c)
		return nil
	})
	if err != nil {
		w.tb.Fatal(err)
	}
	return all
}

func header(r stream.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}
