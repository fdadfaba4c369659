package state

import (
	"encoding/binary"

	"earworm/model/decay"
)

// historyVersion is the first byte of a history row.
const historyVersion = 1

// Flags of a history entry.
const (
	FlagLiked   = 1 << iota // the latest word was a like
	FlagBanned              // the latest word was a dislike or a ban
	FlagAdded               // put into a playlist of the listener's own
	FlagTrained             // the first listen was learnt
)

// MaxRemembered bounds the event ids that one row keeps: two days of one song, played over and over.
const MaxRemembered = 4096

// Remembered holds the hashes of the event ids that a row has seen, and the time below which it has forgotten some.
type Remembered struct {
	IDs   []uint64 // hashes of event ids
	Times []uint32 // event times, Unix seconds; as long as IDs
	// Horizon is the time, in Unix seconds, below which ids were forgotten: an older event may be a copy.
	Horizon uint32
}

func (r *Remembered) appendBinary(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(r.Horizon))
	dst = binary.AppendUvarint(dst, uint64(len(r.IDs)))
	for i, id := range r.IDs {
		dst = binary.LittleEndian.AppendUint64(dst, id)
		dst = binary.LittleEndian.AppendUint32(dst, r.Times[i])
	}
	return dst
}

func (r *Remembered) read(in *reader) {
	r.Horizon = uint32(in.bounded(1<<32-1, "horizon is out of range")) //nolint:gosec // bounded
	n := in.count(MaxRemembered, 12)
	r.IDs, r.Times = resize(r.IDs, n), resize(r.Times, n)
	for i := range n {
		r.IDs[i], r.Times[i] = in.uint64(), in.uint32()
	}
}

// HistoryEntry is what a listener did with one song.
type HistoryEntry struct {
	Plays           uint32
	FirstAt, LastAt int64         // first and last listen, Unix ms; 0 = never
	LikedAt         int64         // Unix ms of the like in force; 0 = none
	Engagement      decay.Counter // sum of engagement values, decayed
	Flags           uint8
	Remembered
}

// AppendBinary appends the row's value.
func (h *HistoryEntry) AppendBinary(dst []byte) []byte {
	dst = append(dst, historyVersion, h.Flags)
	dst = binary.AppendUvarint(dst, uint64(h.Plays))
	dst = binary.AppendVarint(dst, h.FirstAt)
	dst = binary.AppendVarint(dst, h.LastAt-h.FirstAt)
	dst = binary.AppendVarint(dst, h.LikedAt)
	dst = appendCounter(dst, h.Engagement)
	return h.appendBinary(dst)
}

// UnmarshalBinary reads a row's value; the error wraps ErrRow, and the entry is then undefined.
func (h *HistoryEntry) UnmarshalBinary(b []byte) error {
	in := reader{b: b}
	if in.byte() != historyVersion {
		in.fail("history row of an unknown version")
	}
	h.Flags = in.byte()
	h.Plays = uint32(in.bounded(1<<32-1, "plays are out of range")) //nolint:gosec // bounded
	h.FirstAt = in.varint()
	h.LastAt = h.FirstAt + in.varint()
	h.LikedAt = in.varint()
	h.Engagement = in.counter()
	h.read(&in)
	return in.end()
}

func appendCounter(dst []byte, c decay.Counter) []byte {
	dst = appendFloat64(dst, c.Value)
	return binary.AppendVarint(dst, c.At)
}

func (r *reader) counter() decay.Counter {
	return decay.Counter{Value: r.float64(), At: r.varint()}
}
