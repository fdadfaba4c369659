package ingest

import (
	"errors"
	"fmt"
	"time"

	"earworm/consumers/stream"
	"earworm/schemas"
)

// Pseudonymiser replaces a listener's id.
type Pseudonymiser interface {
	Append(dst, id []byte) ([]byte, error)
}

// Config says what is accepted. A zero duration means its default.
type Config struct {
	// Events, Users and Listens are the topics read and written.
	Events, Users, Listens string
	// Aliases are further spellings of fields: alias to canonical name.
	Aliases map[string]string
	// MaxBytes bounds a value; 0 is schemas.DefaultMaxBytes.
	MaxBytes int
	// FutureClamp is how far an event may lie ahead of the time at which it was produced; beyond it the time of producing
	// counts. Default 5 minutes.
	FutureClamp time.Duration
	// FutureReject is how far ahead makes an event a dead letter. Default 24 hours.
	FutureReject time.Duration
}

// Default returns the defaults; the topics have none.
func Default() Config {
	return Config{FutureClamp: 5 * time.Minute, FutureReject: 24 * time.Hour}
}

// Validate reports every problem.
func (c Config) Validate() error {
	var errs []error
	if c.Events == "" || c.Users == "" || c.Listens == "" {
		errs = append(errs, errors.New("ingest: events, users and listens topics must be named"))
	}
	if c.FutureClamp < 0 || c.FutureReject < c.FutureClamp {
		errs = append(errs, errors.New("ingest: future clamp must not be negative nor above future reject"))
	}
	return errors.Join(errs...)
}

// Task ingests one partition number of the input topics. It is not safe for concurrent use.
type Task struct {
	cfg     Config
	decoder *schemas.Decoder
	pseudo  Pseudonymiser
	event   schemas.Event
	headers []schemas.Header
	key     []byte
	value   []byte
}

var _ stream.Task = (*Task)(nil)

// New returns a task, or an error that names the alias at fault.
func New(cfg Config, pseudo Pseudonymiser) (*Task, error) {
	decoder, err := schemas.NewDecoder(schemas.DecoderConfig{Aliases: cfg.Aliases, MaxBytes: cfg.MaxBytes})
	if err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	return &Task{cfg: cfg, decoder: decoder, pseudo: pseudo}, nil
}

// Process forwards one record, or says why it is a dead letter.
func (t *Task) Process(rec *stream.Record, out *stream.Output) error {
	t.headers = t.headers[:0]
	for _, h := range rec.Headers {
		t.headers = append(t.headers, schemas.Header{Key: h.Key, Value: h.Value})
	}
	if err := t.decode(rec); err != nil {
		return poison(err)
	}
	if err := t.settleTime(rec.At.UnixMilli()); err != nil {
		return err
	}
	key, err := t.pseudo.Append(t.key[:0], t.event.User)
	if err != nil {
		return &stream.Poison{Code: schemas.CodeBadID.String(), Err: err}
	}
	t.key = key
	t.event.User = nil // the record's key says who
	t.value = t.event.AppendBinary(t.value[:0])
	out.Emit(stream.Message{Topic: t.cfg.Listens, Partition: -1, Key: t.key, Value: t.value})
	return nil
}

func (t *Task) decode(rec *stream.Record) error {
	if rec.Topic == t.cfg.Users {
		return t.decoder.DecodeProfile(&t.event, rec.Key, rec.Value, t.headers)
	}
	return t.decoder.Decode(&t.event, rec.Value, t.headers)
}

// poison names the code of a decoder's error.
func poison(err error) error {
	code := schemas.CodeRejected
	if decode, ok := errors.AsType[*schemas.DecodeError](err); ok {
		code = decode.Code
	}
	return &stream.Poison{Code: code.String(), Err: err}
}

// settleTime moves a time from the future to that of producing: a clock that is ahead would make everything that follows look old.
func (t *Task) settleTime(produced int64) error {
	e := &t.event
	switch ahead := e.At - produced; {
	case e.At == 0: // profiles may carry no time
		e.At = produced
	case ahead > t.cfg.FutureReject.Milliseconds():
		return &stream.Poison{
			Code: schemas.CodeBadTime.String(),
			Err:  fmt.Errorf("event lies %s in the future", (time.Duration(ahead) * time.Millisecond).Round(time.Hour)),
		}
	case ahead > t.cfg.FutureClamp.Milliseconds():
		e.At, e.Clamped = produced, true
	}
	return nil
}

// Flush has nothing to write: every record was emitted at once.
func (*Task) Flush(*stream.Output) error { return nil }

// Committed has nothing to keep.
func (*Task) Committed() {}

// Abandon has nothing to forget.
func (*Task) Abandon() {}

// Close releases nothing.
func (*Task) Close() error { return nil }
