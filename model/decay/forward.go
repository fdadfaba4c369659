package decay

import (
	"cmp"
	"encoding/binary"
	"math"
)

// stride is the number of half-lives between landmarks. Stored values grow by at most 2^256 before they are
// renormalised, far from float64's 2^1023.
const stride = 256

// Forward is a decayed sum for ranking across keys, by forward decay: an observation counts 2^((t−L)/h) from a
// landmark L and is never touched again, so values under one landmark compare directly and a ranking never goes
// stale (Cormode, Shkapenyuk, Srivastava, Xu: Forward decay, ICDE 2009).
//
// The landmark is Epoch·256·h. When an observation belongs to a later epoch the value is scaled by a power of
// two, which loses no bit, so two replicas that renormalise at different times agree exactly. The zero value is
// empty and ready. Every method must get the same half-life. It is not safe for concurrent use.
type Forward struct {
	Value float64
	Epoch int64
}

// Add adds v as observed at (Unix ms), in any order. A NaN or infinite v is refused and changes nothing; the sum
// saturates. Add reports whether v was taken.
func (f *Forward) Add(v float64, at int64, h HalfLife) bool {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return false
	}
	epoch := epochOf(at, h)
	if *f == (Forward{}) {
		f.Epoch = epoch
	}
	if epoch > f.Epoch {
		f.Value, f.Epoch = f.under(epoch), epoch
	}
	// A late observation may belong to an earlier epoch; its exponent is then negative.
	f.Value = finite(f.Value + scale(v, f.exponent(at, h)))
	return true
}

// Read returns the sum as worth at. Unlike Counter it knows no newest observation: read before it, the value
// grows backwards; it saturates and stays finite.
func (f Forward) Read(at int64, h HalfLife) float64 {
	return finite(scale(f.Value, -f.exponent(at, h)))
}

// Compare orders two sums of one half-life as they compare at every instant: −1 when f is the smaller.
func (f Forward) Compare(o Forward) int {
	epoch := max(f.Epoch, o.Epoch)
	return cmp.Compare(f.under(epoch), o.under(epoch))
}

// Log2 returns the binary logarithm of the sum at Unix time 0, −Inf when it is not positive: a key that orders
// positive sums as Compare does, whatever their epochs, and that can be stored.
func (f Forward) Log2() float64 {
	if f.Value <= 0 {
		return math.Inf(-1)
	}
	return math.Log2(f.Value) + stride*float64(f.Epoch)
}

// Merge adds another sum of the same half-life, as if its observations had been added here.
func (f *Forward) Merge(o Forward) {
	if *f == (Forward{}) {
		*f = o
		return
	}
	epoch := max(f.Epoch, o.Epoch)
	f.Value, f.Epoch = finite(f.under(epoch)+o.under(epoch)), epoch
}

// AppendBinary appends the sum in 16 bytes, exactly. The version byte is the container's.
func (f Forward) AppendBinary(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(f.Value))
	return binary.LittleEndian.AppendUint64(dst, uint64(f.Epoch)) //nolint:gosec // the bits are kept.
}

// UnmarshalBinary replaces the sum by the one at the front of b and returns what follows. Bytes that hold no
// finite value are refused with ErrEncoding and change nothing.
func (f *Forward) UnmarshalBinary(b []byte) (rest []byte, err error) {
	var c Counter // the same two words
	rest, err = c.UnmarshalBinary(b)
	if err != nil {
		return nil, err
	}
	*f = Forward{Value: c.Value, Epoch: c.At}
	return rest, nil
}

// under returns the value as it stands under a landmark that is not earlier than its own.
func (f Forward) under(epoch int64) float64 {
	return scale(f.Value, -stride*(float64(epoch)-float64(f.Epoch)))
}

// exponent is (at − landmark)/h.
func (f Forward) exponent(at int64, h HalfLife) float64 {
	return (float64(at) - float64(f.Epoch)*stride*h.Millis()) / h.Millis()
}

func epochOf(at int64, h HalfLife) int64 {
	return int64(math.Floor(float64(at) / (stride * h.Millis())))
}

// scale returns v·2^x. The whole part of x goes through Ldexp: it is exact, and 2^x itself may be too small or
// too large for a float64 when v·2^x is not.
func scale(v, x float64) float64 {
	whole := math.Floor(x)
	if fraction := x - whole; fraction != 0 {
		v *= math.Exp2(fraction)
	}
	// Beyond ±4200 every finite v is 0 or saturates, and an int conversion stays defined.
	return finite(math.Ldexp(v, int(min(max(whole, -4200), 4200))))
}
