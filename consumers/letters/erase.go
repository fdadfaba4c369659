package letters

import (
	"context"
	"errors"
	"fmt"
	"time"

	"earworm/consumers/stream"
	"earworm/schemas"
)

// Found counts the letters that a look found.
type Found struct {
	Letters int
	// Marked are those that were marked as erased before.
	Marked int
	// Newest is the timestamp of the last one.
	Newest time.Time
}

// Count counts the letters for which mine is true. It is asked about every letter, whole, whatever became of it.
func (c *Client) Count(ctx context.Context, mine func(*Letter) bool) (Found, error) {
	have, err := stream.PartitionCounts(ctx, c.admin, c.cfg.Topics.LetterMarks)
	if err != nil {
		return Found{}, fmt.Errorf("letters: %w", err)
	}
	known := marks{}
	if have[c.cfg.Topics.LetterMarks] > 0 {
		if known, err = c.marks(ctx); err != nil {
			return Found{}, err
		}
	}
	var found Found
	err = c.each(ctx, known, func(l *Letter) error {
		if mine(l) {
			found.add(l)
		}
		return nil
	})
	return found, err
}

func (f *Found) add(l *Letter) {
	f.Letters++
	if l.Mark == schemas.MarkErased {
		f.Marked++
	}
	if l.At.After(f.Newest) {
		f.Newest = l.At
	}
}

// Erase marks the letters for which mine is true, so that they are neither shown nor sent again. A replay that is under way ends: it
// might be about to send one of them. It returns what is marked now.
func (c *Client) Erase(ctx context.Context, mine func(*Letter) bool) (Found, error) {
	out, known, err := c.takeOver(ctx)
	if err != nil {
		return Found{}, err
	}
	defer out.Close()
	var found Found
	waiting := 0
	err = c.each(ctx, known, func(l *Letter) error {
		if !mine(l) {
			return nil
		}
		marked := l.Mark == schemas.MarkErased
		l.Mark = schemas.MarkErased
		found.add(l)
		if marked {
			return nil
		}
		mark := schemas.LetterMark{
			Partition: l.Place.Partition, Offset: l.Place.Offset, LetterAt: l.At.UnixMilli(), State: schemas.MarkErased,
		}
		value, err := mark.AppendJSON(nil)
		if err != nil {
			return fmt.Errorf("letters: %w", err)
		}
		if err := out.Send(ctx, stream.Message{Topic: c.cfg.Topics.LetterMarks, Partition: -1, Key: mark.Key(), Value: value}); err != nil {
			return fmt.Errorf("letters: %w", err)
		}
		if waiting++; waiting < c.cfg.ChunkRecords {
			return nil
		}
		waiting = 0
		return out.Commit(ctx)
	})
	if err == nil {
		err = out.Commit(ctx)
	}
	if err != nil {
		return Found{}, errors.Join(fmt.Errorf("letters: %w", err), out.Abort(context.WithoutCancel(ctx)))
	}
	return found, nil
}
