package replay

import (
	"context"
	"errors"
	"fmt"

	"earworm/consumers/stream"
	"earworm/internal/refit"
)

// remember keeps what the changelog of a listener task says of histories. The order among listeners does not matter.
func (c *Cluster) remember(change stream.Change) {
	c.keep.Lock()
	defer c.keep.Unlock()
	if err := c.histories.Row(change.Key, change.Value); err != nil && c.unread == nil {
		c.unread = err
	}
}

// Refit fits the rows to all histories as of an instant in Unix ms, as the command does beside a running system, and sees it through.
// Everything must have settled. It needs Config.Histories.
func (c *Cluster) Refit(at int64) error {
	if c.unread != nil {
		return fmt.Errorf("replay: %w", c.unread)
	}
	cfg := refit.DefaultFit()
	cfg.At = at
	plan, err := refit.Prepare(context.Background(), c.shards[0].table, c.histories, cfg)
	if errors.Is(err, refit.ErrNothing) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	plan.Send(int32(len(c.songs)), func(partition int32, _ int, value []byte) { //nolint:gosec // a few
		to := c.songs[partition]
		to.updates = append(to.updates, stream.Message{Topic: songUpdates, Partition: partition, Value: value})
	})
	return c.Settle()
}
