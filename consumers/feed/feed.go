package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"earworm/consumers/stream"
	"earworm/schemas"
)

// Roles whose groups Drain waits for, in the order of the data flow.
const (
	RoleIngest   = "ingest"
	RoleListener = "listener"
	RoleSong     = "song"
)

// Config says where the system is.
type Config struct {
	App           string
	Topics        schemas.Topics
	Partitions    int32
	ClientOptions []kgo.Opt
	// DrainInterval is the time between two looks at the groups; default 100 ms.
	DrainInterval time.Duration
}

// Client produces and reads. It is safe for concurrent use.
type Client struct {
	cfg      Config
	producer *stream.Producer
	admin    *kgo.Client
}

// New connects lazily; Close releases.
func New(cfg Config) (*Client, error) {
	if cfg.App == "" || cfg.Partitions < 1 {
		return nil, errors.New("feed: app and partitions must be set")
	}
	producer, err := stream.NewProducer(cfg.ClientOptions)
	if err != nil {
		return nil, fmt.Errorf("feed: %w", err)
	}
	admin, err := stream.OpenClient(cfg.ClientOptions)
	if err != nil {
		producer.Close()
		return nil, fmt.Errorf("feed: %w", err)
	}
	return &Client{cfg: cfg, producer: producer, admin: admin}, nil
}

// Close drops what was not flushed.
func (c *Client) Close() {
	c.producer.Close()
	c.admin.Close()
}

// Ping returns when the brokers answer; at the latest after pingTimeout it says that they do not.
func (c *Client) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if err := c.admin.Ping(ctx); err != nil {
		return fmt.Errorf("brokers do not answer: %w", err)
	}
	return nil
}

// pingTimeout is how long a command waits for brokers.
const pingTimeout = 10 * time.Second

// Event buffers a listening event, as JSON, keyed by listener. The slices must not change before Flush.
func (c *Client) Event(ctx context.Context, user, value []byte) {
	c.producer.Send(ctx, stream.Message{Topic: c.cfg.Topics.Events, Partition: -1, Key: user, Value: value})
}

// Song buffers a song of the catalogue.
func (c *Client) Song(ctx context.Context, song schemas.Song) error {
	value, err := song.AppendJSON(nil)
	if err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	c.producer.Send(ctx, stream.Message{
		Topic: c.cfg.Topics.Catalog, Partition: -1, Key: []byte(song.ID), Value: value,
	})
	return nil
}

// Profile buffers a listener's profile.
func (c *Client) Profile(ctx context.Context, profile schemas.Profile) error {
	value, err := profile.AppendJSON(nil)
	if err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	c.producer.Send(ctx, stream.Message{
		Topic: c.cfg.Topics.Users, Partition: -1, Key: []byte(profile.User), Value: value,
	})
	return nil
}

// Erase sends the null that erases a listener, and waits until it is stored.
func (c *Client) Erase(ctx context.Context, user []byte) error {
	c.producer.Send(ctx, stream.Message{Topic: c.cfg.Topics.Users, Partition: -1, Key: user})
	return c.Flush(ctx)
}

// EraseAs erases the listener of one pseudonym, as ingest does for that of the key in use, and waits until it is stored.
func (c *Client) EraseAs(ctx context.Context, pseudonym []byte, now time.Time) error {
	event := schemas.Event{Kind: schemas.KindErase, At: now.UnixMilli()}
	c.producer.Send(ctx, stream.Message{
		Topic: c.cfg.Topics.Listens, Partition: stream.PartitionOf(pseudonym, c.cfg.Partitions), Key: pseudonym, Value: event.AppendBinary(nil),
	})
	return c.Flush(ctx)
}

// Tick sends one tick to every partition and waits until it is stored.
func (c *Client) Tick(ctx context.Context, tick schemas.Tick) error {
	value := tick.AppendBinary(nil)
	for p := range c.cfg.Partitions {
		c.producer.Send(ctx, stream.Message{Topic: c.cfg.Topics.Ticks, Partition: p, Value: value})
	}
	return c.Flush(ctx)
}

// SongUpdates buffers a record of the song updates topic. The slice must not change before Flush.
func (c *Client) SongUpdates(ctx context.Context, partition int32, value []byte) {
	c.producer.Send(ctx, stream.Message{Topic: c.cfg.Topics.SongUpdates, Partition: partition, Value: value})
}

// Flush waits until everything sent is stored, and returns the first failure.
func (c *Client) Flush(ctx context.Context) error {
	if err := c.producer.Flush(ctx); err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	return nil
}

