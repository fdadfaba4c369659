package state

import "encoding/binary"

// Playlist are the songs that a listener got in a week, in order, and for as long as outcomes are awaited what became of each so far.
type Playlist struct {
	Songs []uint64
	// At is when the list was made, Unix ms. It is kept with the outcomes.
	At int64
	// Outcomes has a byte for each song, whose meaning is the model's; nil is a list that is closed: nothing is awaited any more.
	Outcomes []byte
}

// Versions of a playlist row. A closed list is what all lists were before there were outcomes.
const (
	playlistClosed = 1
	playlistOpen   = 2
	maxPlaylist    = 1 << 16
)

// AppendBinary appends the row.
func (p *Playlist) AppendBinary(dst []byte) []byte {
	if p.Outcomes == nil {
		dst = append(dst, playlistClosed)
	} else {
		dst = binary.AppendVarint(append(dst, playlistOpen), p.At)
	}
	dst = binary.AppendUvarint(dst, uint64(len(p.Songs)))
	for _, s := range p.Songs {
		dst = binary.LittleEndian.AppendUint64(dst, s)
	}
	return append(dst, p.Outcomes...)
}

// UnmarshalBinary reads a row into memory of its own. The error wraps ErrRow; p is then undefined.
func (p *Playlist) UnmarshalBinary(b []byte) error {
	in := reader{b: b}
	*p = Playlist{}
	version := in.byte()
	size := 8
	switch version {
	case playlistClosed:
	case playlistOpen:
		p.At = in.varint()
		size++
	default:
		in.fail("playlist row of an unknown version")
	}
	p.Songs = make([]uint64, in.count(maxPlaylist, size))
	for i := range p.Songs {
		p.Songs[i] = in.uint64()
	}
	if version == playlistOpen {
		p.Outcomes = make([]byte, len(p.Songs))
		for i := range p.Outcomes {
			p.Outcomes[i] = in.byte()
		}
	}
	return in.end()
}
