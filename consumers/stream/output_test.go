package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// sink collects what an Output produces.
type sink struct{ records []*kgo.Record }

func (s *sink) produce(r *kgo.Record, _ func(*kgo.Record, error)) {
	s.records = append(s.records, r)
}

func newOutput(s *sink) *Output {
	return &Output{produce: s.produce, changelog: "log", letters: "letters", lettersAt: 1 << 20, partition: 3}
}

// TestOutputForgetsWhatItSent: what is kept from one transaction to the next is empty, however many dead letters there were.
func TestOutputForgetsWhatItSent(t *testing.T) {
	s := &sink{}
	o := newOutput(s)
	const n = recordChunk + 7
	for range 2 {
		for range n {
			o.DeadLetter(&Record{Topic: "in", Key: []byte("k"), Value: []byte("v")}, "bad", errors.New("bad"))
			o.outcome = OutcomeApplied
		}
		if len(s.records) != n {
			t.Fatalf("%d records, want %d", len(s.records), n)
		}
		o.reset()
		for i, r := range s.records {
			if r.Key != nil || r.Value != nil || r.Headers != nil {
				t.Fatalf("record %d of %d is kept: %+v", i, n, r)
			}
		}
		s.records = nil
	}
}

func TestOutputCopiesWhatItIsGiven(t *testing.T) {
	s := &sink{}
	o := newOutput(s)
	key, value, large := []byte("key"), []byte("value"), bytes.Repeat([]byte("x"), arenaChunk)
	o.Put(key, value)
	o.Put(key, large)
	o.Delete(key)
	o.Put(key, []byte{})
	o.Emit(Message{Topic: "t", Partition: 7, Key: key, Value: value, Headers: []Header{{Key: "h", Value: value}}})
	copy(key, "xxx")
	copy(value, "xxxxx")
	if len(s.records) != 5 || len(o.changes) != 4 {
		t.Fatalf("%d records, %d changes", len(s.records), len(o.changes))
	}
	for i, r := range s.records[:4] {
		if string(r.Key) != "key" || r.Topic != "log" || r.Partition != 3 || !bytes.Equal(r.Value, o.changes[i].Value) {
			t.Errorf("changelog record %d: %s/%d %q", i, r.Topic, r.Partition, r.Key)
		}
	}
	if s.records[2].Value != nil || s.records[3].Value == nil {
		t.Error("a delete must be a tombstone and an empty value must not")
	}
	if m := s.records[4]; m.Partition != 7 || string(m.Headers[0].Value) != "value" || string(m.Value) != "value" {
		t.Errorf("message %v", m)
	}
	if o.size == 0 {
		t.Error("the size of the transaction is not counted")
	}
	o.reset()
	if o.size != 0 || len(o.changes) != 0 {
		t.Error("reset leaves something behind")
	}
	o.Put([]byte("a"), []byte("b"))
	if r := s.records[5]; r != s.records[0] || len(r.Headers) != 0 || r.Partition != 3 {
		t.Error("a record of the last transaction is not used again as new")
	}
}

func TestOutputOutcomes(t *testing.T) {
	s := &sink{}
	o := newOutput(s)
	rec := Record{Topic: "in", Key: []byte("k")}
	o.Count(OutcomeTooLate)
	o.Count(OutcomeDuplicate)
	if o.outcome != OutcomeDuplicate {
		t.Errorf("outcome %v", o.outcome)
	}
	o.Count(OutcomeDeadLettered)
	if o.outcome != OutcomeDuplicate {
		t.Error("a record is dead-lettered without a letter")
	}
	o.DeadLetter(&rec, "c", errors.New(strings.Repeat("long", 1000)))
	o.DeadLetter(&rec, "c", nil)
	o.Count(OutcomeApplied)
	if o.outcome != OutcomeDeadLettered || len(s.records) != 1 {
		t.Errorf("outcome %v, %d letters", o.outcome, len(s.records))
	}
	for _, h := range s.records[0].Headers {
		if len(h.Value) > errorTextMax {
			t.Errorf("header %s has %d bytes", h.Key, len(h.Value))
		}
	}
}

