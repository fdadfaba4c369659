package broker_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"earworm/internal/broker"
)

// childDir makes the test binary run a broker and a transactional producer instead of the tests, to be killed.
const childDir = "EARWORM_BROKER_TEST_DIR"

const (
	topic      = "songs"
	partitions = 3
	group      = "readers"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := produceUntilKilled(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func start(tb testing.TB, cfg broker.Config) *broker.Broker {
	tb.Helper()
	b, err := broker.Start(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Error(err)
		}
	})
	return b
}

func client(tb testing.TB, b *broker.Broker, opts ...kgo.Opt) *kgo.Client {
	tb.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(b.Addrs()...), kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
	}, opts...)...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(cl.Close)
	return cl
}

func createTopic(ctx context.Context, cl *kgo.Client) error {
	_, err := kadm.NewClient(cl).CreateTopic(ctx, partitions, 1, nil, topic)
	return err
}

// transaction writes value to every partition and ends the transaction with commit or abort.
func transaction(ctx context.Context, cl *kgo.Client, value string, commit kgo.TransactionEndTry) error {
	if err := cl.BeginTransaction(); err != nil {
		return err
	}
	records := make([]*kgo.Record, partitions)
	for p := range records {
		records[p] = &kgo.Record{Topic: topic, Partition: int32(p), Value: []byte(value), Timestamp: time.Unix(1_000_000, 0)}
	}
	if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return err
	}
	return cl.EndTransaction(ctx, commit)
}

// committed reads each partition as a read_committed consumer, up to a mark it commits itself: an aborted
// transaction at the end of a log is never delivered, so the end offset alone cannot be waited for.
func committed(tb testing.TB, b *broker.Broker, opts ...kgo.Opt) [partitions][]string {
	tb.Helper()
	mark := "mark " + strconv.FormatInt(time.Now().UnixNano(), 10)
	if err := transaction(tb.Context(), client(tb, b, kgo.TransactionalID("marker")), mark, kgo.TryCommit); err != nil {
		tb.Fatal(err)
	}
	cl := client(tb, b, append(opts, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	ctx, cancel := context.WithTimeout(tb.Context(), 20*time.Second)
	defer cancel()
	var got [partitions][]string
	for marks := 0; marks < partitions; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			tb.Fatalf("reading back: %v, %d of %d marks seen", err, marks, partitions)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			switch value := string(r.Value); {
			case value == mark:
				marks++
			case !strings.HasPrefix(value, "mark "):
				got[r.Partition] = append(got[r.Partition], value)
			}
		})
	}
	return got
}

func TestReopenReadsBackWhatWasCommitted(t *testing.T) {
	dir := t.TempDir()
	b := start(t, broker.Config{Dir: dir})
	cl := client(t, b, kgo.TransactionalID("writer"))
	if err := createTopic(t.Context(), cl); err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range 20 {
		commit := kgo.TryCommit
		if i%5 == 4 {
			commit = kgo.TryAbort
		} else {
			want = append(want, strconv.Itoa(i))
		}
		if err := transaction(t.Context(), cl, strconv.Itoa(i), commit); err != nil {
			t.Fatal(err)
		}
	}
	offsets := kadm.OffsetsFromRecords(kgo.Record{Topic: topic, Offset: 6})
	if err := kadm.NewClient(cl).CommitAllOffsets(t.Context(), group, offsets); err != nil {
		t.Fatal(err)
	}
	cl.Close()
	if err := errors.Join(b.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}

	b = start(t, broker.Config{Dir: dir})
	for p, got := range committed(t, b) {
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("partition %d: got %v, want %v", p, got, want)
		}
	}
	stored, err := kadm.NewClient(client(t, b)).FetchOffsets(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	if o, _ := stored.Lookup(topic, 0); o.At != 7 {
		t.Errorf("group offset after reopening: %d, want 7", o.At)
	}
	// The records are dated 1970: time retention must not touch them.
	b.Cluster().ApplyRetention()
	if got := committed(t, b); len(got[0]) != len(want) {
		t.Errorf("after retention: %d records, want %d", len(got[0]), len(want))
	}
}

func produceUntilKilled(dir string) error {
	ctx := context.Background()
	b, err := broker.Start(ctx, broker.Config{Dir: dir})
	if err != nil {
		return err
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.TransactionalID("writer"),
		kgo.MetadataMinAge(100*time.Millisecond), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return err
	}
	if err := createTopic(ctx, cl); err != nil && !strings.Contains(err.Error(), "exists") {
		return err
	}
	for i := 0; ; i++ {
		if err := transaction(ctx, cl, strconv.Itoa(i), kgo.TryCommit); err != nil {
			return err
		}
		fmt.Println(i)
	}
}

func TestKillLosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	acknowledged := 0
	for range 3 {
		cmd := exec.CommandContext(t.Context(), exe)
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < 25 && lines.Scan(); n++ {
			acknowledged++
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // acknowledged after we stopped counting and before the kill
			acknowledged++
		}
		_ = cmd.Wait() // killed: the exit status is the point
	}
	if acknowledged < 75 {
		t.Fatalf("the children acknowledged only %d transactions", acknowledged)
	}
	b := start(t, broker.Config{Dir: dir})
	for p, got := range committed(t, b) {
		// Each kill may leave one transaction committed but not yet printed.
		if len(got) < acknowledged || len(got) > acknowledged+3 {
			t.Errorf("partition %d: %d committed records, %d acknowledged", p, len(got), acknowledged)
		}
	}
	t.Logf("0 lost of %d acknowledged transactions, 3 kills", acknowledged)
}

func TestRefusals(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	port := taken.Addr().(*net.TCPAddr).Port
	dir := t.TempDir()
	_, err = broker.Start(t.Context(), broker.Config{Dir: dir, Port: port})
	if !errors.Is(err, broker.ErrPortTaken) || !strings.Contains(err.Error(), strconv.Itoa(port)) {
		t.Errorf("port taken: got %v", err)
	}
	start(t, broker.Config{Dir: dir}) // the refused start has freed the directory
	if _, err = broker.Start(t.Context(), broker.Config{Dir: dir}); !errors.Is(err, broker.ErrDirInUse) {
		t.Errorf("second broker on one directory: got %v", err)
	}
	if _, err = broker.Start(t.Context(), broker.Config{Port: 70000}); err == nil {
		t.Error("port 70000 was accepted")
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = broker.Start(cancelled, broker.Config{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled context: got %v", err)
	}
}

func TestBrokersInMemoryOnVirtualNetwork(t *testing.T) {
	var network kfake.VirtualNetwork
	b := start(t, broker.Config{Brokers: 3, Port: 9092, Options: []kfake.Opt{kfake.ListenFn(network.Listen)}})
	if n := len(b.Addrs()); n != 3 {
		t.Fatalf("%d addresses, want 3", n)
	}
	cl := client(t, b, kgo.TransactionalID("writer"), kgo.Dialer(network.DialContext))
	if err := createTopic(t.Context(), cl); err != nil {
		t.Fatal(err)
	}
	if err := transaction(t.Context(), cl, "1", kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
}
