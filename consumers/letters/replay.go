package letters

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"earworm/consumers/stream"
	"earworm/schemas"
)

// ErrNoTarget means that the topic to send to does not exist, or must not be sent to.
var ErrNoTarget = errors.New("cannot send there")

// Request says what to send again.
type Request struct {
	Filter
	// To is the topic to send to; empty sends every record back to where it came from.
	To string
	// DryRun counts and sends nothing.
	DryRun bool
	// Progress is told of every letter that was looked at; nil is told nothing.
	Progress func(n int64)
}

// Result counts the letters that the filter chose: Chosen is the sum of the others.
type Result struct {
	Chosen int64
	// Sent were sent again, or would be in a dry run.
	Sent int64
	// Already were sent again earlier.
	Already int64
	// Truncated are not whole: what was not kept cannot be sent.
	Truncated int64
	// NoSource do not say where they came from, or that is no input any more: they need Request.To. A late event is one.
	NoSource int64
	// Erased are of persons who were erased.
	Erased int64
}

// replay is one run.
type replay struct {
	client  *Client
	request Request
	targets map[string]int32 // partitions of each topic that may be sent to
	out     *stream.Transactor
	result  Result
	letters int // in the open transaction
	bytes   int
}

// Replay sends letters again, oldest first in each partition, in transactions that hold the mark of each letter as well: whatever
// happens to this process, run again it goes on where it stopped and sends nothing twice. Letters that arrive meanwhile, such as
// those of records that are refused again, are left for the next run. The result counts what was committed, also with an error.
func (c *Client) Replay(ctx context.Context, request Request) (Result, error) {
	r := &replay{client: c, request: request}
	if err := r.aim(ctx); err != nil {
		return Result{}, err
	}
	if request.DryRun {
		err := c.Read(ctx, request.Filter, func(l *Letter) error { return r.one(ctx, l) })
		return r.result, err
	}
	out, found, err := c.takeOver(ctx)
	if err != nil {
		return Result{}, err
	}
	defer out.Close()
	r.out = out
	committed := Result{}
	err = c.read(ctx, found, request.Filter, func(l *Letter) error {
		if err := r.one(ctx, l); err != nil {
			return err
		}
		if r.letters < c.cfg.ChunkRecords && r.bytes < c.cfg.ChunkBytes {
			return nil
		}
		err := r.commit(ctx)
		if err == nil {
			committed = r.result
		}
		return err
	})
	if err == nil {
		err = r.commit(ctx)
	}
	if err != nil {
		// The brokers end what is left open after its timeout, or when the id is taken over, if this does not reach them.
		return committed, errors.Join(err, out.Abort(context.WithoutCancel(ctx)))
	}
	return r.result, nil
}

// takeOver makes this client the only one that can write marks, and reads those that are there. The caller closes the transactor.
//
// First the id, then the marks. The other way round, a run that has not ended could commit marks after they were read, and its
// letters would be sent twice.
func (c *Client) takeOver(ctx context.Context) (*stream.Transactor, marks, error) {
	if err := stream.EnsureTopics(ctx, c.admin, []stream.TopicSpec{c.cfg.Marks}); err != nil {
		return nil, nil, fmt.Errorf("letters: %w", err)
	}
	out, err := stream.NewTransactor(c.cfg.ClientOptions, c.cfg.App+"-dlq-replay", c.cfg.TransactionTimeout)
	if err != nil {
		return nil, nil, fmt.Errorf("letters: %w", err)
	}
	if err := out.Fence(ctx); err != nil {
		out.Close()
		return nil, nil, fmt.Errorf("letters: %w", err)
	}
	found, err := c.marks(ctx)
	if err != nil {
		out.Close()
		return nil, nil, err
	}
	return out, found, nil
}

// aim finds out where can be sent to.
func (r *replay) aim(ctx context.Context) error {
	t := r.client.cfg.Topics
	topics := []string{t.Events, t.Users, t.Listens, t.Ticks, t.SongUpdates}
	if r.request.To != "" {
		if slices.Contains([]string{t.DeadLetters, t.LetterMarks, t.ListenerChangelog, t.SongFactors}, r.request.To) {
			return fmt.Errorf("%w: %s is written by earworm alone", ErrNoTarget, r.request.To)
		}
		topics = []string{r.request.To}
	}
	have, err := stream.PartitionCounts(ctx, r.client.admin, topics...)
	if err != nil {
		return fmt.Errorf("letters: %w", err)
	}
	if r.request.To != "" && have[r.request.To] == 0 {
		return fmt.Errorf("%w: topic %s does not exist", ErrNoTarget, r.request.To)
	}
	r.targets = maps.Clone(have)
	return nil
}

// one decides about a letter, and sends it with its mark if it can be.
func (r *replay) one(ctx context.Context, l *Letter) error {
	if r.request.Progress != nil {
		r.request.Progress(1)
	}
	r.result.Chosen++
	to := l.Topic
	if listens := r.client.cfg.Topics.Listens; schemas.FirstName(to) == schemas.FirstName(listens) {
		to = listens // of an earlier generation, perhaps; by its key it finds where it belongs now
	}
	if r.request.To != "" {
		to = r.request.To
	}
	switch {
	case l.Mark == schemas.MarkErased:
		r.result.Erased++
		return nil
	case l.Mark == schemas.MarkReplayed:
		r.result.Already++
		return nil
	case l.Truncated:
		r.result.Truncated++
		return nil
	case r.targets[to] == 0:
		r.result.NoSource++
		return nil
	}
	r.result.Sent++
	if r.request.DryRun {
		return nil
	}
	return r.send(ctx, l, to)
}

func (r *replay) send(ctx context.Context, l *Letter, to string) error {
	message := stream.Message{Topic: to, Partition: -1, Key: slices.Clone(l.Key), Value: slices.Clone(l.Value)}
	if to == l.Topic && l.Partition < r.targets[to] {
		message.Partition = l.Partition // where the record has no key, its partition says whose it is
	}
	for _, h := range l.Original {
		message.Headers = append(message.Headers, stream.Header{Key: h.Key, Value: slices.Clone(h.Value)})
	}
	message.Headers = append(message.Headers, stream.Header{Key: stream.HeaderAttempt, Value: strconv.AppendInt(nil, int64(max(1, l.Attempt)), 10)})
	mark := schemas.LetterMark{
		Partition: l.Place.Partition, Offset: l.Place.Offset, LetterAt: l.At.UnixMilli(), State: schemas.MarkReplayed, To: to,
	}
	value, err := mark.AppendJSON(nil)
	if err != nil {
		return fmt.Errorf("letters: %w", err)
	}
	marked := stream.Message{Topic: r.client.cfg.Topics.LetterMarks, Partition: -1, Key: mark.Key(), Value: value}
	for _, m := range []stream.Message{message, marked} {
		if err := r.out.Send(ctx, m); err != nil {
			return fmt.Errorf("letters: %w", err)
		}
	}
	r.letters++
	r.bytes += len(message.Key) + len(message.Value)
	return nil
}

func (r *replay) commit(ctx context.Context) error {
	r.letters, r.bytes = 0, 0
	if err := r.out.Commit(ctx); err != nil {
		return fmt.Errorf("letters: %w", err)
	}
	return nil
}
