package state

import (
	"encoding/binary"
	"fmt"
	"math"
)

// reader takes a row apart. The first problem sticks; later reads return zero values, so a decoder checks once, at its end.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrRow, what)
	}
	r.b = nil
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail("ends early")
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) bool() bool {
	v := r.byte()
	if v > 1 {
		r.fail("boolean is neither 0 nor 1")
	}
	return v == 1
}

// uvarint accepts the shortest form only: a row has one spelling, so equal rows are equal bytes.
func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || (n > 1 && r.b[n-1] == 0) {
		r.fail("number is malformed")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// bounded reads a number that must not exceed limit.
func (r *reader) bounded(limit uint64, what string) uint64 {
	v := r.uvarint()
	if v > limit {
		r.fail(what)
		return 0
	}
	return v
}

// count reads a length whose elements need at least size bytes each: a lie about it costs no memory.
func (r *reader) count(limit, size int) int {
	n := r.bounded(uint64(limit), "list is too long") //nolint:gosec // a constant
	if n*uint64(size) > uint64(len(r.b)) {            //nolint:gosec // a constant
		r.fail("list is longer than the row")
		return 0
	}
	return int(n) //nolint:gosec // at most limit
}

func (r *reader) uint32() uint32 {
	if len(r.b) < 4 {
		r.fail("ends early")
		return 0
	}
	v := binary.LittleEndian.Uint32(r.b)
	r.b = r.b[4:]
	return v
}

func (r *reader) uint64() uint64 {
	if len(r.b) < 8 {
		r.fail("ends early")
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

// floats fills dst; the row must hold enough bytes, which count has made sure of.
func (r *reader) floats(dst []float32) {
	if len(r.b) < 4*len(dst) {
		r.fail("ends early")
		return
	}
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(r.b[4*i:]))
	}
	r.b = r.b[4*len(dst):]
}

func (r *reader) float32() float32 { return math.Float32frombits(r.uint32()) }
func (r *reader) float64() float64 { return math.Float64frombits(r.uint64()) }

// bytes reads a length and that many bytes, aliasing the row.
func (r *reader) bytes(limit int) []byte {
	n := r.count(limit, 1)
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// string reads a string, reusing old when it is the same.
func (r *reader) string(old string, limit int) string {
	v := r.bytes(limit)
	if old == string(v) {
		return old
	}
	return string(v)
}

// end returns the first problem, or one if anything is left over.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail("has bytes left over")
	}
	return r.err
}

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func appendBytes[T ~[]byte | ~string](dst []byte, v T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(v)))
	return append(dst, v...)
}

func appendFloat64(dst []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
}

func appendFloat32(dst []byte, v float32) []byte {
	return binary.LittleEndian.AppendUint32(dst, math.Float32bits(v))
}

// resize returns s with length n, reusing its memory.
func resize[T any](s []T, n int) []T {
	if cap(s) >= n {
		return s[:n]
	}
	return make([]T, n)
}