// Sent returns the number of records stored so far.
func (c *Client) Sent() int64 { return c.producer.Acknowledged() }

// Drain flushes and returns when every role has committed everything that came from what was sent, continuation ticks included.
func (c *Client) Drain(ctx context.Context) error {
	if err := c.Flush(ctx); err != nil {
		return err
	}
	t := c.cfg.Topics
	for _, stage := range []struct {
		role   string
		topics []string
	}{
		{RoleIngest, []string{t.Events, t.Users}},
		{RoleListener, []string{t.Listens, t.Ticks}},
		{RoleSong, []string{t.SongUpdates}},
	} {
		group := c.cfg.App + "-" + stage.role
		if err := stream.WaitDrained(ctx, c.admin, group, stage.topics, c.cfg.DrainInterval); err != nil {
			return fmt.Errorf("feed: %w", err)
		}
	}
	return nil
}

// Passed returns when a role has committed everything that is in these of its inputs now. More may arrive meanwhile.
func (c *Client) Passed(ctx context.Context, role string, topics ...string) error {
	spans, err := stream.Spans(ctx, c.cfg.ClientOptions, topics...)
	if err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	if err := stream.WaitPassed(ctx, c.admin, c.cfg.App+"-"+role, spans, c.cfg.DrainInterval); err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	return nil
}

// TopicConfigs returns the settings in force of topics that exist.
func (c *Client) TopicConfigs(ctx context.Context, topics ...string) (map[string]map[string]string, error) {
	configs, err := stream.TopicConfigs(ctx, c.admin, topics...)
	if err != nil {
		return nil, fmt.Errorf("feed: %w", err)
	}
	return configs, nil
}

// Playlists hands every playlist that is in the topic now to fn. fn gets nil for a withdrawn one, with its listener's id.
func (c *Client) Playlists(ctx context.Context, fn func(user string, list *schemas.Playlist) error) error {
	return c.readAll(ctx, c.cfg.Topics.Playlists, func(rec *stream.Record) error {
		if rec.Value == nil {
			return fn(string(rec.Key), nil)
		}
		var list schemas.Playlist
		if err := json.Unmarshal(rec.Value, &list); err != nil {
			return fmt.Errorf("partition %d offset %d: %w", rec.Partition, rec.Offset, err)
		}
		return fn(string(rec.Key), &list)
	})
}

// Trends hands every trend that is in the topic now to fn.
func (c *Client) Trends(ctx context.Context, fn func(schemas.Trend) error) error {
	return c.readAll(ctx, c.cfg.Topics.Trends, func(rec *stream.Record) error {
		var trend schemas.Trend
		if err := json.Unmarshal(rec.Value, &trend); err != nil {
			return fmt.Errorf("partition %d offset %d: %w", rec.Partition, rec.Offset, err)
		}
		return fn(trend)
	})
}

// Songs hands every song of the catalogue to fn. Records that do not decode are left out: the table role counts them.
func (c *Client) Songs(ctx context.Context, fn func(schemas.Song) error) error {
	decoder, err := schemas.NewDecoder(schemas.DecoderConfig{})
	if err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	return c.readAll(ctx, c.cfg.Topics.Catalog, func(rec *stream.Record) error {
		var song schemas.Song
		if rec.Value == nil || decoder.DecodeSong(&song, rec.Key, rec.Value, nil) != nil {
			return nil //nolint:nilerr // the table role counts what does not decode
		}
		return fn(song)
	})
}

func (c *Client) readAll(ctx context.Context, topic string, fn func(*stream.Record) error) error {
	if err := stream.ReadAll(ctx, c.cfg.ClientOptions, []string{topic}, fn); err != nil {
		return fmt.Errorf("reading %s: %w", topic, err)
	}
	return nil
}

// Ticker sends the time to every partition at an interval, as long as this instance owns partition 0 of the listener role. Two
// instances that both think so do no harm: a tick that comes twice does nothing.
type Ticker struct {
	Client   *Client
	Interval time.Duration
	Owns     func() bool
	Now      func() time.Time
	Logger   *slog.Logger
}

// Run ticks until ctx ends, which is no error.
func (t *Ticker) Run(ctx context.Context) error {
	timer := time.NewTicker(t.Interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if !t.Owns() {
			continue
		}
		if err := t.Client.Tick(ctx, schemas.Tick{At: t.Now().UnixMilli()}); err != nil && ctx.Err() == nil {
			t.Logger.Warn("sending ticks; trying again", slog.Any("error", err))
		}
	}
}
