package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// AwaitInSync returns when every replica of every partition is in sync. Whoever restarts one node after the other waits for it in
// between: with two replicas of three out at once nobody could write.
func (c *Cluster) AwaitInSync(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Addrs()...), kgo.ClientID("earworm-insync"), kgo.MetadataMinAge(100*time.Millisecond),
		kgo.DialTimeout(time.Second))
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	for {
		err := inSync(ctx, admin)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for replicas to be in sync: %w", errors.Join(context.Cause(ctx), err))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func inSync(ctx context.Context, admin *kadm.Client) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	topics, err := admin.ListTopicsWithInternal(ctx)
	if err != nil {
		return fmt.Errorf("listing topics: %w", err)
	}
	for _, topic := range topics {
		if topic.Err != nil {
			return fmt.Errorf("topic %s: %w", topic.Topic, topic.Err)
		}
		for _, p := range topic.Partitions {
			if p.Err != nil {
				return fmt.Errorf("%s/%d: %w", p.Topic, p.Partition, p.Err)
			}
			if len(p.ISR) < len(p.Replicas) {
				return fmt.Errorf("%s/%d: %d of %d replicas are in sync", p.Topic, p.Partition, len(p.ISR), len(p.Replicas))
			}
		}
	}
	return nil
}
