package schemas

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// The compact encodings share these rules: a version byte first, little endian,
// varints for whole numbers, a length before everything of variable length.
// Decoders check each length against what is left before they make room for it,
// and refuse trailing bytes.

// maxInternalID bounds an id on internal topics: a pseudonym is longer than the
// id it was made from.
const maxInternalID = 1024

// eventVersion is the first byte of a compact event.
const eventVersion = 1

// The parts of a compact event that may be absent, one bit each.
const (
	hasID = 1 << iota
	hasUser
	hasSong
	hasArtist
	hasPlayed
	hasDuration
	hasPosition
	hasRegion
	hasOrigin
	hasPlaylist
	hasSlot
	hasRating
	hasLists
	hasProfile
	isClamped
	eventFlagsEnd
)

// flags returns the bits of the parts that e has.
func (e *Event) flags() uint64 {
	flags := uint64(0)
	for _, part := range [...]struct {
		present bool
		bit     uint64
	}{
		{!e.ID.IsZero(), hasID},
		{len(e.User) > 0, hasUser},
		{len(e.Song) > 0, hasSong},
		{len(e.Artist) > 0, hasArtist},
		{e.PlayedMs != Unknown, hasPlayed},
		{e.DurationMs != Unknown, hasDuration},
		{e.PositionMs != Unknown, hasPosition},
		{e.Region != [2]byte{}, hasRegion},
		{e.Device != DeviceUnknown || e.Source != SourceUnknown, hasOrigin},
		{e.PlaylistID != [16]byte{}, hasPlaylist},
		{e.Slot != Unknown, hasSlot},
		{e.Rating != 0, hasRating},
		{len(e.Genres)+len(e.Artists) > 0, hasLists},
		{e.Profile != nil, hasProfile},
		{e.Clamped, isClamped},
	} {
		if part.present {
			flags |= part.bit
		}
	}
	return flags
}

// AppendBinary appends the compact form of e. All of e round-trips except
// Profile.User: a record on an internal topic holds no original id. An empty
// User costs nothing, for records whose key is the user.
func (e *Event) AppendBinary(dst []byte) []byte {
	flags := e.flags()
	dst = append(dst, eventVersion, byte(e.Kind))
	dst = binary.AppendUvarint(dst, flags)
	dst = binary.AppendVarint(dst, e.At)
	if flags&hasID != 0 {
		dst = append(dst, e.ID[:]...)
	}
	if flags&hasUser != 0 {
		dst = appendBytes(dst, e.User)
	}
	if flags&hasSong != 0 {
		dst = appendBytes(dst, e.Song)
	}
	if flags&hasArtist != 0 {
		dst = appendBytes(dst, e.Artist)
	}
	if flags&hasPlayed != 0 {
		dst = binary.AppendVarint(dst, e.PlayedMs)
	}
	if flags&hasDuration != 0 {
		dst = binary.AppendVarint(dst, e.DurationMs)
	}
	if flags&hasPosition != 0 {
		dst = binary.AppendVarint(dst, e.PositionMs)
	}
	if flags&hasRegion != 0 {
		dst = append(dst, e.Region[:]...)
	}
	if flags&hasOrigin != 0 {
		dst = append(dst, byte(e.Device), byte(e.Source))
	}
	if flags&hasPlaylist != 0 {
		dst = append(dst, e.PlaylistID[:]...)
	}
	if flags&hasSlot != 0 {
		dst = binary.AppendVarint(dst, int64(e.Slot))
	}
	if flags&hasRating != 0 {
		dst = append(dst, byte(e.Rating)) //nolint:gosec // 0 to 5
	}
	if flags&hasLists != 0 {
		dst = appendBytesList(dst, e.Genres)
		dst = appendBytesList(dst, e.Artists)
	}
	if flags&hasProfile != 0 {
		dst = e.Profile.appendBinary(dst)
	}
	return dst
}

