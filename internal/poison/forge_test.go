//go:build crash && linux

package poison_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
)

// forge makes records, most of them broken. The same seed makes the same ones.
type forge struct {
	rng  *rand.Rand
	now  int64               // Unix ms: what the events say of themselves lies before
	good map[string][][]byte // examples by what they are: event, profile, song
	bad  map[string][][]byte
	used map[string]int // by what was done
}

// forged is one record, and whether it must be a dead letter whatever the decoder thinks.
type forged struct {
	topic      string // what it is: event, profile, song
	key, value []byte
	headers    []kgo.RecordHeader
	must       bool
}

func newForge(tb testing.TB, seed uint64, now int64) *forge {
	tb.Helper()
	f := &forge{
		rng: rand.New(rand.NewPCG(seed, 41)), now: now, good: map[string][][]byte{}, bad: map[string][][]byte{}, used: map[string]int{},
	}
	for _, what := range []string{"event", "profile", "song"} {
		for _, folder := range []struct {
			name string
			dst  map[string][][]byte
		}{{"valid", f.good}, {"invalid", f.bad}, {"malformed", f.bad}} {
			names, err := filepath.Glob(filepath.Join("../../schemas/testdata", what, folder.name, "*"))
			if err != nil {
				tb.Fatal(err)
			}
			for _, name := range names {
				value, err := os.ReadFile(name)
				if err != nil {
					tb.Fatal(err)
				}
				folder.dst[what] = append(folder.dst[what], value)
			}
		}
		if len(f.good[what]) == 0 || len(f.bad[what]) == 0 {
			tb.Fatalf("there are no examples of a %s", what)
		}
	}
	return f
}

// pick returns one of several.
func pick[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }

// next makes one record.
func (f *forge) next() forged {
	r := forged{topic: pick(f.rng, []string{"event", "event", "event", "event", "event", "event", "event", "event", "profile", "song"})}
	r.value = f.document(r.topic)
	r.key = []byte("u-" + strconv.Itoa(f.rng.IntN(500)))
	if f.rng.IntN(8) > 0 {
		for range 1 + f.rng.IntN(3) {
			m := pick(f.rng, mutations)
			if m.seldom == 0 || f.rng.IntN(m.seldom) == 0 {
				f.used[m.name]++
				r.value = m.do(f, r.value)
			}
		}
	}
	f.frame(&r)
	if f.rng.IntN(6) == 0 {
		f.outside(&r)
	}
	// JSON without an envelope, and not even JSON: no reading of it can be right. 0 and 1 begin the framing of a registry.
	r.must = len(r.headers) == 0 && (len(r.value) == 0 || r.value[0] > 1) && !json.Valid(r.value) && (r.topic == "event" || r.value != nil)
	return r
}

// document returns an example, or an event made for the occasion.
func (f *forge) document(what string) []byte {
	switch {
	case f.rng.IntN(8) == 0:
		return bytes.Clone(pick(f.rng, f.bad[what]))
	case what != "event" || f.rng.IntN(2) == 0:
		return bytes.Clone(pick(f.rng, f.good[what]))
	}
	return f.event("u-"+strconv.Itoa(f.rng.IntN(500)), "song-"+strconv.Itoa(f.rng.IntN(300)))
}

// event is a good one.
func (f *forge) event(user, song string) []byte {
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:8], f.rng.Uint64())
	binary.BigEndian.PutUint64(id[8:], f.rng.Uint64())
	kind := pick(f.rng, []string{"play", "play", "play", "skip", "like", "share"})
	return fmt.Appendf(nil, `{"event_id":%q,"type":%q,"user_id":%q,"song_id":%q,"at":%d,"ms_played":%d,"duration_ms":210000,"region":"DE","device":"mobile"}`,
		id.String(), kind, user, song, f.now-int64(f.rng.IntN(3_600_000)), f.rng.IntN(210_000))
}

