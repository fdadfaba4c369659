package reshard

import (
	"strconv"
	"time"

	"earworm/schemas"
)

// Receipt says what a move copied. It names nobody.
type Receipt struct {
	Application string             `json:"application"`
	From        schemas.Generation `json:"from"`
	To          schemas.Generation `json:"to"`
	StartedAt   time.Time          `json:"started_at"`
	FinishedAt  time.Time          `json:"finished_at"`
	// Seconds is the time between them, whatever happened in it: how long no instance could work, besides stopping and restoring.
	Seconds float64 `json:"seconds"`
	// Runs is how many runs it took: more than one if some were killed.
	Runs     int      `json:"runs"`
	Families []Family `json:"families"`
	// Orphans are rows and listens in a partition that their key does not belong to.
	Orphans int64 `json:"orphans"`
	// Waiting are records that had not been processed and moved, too.
	Waiting Waiting `json:"waiting"`
	// Kept are the topics of the generation before, until they are dropped.
	Kept []string `json:"kept"`
}

// Waiting counts the records in flight, as they were in the old topics.
type Waiting struct {
	Listens int64 `json:"listens"`
	Ticks   int64 `json:"ticks"`
	Updates int64 `json:"song_updates"`
}

// Family is one kind of rows: how many there must be and are, and sums that do not depend on their order.
type Family struct {
	Family string `json:"family"`
	// Before is read from the old topics; of what is of a task as a whole it is what each part must have.
	Before Sum `json:"before"`
	After  Sum `json:"after"`
	// EachPart says that it is of a task as a whole, and that each part of its partition got one.
	EachPart bool `json:"each_part,omitempty"`
}

// Sum is a number of rows and the sum of their hashes, modulo 2^64.
type Sum struct {
	Rows     int64    `json:"rows"`
	Checksum Checksum `json:"checksum"`
}

// Checksum is written in hexadecimal: a JSON number would lose bits.
type Checksum uint64

// MarshalText implements encoding.TextMarshaler.
func (c Checksum) MarshalText() ([]byte, error) {
	return []byte(c.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Checksum) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(string(text), 16, 64)
	*c = Checksum(v)
	return err //nolint:wrapcheck // it quotes the text
}

// String returns the sixteen digits.
func (c Checksum) String() string {
	text := strconv.FormatUint(uint64(c), 16)
	const digits = "0000000000000000"
	return digits[len(text):] + text
}

func (s *Sum) add(o Sum) {
	s.Rows += o.Rows
	s.Checksum += o.Checksum
}

// Rows returns the rows of all families, as they were and as they are.
func (r *Receipt) Rows() (before, after int64) {
	for _, f := range r.Families {
		before += f.Before.Rows
		after += f.After.Rows
	}
	return before, after
}

// Equal reports whether everything is where it must be.
func (r *Receipt) Equal() bool {
	for _, f := range r.Families {
		if f.Before != f.After {
			return false
		}
	}
	return r.Orphans == 0
}
