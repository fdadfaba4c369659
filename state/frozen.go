package state

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Frozen are the candidates of one listener at one instant with their features, to be learnt from when it is known what the listener did
// with them. Features are kept as eighths of a bit less than their unit: a byte each, 1/32 apart and within ±4, which is more than
// four deviations of a standardised feature.
type Frozen struct {
	At       int64 // Unix ms
	Songs    []uint64
	Features int       // for each song
	Rows     []float32 // len(Songs)·Features
}

const (
	frozenVersion = 1
	frozenStep    = 1. / 32
	// MaxFrozen bounds the songs of a Frozen.
	MaxFrozen         = 1 << 16
	maxFrozenFeatures = 1 << 10
)

// AppendBinary appends the row.
func (f *Frozen) AppendBinary(dst []byte) []byte {
	dst = append(dst, frozenVersion)
	dst = binary.AppendVarint(dst, f.At)
	dst = binary.AppendUvarint(dst, uint64(f.Features)) //nolint:gosec // a few
	dst = binary.AppendUvarint(dst, uint64(len(f.Songs)))
	for _, song := range f.Songs {
		dst = binary.LittleEndian.AppendUint64(dst, song)
	}
	for _, x := range f.Rows {
		q := math.Round(min(max(float64(x), -4), 127*frozenStep) / frozenStep)
		if q != q {
			q = 0
		}
		dst = append(dst, byte(int8(q))) //nolint:gosec // bits
	}
	return dst
}

// UnmarshalBinary reads a row. The error wraps ErrRow; f is then undefined.
func (f *Frozen) UnmarshalBinary(b []byte) error {
	r := reader{b: b}
	if r.byte() != frozenVersion {
		r.fail("unknown version")
	}
	f.At = r.varint()
	f.Features = int(r.bounded(maxFrozenFeatures, "too many features")) //nolint:gosec // bounded
	n := r.count(MaxFrozen, 8+f.Features)
	if r.err != nil {
		return r.err
	}
	if len(r.b) != n*(8+f.Features) {
		return fmt.Errorf("%w: features are not as many as their songs", ErrRow)
	}
	f.Songs, f.Rows = make([]uint64, n), make([]float32, n*f.Features)
	for i := range f.Songs {
		f.Songs[i] = binary.LittleEndian.Uint64(r.b[8*i:])
	}
	for i, q := range r.b[8*n:] {
		f.Rows[i] = float32(int8(q)) * frozenStep //nolint:gosec // bits
	}
	return nil
}
