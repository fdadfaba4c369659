package letters_test

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"math/rand/v2"
	"net"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"earworm/consumers/letters"
	"earworm/consumers/stream"
	"earworm/internal/broker"
	"earworm/schemas"
)

var seed = flag.Uint64("seed", 0, "seed of the fault plan; 0 takes one from the clock")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a broker with the topics, and a producer of letters.
type rig struct {
	t      *testing.T
	broker *broker.Broker
	client *kgo.Client
	topics schemas.Topics
}

func newRig(t *testing.T) *rig {
	t.Helper()
	b, err := broker.Start(t.Context(), broker.Config{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, broker: b, client: client, topics: schemas.NewTopics("app")}
	t.Cleanup(func() {
		client.Close()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	r.create(4, r.topics.DeadLetters, r.topics.Events, r.topics.SongUpdates, "quarry")
	return r
}

func (r *rig) create(partitions int32, topics ...string) {
	r.t.Helper()
	if _, err := kadm.NewClient(r.client).CreateTopics(r.t.Context(), partitions, 1, nil, topics...); err != nil {
		r.t.Fatal(err)
	}
}

// open returns a client with small transactions.
func (r *rig) open(options ...kgo.Opt) *letters.Client {
	r.t.Helper()
	c, err := letters.New(letters.Config{
		App: "app", Topics: r.topics, ClientOptions: append([]kgo.Opt{kgo.SeedBrokers(r.broker.Addrs()...)}, options...), ChunkRecords: 3,
		Marks: stream.TopicSpec{Name: r.topics.LetterMarks, Partitions: 1, Cleanup: "delete"},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// letter produces a dead letter in the style of Kafka Streams, or with no headers but these.
func (r *rig) letter(partition int32, at time.Time, key, value string, headers ...schemas.Header) letters.Place {
	r.t.Helper()
	rec := &kgo.Record{Topic: r.topics.DeadLetters, Partition: partition, Key: []byte(key), Value: []byte(value), Timestamp: at}
	for _, h := range headers {
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	if err := r.client.ProduceSync(r.t.Context(), rec).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
	return letters.Place{Partition: rec.Partition, Offset: rec.Offset}
}

func from(topic string, partition int32, code schemas.Code) []schemas.Header {
	return []schemas.Header{
		{Key: "traceparent", Value: []byte("00-1")},
		{Key: stream.HeaderTopic, Value: []byte(topic)},
		{Key: stream.HeaderPartition, Value: strconv.AppendInt(nil, int64(partition), 10)},
		{Key: stream.HeaderOffset, Value: []byte("77")},
		{Key: stream.HeaderErrorCode, Value: []byte(code.String())},
		{Key: stream.HeaderAttempt, Value: []byte("1")},
	}
}

// committed reads the committed records of a topic.
func (r *rig) committed(topic string) []stream.Record {
	r.t.Helper()
	var got []stream.Record
	err := stream.ReadAll(r.t.Context(), []kgo.Opt{kgo.SeedBrokers(r.broker.Addrs()...)}, []string{topic}, func(rec *stream.Record) error {
		got = append(got, *rec)
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}

// TestStylesAreRead writes letters as the pipeline does and reads them back, in each style.
func TestStylesAreRead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, style := range []stream.HeaderStyle{stream.StyleStreams, stream.StyleConnect, stream.StyleSpring} {
		d := stream.NewDetached(stream.DetachedConfig{Task: refusing{}, DeadLetters: r.topics.DeadLetters, DeadLetterStyle: style})
		rec := &stream.Record{
			Topic: r.topics.Events, Partition: 3, Offset: 1 << 40, Key: []byte(style.String()), Value: []byte("v"), At: time.UnixMilli(9),
			Headers: []stream.Header{{Key: "ce_id", Value: []byte("1")}, {Key: stream.HeaderAttempt, Value: []byte("4")}},
		}
		if _, err := d.Process(rec); err != nil {
			t.Fatal(err)
		}
		if err := d.Commit(); err != nil {
			t.Fatal(err)
		}
		m := d.Take()[0]
		headers := make([]schemas.Header, len(m.Headers))
		for i, h := range m.Headers {
			headers[i] = schemas.Header{Key: h.Key, Value: h.Value}
		}
		r.letter(1, time.UnixMilli(1000), string(m.Key), string(m.Value), headers...)
	}
	c := r.open()
	defer c.Close()
	n := 0
	err := c.Read(t.Context(), letters.Filter{}, func(l *letters.Letter) error {
		n++
		want := schemas.DeadLetter{
			Topic: r.topics.Events, Partition: 3, Offset: 1 << 40, Code: schemas.CodeBadID, Exception: "*errors.errorString",
			Message: "bad_id: no", Attempt: 5,
		}
		if l.DeadLetter != want || string(l.Value) != "v" || !reflect.DeepEqual(l.Original, []schemas.Header{{Key: "ce_id", Value: []byte("1")}}) {
			t.Errorf("%s: %+v, %q, %v", l.Key, l.DeadLetter, l.Value, l.Original)
		}
		return nil
	})
	if err != nil || n != 3 {
		t.Errorf("%d letters, %v", n, err)
	}
}

// refusing refuses every record.
type refusing struct{}

func (refusing) Process(*stream.Record, *stream.Output) error {
	return &stream.Poison{Code: schemas.CodeBadID.String(), Err: errors.New("no")}
}
func (refusing) Flush(*stream.Output) error { return nil }
func (refusing) Committed()                 {}
func (refusing) Abandon()                   {}
func (refusing) Close() error               { return nil }

func TestFilters(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	r.letter(0, at(10), "a", "", from("t1", 0, schemas.CodeBadID)...)
	second := r.letter(0, at(20), "b", "", from("t2", 0, schemas.CodeBadTime)...)
	r.letter(1, at(30), "c", "", from("t1", 0, schemas.CodeBadTime)...)
	r.letter(2, at(40), "d", "") // no dead letter of any style
	c := r.open()
	defer c.Close()
	for name, test := range map[string]struct {
		filter letters.Filter
		want   []string
	}{
		"all":      {want: []string{"a", "b", "c", "d"}},
		"code":     {letters.Filter{Codes: []schemas.Code{schemas.CodeBadTime}}, []string{"b", "c"}},
		"topic":    {letters.Filter{Topics: []string{"t1"}}, []string{"a", "c"}},
		"both":     {letters.Filter{Topics: []string{"t1"}, Codes: []schemas.Code{schemas.CodeBadTime}}, []string{"c"}},
		"place":    {letters.Filter{Places: []letters.Place{second}}, []string{"b"}},
		"since":    {letters.Filter{Since: at(20)}, []string{"b", "c", "d"}},
		"until":    {letters.Filter{Until: at(20)}, []string{"a"}},
		"rejected": {letters.Filter{Codes: []schemas.Code{schemas.CodeRejected}}, []string{"d"}},
	} {
		var got []string
		err := c.Read(t.Context(), test.filter, func(l *letters.Letter) error { got = append(got, string(l.Key)); return nil })
		slices.Sort(got)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, %v, want %v", name, got, err, test.want)
		}
	}
}

// TestReplay sends verbatim, to where the record came from, and once.
func TestReplay(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	now := time.Now()
	events, updates := r.topics.Events, r.topics.SongUpdates
	r.letter(0, now, "ann", "v1", from(events, 3, schemas.CodeBadID)...)
	r.letter(1, now, "", "v2", from(updates, 2, schemas.CodeCorrupt)...)
	r.letter(1, now, "stub", "v3", append(from(events, 0, schemas.CodeTooLarge), schemas.Header{Key: stream.HeaderTruncated, Value: []byte("true")})...)
	r.letter(2, now, "late", "v4", schemas.Header{Key: stream.HeaderErrorCode, Value: []byte("too_late")})
	r.letter(2, now, "foreign", "v5", from("elsewhere", 0, schemas.CodeBadID)...)
	r.letter(3, now, "wide", "v6", from(events, 9, schemas.CodeBadID)...)
	c := r.open()
	defer c.Close()

	want := letters.Result{Chosen: 6, Sent: 3, Truncated: 1, NoSource: 2}
	if got, err := c.Replay(t.Context(), letters.Request{DryRun: true}); err != nil || got != want {
		t.Fatalf("dry run: %+v, %v", got, err)
	}
	if n := len(r.committed(events)); n != 0 {
		t.Fatalf("a dry run sent %d records", n)
	}
	if got, err := c.Replay(t.Context(), letters.Request{}); err != nil || got != want {
		t.Fatalf("%+v, %v", got, err)
	}
	again := letters.Result{Chosen: 6, Already: 3, Truncated: 1, NoSource: 2}
	if got, err := c.Replay(t.Context(), letters.Request{}); err != nil || got != again {
		t.Errorf("once more: %+v, %v", got, err)
	}
	sent := map[string]stream.Record{}
	for _, rec := range append(r.committed(events), r.committed(updates)...) {
		sent[string(rec.Value)] = rec
	}
	for value, partition := range map[string]int32{"v1": 3, "v2": 2, "v6": stream.PartitionOf([]byte("wide"), 4)} {
		rec, ok := sent[value]
		headers := []stream.Header{{Key: "traceparent", Value: []byte("00-1")}, {Key: stream.HeaderAttempt, Value: []byte("1")}}
		if !ok || rec.Partition != partition || !reflect.DeepEqual(rec.Headers, headers) {
			t.Errorf("%s: partition %d, headers %v", value, rec.Partition, rec.Headers)
		}
	}
	if len(sent) != 3 || sent["v2"].Topic != updates || string(sent["v1"].Key) != "ann" {
		t.Errorf("sent %v", sent)
	}

	// To somewhere else go those without a source; what was sent is not sent there too.
	elsewhere := letters.Result{Chosen: 6, Sent: 2, Already: 3, Truncated: 1}
	if got, err := c.Replay(t.Context(), letters.Request{To: "quarry"}); err != nil || got != elsewhere {
		t.Errorf("elsewhere: %+v, %v", got, err)
	}
	for _, to := range []string{"nowhere", r.topics.DeadLetters, r.topics.LetterMarks, r.topics.SongFactors} {
		if _, err := c.Replay(t.Context(), letters.Request{To: to}); !errors.Is(err, letters.ErrNoTarget) {
			t.Errorf("to %s: %v", to, err)
		}
	}
}

// TestARecreatedTopicHasNewLetters: the same place, another letter.
func TestARecreatedTopicHasNewLetters(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.letter(0, time.Unix(10, 0), "a", "v1", from(r.topics.Events, 0, schemas.CodeBadID)...)
	c := r.open()
	defer c.Close()
	if got, err := c.Replay(t.Context(), letters.Request{}); err != nil || got.Sent != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := kadm.NewClient(r.client).DeleteTopics(t.Context(), r.topics.DeadLetters); err != nil {
		t.Fatal(err)
	}
	r.client.PurgeTopicsFromClient(r.topics.DeadLetters)
	r.create(4, r.topics.DeadLetters)
	if p := r.letter(0, time.Unix(20, 0), "b", "v2", from(r.topics.Events, 0, schemas.CodeBadID)...); p != (letters.Place{}) {
		t.Fatalf("the letter lies at %s", p)
	}
	if got, err := c.Replay(t.Context(), letters.Request{}); err != nil || got.Sent != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

// deafConn loses the answer to some EndTxn requests: the broker has done what was asked, and nobody is told.
type deafConn struct {
	net.Conn
	lose func() bool
	deaf atomic.Bool
}

// endTxn is the key of the request.
const endTxn = 26

func (c *deafConn) Write(b []byte) (int, error) {
	if len(b) >= 6 && binary.BigEndian.Uint16(b[4:]) == endTxn && c.lose() {
		c.deaf.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *deafConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.deaf.Load() && err == nil {
		return 0, errors.Join(errors.New("the answer is lost"), c.Close())
	}
	return n, err
}

// TestReplayIsExactlyOnce gives replay up at random places, and loses answers about commits, until it says that it is done.
func TestReplayIsExactlyOnce(t *testing.T) {
	t.Parallel()
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d", *seed)
	rng := rand.New(rand.NewPCG(*seed, 1))
	r := newRig(t)
	const n = 200
	for i := range n {
		r.letter(int32(i%4), time.Now(), "k", strconv.Itoa(i), from(r.topics.Events, int32(i%3), schemas.CodeBadID)...)
	}
	gaveUp, lost := 0, new(atomic.Int64)
	for runs := 0; ; runs++ {
		ctx, cancel := context.WithCancel(t.Context())
		giveUpAt, looked := int64(1+rng.IntN(n)), int64(0)
		losesAt := 1 + rng.IntN(10)
		if runs >= 30 {
			giveUpAt, losesAt = 0, 0 // let it come to its end
		}
		dial := func(ctx context.Context, network, host string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, host)
			if err != nil {
				return nil, err
			}
			return &deafConn{Conn: conn, lose: func() bool {
				if losesAt--; losesAt != 0 {
					return false
				}
				lost.Add(1)
				cancel() // the process ends before it could ask again
				return true
			}}, nil
		}
		c := r.open(kgo.Dialer(dial))
		result, err := c.Replay(ctx, letters.Request{Progress: func(int64) {
			if looked++; looked == giveUpAt {
				cancel()
			}
		}})
		c.Close()
		cancel()
		if err == nil {
			if result.Chosen != n || result.Sent+result.Already != n {
				t.Errorf("the last run: %+v", result)
			}
			break
		}
		gaveUp++
	}
	copies := map[string]int{}
	for _, rec := range r.committed(r.topics.Events) {
		copies[string(rec.Value)]++
	}
	for i := range n {
		if got := copies[strconv.Itoa(i)]; got != 1 {
			t.Errorf("letter %d was sent %d times", i, got)
		}
	}
	if gaveUp == 0 || lost.Load() == 0 {
		t.Errorf("%d runs were given up and %d answers lost: this test shows nothing", gaveUp, lost.Load())
	}
	t.Logf("%d runs given up, %d answers lost", gaveUp, lost.Load())
}

// TestTwoReplaysAtOnce: one may be fenced, no letter is sent twice.
func TestTwoReplaysAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const n = 100
	for i := range n {
		r.letter(int32(i%4), time.Now(), "k", strconv.Itoa(i), from(r.topics.Events, 0, schemas.CodeBadID)...)
	}
	var both sync.WaitGroup
	errs := make([]error, 3)
	for i := range errs {
		both.Go(func() {
			c := r.open()
			defer c.Close()
			_, errs[i] = c.Replay(t.Context(), letters.Request{})
		})
	}
	both.Wait()
	if errs[0] != nil && errs[1] != nil && errs[2] != nil {
		t.Errorf("all failed: %v", errs)
	}
	copies := map[string]int{}
	for _, rec := range r.committed(r.topics.Events) {
		copies[string(rec.Value)]++
	}
	for i := range n {
		if got := copies[strconv.Itoa(i)]; got != 1 {
			t.Errorf("letter %d was sent %d times", i, got)
		}
	}
}

// TestErasedLettersAreNeitherShownNorSent: also those that were sent before, and those of which a replay has not heard yet.
func TestErasedLettersAreNeitherShownNorSent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i, key := range []string{"ann", "bob", "ann", "cem"} {
		r.letter(int32(i), time.Unix(int64(100+i), 0), key, "v"+strconv.Itoa(i), from(r.topics.Events, 0, schemas.CodeBadID)...)
	}
	c := r.open()
	defer c.Close()
	anns := func(l *letters.Letter) bool { return string(l.Key) == "ann" }
	if got, err := c.Count(t.Context(), anns); err != nil || got != (letters.Found{Letters: 2, Newest: time.Unix(102, 0)}) {
		t.Fatalf("before: %+v, %v", got, err)
	}
	if _, err := c.Replay(t.Context(), letters.Request{Filter: letters.Filter{Places: []letters.Place{{Partition: 2}}}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := c.Erase(t.Context(), anns); err != nil || got != (letters.Found{Letters: 2, Marked: 2, Newest: time.Unix(102, 0)}) {
			t.Fatalf("erased: %+v, %v", got, err)
		}
	}
	want := letters.Result{Chosen: 4, Sent: 2, Erased: 2}
	if got, err := c.Replay(t.Context(), letters.Request{}); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	sent := r.committed(r.topics.Events)
	if len(sent) != 3 { // one of ann's, before
		t.Errorf("%d records were sent", len(sent))
	}
	erased := 0
	err := c.Read(t.Context(), letters.Filter{}, func(l *letters.Letter) error {
		if l.Mark == schemas.MarkErased {
			erased++
			if l.Key != nil || l.Value != nil || l.Headers != nil || l.Original != nil || l.Message != "" {
				t.Errorf("shown: %+v", l)
			}
		}
		return nil
	})
	if err != nil || erased != 2 {
		t.Errorf("%d erased, %v", erased, err)
	}
}

// TestReplayAfterAMove: a record that was refused before the application was resharded goes to the topic in force, to the partition of its
// key; one without a key, whose partition said whose it is, goes nowhere.
func TestReplayAfterAMove(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.topics
	r.topics = first.Generation(2)
	r.create(4, first.Listens)
	r.create(8, r.topics.Listens, r.topics.SongUpdates)
	key := "listener 3"
	r.letter(0, time.Now(), key, "v", from(first.Listens, stream.PartitionOf([]byte(key), 4), schemas.CodeCorrupt)...)
	r.letter(0, time.Now(), "", "w", from(first.SongUpdates, 1, schemas.CodeCorrupt)...)
	c := r.open()
	defer c.Close()
	result, err := c.Replay(t.Context(), letters.Request{})
	if want := (letters.Result{Chosen: 2, Sent: 1, NoSource: 1}); err != nil || result != want {
		t.Errorf("result %+v, %v, want %+v", result, err, want)
	}
	got := r.committed(r.topics.Listens)
	if len(got) != 1 || got[0].Partition != stream.PartitionOf([]byte(key), 8) || len(r.committed(first.Listens)) != 0 {
		t.Errorf("sent %+v", got)
	}
}