// UnmarshalBinary reads the compact form into e, which may be reused. Byte
// slices of e alias b. The error wraps a *DecodeError.
func (e *Event) UnmarshalBinary(b []byte) error {
	e.reset()
	r := reader{rest: b}
	r.version(eventVersion)
	e.Kind = Kind(r.byte())
	flags := r.uvarint()
	if e.Kind < KindPlay || e.Kind > KindErase || flags >= eventFlagsEnd {
		r.bad = true
	}
	e.At = r.varint()
	if flags&hasID != 0 {
		copy(e.ID[:], r.take(16))
	}
	if flags&hasUser != 0 {
		e.User = r.bytes(maxInternalID)
	}
	if flags&hasSong != 0 {
		e.Song = r.bytes(maxInternalID)
	}
	if flags&hasArtist != 0 {
		e.Artist = r.bytes(maxInternalID)
	}
	if flags&hasPlayed != 0 {
		e.PlayedMs = r.varint()
	}
	if flags&hasDuration != 0 {
		e.DurationMs = r.varint()
	}
	if flags&hasPosition != 0 {
		e.PositionMs = r.varint()
	}
	if flags&hasRegion != 0 {
		copy(e.Region[:], r.take(2))
	}
	if flags&hasOrigin != 0 {
		e.Device, e.Source = Device(r.byte()), Source(r.byte())
	}
	if flags&hasPlaylist != 0 {
		copy(e.PlaylistID[:], r.take(16))
	}
	if flags&hasSlot != 0 {
		e.Slot = r.int16()
	}
	if flags&hasRating != 0 {
		e.Rating = int8(r.byte()) //nolint:gosec // bits; the bounds are checked by who decodes JSON
	}
	if flags&hasLists != 0 {
		e.Genres = r.bytesList(e.Genres)
		e.Artists = r.bytesList(e.Artists)
	}
	if flags&hasProfile != 0 {
		e.Profile = r.profile()
	}
	e.Clamped = flags&isClamped != 0
	return r.finish("event")
}

// appendBinary appends the compact form of p without User.
func (p *Profile) appendBinary(dst []byte) []byte {
	flags := byte(0)
	if p.OptOut {
		flags |= 1
	}
	if p.Discovery != nil {
		flags |= 2
	}
	dst = append(dst, flags)
	dst = appendBytes(dst, p.Region)
	dst = appendBytes(dst, p.TimeZone)
	dst = appendBytes(dst, p.AgeBand)
	dst = appendBytesList(dst, p.Languages)
	if p.Discovery != nil {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(*p.Discovery))
	}
	return dst
}

// profile reads the compact form of a Profile.
func (r *reader) profile() *Profile {
	flags := r.byte()
	if flags > 3 {
		r.bad = true
	}
	p := &Profile{OptOut: flags&1 != 0}
	p.Region = string(r.bytes(maxInternalID))
	p.TimeZone = string(r.bytes(maxInternalID))
	p.AgeBand = string(r.bytes(maxInternalID))
	for range r.count(MaxListEntries, 1) {
		p.Languages = append(p.Languages, string(r.bytes(maxInternalID)))
	}
	if flags&2 != 0 {
		v := r.float64()
		p.Discovery = &v
	}
	return p
}

// appendBytes appends text with its length before it.
func appendBytes[T string | []byte](dst []byte, text T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(text)))
	return append(dst, text...)
}

// appendBytesList appends the number of entries and the entries.
func appendBytesList[T string | []byte](dst []byte, entries []T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(entries)))
	for _, entry := range entries {
		dst = appendBytes(dst, entry)
	}
	return dst
}

// appendFloats appends a vector with its length before it.
func appendFloats(dst []byte, vector []float32) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(vector)))
	from := len(dst)
	dst = slices.Grow(dst, 4*len(vector))[:from+4*len(vector)]
	b := dst[from:]
	for i, v := range vector {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(v))
	}
	return dst
}

// appendFloat32 appends v.
func appendFloat32(dst []byte, v float32) []byte {
	return binary.LittleEndian.AppendUint32(dst, math.Float32bits(v))
}

// appendFloat64 appends v.
func appendFloat64(dst []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
}

// reader reads compact values. After the first thing that is wrong it is bad
// and returns zeros.
type reader struct {
	rest []byte
	bad  bool
}

// finish returns an error unless everything was well formed and used up.
func (r *reader) finish(what string) error {
	if r.bad || len(r.rest) != 0 {
		return fmt.Errorf("decoding compact %s: %w", what, refuse(CodeCorrupt, "", "malformed or of another version"))
	}
	return nil
}

