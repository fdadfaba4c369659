package stream_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"earworm/consumers/stream"
)

func TestPartitionOfIsKafkas(t *testing.T) {
	hash := kgo.StickyKeyPartitioner(nil).ForTopic("t")
	for i := range 2000 {
		key := []byte(strings.Repeat("ä", i%5) + strconv.Itoa(i))
		for _, n := range []int32{1, 2, 7, 32} {
			if want, got := hash.Partition(&kgo.Record{Key: key}, int(n)), stream.PartitionOf(key, n); int(got) != want {
				t.Fatalf("key %q of %d: %d, Kafka says %d", key, n, got, want)
			}
		}
	}
	if stream.PartitionOf(nil, 8) != 0 {
		t.Error("a nil key has no partition 0")
	}
}

// TestFollowerStepsOverBombsInManyPartitions: setting one partition on its way must not lose what the client has to tell of the others.
func TestFollowerStepsOverBombsInManyPartitions(t *testing.T) {
	const partitions, rounds = 4, 5
	w := newWorld(t, partitions, kfake.NumBrokers(partitions))
	for range rounds {
		w.send(topicIn, "k", 8, 40)
		for p := range int32(partitions) {
			w.throw(topicIn, p, 1, smallBomb())
		}
	}
	got := 0
	f, err := stream.NewFollower(stream.FollowerConfig{
		Topics: []string{topicIn}, ClientOptions: append(w.options(), kgo.MaxDecompressBatchBytes(1<<20)), Until: true,
		OnBatch: func(rs []stream.Record) error {
			got += len(rs)
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := f.Run(ctx); err != nil || ctx.Err() != nil || got != rounds*40 {
		t.Errorf("%d records, want %d: %v, %v", got, rounds*40, err, ctx.Err())
	}
}

// TestFollowerStepsOverACorruptBatch: what no reader can decode must not keep a process from starting, and must not look like nothing to who reads
// a topic once.
func TestFollowerStepsOverACorruptBatch(t *testing.T) {
	w := newWorld(t, 1)
	w.send(topicIn, "k", 3, 30)
	w.corrupt(topicIn, 0, 7)
	w.send(topicIn, "k", 3, 30)
	got := 0
	f, err := stream.NewFollower(stream.FollowerConfig{
		Topics: []string{topicIn}, ClientOptions: w.options(),
		OnBatch: func(rs []stream.Record) error { got += len(rs); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	select {
	case <-f.CaughtUp():
	case <-ctx.Done():
	}
	cancel()
	if err := <-done; err != nil || got != 60 {
		t.Errorf("%d records, want 60: %v", got, err)
	}
	got = 0
	err = stream.ReadAll(t.Context(), w.options(), []string{topicIn}, func(*stream.Record) error { got++; return nil })
	if err == nil || !strings.Contains(err.Error(), "the batch at offset 30 of in/0 is damaged") || got != 30 {
		t.Errorf("%d records were read, want 30 and an error that says where: %v", got, err)
	}
}

func TestFollowerCatchesUpAndFollows(t *testing.T) {
	w := newWorld(t, 4)
	w.send(topicIn, "k", 50, 500)
	var got int
	seen := make(chan struct{}, 100)
	f, err := stream.NewFollower(stream.FollowerConfig{
		Topics: []string{topicIn, topicTicks}, ClientOptions: w.options(),
		OnBatch: func(rs []stream.Record) error {
			got += len(rs)
			seen <- struct{}{}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	<-f.CaughtUp()
	for len(seen) > 0 {
		<-seen
	}
	w.send(topicTicks, "k", 1, 1)
	<-seen
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got != 501 {
		t.Errorf("%d records, want 501", got)
	}
}

func TestReadAllSkipsAbortedAndPassesMarkers(t *testing.T) {
	w := newWorld(t, 1)
	tx := w.client(kgo.TransactionalID("x"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for round, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit, kgo.TryAbort} {
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			r := &kgo.Record{Topic: topicIn, Key: fmt.Appendf(nil, "%d-%d", round, i)}
			if err := tx.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := tx.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	start := time.Now()
	err := stream.ReadAll(t.Context(), w.options(), []string{topicIn, topicTicks}, func(r *stream.Record) error {
		n++
		if r.Key[0] != '0' && r.Key[0] != '2' {
			t.Errorf("an aborted record was read: %s", r.Key)
		}
		return nil
	})
	if err != nil || n != 20 {
		t.Errorf("%d records, %v", n, err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("it took %v to see the end", d)
	}
	boom := errors.New("boom")
	if err := stream.ReadAll(t.Context(), w.options(), []string{topicIn}, func(*stream.Record) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("the callback's error became %v", err)
	}
}

func TestReadAllWaitsForAnOpenTransaction(t *testing.T) {
	w := newWorld(t, 1)
	tx := w.client(kgo.TransactionalID("x"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := tx.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := tx.ProduceSync(t.Context(), &kgo.Record{Topic: topicIn, Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	read := make(chan int, 1)
	go func() {
		n := 0
		_ = stream.ReadAll(t.Context(), w.options(), []string{topicIn}, func(*stream.Record) error { n++; return nil })
		read <- n
	}()
	select {
	case n := <-read:
		t.Fatalf("the read ended with %d records while a transaction was open", n)
	case <-time.After(1500 * time.Millisecond):
	}
	if err := tx.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	if n := <-read; n != 1 {
		t.Errorf("%d records, want 1", n)
	}
}

func TestEnsureTopics(t *testing.T) {
	w := newWorld(t, 4)
	cl, err := stream.OpenClient(w.options())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	specs := []stream.TopicSpec{
		{Name: "new", Partitions: 3, Cleanup: "compact", Configs: map[string]string{"max.compaction.lag.ms": "1000"}},
		{Name: "any"},
		{Name: topicIn, Partitions: 4, Cleanup: "delete"},
	}
	for range 2 {
		if err := stream.EnsureTopics(t.Context(), cl, specs); err != nil {
			t.Fatal(err)
		}
	}
	info := w.cluster.TopicInfo("new")
	if info.Configs["max.compaction.lag.ms"] == nil || *info.Configs["max.compaction.lag.ms"] != "1000" {
		t.Errorf("configs of the new topic: %v", info.Configs)
	}
	err = stream.EnsureTopics(t.Context(), cl, []stream.TopicSpec{
		{Name: topicIn, Partitions: 8}, {Name: topicOut, Partitions: 2}, {Name: topicLog, Partitions: 4, Cleanup: "compact"},
	})
	if !errors.Is(err, stream.ErrTopicMismatch) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{
		"in has 4 partitions, not 8; fix: kafka-topics.sh --alter --topic in --partitions 8",
		"out has 4 partitions, not 2; fix: delete the topic, or configure 4 partitions",
		"changelog has cleanup.policy=delete, not compact; fix: kafka-configs.sh --alter --topic changelog",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("missing %q in %q", want, err)
		}
	}
}

func TestProducer(t *testing.T) {
	w := newWorld(t, 4)
	p, err := stream.NewProducer(w.options())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for i := range 100 {
		p.Send(t.Context(), stream.Message{Topic: topicIn, Partition: -1, Key: fmt.Appendf(nil, "k%d", i)})
	}
	if err := p.Flush(t.Context()); err != nil || p.Acknowledged() != 100 {
		t.Errorf("acknowledged %d, %v", p.Acknowledged(), err)
	}
	p.Send(t.Context(), stream.Message{Topic: topicIn, Partition: 99})
	if err := p.Flush(t.Context()); err == nil {
		t.Error("a message to a partition that is not there was accepted")
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Errorf("an old failure came back: %v", err)
	}
}

func TestClientOptions(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  stream.KafkaConfig
		want string
	}{
		"plain":      {cfg: stream.KafkaConfig{Brokers: []string{"h:1"}, ClientID: "x", Compression: "zstd"}},
		"properties": {cfg: stream.KafkaConfig{Properties: map[string]string{"bootstrap.servers": "a:1, b:2", "security.protocol": "SASL_SSL", "sasl.mechanisms": "SCRAM-SHA-512", "sasl.username": "u", "sasl.password": "p", "compression.type": "none", "fetch.max.bytes": "1000000"}}},
		"no broker":  {cfg: stream.KafkaConfig{}, want: "no broker address"},
		"unknown":    {cfg: stream.KafkaConfig{Brokers: []string{"h:1"}, Properties: map[string]string{"bootstap.servers": "x"}}, want: `unknown kafka property "bootstap.servers"`},
		"mechanism":  {cfg: stream.KafkaConfig{Brokers: []string{"h:1"}, SASL: stream.SASLConfig{Mechanism: "GSSAPI"}}, want: `unknown SASL mechanism "GSSAPI"`},
		"half login": {cfg: stream.KafkaConfig{Brokers: []string{"h:1"}, SASL: stream.SASLConfig{Username: "u"}}, want: "without a mechanism"},
		"isolation":  {cfg: stream.KafkaConfig{Brokers: []string{"h:1"}, Properties: map[string]string{"isolation.level": "read_uncommitted"}}, want: "isolation.level"},
		"codec":      {cfg: stream.KafkaConfig{Brokers: []string{"h:1"}, Compression: "rar"}, want: `unknown compression "rar"`},
		"ca":         {cfg: stream.KafkaConfig{Brokers: []string{"h:1"}, TLS: stream.TLSConfig{Enabled: true, CAFile: "/nowhere"}}, want: "reading the CA certificate"},
		"half pair":  {cfg: stream.KafkaConfig{Brokers: []string{"h:1"}, TLS: stream.TLSConfig{Enabled: true, CertFile: "/x"}}, want: "both its certificate and its key"},
	} {
		t.Run(name, func(t *testing.T) {
			opts, err := stream.ClientOptions(c.cfg)
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				cl, err := stream.OpenClient(opts)
				if err != nil {
					t.Fatal(err)
				}
				cl.Close()
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if strings.Contains(fmt.Sprint(err), "p4ssword") {
				t.Error("a secret in an error")
			}
		})
	}
	if !(stream.KafkaConfig{Brokers: []string{"example.org:9092"}}).Plaintext() || (stream.KafkaConfig{Brokers: []string{"127.0.0.1:9092"}}).Plaintext() {
		t.Error("Plaintext is about unprotected brokers elsewhere")
	}
}

func TestLoginWithSCRAM(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "u", "pw"), kfake.SeedTopics(1, topicIn))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	opts, err := stream.ClientOptions(stream.KafkaConfig{
		Brokers: cluster.ListenAddrs(), SASL: stream.SASLConfig{Mechanism: "SCRAM-SHA-512", Username: "u", Password: "pw"},
	})
	if err != nil {
		t.Fatal(err)
	}
	cl, err := stream.OpenClient(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestConfigValidateReportsEverything(t *testing.T) {
	_, err := stream.New(stream.Config{
		Changelog: "c", SessionTimeout: time.Second, TransactionTimeout: time.Second, CommitInterval: time.Second, HeartbeatInterval: time.Second,
	}, stream.Deps{})
	if err == nil {
		t.Fatal("an empty configuration was accepted")
	}
	for _, want := range []string{
		"app and role", "instance id", "no input", "no dead-letter", "no task constructor", "needs a store",
		"needs its partition count", "below session timeout", "commit interval", "heartbeat interval",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %q in %v", want, err)
		}
	}
}

// TestDrainedIncludesWhatTheGroupSentItself: a member that commits the last offset of a topic may send a record to the same topic in
// that transaction. The commit comes between the two looks of WaitDrained, whichever is the first.
func TestDrainedIncludesWhatTheGroupSentItself(t *testing.T) {
	for name, key := range map[string]kmsg.Key{"before the offsets are fetched": kmsg.OffsetFetch, "before the ends are listed": kmsg.ListOffsets} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.send(topicTicks, "k", 1, 1)
			// What the listener role does with the last chunk but one of a week.
			member := w.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
			var once sync.Once
			w.cluster.ControlKey(key.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
				w.cluster.KeepControl()
				once.Do(func() {
					w.cluster.SleepControl(func() {
						if err := member.ProduceSync(t.Context(), &kgo.Record{Topic: topicTicks, Value: []byte("continue")}).FirstErr(); err != nil {
							t.Error(err)
						}
						commit := kadm.Offsets{}
						commit.AddOffset(topicTicks, 0, 1, -1)
						if err := kadm.NewClient(member).CommitAllOffsets(t.Context(), "toy-counter", commit); err != nil {
							t.Error(err)
						}
					})
				})
				return nil, nil, false
			})
			cl := w.client()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			err := stream.WaitDrained(ctx, cl, "toy-counter", []string{topicTicks}, 20*time.Millisecond)
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "ticks/0 from offset 1 to 2") {
				t.Errorf("a tick that continues is still there, and: %v", err)
			}
			once.Do(func() { t.Error("nothing was committed in between") })
		})
	}
}
