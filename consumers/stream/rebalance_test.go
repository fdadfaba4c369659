package stream_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"earworm/consumers/stream"
)

// owners records which topics each partition was seen with, per member.
type owners struct {
	mu   sync.Mutex
	seen map[string]map[stream.TopicPartition]bool
}

func (o *owners) task(instance string) func(int32, stream.Store) (stream.Task, error) {
	return func(p int32, s stream.Store) (stream.Task, error) {
		task, err := newCounter(p, s)
		task.(*counter).onProcess = func(r *stream.Record) {
			o.mu.Lock()
			defer o.mu.Unlock()
			if o.seen[instance] == nil {
				o.seen[instance] = make(map[stream.TopicPartition]bool)
			}
			o.seen[instance][stream.TopicPartition{Topic: r.Topic, Partition: r.Partition}] = true
		}
		return task, err
	}
}

func TestMembersJoinAndLeave(t *testing.T) {
	const partitions = 8
	w := newWorld(t, partitions)
	o := &owners{seen: make(map[string]map[stream.TopicPartition]bool)}
	disks := map[string]*disk{"a": newDisk(), "b": newDisk(), "c": newDisk()}
	start := func(instance string) *member {
		cfg := w.config(instance, disks[instance])
		cfg.NewTask = o.task(instance)
		cfg.SessionTimeout, cfg.TransactionTimeout = time.Second, 500*time.Millisecond
		return w.start(cfg)
	}
	shares := func(want int, members ...*member) func() bool {
		return func() bool {
			total := 0
			for _, m := range members {
				n := len(m.Partitions())
				if n < want || n > want+1 {
					return false
				}
				total += n
			}
			return total == partitions
		}
	}
	feed := func() {
		w.send(topicIn, "k", 100, 500)
		w.send(topicTicks, "k", 100, 200)
	}

	a := start("a")
	feed()
	eventually(t, "a owns everything", shares(partitions, a))
	feed()
	b := start("b")
	feed()
	eventually(t, "a and b share", shares(partitions/2, a, b))
	feed()
	c := start("c")
	feed()
	eventually(t, "a, b and c share", shares(partitions/3, a, b, c))
	feed()
	w.drained()
	// A static member stays in the group when it stops; its partitions move when its session times out.
	if err := b.wait(); err != nil {
		t.Fatal(err)
	}
	feed()
	eventually(t, "a and c share", shares(partitions/2, a, c))
	feed()
	b = start("b")
	feed()
	eventually(t, "all share again", shares(partitions/3, a, b, c))
	feed()
	w.drained()
	sum := stream.Counts{}
	for _, m := range []*member{a, b, c} {
		if err := m.wait(); err != nil {
			t.Fatal(err)
		}
		for tp, n := range m.Accounting() {
			if !n.Balanced() {
				t.Errorf("%v is out of balance: %+v", tp, n)
			}
			sum = sum.Add(n)
		}
	}
	if sum.Applied == 0 {
		t.Error("nothing was accounted for")
	}
	w.checkState()
	o.mu.Lock()
	defer o.mu.Unlock()
	for instance, seen := range o.seen {
		for tp := range seen {
			other := stream.TopicPartition{Topic: topicTicks, Partition: tp.Partition}
			if tp.Topic == topicTicks {
				other.Topic = topicIn
			}
			// Every partition gets records of both topics in every phase.
			if !seen[other] {
				t.Errorf("%s saw %v but not %v", instance, tp, other)
			}
		}
	}
}

func TestCrashedMembersTransactionIsNotCounted(t *testing.T) {
	// Two processes with one instance id: the second fences the first, which must not commit any more.
	w := newWorld(t, 4)
	d1, d2 := newDisk(), newDisk()
	cfg := w.config("a", d1)
	cfg.FencedMax = 1
	first := w.start(cfg)
	w.send(topicIn, "k", 40, 400)
	eventually(t, "all tasks live", func() bool { return len(first.Partitions()) == 4 })
	second := w.start(w.config("a", d2))
	for range 10 {
		w.send(topicIn, "k", 40, 200)
		time.Sleep(10 * time.Millisecond)
	}
	select {
	case err := <-first.done:
		if !errors.Is(err, stream.ErrFenced) {
			t.Errorf("the first process ended with %v", err)
		}
		first.done <- err
	case <-time.After(20 * time.Second):
		t.Error("the first process was not fenced")
	}
	w.drained()
	if err := second.wait(); err != nil {
		t.Fatal(err)
	}
	w.checkState()
}