func TestOutputMisuseIsAnError(t *testing.T) {
	o := newOutput(&sink{})
	o.changelog = ""
	o.Put([]byte("k"), nil)
	if !errors.Is(o.err, errNoChangelog) || !permanent(o.err) {
		t.Errorf("a put without a changelog: %v", o.err)
	}
	o = newOutput(&sink{})
	o.Emit(Message{})
	if !errors.Is(o.err, errNoTopic) {
		t.Errorf("a message without a topic: %v", o.err)
	}
}

type nothing struct{ n int }

func (x *nothing) Process(*Record, *Output) error { x.n++; return nil }
func (*nothing) Flush(*Output) error              { return nil }
func (*nothing) Committed()                       {}
func (*nothing) Abandon()                         {}
func (*nothing) Close() error                     { return nil }

func TestHotPathDoesNotAllocate(t *testing.T) {
	records := make([]*kgo.Record, 1000)
	for i := range records {
		records[i] = &kgo.Record{Topic: "in", Offset: int64(i), Key: []byte("k"), Value: []byte("v")}
	}
	x := &task{task: &nothing{}, tally: make(map[string]*inputTally)}
	in := []kgo.FetchTopicPartition{{Topic: "in", FetchPartition: kgo.FetchPartition{Records: records}}}
	if n := testing.AllocsPerRun(20, func() {
		if err := x.process(in); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("processing allocates %v times", n)
	}
	s := &sink{records: make([]*kgo.Record, 0, 100)}
	o := newOutput(s)
	key, value := []byte("some key"), []byte("some value")
	m := Message{Topic: "t", Partition: -1, Key: key, Value: value}
	if n := testing.AllocsPerRun(20, func() {
		for range 20 {
			o.Put(key, value)
			o.Emit(m)
		}
		s.records = s.records[:0]
		o.reset()
	}); n != 0 {
		t.Errorf("output allocates %v times", n)
	}
}

func TestOnlyItsBytesConvictABatch(t *testing.T) {
	batch := func(codec int16, payload []byte, breakCRC bool) []byte {
		b := kmsg.RecordBatch{
			FirstOffset: 7, PartitionLeaderEpoch: -1, Magic: 2, Attributes: codec, LastOffsetDelta: 0,
			ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: 1, Records: payload,
		}
		b.Length = int32(len(b.AppendTo(nil)) - 12)
		b.CRC = int32(crc32.Checksum(b.AppendTo(nil)[21:], crc32.MakeTable(crc32.Castagnoli)))
		if breakCRC {
			b.CRC++
		}
		return b.AppendTo(nil)
	}
	good := (&kmsg.Record{Length: 7, Key: nil, Value: []byte("v")}).AppendTo(nil)
	for name, c := range map[string]struct {
		raw  []byte
		want bool
	}{
		"good":               {raw: batch(0, good, false)},
		"wrong checksum":     {raw: batch(0, good, true), want: true},
		"no such frame":      {raw: batch(4, []byte("this is no zstd frame"), false), want: true},
		"cut off":            {raw: batch(0, good, true)[:65]},
		"nothing":            {},
		"another format":     {raw: append(batch(0, good, true)[:16], make([]byte, 100)...)},
		"good before broken": {raw: append(batch(0, good, false), batch(0, good, true)...)},
	} {
		t.Run(name, func(t *testing.T) {
			from, next, err := corrupt(c.raw)
			if (err != nil) != c.want {
				t.Errorf("verdict %v", err)
			}
			if err != nil && (from != 7 || next != 8) {
				t.Errorf("bounds %d, %d", from, next)
			}
		})
	}
}

func FuzzBatchBounds(f *testing.F) {
	f.Add(make([]byte, batchHeaderBytes))
	f.Add(append(append(make([]byte, 16), 2), make([]byte, 60)...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, _, err := corrupt(raw); err != nil && len(raw) < batchHeaderBytes {
			t.Error("too few bytes convict a batch")
		}
		from, next, _, err := batchBounds(raw)
		if err != nil {
			return
		}
		if from < 0 || next <= from || int64(binary.BigEndian.Uint64(raw)) != from {
			t.Errorf("bounds %d, %d", from, next)
		}
	})
}

func TestParallelRunsEverythingOnceAndReturnsTheFirstError(t *testing.T) {
	for _, workers := range []int{1, 3} {
		items := make([]int, 100)
		for i := range items {
			items[i] = i
		}
		done := make([]int, len(items))
		if err := parallel(workers, items, func(i int) error { done[i]++; return nil }); err != nil {
			t.Fatal(err)
		}
		for i, n := range done {
			if n != 1 {
				t.Fatalf("item %d ran %d times", i, n)
			}
		}
		boom := errors.New("boom")
		if err := parallel(workers, items, func(i int) error {
			if i == 5 {
				return fmt.Errorf("item: %w", boom)
			}
			return nil
		}); !errors.Is(err, boom) {
			t.Errorf("got %v", err)
		}
	}
}

// TestLetterStyles: the names of each dialect as its own readers know them, and ours in all of them.
func TestLetterStyles(t *testing.T) {
	rec := Record{
		Topic: "in", Partition: 7, Offset: 258, Key: []byte("k"), Value: []byte("v"), At: time.UnixMilli(513),
		Headers: []Header{{Key: "h", Value: []byte("x")}, {Key: HeaderAttempt, Value: []byte("2")}},
	}
	ours := map[string]string{"h": "x", "earworm.error.code": "bad", "earworm.attempt": "3"}
	for style, theirs := range map[HeaderStyle]map[string]string{
		StyleStreams: {
			"__streams.errors.topic": "in", "__streams.errors.partition": "7", "__streams.errors.offset": "258",
			"__streams.errors.exception": "*errors.errorString", "__streams.errors.message": "bad: no",
		},
		StyleConnect: {
			"__connect.errors.topic": "in", "__connect.errors.partition": "7", "__connect.errors.offset": "258",
			"__connect.errors.connector.name": "app-role", "__connect.errors.task.id": "3", "__connect.errors.stage": "TASK_PUT",
			"__connect.errors.exception.class.name": "*errors.errorString", "__connect.errors.exception.message": "bad: no",
		},
		StyleSpring: {
			"kafka_dlt-original-topic": "in", "kafka_dlt-original-partition": "\x00\x00\x00\x07",
			"kafka_dlt-original-offset": "\x00\x00\x00\x00\x00\x00\x01\x02", "kafka_dlt-original-timestamp": "\x00\x00\x00\x00\x00\x00\x02\x01",
			"kafka_dlt-original-consumer-group": "app-role",
			"kafka_dlt-exception-fqcn":          "*errors.errorString", "kafka_dlt-exception-message": "bad: no",
		},
	} {
		s := &sink{}
		o := newOutput(s)
		o.style, o.group = style, "app-role"
		o.DeadLetter(&rec, "bad", &Poison{Code: "bad", Err: errors.New("no")})
		want := maps.Clone(ours)
		maps.Copy(want, theirs)
		got := map[string]string{}
		for _, h := range s.records[0].Headers {
			got[h.Key] += string(h.Value)
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", style, got, want)
		}
		if parsed, ok := ParseHeaderStyle(style.String()); !ok || parsed != style {
			t.Errorf("%s does not parse", style)
		}
	}
	if _, ok := ParseHeaderStyle("unknown"); ok || headerStyles.String() != "unknown" {
		t.Error("an unknown style")
	}
}

// TestAttemptsCountOn: only a sensible number does.
func TestAttemptsCountOn(t *testing.T) {
	for value, want := range map[string]int{"1": 2, "0": 1, "41": 42, "": 1, "-1": 1, "x": 1, "99999999999": 1, "1048576": 1} {
		if got := nextAttempt([]byte(value)); got != want {
			t.Errorf("after %q comes %d, want %d", value, got, want)
		}
	}
}
