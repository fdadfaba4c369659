package stream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"earworm/consumers/stream"
)

// TestSplitIsThatOfTheHash: what a partition holds is spread over its parts and over nothing else, and the parts share out all of them.
func TestSplitIsThatOfTheHash(t *testing.T) {
	t.Parallel()
	for _, s := range []stream.Split{{From: 1, To: 2}, {From: 4, To: 8}, {From: 4, To: 16}, {From: 3, To: 9}} {
		if err := s.Validate(); err != nil {
			t.Error(err)
		}
		seen := map[int32]bool{}
		for p := range s.From {
			parts := slices.Collect(s.Parts(p))
			if len(parts) != int(s.Ways()) {
				t.Errorf("%+v: partition %d has parts %v", s, p, parts)
			}
			for _, part := range parts {
				if seen[part] || part >= s.To {
					t.Errorf("%+v: part %d is not one partition's", s, part)
				}
				seen[part] = true
			}
		}
		for i := range 1000 {
			key := fmt.Appendf(nil, "listener %d", i)
			from := stream.PartitionOf(key, s.From)
			if to := s.Of(key); to != stream.PartitionOf(key, s.To) || !slices.Contains(slices.Collect(s.Parts(from)), to) {
				t.Fatalf("%+v: %q goes from %d to %d", s, key, from, to)
			}
		}
	}
	for _, s := range []stream.Split{{}, {From: 4, To: 4}, {From: 4, To: 2}, {From: 4, To: 6}, {From: 0, To: 8}, {From: -4, To: 8}} {
		if err := s.Validate(); !errors.Is(err, stream.ErrSplit) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

// TestNotAdmitted: who may not work gets no record, and an answer that does not come is asked for again.
func TestNotAdmitted(t *testing.T) {
	w := newWorld(t, 2)
	w.send(topicIn, "k", 10, 100)
	cfg := w.config("a", newDisk())
	var asked atomic.Int64
	cfg.Admit = func(context.Context) error {
		if asked.Add(1) < 3 {
			return errors.New("brokers away")
		}
		return fmt.Errorf("%w: somebody moves it", stream.ErrNotAdmitted)
	}
	cfg.NewTask = func(int32, stream.Store) (stream.Task, error) { return nil, errors.New("a task was made") }
	m := w.start(cfg)
	if err := <-m.done; !errors.Is(err, stream.ErrNotAdmitted) || !strings.Contains(err.Error(), "somebody moves it") {
		t.Errorf("ended with %v", err)
	}
	m.done <- nil
	if asked.Load() < 3 {
		t.Errorf("asked %d times", asked.Load())
	}
}

// TestAdmittedOncePerAssignment: all tasks of an assignment share one answer; one that comes after leaving the group is new.
func TestAdmittedOncePerAssignment(t *testing.T) {
	w := newWorld(t, 4)
	w.send(topicIn, "k", 10, 100)
	cfg := w.config("a", newDisk())
	var asked atomic.Int64
	cfg.Admit = func(context.Context) error {
		asked.Add(1)
		return nil
	}
	w.start(cfg).waitDrained(t, w)
	if asked.Load() != 1 {
		t.Errorf("asked %d times for 4 tasks, want once", asked.Load())
	}
	w.send(topicIn, "k", 10, 100)
	w.start(cfg).waitDrained(t, w)
	if asked.Load() != 2 {
		t.Errorf("asked %d times for two members", asked.Load())
	}
	w.checkState()
}

// TestReadSpan: no more and no less than the committed records of the span, also where it ends in a marker or in an aborted record.
func TestReadSpan(t *testing.T) {
	w := newWorld(t, 2)
	cl := w.client(kgo.TransactionalID("writer"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for n, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit, kgo.TryAbort} {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			r := &kgo.Record{Topic: topicIn, Partition: 1, Value: fmt.Appendf(nil, "%d.%d", n, i)}
			if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := cl.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	// Offsets 0-2 committed, 3 marker, 4-6 aborted, 7 marker, 8-10 committed, 11 marker, 12-14 aborted, 15 marker.
	tp := stream.TopicPartition{Topic: topicIn, Partition: 1}
	for _, test := range []struct {
		span stream.Span
		want string
	}{
		{stream.Span{Start: 0, End: 16}, "0.0 0.1 0.2 2.0 2.1 2.2"},
		{stream.Span{Start: 1, End: 10}, "0.1 0.2 2.0 2.1"},
		{stream.Span{Start: 3, End: 8}, ""},
		{stream.Span{Start: 11, End: 16}, ""},
		{stream.Span{Start: 2, End: 2}, ""},
	} {
		var got []string
		err := stream.ReadSpan(t.Context(), w.options(), tp, test.span, func(r *stream.Record) error {
			got = append(got, string(r.Value))
			return nil
		})
		if err != nil || strings.Join(got, " ") != test.want {
			t.Errorf("%+v: %v, %v, want %s", test.span, got, err, test.want)
		}
	}
	broken := errors.New("broken")
	if err := stream.ReadSpan(t.Context(), w.options(), tp, stream.Span{End: 16}, func(*stream.Record) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("an error of the callback became %v", err)
	}
}

// TestAdmin looks after topics and a group that was worked with.
func TestAdmin(t *testing.T) {
	w := newWorld(t, 2)
	admin := stream.NewAdmin(w.options())
	w.send(topicIn, "k", 10, 100)
	cfg := w.config("a", newDisk())
	cfg.SessionTimeout, cfg.TransactionTimeout = 500*time.Millisecond, 400*time.Millisecond
	m := w.start(cfg)
	w.drained()
	if members, err := admin.Members(t.Context(), cfg.Group(), "nobody"); err != nil || !slices.Equal(members, []string{"toy-counter/a"}) {
		t.Errorf("members %v, %v", members, err)
	}
	if err := admin.SetOffsets(t.Context(), cfg.Group(), map[stream.TopicPartition]int64{{Topic: topicIn, Partition: 0}: 1}); err == nil {
		t.Error("committed for a group that works")
	}
	m.mustStop(t)
	eventually(t, "the session ends", func() bool {
		members, err := admin.Members(t.Context(), cfg.Group())
		return err == nil && len(members) == 0
	})
	offsets, err := admin.Offsets(t.Context(), cfg.Group(), topicIn)
	if err != nil || offsets[stream.TopicPartition{Topic: topicIn, Partition: 0}]+offsets[stream.TopicPartition{Topic: topicIn, Partition: 1}] != 100 {
		t.Errorf("offsets %v, %v", offsets, err)
	}
	fresh := []stream.TopicSpec{{Name: "fresh", Partitions: 3, Cleanup: "delete", Configs: map[string]string{"retention.ms": "-1"}}}
	if err := admin.EnsureTopics(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	want := map[stream.TopicPartition]int64{{Topic: "fresh", Partition: 2}: 0}
	if err := admin.SetOffsets(t.Context(), cfg.Group(), want); err != nil {
		t.Fatal(err)
	}
	if got, err := admin.Offsets(t.Context(), cfg.Group(), "fresh"); err != nil || len(got) != 1 {
		t.Errorf("offsets %v, %v, want %v", got, err, want)
	}
	if got, err := admin.Offsets(t.Context(), "nobody", "fresh"); err != nil || len(got) != 0 {
		t.Errorf("offsets of nobody: %v, %v", got, err)
	}
	if err := admin.SetTopicConfig(t.Context(), "fresh", "retention.ms", "60000"); err != nil {
		t.Fatal(err)
	}
	if configs, err := stream.TopicConfigs(t.Context(), w.producer, "fresh"); err != nil || configs["fresh"]["retention.ms"] != "60000" {
		t.Errorf("settings %v, %v", configs["fresh"]["retention.ms"], err)
	}
	if err := admin.DeleteTopics(t.Context(), "fresh", "never there"); err != nil {
		t.Fatal(err)
	}
	if counts, err := admin.PartitionCounts(t.Context(), "fresh", topicIn); err != nil || len(counts) != 1 || counts[topicIn] != 2 {
		t.Errorf("partitions %v, %v", counts, err)
	}
}

// TestStableSpans tells an open transaction from an end.
func TestStableSpans(t *testing.T) {
	w := newWorld(t, 2)
	admin := stream.NewAdmin(w.options())
	cl := w.client(kgo.TransactionalID("writer"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topicIn, Partition: 1, Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := admin.StableSpans(t.Context(), topicIn); !errors.Is(err, stream.ErrOpenTransaction) || !strings.Contains(err.Error(), "in/1") {
		t.Errorf("while it is open: %v", err)
	}
	if err := cl.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	tp := stream.TopicPartition{Topic: topicIn, Partition: 1}
	spans, err := admin.StableSpans(t.Context(), topicIn)
	if err != nil || spans[tp] != (stream.Span{End: 6}) {
		t.Errorf("spans %v, %v", spans, err)
	}
	if err := admin.DeleteRecordsBefore(t.Context(), map[stream.TopicPartition]int64{tp: 2}); err != nil {
		t.Fatal(err)
	}
	if spans, err = admin.StableSpans(t.Context(), topicIn); err != nil || spans[tp] != (stream.Span{Start: 2, End: 6}) {
		t.Errorf("spans %v, %v after the first two were deleted", spans, err)
	}
}

// TestCopiesKeepTheirTime: retention and compaction go by it.
func TestCopiesKeepTheirTime(t *testing.T) {
	w := newWorld(t, 1)
	out, err := stream.NewTransactor(w.options(), "copy", 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	old := time.Now().Add(-100 * time.Hour).Truncate(time.Millisecond)
	for _, at := range []time.Time{old, {}} {
		if err := out.Send(t.Context(), stream.Message{Topic: topicIn, Partition: 0, Value: []byte("x"), At: at}); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	var got []time.Time
	if err := stream.ReadAll(t.Context(), w.options(), []string{topicIn}, func(r *stream.Record) error {
		got = append(got, r.At)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || !got[0].Equal(old) || time.Since(got[1]) > time.Minute {
		t.Errorf("times %v, want %v and now", got, old)
	}
}
