//go:build kafka

package reshard_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"earworm/consumers/feed"
	"earworm/internal/reshard"
	"earworm/internal/testkit/kafka"
)

// TestReshardOnKafka moves an application on a real Kafka, which writes the ends of transactions when it gets to it, with an interruption.
func TestReshardOnKafka(t *testing.T) {
	cluster := kafka.Start(t, kafka.Config{})
	r := newRigAt(t, cluster.Addrs(), 60, 4)
	// Topics of their own: an external cluster keeps those of earlier runs.
	r.cfg.App = "earworm-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	r.cfg.Topics.Events, r.cfg.Topics.Catalog, r.cfg.Topics.Users = r.cfg.App+".events", r.cfg.App+".catalog", r.cfg.App+".users"
	r.cfg.Kafka.SessionTimeout, r.cfg.Kafka.TransactionTimeout = 6*time.Second, 4*time.Second // 6 s is the least that brokers take by default
	r.begin()
	before := r.rows()
	for _, partitions := range []int{8, 16} {
		if err := r.interrupted(int32(partitions), 12_000); !errors.Is(err, context.Canceled) {
			t.Fatalf("interrupted: %v", err)
		}
		receipt := r.reshard(partitions)
		same(t, before, r.rows())
		if !receipt.Equal() || receipt.Runs != 2 {
			t.Errorf("receipt %+v", receipt)
		}
		rows, _ := receipt.Rows()
		t.Logf("%d to %d partitions: %d rows and listens, waiting %+v, %.1f s", receipt.From.Partitions, partitions, rows, receipt.Waiting, receipt.Seconds)
		r.serve(allRoles(), func(ctx context.Context, c *feed.Client) {
			r.drain(ctx, c)
			r.monday(ctx, c)
			r.drain(ctx, c)
		})
		if r.listens.Consumed != receipt.Waiting.Listens {
			t.Errorf("%d listens waited, %d were processed", receipt.Waiting.Listens, r.listens.Consumed)
		}
		t.Logf("earworm verify: %v", r.verify())
		before = r.rows()
	}
	if dropped, err := reshard.DropOld(r.bounded(), r.config()); err != nil || len(dropped) != 10 {
		t.Errorf("dropped %v, %v", dropped, err)
	}
	r.verify()
}
