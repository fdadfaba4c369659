package schemas

import "encoding/binary"

// tickVersion is the first byte of a tick.
const tickVersion = 1

// maxWeekBytes bounds the text of a week.
const maxWeekBytes = 16

// Tick is a record of the ticks topic, the only clock that tasks obey. It is
// compact rather than JSON because the cursor is a pseudonym: any bytes.
type Tick struct {
	// At is the time that has come, in Unix ms.
	At int64
	// Week is the ISO week to emit, such as "2026-W48"; empty lets At decide.
	Week string
	// Forced emits the week even where its Monday has not come.
	Forced bool
	// Zone and AfterUser are the cursor of a continuation: go on in this time
	// zone behind this listener. Empty is from the beginning.
	Zone, AfterUser string
	// Chunk counts the continuations from 0.
	Chunk uint32
}

// AppendBinary appends the compact form of t.
func (t *Tick) AppendBinary(dst []byte) []byte {
	dst = append(dst, tickVersion)
	dst = binary.AppendVarint(dst, t.At)
	dst = appendBytes(dst, t.Week)
	dst = appendBool(dst, t.Forced)
	dst = appendBytes(dst, t.Zone)
	dst = appendBytes(dst, t.AfterUser)
	return binary.AppendUvarint(dst, uint64(t.Chunk))
}

// UnmarshalBinary reads the compact form. The error wraps a *DecodeError.
func (t *Tick) UnmarshalBinary(b []byte) error {
	r := reader{rest: b}
	r.version(tickVersion)
	*t = Tick{
		At: r.varint(), Week: string(r.bytes(maxWeekBytes)), Forced: r.bool(), Zone: string(r.bytes(maxTagBytes)),
		AfterUser: string(r.bytes(maxInternalID)), Chunk: r.uint32(),
	}
	return r.finish("tick")
}
