package letters

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"earworm/consumers/stream"
	"earworm/schemas"
)

// Config says where the dead letters are.
type Config struct {
	App           string
	Topics        schemas.Topics
	ClientOptions []kgo.Opt
	// Marks is how the topic of the marks is created where it does not exist yet.
	Marks stream.TopicSpec
	// ChunkRecords is the most letters of one transaction; default 500.
	ChunkRecords int
	// ChunkBytes ends a transaction early; default 4 MiB.
	ChunkBytes int
	// TransactionTimeout is the brokers' bound on a transaction; default 10 s.
	TransactionTimeout time.Duration
}

// Client reads dead letters and sends them again. It must not be used concurrently; two clients do no harm to each other.
type Client struct {
	cfg   Config
	admin *kgo.Client
}

// Letter is one dead letter. Key, Value and the headers are nil in one of a person who was erased.
type Letter struct {
	schemas.DeadLetter
	// Place is where it lies in the topic of dead letters, and At its timestamp there.
	Place Place
	At    time.Time
	// Key, Value and Original are those of the refused record; Headers are all of the letter's.
	Key, Value        []byte
	Original, Headers []schemas.Header
	// Mark is what became of it: "", schemas.MarkReplayed or schemas.MarkErased.
	Mark string
}

// Place is a partition of the dead letters and an offset in it.
type Place struct {
	Partition int32
	Offset    int64
}

// String writes it as the commands take it: partition/offset.
func (p Place) String() string { return schemas.LetterPlace(p.Partition, p.Offset) }

// ParsePlace is the inverse of String.
func ParsePlace(text string) (Place, bool) {
	partition, offset, ok := schemas.ParseLetterPlace(text)
	return Place{Partition: partition, Offset: offset}, ok
}

// Filter chooses letters; an empty field chooses all.
type Filter struct {
	Codes  []schemas.Code
	Topics []string
	Places []Place
	// Since is included, Until is not; both are of the letter's timestamp.
	Since, Until time.Time
}

// Match reports whether the filter chooses a letter.
func (f Filter) Match(l *Letter) bool {
	return (len(f.Codes) == 0 || slices.Contains(f.Codes, l.Code)) &&
		(len(f.Topics) == 0 || slices.Contains(f.Topics, l.Topic)) &&
		(len(f.Places) == 0 || slices.Contains(f.Places, l.Place)) &&
		(f.Since.IsZero() || !l.At.Before(f.Since)) &&
		(f.Until.IsZero() || l.At.Before(f.Until))
}

// New connects lazily; Close releases.
func New(cfg Config) (*Client, error) {
	if cfg.App == "" || cfg.Topics.DeadLetters == "" || cfg.Topics.LetterMarks == "" {
		return nil, errors.New("letters: app and topics must be set")
	}
	if cfg.ChunkRecords == 0 {
		cfg.ChunkRecords = 500
	}
	if cfg.ChunkBytes == 0 {
		cfg.ChunkBytes = 4 << 20
	}
	if cfg.TransactionTimeout == 0 {
		cfg.TransactionTimeout = 10 * time.Second
	}
	admin, err := stream.OpenClient(cfg.ClientOptions)
	if err != nil {
		return nil, fmt.Errorf("letters: %w", err)
	}
	return &Client{cfg: cfg, admin: admin}, nil
}

// Close releases the connections.
func (c *Client) Close() { c.admin.Close() }

// Read hands every letter that is there now and that the filter chooses to fn, partition by partition in order. The letter is
// valid during the call.
func (c *Client) Read(ctx context.Context, filter Filter, fn func(*Letter) error) error {
	have, err := stream.PartitionCounts(ctx, c.admin, c.cfg.Topics.LetterMarks)
	if err != nil {
		return fmt.Errorf("letters: %w", err)
	}
	found := marks{} // without the topic, nothing became of any letter
	if have[c.cfg.Topics.LetterMarks] > 0 {
		if found, err = c.marks(ctx); err != nil {
			return err
		}
	}
	return c.read(ctx, found, filter, fn)
}

func (c *Client) read(ctx context.Context, marks marks, filter Filter, fn func(*Letter) error) error {
	return c.each(ctx, marks, func(l *Letter) error {
		if !filter.Match(l) {
			return nil
		}
		if l.Mark == schemas.MarkErased {
			l.Key, l.Value, l.Original, l.Headers, l.Message = nil, nil, nil, nil, ""
		}
		return fn(l)
	})
}

// each hands every letter to fn, whole, whatever became of it.
func (c *Client) each(ctx context.Context, marks marks, fn func(*Letter) error) error {
	var letter Letter
	err := stream.ReadAll(ctx, c.cfg.ClientOptions, []string{c.cfg.Topics.DeadLetters}, func(rec *stream.Record) error {
		letter = parse(rec)
		letter.Mark = marks.of(&letter)
		return fn(&letter)
	})
	if err != nil {
		return fmt.Errorf("reading %s: %w", c.cfg.Topics.DeadLetters, err)
	}
	return nil
}

// parse reads a record of the topic. One that is no dead letter of any style has no source and the code rejected.
func parse(rec *stream.Record) Letter {
	l := Letter{Place: Place{Partition: rec.Partition, Offset: rec.Offset}, At: rec.At, Key: rec.Key, Value: rec.Value}
	for _, h := range rec.Headers {
		l.Headers = append(l.Headers, schemas.Header{Key: h.Key, Value: h.Value})
	}
	parsed, original, ok := schemas.ParseDeadLetter(l.Headers)
	if !ok {
		parsed, original = schemas.DeadLetter{Code: schemas.CodeRejected}, l.Headers
	}
	l.DeadLetter, l.Original = parsed, original
	return l
}

// marks are the latest mark of each letter.
type marks map[Place]schemas.LetterMark

// of returns the state of a letter. A mark of another letter at the same place, of a topic that was created anew, does not count.
func (m marks) of(l *Letter) string {
	if mark, ok := m[l.Place]; ok && mark.LetterAt == l.At.UnixMilli() {
		return mark.State
	}
	return ""
}

// marks reads what became of the letters. The topic must exist.
func (c *Client) marks(ctx context.Context) (marks, error) {
	topic := c.cfg.Topics.LetterMarks
	found := marks{}
	err := stream.ReadAll(ctx, c.cfg.ClientOptions, []string{topic}, func(rec *stream.Record) error {
		mark, err := schemas.ParseLetterMark(rec.Key, rec.Value)
		if err != nil {
			return fmt.Errorf("partition %d offset %d: %w", rec.Partition, rec.Offset, err)
		}
		found.add(mark)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", topic, err)
	}
	return found, nil
}

// add takes a mark in. A letter of an erased person stays erased.
func (m marks) add(mark schemas.LetterMark) {
	at := Place{Partition: mark.Partition, Offset: mark.Offset}
	if old, ok := m[at]; ok && old.State == schemas.MarkErased && old.LetterAt == mark.LetterAt {
		return
	}
	m[at] = mark
}
