package layout

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"earworm/consumers/stream"
	"earworm/schemas"
)

var (
	// ErrMoving means that the application is being moved to another generation: nobody else may work on its internal topics.
	ErrMoving = errors.New("the application is being resharded")
	// ErrPartitions means that the application has another number of partitions than the configuration.
	ErrPartitions = errors.New("partition count does not fit")
	// ErrReplaced means that another generation is in force than the one that a process began with.
	ErrReplaced = errors.New("the application was resharded")
)

// Config says where to look.
type Config struct {
	// Topics are those of the first generation.
	Topics schemas.Topics
	// Partitions is the number that the configuration says.
	Partitions    int32
	ClientOptions []kgo.Opt
}

// ReadAll returns the last record of every key in the layout topic; none where there is no topic yet. Records of transactions that are
// being ended are waited for.
func ReadAll(ctx context.Context, cfg Config) (map[string][]byte, error) {
	cl, err := stream.OpenClient(cfg.ClientOptions)
	if err != nil {
		return nil, fmt.Errorf("layout: %w", err)
	}
	defer cl.Close()
	counts, err := stream.PartitionCounts(ctx, cl, cfg.Topics.Layout)
	if err != nil {
		return nil, fmt.Errorf("layout: %w", err)
	}
	records := map[string][]byte{}
	if counts[cfg.Topics.Layout] == 0 {
		return records, nil
	}
	err = stream.ReadAll(ctx, cfg.ClientOptions, []string{cfg.Topics.Layout}, func(rec *stream.Record) error {
		if rec.Value == nil {
			delete(records, string(rec.Key))
			return nil
		}
		records[string(rec.Key)] = append([]byte{}, rec.Value...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", cfg.Topics.Layout, err)
	}
	return records, nil
}

// Read returns the layout in force.
func Read(ctx context.Context, cfg Config) (schemas.Layout, error) {
	records, err := ReadAll(ctx, cfg)
	if err != nil {
		return schemas.Layout{}, err
	}
	return Parse(cfg, records)
}

// Parse returns the layout among the records of the topic.
func Parse(cfg Config, records map[string][]byte) (schemas.Layout, error) {
	value, ok := records[schemas.LayoutKey]
	if !ok {
		return schemas.Layout{}, nil
	}
	l, err := schemas.ParseLayout(value)
	if err != nil {
		return schemas.Layout{}, fmt.Errorf("reading %s: %w", cfg.Topics.Layout, err)
	}
	return l, nil
}

// Usable returns the layout in force, for somebody who wants to work on the internal topics. ErrMoving and ErrPartitions say that they
// must not be touched.
func Usable(ctx context.Context, cfg Config) (schemas.Layout, error) {
	l, err := Read(ctx, cfg)
	switch {
	case err != nil:
		return l, err
	case l.Move != nil:
		return l, fmt.Errorf("%w to %d partitions: run earworm reshard --to %[2]d to its end, or give it up with --abort", ErrMoving, l.Move.To.Partitions)
	case l.Current.Partitions != 0 && l.Current.Partitions != cfg.Partitions:
		return l, fmt.Errorf("%w: it was resharded to %d; fix: set topics.partitions to %[2]d, it is %d", ErrPartitions, l.Current.Partitions, cfg.Partitions)
	}
	return l, nil
}

// Still returns nil if the generation is in force and not being moved.
func Still(ctx context.Context, cfg Config, number int) error {
	l, err := Usable(ctx, cfg)
	if err != nil {
		return err
	}
	if l.Number() != number {
		return fmt.Errorf("%w: generation %d is in force, this process began with %d", ErrReplaced, l.Number(), number)
	}
	return nil
}