// frame puts the document into one of the formats.
func (f *forge) frame(r *forged) {
	switch n := f.rng.IntN(20); {
	case n < 10: // as it is
	case n < 13:
		r.headers = f.envelope()
	case n < 15:
		data := `"data":` + string(r.value)
		if f.rng.IntN(3) == 0 {
			data = `"data_base64":"` + base64.StdEncoding.EncodeToString(r.value) + `"`
		}
		r.value = fmt.Appendf(nil, `{"specversion":"1.0","id":"%x","source":"/player","type":"io.example.play.v1","time":"2026-11-23T06:12:30Z",%s}`, f.rng.Uint64(), data)
		r.headers = []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/cloudevents+json")}}
	case n < 17: // JSON behind the prefix of a schema registry
		r.value = append(binary.BigEndian.AppendUint32([]byte{0}, f.rng.Uint32N(100)), r.value...)
	case n < 18: // Avro behind it: lengths as zig-zag numbers, and lies among them
		r.value = binary.BigEndian.AppendUint32([]byte{0}, f.rng.Uint32N(100))
		for range 1 + f.rng.IntN(6) {
			r.value = binary.AppendVarint(r.value, pick(f.rng, []int64{3, 7, 36, -1, 1 << 40, int64(f.rng.IntN(100))}))
			r.value = append(r.value, "u-17"...)
		}
	case n < 19: // Protobuf behind it: message indexes, then fields
		r.value = append(binary.BigEndian.AppendUint32([]byte{0}, f.rng.Uint32N(100)), 0)
		for field := range uint64(1 + f.rng.IntN(6)) {
			r.value = binary.AppendUvarint(r.value, field<<3|2)
			r.value = binary.AppendUvarint(r.value, pick(f.rng, []uint64{4, 1 << 50, 0}))
			r.value = append(r.value, "u-17"...)
		}
	default: // a frame with a GUID, or bytes
		r.value = append([]byte{byte(f.rng.IntN(2))}, r.value...)
	}
	if r.topic == "profile" && f.rng.IntN(50) == 0 {
		r.value, r.headers = nil, nil // forget this one
	}
}

// envelope is that of a CloudEvent in binary mode, with one header that is odd more often than not.
func (f *forge) envelope() []kgo.RecordHeader {
	headers := []kgo.RecordHeader{
		{Key: "ce_specversion", Value: []byte("1.0")},
		{Key: "ce_id", Value: fmt.Appendf(nil, "%x", f.rng.Uint64())},
		{Key: "ce_source", Value: []byte("/player/7")},
		{Key: "ce_type", Value: []byte("io.example.listening.play.v1")},
		{Key: "ce_time", Value: []byte("2026-11-23T06:12:30Z")},
	}
	if f.rng.IntN(2) == 0 {
		h := &headers[f.rng.IntN(len(headers))]
		h.Value = []byte(pick(f.rng, tokens))
	}
	return headers
}

// outside breaks what lies around the value: keys and headers.
func (f *forge) outside(r *forged) {
	switch f.rng.IntN(8) {
	case 0:
		r.key = nil
	case 1:
		r.key = f.noise(f.rng.IntN(64))
	case 2:
		r.headers = append(r.headers, kgo.RecordHeader{Key: pick(f.rng, []string{"", "Content-Type", "ce_id", "ce_time", "\x00", "\xff"}), Value: f.noise(f.rng.IntN(40))})
	case 3:
		r.headers = append(r.headers, kgo.RecordHeader{Key: "content-type", Value: []byte(pick(f.rng, []string{
			"application/cloudevents", "application/cloudevents+avro", "application/cloudevents-batch+json", "application/avro", "",
		}))})
	case 4:
		r.headers = append(r.headers, kgo.RecordHeader{Key: "earworm.attempt", Value: []byte(pick(f.rng, tokens))})
	case 5: // large ones are rare: they cost what thousands of others do
		if f.rng.IntN(100) == 0 {
			r.key = f.noise(64 << 10)
		}
	case 6:
		if f.rng.IntN(100) == 0 {
			r.headers = append(r.headers, kgo.RecordHeader{Key: "big", Value: f.noise(200 << 10)})
		}
	default:
		if f.rng.IntN(100) == 0 {
			for n := range 2000 {
				r.headers = append(r.headers, kgo.RecordHeader{Key: "h" + strconv.Itoa(n), Value: []byte{byte(n)}})
			}
		}
	}
}

func (f *forge) noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(f.rng.Uint32())
	}
	return b
}

// tokens stand where a value was.
var tokens = []string{
	"null", "true", "[]", "{}", `""`, "NaN", "-Infinity", "Infinity", "1e999", "-1e308", "1e-999", "9223372036854775808", "-9223372036854775809", "-0",
	"0.30000000000000004", "1E400", "00", "1.", ".5", `"\u0000"`, `"\ud800"`, "\"\xff\xfe\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", `"a b"`, "'x'",
	"[1,2,3]", `{"a":{"b":[]}}`, "1795414350000000000", "-1", "4102444800001", "2026-02-30T25:61:00Z", strings.Repeat("9", 1000),
}

// mutation is one way to break a value; a seldom one is done once in so many times that it is drawn.
type mutation struct {
	name   string
	seldom int
	do     func(f *forge, value []byte) []byte
}

// deep is far beyond what is read.
const deep = 10_000