func TestThrownOutInTheMiddleOfATransaction(t *testing.T) {
	// The heartbeat says that the group does not know this member, while a transaction is open: the loss waits for the
	// End, and the End waits for a heartbeat that nobody sends any more. It must not take the whole End timeout.
	w := newWorld(t, 2)
	cfg := w.config("a", newDisk())
	cfg.CommitInterval = 150 * time.Millisecond
	m := w.start(cfg)
	eventually(t, "all tasks live", func() bool { return len(m.Partitions()) == 2 })
	for range 3 {
		h := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.UnknownMemberID, TopLevel: true})
		began := time.Now()
		for h.Hits() == 0 {
			w.send(topicIn, "k", 40, 50)
			time.Sleep(5 * time.Millisecond)
		}
		w.send(topicIn, "k", 40, 50)
		w.drained()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v to get over it", took)
		}
	}
	if err := m.wait(); err != nil {
		t.Fatal(err)
	}
	w.checkState()
}

func TestOpenTransactionOfAPredecessorDoesNotHoldUpARestore(t *testing.T) {
	w := newWorld(t, 1)
	cl := w.client(kgo.TransactionalID("toy-counter-a"), kgo.TransactionTimeout(time.Minute), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	ghost := &kgo.Record{Topic: topicLog, Key: []byte("ghost"), Value: []byte("1")}
	if err := cl.ProduceSync(t.Context(), ghost).FirstErr(); err != nil {
		t.Fatal(err)
	}
	d := newDisk()
	began := time.Now()
	m := w.start(w.config("a", d))
	eventually(t, "the task is live", func() bool { return len(m.Partitions()) == 1 })
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the restore took %v", took)
	}
	m.mustStop(t)
	if v, _ := d.store(0).Get([]byte("ghost")); v != nil {
		t.Error("an aborted change was restored")
	}
}

func TestStatelessRole(t *testing.T) {
	w := newWorld(t, 4)
	if err := w.cluster.CreateTopic("raw", 7, nil); err != nil {
		t.Fatal(err)
	}
	cfg := w.config("a", newDisk())
	cfg.Role, cfg.Changelog, cfg.OpenStore, cfg.Partitions = "ingest", "", nil, 0
	cfg.Inputs = []string{"raw", topicTicks}
	cfg.NewTask = func(_ int32, s stream.Store) (stream.Task, error) {
		if s != nil {
			t.Error("a stateless task got a store")
		}
		return forward{}, nil
	}
	records := make([]*kgo.Record, 0, 700)
	for i := range 700 {
		records = append(records, &kgo.Record{Topic: "raw", Partition: int32(i % 7), Key: []byte{byte(i)}, Value: []byte("v")})
	}
	w.produce(records...)
	m := w.start(cfg)
	eventually(t, "700 records are forwarded", func() bool {
		n := int64(0)
		for _, c := range m.Accounting() {
			n += c.Applied
		}
		return n == 700
	})
	if got := len(m.Partitions()); got != 7 {
		t.Errorf("%d tasks, want one per partition number of the widest topic", got)
	}
	if err := m.wait(); err != nil {
		t.Fatal(err)
	}
	n := 0
	err := stream.ReadAll(t.Context(), w.options(), []string{topicOut}, func(r *stream.Record) error {
		n++
		if want := stream.PartitionOf(r.Key, 4); r.Partition != want {
			t.Errorf("key %v went to partition %d, want %d", r.Key, r.Partition, want)
		}
		return nil
	})
	if err != nil || n != 700 {
		t.Errorf("read %d outputs, %v", n, err)
	}
}

type forward struct{}

func (forward) Process(r *stream.Record, out *stream.Output) error {
	out.Emit(stream.Message{Topic: topicOut, Partition: -1, Key: r.Key, Value: r.Value, Headers: r.Headers})
	return nil
}
func (forward) Flush(*stream.Output) error { return nil }
func (forward) Committed()                 {}
func (forward) Abandon()                   {}
func (forward) Close() error               { return nil }

