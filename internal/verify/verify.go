package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"earworm/consumers/feed"
	"earworm/consumers/stream"
	"earworm/schemas"
)

var (
	// ErrBusy means that events came in while the topics were read: stop the producers, or try again.
	ErrBusy = errors.New("events keep coming in")
	// ErrBehind means that the system has not consumed everything in time.
	ErrBehind = errors.New("not everything is consumed")
	// ErrExpired means that the listens topic no longer has its beginning, so that no fold can be made of it.
	ErrExpired = errors.New("the beginning of the listens topic has expired")
	// ErrPartitions means that the topics have another number of partitions than the configuration.
	ErrPartitions = errors.New("partition count does not fit")
)

// readsMax is how often everything is read before ErrBusy.
const readsMax = 3

// Config says what to verify.
type Config struct {
	App           string
	Topics        schemas.Topics
	Partitions    int32
	ClientOptions stream.Options
	// DedupeWindow is the one that the listener role runs with.
	DedupeWindow time.Duration
	// StateDir is the state directory of a stopped process; empty leaves local stores out.
	StateDir string
	// Wait bounds the time in which the system must have consumed everything; default 30 s.
	Wait time.Duration
	// Reveal gives the id behind a pseudonym, for Result.First; nil shows pseudonyms.
	Reveal func(pseudonym []byte) ([]byte, error)
	// Progress, if set, is told about records as they are read.
	Progress func(records int64)
}

// Outcomes are the records of the listens topic by what the rules say of them. Consumed is the sum of the others.
type Outcomes struct{ Consumed, Applied, Duplicate, TooLate, DeadLettered uint64 }

// Report is the verdict and what it rests on.
type Report struct {
	Result
	Outcomes  Outcomes
	Listeners int // folded
	Songs     int // with listens
	Playlists int // read
	Stores    int // compared
	Rows      int // of the stores
	// Unproved are rows of stores that are behind, whose value at that point compaction has removed from the changelog.
	Unproved int
}

// Run verifies. The client must be one of the same system; nothing is written.
func Run(ctx context.Context, cfg Config, client *feed.Client) (*Report, error) {
	if cfg.Wait == 0 {
		cfg.Wait = 30 * time.Second
	}
	var local *stores
	if cfg.StateDir != "" {
		var err error
		if local, err = openStores(cfg); err != nil {
			return nil, err
		}
	}
	report, err := settled(ctx, cfg, client, local)
	return report, errors.Join(err, local.close())
}

// settled reads until nothing came in between.
func settled(ctx context.Context, cfg Config, client *feed.Client, local *stores) (*Report, error) {
	topics := []string{cfg.Topics.Listens, cfg.Topics.ListenerChangelog, cfg.Topics.SongFactors}
	for range readsMax {
		if err := drain(ctx, cfg, client); err != nil {
			return nil, err
		}
		before, err := stream.Spans(ctx, cfg.ClientOptions, topics...)
		if err != nil {
			return nil, err
		}
		if err := provable(cfg, before); err != nil {
			return nil, err
		}
		local.forget()
		want, have := newFold(cfg.DedupeWindow), newHeld(cfg.Partitions)
		if err := read(ctx, cfg, client, want, have, local); err != nil {
			return nil, err
		}
		after, err := stream.Spans(ctx, cfg.ClientOptions, topics...)
		if err != nil {
			return nil, err
		}
		if maps.Equal(ends(cfg, before), ends(cfg, after)) {
			return judge(cfg, want, have, local, after)
		}
	}
	return nil, ErrBusy
}

func drain(ctx context.Context, cfg Config, client *feed.Client) error {
	bounded, cancel := context.WithTimeout(ctx, cfg.Wait)
	defer cancel()
	err := client.Drain(bounded)
	if err == nil || ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%w within %s: %w", ErrBehind, cfg.Wait, err)
}

// provable checks that a fold from the first offset is possible.
func provable(cfg Config, spans map[stream.TopicPartition]stream.Span) error {
	var found int32
	for tp, span := range spans {
		if tp.Topic != cfg.Topics.Listens {
			continue
		}
		found++
		if span.Start > 0 {
			return fmt.Errorf("%w: partition %d begins at offset %d", ErrExpired, tp.Partition, span.Start)
		}
	}
	if found != cfg.Partitions {
		return fmt.Errorf("%w: %s has %d, the configuration %d", ErrPartitions, cfg.Topics.Listens, found, cfg.Partitions)
	}
	return nil
}

// ends are the spans of what must not grow while it is read: the listens determine the rest.
func ends(cfg Config, spans map[stream.TopicPartition]stream.Span) map[int32]stream.Span {
	out := map[int32]stream.Span{}
	for tp, span := range spans {
		if tp.Topic == cfg.Topics.Listens {
			out[tp.Partition] = span
		}
	}
	return out
}

func read(ctx context.Context, cfg Config, client *feed.Client, want *fold, have *held, local *stores) error {
	each := func(fn func(*stream.Record) error) func(*stream.Record) error {
		return func(rec *stream.Record) error {
			if cfg.Progress != nil {
				cfg.Progress(1)
			}
			return fn(rec)
		}
	}
	for _, topic := range []struct {
		name string
		fn   func(*stream.Record) error
	}{
		{cfg.Topics.Listens, func(rec *stream.Record) error {
			want.add(rec.Key, rec.Value)
			return nil
		}},
		{cfg.Topics.ListenerChangelog, func(rec *stream.Record) error {
			local.record(rec)
			return have.changelog(rec)
		}},
		{cfg.Topics.SongFactors, func(rec *stream.Record) error {
			local.record(rec)
			return have.factors(rec)
		}},
		{cfg.Topics.DeadLetters, have.letter(cfg.Topics.Listens)},
	} {
		if err := stream.ReadAll(ctx, cfg.ClientOptions, []string{topic.name}, each(topic.fn)); err != nil {
			return fmt.Errorf("reading %s: %w", topic.name, err)
		}
	}
	return client.Playlists(ctx, have.playlist)
}

func judge(cfg Config, want *fold, have *held, local *stores, spans map[stream.TopicPartition]stream.Span) (*Report, error) {
	report := &Report{
		Outcomes: want.outcomes, Listeners: len(want.listeners), Songs: len(want.listens), Playlists: have.lists,
	}
	report.compare(want, have, func(user string) string {
		id := []byte(user)
		if cfg.Reveal != nil {
			if known, err := cfg.Reveal(id); err == nil {
				id = known
			}
		}
		return "listener " + strconv.Quote(string(id))
	})
	if err := local.compare(&report.Result, spans); err != nil {
		return nil, err
	}
	if local != nil {
		report.Stores, report.Rows, report.Unproved = len(local.open), local.rows, local.unproved
	}
	return report, nil
}
