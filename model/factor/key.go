package factor

import (
	"math"

	"github.com/cespare/xxhash/v2"
)

// Kind says what a row stands for. Its values are persisted and sent.
type Kind byte

// The kinds of factor rows. KindListener and KindBlend have no row in a Table: the one seeds the vector of a new listener, the other
// is what the ranker has learnt.
const (
	KindSong     Kind = 's'
	KindArtist   Kind = 'a'
	KindGenre    Kind = 'g'
	KindLanguage Kind = 'l'
	KindListener Kind = 'u'
	KindBlend    Kind = 'b'
)

// Valid reports whether k is the kind of a row that a Table can hold.
func (k Kind) Valid() bool {
	return k == KindSong || k == KindArtist || k == KindGenre || k == KindLanguage
}

// String names the kind.
func (k Kind) String() string {
	switch k {
	case KindSong:
		return "song"
	case KindArtist:
		return "artist"
	case KindGenre:
		return "genre"
	case KindLanguage:
		return "language"
	case KindListener:
		return "listener"
	case KindBlend:
		return "blend"
	default:
		return "unknown"
	}
}

// Key identifies a factor row of any kind. It is persisted and sent. Two ids of a kind share a key with a probability of
// n²/2⁶⁵ among n rows (3 in 10⁸ at a million): they would then share a row.
type Key uint64

// idBytesInline bounds the ids that are hashed from the stack; longer ones are hashed in pieces to the same value.
const idBytesInline = 256

// KeyOf returns the key of a row: xxhash64 of the kind byte and the id. It does not allocate.
func KeyOf[T ~string | ~[]byte](kind Kind, id T) Key {
	var buf [1 + idBytesInline]byte
	buf[0] = byte(kind)
	if len(id) <= idBytesInline {
		n := copy(buf[1:], id)
		return Key(xxhash.Sum64(buf[:1+n]))
	}
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write(buf[:1]) // a Digest's Write returns no error
	for at := 0; at < len(id); {
		n := copy(buf[:], id[at:])
		_, _ = d.Write(buf[:n])
		at += n
	}
	return Key(d.Sum64())
}

// splitMix is the SplitMix64 generator (Steele, Lea, Flood, 2014): one multiply-xorshift chain a draw, any seed is good.
type splitMix uint64

func (s *splitMix) next() uint64 {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

// below returns a uniform number in [0, n) by the high word of a product; the bias is under n/2³².
func (s *splitMix) below(n int) int {
	return int((s.next() >> 32) * uint64(n) >> 32) //nolint:gosec // n is a slice length under 2³¹
}

// unit returns a uniform number in (0, 1].
func (s *splitMix) unit() float64 {
	return float64(s.next()>>11+1) * 0x1p-53
}

// InitRow fills dst with the initial vector of the row with key k: independent normals of deviation p.InitScale seeded by the key,
// so that every process starts a row from the same vector and a cold row needs no message.
func InitRow(p Params, k Key, dst []float32) {
	rng := splitMix(k)
	scale := float64(p.InitScale)
	for i := 0; i < len(dst); i += 2 {
		radius := scale * math.Sqrt(-2*math.Log(rng.unit())) // Box and Muller, 1958
		sin, cos := math.Sincos(2 * math.Pi * rng.unit())
		dst[i] = float32(radius * cos)
		if i+1 < len(dst) {
			dst[i+1] = float32(radius * sin)
		}
	}
}
