package calendar

import (
	"encoding/binary"
	"errors"
	"iter"
	"math/bits"
)

// ErrWeekSet is returned for bytes that AppendBinary cannot have written.
var ErrWeekSet = errors.New("not an encoded set of weeks")

// minOrdinal and maxOrdinal bound what a set can hold (about the years 0 to 10 000), and with it its size.
const (
	minOrdinal = -103_000
	maxOrdinal = 420_000
)

// WeekSet is a sorted set of weeks: a bitmap that starts at its earliest week, so the weekly playlists of two
// years take 16 bytes. The zero value is empty and ready. It is not safe for concurrent use.
type WeekSet struct {
	base int32 // ordinal of bit 0; bit 0 is set unless the set is empty
	bits []byte
}

// Add puts w in the set and reports whether it was absent. A week that does not exist is not added.
func (s *WeekSet) Add(w Week) bool {
	if !w.Valid() {
		return false
	}
	ordinal := w.Ordinal()
	if len(s.bits) == 0 {
		s.base, s.bits = ordinal, []byte{1}
		return true
	}
	if ordinal < s.base {
		s.rebase(ordinal)
	}
	i := int(ordinal - s.base)
	for len(s.bits) <= i/8 {
		s.bits = append(s.bits, 0)
	}
	mask := byte(1) << (i % 8)
	added := s.bits[i/8]&mask == 0
	s.bits[i/8] |= mask
	return added
}

// rebase moves bit 0 down to an earlier ordinal.
func (s *WeekSet) rebase(ordinal int32) {
	shift := int(s.base - ordinal)
	moved := make([]byte, (shift+8*len(s.bits)+7)/8)
	for i := range 8 * len(s.bits) {
		if s.bits[i/8]&(1<<(i%8)) != 0 {
			moved[(i+shift)/8] |= 1 << ((i + shift) % 8)
		}
	}
	for moved[len(moved)-1] == 0 { // a non-empty set has a set bit, so this ends
		moved = moved[:len(moved)-1]
	}
	s.base, s.bits = ordinal, moved
}

// Has reports whether w is in the set.
func (s *WeekSet) Has(w Week) bool {
	if len(s.bits) == 0 || !w.Valid() {
		return false
	}
	i := int(w.Ordinal() - s.base)
	return i >= 0 && i < 8*len(s.bits) && s.bits[i/8]&(1<<(i%8)) != 0
}

// Len returns the number of weeks in the set.
func (s *WeekSet) Len() int {
	n := 0
	for _, b := range s.bits {
		n += bits.OnesCount8(b)
	}
	return n
}

// Last returns the latest week of the set, and false for the empty set.
func (s *WeekSet) Last() (Week, bool) {
	if len(s.bits) == 0 {
		return Week{}, false
	}
	last := len(s.bits) - 1
	return WeekFromOrdinal(s.base + int32(8*last+bits.Len8(s.bits[last])-1)), true //nolint:gosec // bounded by maxOrdinal.
}

// All yields the weeks in order, earliest first. The set must not change meanwhile.
func (s *WeekSet) All() iter.Seq[Week] {
	return func(yield func(Week) bool) {
		for i := range 8 * len(s.bits) {
			if s.bits[i/8]&(1<<(i%8)) == 0 {
				continue
			}
			if !yield(WeekFromOrdinal(s.base + int32(i))) {
				return
			}
		}
	}
}

// AppendBinary appends the set: the number of bitmap bytes (uvarint), then, unless that is 0, the first ordinal
// (varint) and the bitmap. Equal sets have equal bytes. The version byte is the container's.
func (s *WeekSet) AppendBinary(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s.bits)))
	if len(s.bits) == 0 {
		return dst
	}
	dst = binary.AppendVarint(dst, int64(s.base))
	return append(dst, s.bits...)
}

// UnmarshalBinary replaces the set by the one encoded at the front of b and returns what follows it. b is not
// retained. On ErrWeekSet the set is unchanged.
func (s *WeekSet) UnmarshalBinary(b []byte) (rest []byte, err error) {
	size, n := binary.Uvarint(b)
	if n <= 0 {
		return nil, ErrWeekSet
	}
	b = b[n:]
	if size == 0 {
		*s = WeekSet{}
		return b, nil
	}
	base, n := binary.Varint(b)
	if n <= 0 || size > uint64(len(b[n:])) || base < minOrdinal || base > maxOrdinal || size > (maxOrdinal-minOrdinal)/8 {
		return nil, ErrWeekSet
	}
	b = b[n:]
	bitmap := b[:size]
	last := base + 8*int64(size) - 8
	if bitmap[0]&1 == 0 || bitmap[size-1] == 0 || last > maxOrdinal {
		return nil, ErrWeekSet // not canonical: AppendBinary never writes it
	}
	*s = WeekSet{base: int32(base), bits: append([]byte(nil), bitmap...)}
	return b[size:], nil
}