// version expects the version byte.
func (r *reader) version(want byte) {
	if r.byte() != want {
		r.bad = true
	}
}

// versionOf expects one of several version bytes, and returns it.
func (r *reader) versionOf(known ...byte) byte {
	version := r.byte()
	r.bad = r.bad || !slices.Contains(known, version)
	return version
}

// take returns the next n bytes, aliasing the input; nil when there are fewer.
func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.rest) {
		r.bad = true
		return nil
	}
	taken := r.rest[:n:n]
	r.rest = r.rest[n:]
	return taken
}

// byte reads one byte.
func (r *reader) byte() byte {
	if r.bad || len(r.rest) == 0 {
		r.bad = true
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

// uvarint reads an unsigned varint.
func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if r.bad || n <= 0 {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// varint reads a zigzag varint.
func (r *reader) varint() int64 {
	v := r.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

// uint32 reads a varint that must fit.
func (r *reader) uint32() uint32 {
	v := r.uvarint()
	if v > math.MaxUint32 {
		r.bad = true
		return 0
	}
	return uint32(v)
}

// int16 reads a zigzag varint that must fit.
func (r *reader) int16() int16 {
	v := r.varint()
	if v < math.MinInt16 || v > math.MaxInt16 {
		r.bad = true
		return 0
	}
	return int16(v)
}

// int32 reads a zigzag varint that must fit.
func (r *reader) int32() int32 {
	v := r.varint()
	if v < math.MinInt32 || v > math.MaxInt32 {
		r.bad = true
		return 0
	}
	return int32(v)
}

// bool reads a byte that must be 0 or 1.
func (r *reader) bool() bool {
	b := r.byte()
	if b > 1 {
		r.bad = true
	}
	return b == 1
}

// float32 reads a float32, which must be finite.
func (r *reader) float32() float32 {
	b := r.take(4)
	if b == nil {
		return 0
	}
	bits := binary.LittleEndian.Uint32(b)
	const exponent = 0x7f80_0000
	if bits&exponent == exponent {
		r.bad = true
		return 0
	}
	return math.Float32frombits(bits)
}

// float64 reads a float64, which must be finite.
func (r *reader) float64() float64 {
	b := r.take(8)
	if b == nil {
		return 0
	}
	bits := binary.LittleEndian.Uint64(b)
	const exponent = 0x7ff0_0000_0000_0000
	if bits&exponent == exponent {
		r.bad = true
		return 0
	}
	return math.Float64frombits(bits)
}

// region reads two bytes.
func (r *reader) region() (region [2]byte) {
	copy(region[:], r.take(2))
	return region
}

// count reads a number of entries that each take at least size bytes; it can
// exceed neither limit nor what is left of the input.
func (r *reader) count(limit, size int) int {
	n := r.uvarint()
	if n > uint64(limit) || n > uint64(len(r.rest)/size) { //nolint:gosec // both are non-negative
		r.bad = true
		return 0
	}
	return int(n) //nolint:gosec // at most limit
}

// bytes reads a length of at most limit and so many bytes; empty is nil.
func (r *reader) bytes(limit int) []byte {
	n := r.count(limit, 1)
	if n == 0 {
		return nil
	}
	return r.take(n)
}

// bytesList reads a list of ids into dst.
func (r *reader) bytesList(dst [][]byte) [][]byte {
	for range r.count(MaxListEntries, 1) {
		dst = append(dst, r.bytes(maxInternalID))
	}
	return dst
}

// floats reads a vector into dst, which is reused when it has the room.
func (r *reader) floats(dst []float32) []float32 {
	n := r.count(maxDimensions, 4)
	if n == 0 {
		return dst[:0]
	}
	if cap(dst) < n {
		dst = make([]float32, n)
	}
	dst = dst[:n]
	b, infinite := r.take(4*n), false
	for i := range dst {
		bits := binary.LittleEndian.Uint32(b[4*i:])
		const exponent = 0x7f80_0000
		infinite = infinite || bits&exponent == exponent
		dst[i] = math.Float32frombits(bits)
	}
	r.bad = r.bad || infinite
	return dst
}