var mutations = []mutation{
	{"bits flipped", 0, func(f *forge, v []byte) []byte {
		for range 1 + f.rng.IntN(8) {
			if len(v) > 0 {
				v[f.rng.IntN(len(v))] ^= 1 << f.rng.IntN(8)
			}
		}
		return v
	}},
	{"cut off", 0, func(f *forge, v []byte) []byte { return v[:f.rng.IntN(len(v)+1)] }},
	{"hole", 0, func(f *forge, v []byte) []byte {
		from := f.rng.IntN(len(v) + 1)
		return slices.Delete(v, from, from+f.rng.IntN(min(len(v)-from, 20)+1))
	}},
	{"noise", 0, func(f *forge, v []byte) []byte {
		return slices.Insert(v, f.rng.IntN(len(v)+1), f.noise(f.rng.IntN(12))...)
	}},
	{"two in one", 0, func(f *forge, v []byte) []byte {
		other := f.document("event")
		return append(v[:f.rng.IntN(len(v)+1)], other[f.rng.IntN(len(other)+1):]...)
	}},
	{"another value", 0, func(f *forge, v []byte) []byte { return f.replace(v, pick(f.rng, tokens)) }},
	{"another value again", 0, func(f *forge, v []byte) []byte { return f.replace(v, pick(f.rng, tokens)) }},
	{"key twice", 0, func(f *forge, v []byte) []byte {
		return f.field(v, pick(f.rng, []string{`"at":1795414350`, `"\u0061t":1`, `"user_id":"u-2"`, `"song_id":"x"`, `"x":{"y":1,"y":2}`}))
	}},
	{"NUL", 0, func(f *forge, v []byte) []byte { return slices.Insert(v, f.rng.IntN(len(v)+1), 0) }},
	{"no UTF-8", 0, func(f *forge, v []byte) []byte {
		return slices.Insert(v, f.rng.IntN(len(v)+1), []byte(pick(f.rng, []string{"\xff", "\xc0\x80", "\xed\xa0\x80", "\xf5\x80\x80\x80"}))...)
	}},
	{"around", 0, func(f *forge, v []byte) []byte {
		return []byte(pick(f.rng, []string{"\xef\xbb\xbf", " \n", "[", `{"data":`, ""}) + string(v) + pick(f.rng, []string{"]", "}", "\x00", " ", "//"}))
	}},
	{"empty", 20, func(*forge, []byte) []byte { return []byte{} }},
	{"deep lists", 200, func(f *forge, v []byte) []byte {
		return f.field(v, `"x":`+strings.Repeat("[", deep)+strings.Repeat("]", deep))
	}},
	{"deep objects", 200, func(f *forge, v []byte) []byte {
		return f.field(v, `"x":`+strings.Repeat(`{"a":`, deep)+"1"+strings.Repeat("}", deep))
	}},
	{"deep and open", 200, func(f *forge, v []byte) []byte { return f.field(v, strings.Repeat(`"x":[{`, deep)) }},
	{"many fields", 200, func(f *forge, v []byte) []byte {
		var b strings.Builder
		for n := range 2000 {
			fmt.Fprintf(&b, `"k%d":%d,`, n, n)
		}
		return f.field(v, strings.TrimSuffix(b.String(), ","))
	}},
	{"long text", 200, func(f *forge, v []byte) []byte { return f.field(v, `"title":"`+strings.Repeat("ä", 50_000)+`"`) }},
	{"above the limit", 400, func(f *forge, v []byte) []byte { return f.field(v, `"title":"`+strings.Repeat("x", 300_000)+`"`) }},
	{"escapes", 0, func(f *forge, v []byte) []byte {
		return f.field(v, `"`+strings.Repeat(pick(f.rng, []string{`\u0041`, `\ud83c\udfb5`, `\ud800`, `\x`, `\"`}), 1+f.rng.IntN(40))+`":1`)
	}},
}

// replace puts a token where the value of some field is, or what looks like one.
func (f *forge) replace(v []byte, token string) []byte {
	var colons []int
	for i, c := range v {
		if c == ':' {
			colons = append(colons, i)
		}
	}
	if len(colons) == 0 {
		return append(v, token...)
	}
	from := pick(f.rng, colons) + 1
	end := bytes.IndexAny(v[from:], ",}")
	if end < 0 {
		end = len(v) - from
	}
	return slices.Concat(v[:from], []byte(token), v[from+end:])
}

// field adds a field at the front or at the end of an object.
func (f *forge) field(v []byte, text string) []byte {
	open, shut := bytes.IndexByte(v, '{'), bytes.LastIndexByte(v, '}')
	switch {
	case open < 0 || shut < open:
		return append(v, text...)
	case f.rng.IntN(2) == 0:
		return slices.Concat(v[:open+1], []byte(text+","), v[open+1:])
	default:
		return slices.Concat(v[:shut], []byte(","+text), v[shut:])
	}
}
