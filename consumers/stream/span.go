package stream

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Span is what a partition holds: Start is its first offset, End the one after its last.
type Span struct{ Start, End int64 }

// Spans lists what every partition of the topics holds now. A topic that does not exist is an error.
func Spans(ctx context.Context, options []kgo.Opt, topics ...string) (map[TopicPartition]Span, error) {
	cl, err := OpenClient(options)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	admin := kadm.NewClient(cl)
	starts, err := admin.ListStartOffsets(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("listing start offsets: %w", err)
	}
	ends, err := admin.ListEndOffsets(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("listing end offsets: %w", err)
	}
	if err := errors.Join(starts.Error(), ends.Error()); err != nil {
		return nil, fmt.Errorf("listing offsets: %w", err)
	}
	spans := make(map[TopicPartition]Span)
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(end.Topic, end.Partition)
		spans[TopicPartition{Topic: end.Topic, Partition: end.Partition}] = Span{Start: start.Offset, End: end.Offset}
	})
	return spans, nil
}
