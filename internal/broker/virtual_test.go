//go:build synctests

package broker_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"earworm/internal/broker"
)

// TestNothingIsCompactedUnderATransaction: kfake takes the records of an open transaction for committed ones, and drops what they would
// replace. When they are aborted then, the committed row is gone. So nothing may be compacted while a broker runs.
func TestNothingIsCompactedUnderATransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network kfake.VirtualNetwork
		b := start(t, broker.Config{Port: 9092, Options: []kfake.Opt{kfake.ListenFn(network.Listen)}})
		began := time.Now()
		dialer := kgo.Dialer(network.DialContext)
		cl := client(t, b, kgo.TransactionalID("writer"), dialer)
		if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), 1, 1, map[string]*string{"cleanup.policy": new("compact")}, topic); err != nil {
			t.Fatal(err)
		}
		write := func(values ...string) {
			if err := cl.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			for _, value := range values { // a batch each: the last one of a log is never compacted
				if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Key: []byte(value[:1]), Value: []byte(value)}).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
		}
		end := func(how kgo.TransactionEndTry) {
			if err := cl.EndTransaction(t.Context(), how); err != nil {
				t.Fatal(err)
			}
		}
		write("a1")
		end(kgo.TryCommit)
		for hour := range 3 {
			time.Sleep(time.Until(began.Add(time.Duration(hour+1)*time.Hour - 10*time.Second)))
			write("a2", "b2")
			time.Sleep(20 * time.Second)
			end(kgo.TryAbort)
		}
		write("c1")
		end(kgo.TryCommit)
		reader := client(t, b, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), dialer)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var got []string
		for len(got) == 0 || got[len(got)-1] != "c1" {
			fetches := reader.PollFetches(ctx)
			if err := fetches.Err0(); err != nil {
				t.Fatalf("reading back: %v; read %v", err, got)
			}
			fetches.EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
		}
		if len(got) != 2 || got[0] != "a1" {
			t.Errorf("committed rows are %v, want a1 and c1", got)
		}
		reader.Close()
		cl.Close()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
}
