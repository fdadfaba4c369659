package state

import (
	"encoding/binary"

	"earworm/model/decay"
)

// coreVersion is the first byte of a listener's core row.
const coreVersion = 2 // 2: what was named at onboarding

// Bounds of a core row.
const (
	// MaxArtistBans bounds the artists that a listener has banned.
	MaxArtistBans = 10_000
	// MaxChosen bounds the artists and genres that a listener has named at onboarding.
	MaxChosen    = 256
	maxDim       = 4096
	maxLanguages = 64
	maxTagBytes  = 64
	maxOpaque    = 1 << 16
)

// Session is a listener's current sitting.
type Session struct {
	StartedAt, LastAt int64 // Unix ms
	Plays, Skips      uint32
}

// ListenerCore is everything about a listener that is not about one song.
type ListenerCore struct {
	Vector          []float32
	Events          uint64 // applied events
	Chain           uint64 // order-sensitive hash of the applied events
	FirstAt, LastAt int64  // Unix ms; 0 = never
	Positives       float64
	// Plays and Skips are decayed counts of listens and early skips: the listener's usual skip rate.
	Plays, Skips decay.Counter
	// ViralLikes and ViralSkips are decayed counts of songs on trend heard to the end and skipped.
	ViralLikes, ViralSkips decay.Counter
	Region                 [2]byte
	// Zone is the profile's time zone, ServedZone the one whose index holds the listener.
	Zone, ServedZone string
	Languages        []string
	AgeBand          string
	OptOut           bool
	Discovery        float32 // -1 = not set
	Weeks            []byte  // encoded set of the weeks that were emitted
	Trust            []byte  // encoded trust
	Session          Session
	Artists          []uint64 // keys of banned artists
	Chosen           []uint64 // keys of the artists and genres that the listener named at onboarding
	Remembered                // ids of events about no song
}

// AppendBinary appends the row's value.
func (c *ListenerCore) AppendBinary(dst []byte) []byte {
	dst = append(dst, coreVersion)
	dst = binary.AppendUvarint(dst, uint64(len(c.Vector)))
	for _, v := range c.Vector {
		dst = appendFloat32(dst, v)
	}
	dst = binary.AppendUvarint(dst, c.Events)
	dst = binary.LittleEndian.AppendUint64(dst, c.Chain)
	dst = binary.AppendVarint(dst, c.FirstAt)
	dst = binary.AppendVarint(dst, c.LastAt)
	dst = appendFloat64(dst, c.Positives)
	for _, counter := range []decay.Counter{c.Plays, c.Skips, c.ViralLikes, c.ViralSkips} {
		dst = appendCounter(dst, counter)
	}
	dst = append(dst, c.Region[:]...)
	dst = appendBytes(dst, c.Zone)
	dst = appendBytes(dst, c.ServedZone)
	dst = binary.AppendUvarint(dst, uint64(len(c.Languages)))
	for _, l := range c.Languages {
		dst = appendBytes(dst, l)
	}
	dst = appendBytes(dst, c.AgeBand)
	dst = appendBool(dst, c.OptOut)
	dst = appendFloat32(dst, c.Discovery)
	dst = appendBytes(dst, c.Weeks)
	dst = appendBytes(dst, c.Trust)
	dst = binary.AppendVarint(dst, c.Session.StartedAt)
	dst = binary.AppendVarint(dst, c.Session.LastAt)
	dst = binary.AppendUvarint(dst, uint64(c.Session.Plays))
	dst = binary.AppendUvarint(dst, uint64(c.Session.Skips))
	dst = binary.AppendUvarint(dst, uint64(len(c.Artists)))
	for _, a := range c.Artists {
		dst = binary.LittleEndian.AppendUint64(dst, a)
	}
	dst = binary.AppendUvarint(dst, uint64(len(c.Chosen)))
	for _, k := range c.Chosen {
		dst = binary.LittleEndian.AppendUint64(dst, k)
	}
	return c.appendBinary(dst)
}

// UnmarshalBinary reads a row's value, copying what it keeps; the error wraps ErrRow, and the core is then undefined.
func (c *ListenerCore) UnmarshalBinary(b []byte) error {
	in := reader{b: b}
	if in.byte() != coreVersion {
		in.fail("core row of an unknown version")
	}
	c.Vector = resize(c.Vector, in.count(maxDim, 4))
	in.floats(c.Vector)
	c.Events, c.Chain = in.uvarint(), in.uint64()
	c.FirstAt, c.LastAt, c.Positives = in.varint(), in.varint(), in.float64()
	for _, counter := range []*decay.Counter{&c.Plays, &c.Skips, &c.ViralLikes, &c.ViralSkips} {
		*counter = in.counter()
	}
	c.Region = [2]byte{in.byte(), in.byte()}
	c.Zone, c.ServedZone = in.string(c.Zone, MaxZoneBytes), in.string(c.ServedZone, MaxZoneBytes)
	c.Languages = resize(c.Languages, in.count(maxLanguages, 1))
	for i := range c.Languages {
		c.Languages[i] = in.string(c.Languages[i], maxTagBytes)
	}
	c.AgeBand, c.OptOut, c.Discovery = in.string(c.AgeBand, maxTagBytes), in.bool(), in.float32()
	c.Weeks = append(c.Weeks[:0], in.bytes(maxOpaque)...)
	c.Trust = append(c.Trust[:0], in.bytes(maxOpaque)...)
	c.Session = Session{StartedAt: in.varint(), LastAt: in.varint()}
	c.Session.Plays = uint32(in.bounded(1<<32-1, "plays are out of range")) //nolint:gosec // bounded
	c.Session.Skips = uint32(in.bounded(1<<32-1, "skips are out of range")) //nolint:gosec // bounded
	c.Artists = resize(c.Artists, in.count(MaxArtistBans, 8))
	for i := range c.Artists {
		c.Artists[i] = in.uint64()
	}
	c.Chosen = resize(c.Chosen, in.count(MaxChosen, 8))
	for i := range c.Chosen {
		c.Chosen[i] = in.uint64()
	}
	c.read(&in)
	return in.end()
}
