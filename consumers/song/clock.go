package song

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"earworm/schemas"
	"earworm/state"
)

// clock is the event time of a partition's trends: what every listens partition that speaks has come past. A history that is
// replayed passes months in minutes, and its partitions drift apart by days; a clock of the newest listen would leave most of the
// others behind it.
//
// A listens partition that is silent must not hold the clock for ever. Silence is measured in the time of producing of the records,
// and only while others speak: when nothing comes from anybody, nobody is late.
type clock struct {
	at     int64 // event time up to which trends were evaluated, Unix ms; 0 before any
	last   int64 // time of producing of the newest record, Unix ms
	spoken int64 // ms in which somebody spoke
	held   uint64
	voices map[int32]voice
	dirty  bool
}

// voice is one listens partition.
type voice struct {
	reached int64 // its last mark, Unix ms; 0 before any
	heard   int64 // spoken at its last record
}

// pauses is into how many gaps between two records a wait is cut: a longer gap counts as one of these, because the time in which
// nobody spoke says nothing of a single partition.
const pauses = 4

// hear notes a record, by its time of producing.
func (c *clock) hear(m schemas.SongMark, produced time.Time, wait time.Duration) {
	now := max(produced.UnixMilli(), 0)
	if c.last != 0 {
		c.spoken += min(max(now-c.last, 0), wait.Milliseconds()/pauses)
	}
	before, known := c.voices[m.Partition]
	after := voice{reached: max(before.reached, m.At), heard: c.spoken}
	if known && after == before && now <= c.last {
		return
	}
	if c.voices == nil {
		c.voices = map[int32]voice{}
	}
	c.voices[m.Partition] = after
	c.last, c.dirty = max(c.last, now), true
}

// reached returns the event time that every listens partition has passed but those that have been silent for the wait, of which
// there are so many; 0 while one of them may still have everything to say.
func (c *clock) reached(partitions int32, wait time.Duration) int64 {
	if len(c.voices) < int(partitions) && c.spoken <= wait.Milliseconds() {
		return 0
	}
	least, found := int64(0), false
	for _, v := range c.voices {
		if c.spoken-v.heard <= wait.Milliseconds() && (!found || v.reached < least) {
			least, found = v.reached, true
		}
	}
	return least
}

// clockVersion is the first byte of a stored clock.
const clockVersion = 1

// appendBinary appends the clock, with its partitions in order.
func (c *clock) appendBinary(dst []byte) []byte {
	dst = append(dst, clockVersion)
	dst = binary.AppendVarint(dst, c.at)
	dst = binary.AppendVarint(dst, c.last)
	dst = binary.AppendVarint(dst, c.spoken)
	dst = binary.AppendUvarint(dst, c.held)
	for _, p := range slices.Sorted(maps.Keys(c.voices)) {
		v := c.voices[p]
		dst = binary.AppendVarint(dst, int64(p))
		dst = binary.AppendVarint(dst, v.reached)
		dst = binary.AppendVarint(dst, v.heard)
	}
	return dst
}

// unmarshalBinary replaces the clock by a stored one.
func (c *clock) unmarshalBinary(b []byte) error {
	if len(b) == 0 || b[0] != clockVersion {
		return fmt.Errorf("%w: a clock of an unknown version", state.ErrRow)
	}
	r := varints{rest: b[1:]}
	*c = clock{at: r.next(), last: r.next(), spoken: r.next(), voices: map[int32]voice{}}
	held, n := binary.Uvarint(r.rest)
	if n <= 0 {
		return fmt.Errorf("%w: a clock ends early", state.ErrRow)
	}
	c.held, r.rest = held, r.rest[n:]
	for len(r.rest) > 0 && !r.bad {
		p := int32(r.next()) //nolint:gosec // written from one
		c.voices[p] = voice{reached: r.next(), heard: r.next()}
	}
	if r.bad {
		return fmt.Errorf("%w: a clock ends early", state.ErrRow)
	}
	return nil
}

// varints reads numbers one after the other.
type varints struct {
	rest []byte
	bad  bool
}

func (r *varints) next() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.rest, r.bad = nil, true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}