// TestNegativeControl shows that the toy application sees the bug which the order of commit prevents: with the local
// store written first, a transaction that aborts leaves its effects behind, and its records come again.
func TestNegativeControl(t *testing.T) {
	count := func(localFirst bool) string {
		w := newWorld(t, 1)
		d := newDisk()
		cfg := w.config("a", d)
		if localFirst {
			stream.SetLocalFirst(&cfg)
		}
		m := w.start(cfg)
		eventually(t, "the task is live", func() bool { return len(m.Partitions()) == 1 })
		h := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.UnknownMemberID})
		w.send(topicIn, "k", 1, 10)
		w.drained()
		m.mustStop(t)
		if h.Hits() == 0 {
			t.Error("no fault was injected")
		}
		v, _ := d.store(0).Get([]byte("k0"))
		return string(v)
	}
	if got := count(false); got != "10" {
		t.Errorf("Kafka first: counted %s of 10", got)
	}
	if got := count(true); got == "10" {
		t.Error("local first: the harness does not see the bug")
	}
}

// cord is a network connection that can be cut, which to everybody else looks as if the process had been killed.
type cord struct {
	mu    sync.Mutex
	conns []net.Conn
	cut   bool
}

func (c *cord) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if c.cut {
		return nil, errors.Join(errors.New("killed"), conn.Close())
	}
	c.conns = append(c.conns, conn)
	return conn, nil
}

func (c *cord) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}

// killedBetweenRounds kills member b when it has given up a number for member c and is about to ask for the round that hands it over.
// When b comes back, kfake is made to do what brokers do: a static member that comes back to a stable group is given its old assignment
// without a rebalance, whatever its metadata say (kfake compares them).
func killedBetweenRounds(w *world, b *cord) (killed <-chan struct{}) {
	done := make(chan struct{})
	var mu sync.Mutex
	joined := map[string]int{}
	var before []kmsg.JoinGroupRequestProtocol
	w.cluster.ControlKey(int16(kmsg.JoinGroup), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		w.cluster.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		req := kreq.(*kmsg.JoinGroupRequest)
		instance := *req.InstanceID
		if instance != "b" {
			joined[instance]++
			return nil, nil, false
		}
		if joined["c"] == 0 {
			return nil, nil, false
		}
		switch joined["b"]++; joined["b"] {
		case 1: // the round that takes the number from b
			before = req.Protocols
		case 2: // b would ask for the next round
			b.kill()
			close(done)
			return nil, errors.New("killed"), true
		case 3: // b is back
			req.Protocols = before
		}
		return nil, nil, false
	})
	return done
}

// TestMemberKilledBetweenTwoRounds: without another round nobody owns the number that changes hands, and the group is stable for good.
func TestMemberKilledBetweenTwoRounds(t *testing.T) {
	t.Parallel()
	const partitions = 4
	w := newWorld(t, partitions)
	start := func(instance string, more ...kgo.Opt) *member {
		cfg := w.config(instance, newDisk())
		cfg.ClientOptions = append(cfg.ClientOptions, more...)
		return w.start(cfg)
	}
	owned := func(members ...*member) (n int) {
		for _, m := range members {
			n += len(m.Partitions())
		}
		return n
	}
	link := &cord{}
	a := start("a")
	eventually(t, "a owns everything", func() bool { return owned(a) == partitions })
	b := start("b", kgo.Dialer(link.dial))
	eventually(t, "a and b share", func() bool { return len(a.Partitions()) == 2 && len(b.Partitions()) == 2 })
	killed := killedBetweenRounds(w, link)
	c := start("c")
	select {
	case <-killed:
	case <-time.After(10 * time.Second):
		t.Fatal("b was not asked for anything: another member must have lost the number")
	}
	b.stop()
	again := start("b")
	eventually(t, "every number has an owner", func() bool { return owned(a, again, c) == partitions && len(c.Partitions()) > 0 })
	w.send(topicIn, "k", 40, 200)
	w.drained()
	for _, m := range []*member{a, again, c} {
		m.mustStop(t)
	}
	w.checkState()
}
