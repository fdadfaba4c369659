package decay

import (
	"encoding/binary"
	"errors"
	"math"
	"time"
)

// ErrEncoding is returned for bytes that AppendBinary cannot have written.
var ErrEncoding = errors.New("not an encoded decayed value")

// HalfLife is the time in which a weight loses half its worth. Less than a millisecond, the resolution of
// event time, counts as a millisecond.
type HalfLife time.Duration

// Half-lives in use (models.md §E): session 1–2 h, short 1 d, taste 7–14 d, long 60–90 d.
const (
	Session = HalfLife(time.Hour)
	Short   = HalfLife(24 * time.Hour)
	Taste   = HalfLife(7 * 24 * time.Hour)
	Month   = HalfLife(28 * 24 * time.Hour)
	Long    = HalfLife(90 * 24 * time.Hour)
)

// Millis returns the half-life in milliseconds, at least 1.
func (h HalfLife) Millis() float64 {
	return max(float64(h)/float64(time.Millisecond), 1)
}

// Window returns the half-life's equivalent rectangular window h/ln 2 in hours: a constant rate r per hour sums
// to r·Window.
func (h HalfLife) Window() float64 {
	return h.Millis() / float64(time.Hour/time.Millisecond) / math.Ln2
}

// Factor returns what a weight is worth after elapsed: 2^(−elapsed/h) in [0, 1]. Times are Unix milliseconds;
// to before from counts as no time.
func (h HalfLife) Factor(from, to int64) float64 {
	if to <= from {
		return 1
	}
	// The difference of two int64 may not fit one; as float64 it is exact below 2^53 ms.
	return math.Exp2(-(float64(to) - float64(from)) / h.Millis())
}

// Counter is one decayed sum with lazy backward decay: Value is the sum as it stood at At (Unix ms), the time of
// its newest observation. The zero value is empty and ready. Every method of one counter must get the same
// half-life. It is not safe for concurrent use.
type Counter struct {
	Value float64
	At    int64
}

// Add adds v as observed at. Observations may come in any order: an early one decays the sum, a late one is
// itself decayed to the counter's clock, which it leaves alone. A NaN or infinite v is refused and changes
// nothing. The sum saturates at ±MaxFloat64. Add reports whether v was taken.
func (c *Counter) Add(v float64, at int64, h HalfLife) bool {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return false
	}
	switch {
	case *c == Counter{}:
		*c = Counter{Value: v, At: at}
	case at >= c.At:
		*c = Counter{Value: finite(c.Value*h.Factor(c.At, at) + v), At: at}
	default:
		c.Value = finite(c.Value + v*h.Factor(at, c.At))
	}
	return true
}

// Read returns the sum as worth at. Before the newest observation it returns the sum at that observation: what
// happened later cannot be taken out again, and growing it backwards could exceed any bound.
func (c Counter) Read(at int64, h HalfLife) float64 {
	return c.Value * h.Factor(c.At, at)
}

// Merge adds another counter of the same half-life, as if its observations had been added here.
func (c *Counter) Merge(o Counter, h HalfLife) {
	if o != (Counter{}) {
		c.Add(o.Value, o.At, h)
	}
}

// AppendBinary appends the counter in 16 bytes, exactly. The version byte is the container's.
func (c Counter) AppendBinary(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(c.Value))
	return binary.LittleEndian.AppendUint64(dst, uint64(c.At)) //nolint:gosec // the bits are kept.
}

// UnmarshalBinary replaces the counter by the one at the front of b and returns what follows. Bytes that hold no
// finite value are refused with ErrEncoding and change nothing.
func (c *Counter) UnmarshalBinary(b []byte) (rest []byte, err error) {
	if len(b) < 16 {
		return nil, ErrEncoding
	}
	v := math.Float64frombits(binary.LittleEndian.Uint64(b))
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil, ErrEncoding
	}
	*c = Counter{Value: v, At: int64(binary.LittleEndian.Uint64(b[8:]))} //nolint:gosec // the bits are kept.
	return b[16:], nil
}

// finite saturates at the largest finite values, so that one absurd weight cannot become an infinity that no
// later decay removes.
func finite(v float64) float64 {
	return min(max(v, -math.MaxFloat64), math.MaxFloat64)
}
