package schemas

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func newDecoder(tb testing.TB, cfg DecoderConfig) *Decoder {
	tb.Helper()
	d, err := NewDecoder(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// codeOf returns the code of a decoding error and fails on any other error.
func codeOf(tb testing.TB, err error) Code {
	tb.Helper()
	if err == nil {
		return CodeNone
	}
	var de *DecodeError
	if !errors.As(err, &de) {
		tb.Fatalf("error %v is no DecodeError", err)
	}
	return de.Code
}

// normal makes empty and nil lists the same, for comparison.
func normal(e Event) Event {
	if len(e.Genres) == 0 {
		e.Genres = nil
	}
	if len(e.Artists) == 0 {
		e.Artists = nil
	}
	return e
}

// files returns the example files of a folder of testdata by name.
func files(tb testing.TB, folder string) map[string][]byte {
	tb.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", folder, "*.json"))
	if err != nil || len(paths) == 0 {
		tb.Fatalf("no examples in %s: %v", folder, err)
	}
	found := make(map[string][]byte, len(paths))
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		found[filepath.Base(path)] = text
	}
	return found
}

// codeInName returns the code that a file name such as "bad_id.empty.json" promises.
func codeInName(tb testing.TB, name string) Code {
	tb.Helper()
	prefix, _, _ := strings.Cut(name, ".")
	code, ok := ParseCode(prefix)
	if !ok {
		tb.Fatalf("%s: %q is no code", name, prefix)
	}
	return code
}

const (
	plainPlay = `{"event_id":"01933b2e-6f00-7c3a-9b1e-2f6d6c1a0e55","type":"play","user_id":"u-1842","song_id":"s-77120",` +
		`"at":1795414350000,"ms_played":187000,"duration_ms":201000,"region":"DE","device":"mobile","source":"autoplay"}`
	exampleUUID = "01933b2e-6f00-7c3a-9b1e-2f6d6c1a0e55"
)

func TestDecodePlainPlay(t *testing.T) {
	var e Event
	if err := newDecoder(t, DecoderConfig{}).Decode(&e, []byte(plainPlay), nil); err != nil {
		t.Fatal(err)
	}
	id, _ := parseUUID([]byte(exampleUUID))
	want := Event{
		ID: id, Kind: KindPlay, User: []byte("u-1842"), Song: []byte("s-77120"), At: 1_795_414_350_000,
		PlayedMs: 187_000, DurationMs: 201_000, PositionMs: Unknown, Slot: Unknown, Region: [2]byte{'D', 'E'},
		Device: DeviceMobile, Source: SourceAutoplay,
	}
	if !reflect.DeepEqual(normal(e), want) {
		t.Errorf("got  %+v\nwant %+v", e, want)
	}
}

func TestDecodeFields(t *testing.T) {
	d := newDecoder(t, DecoderConfig{Aliases: map[string]string{"listener": "user_id", "trk": "song_id"}})
	const head = `{"type":"play","user_id":"u","song_id":"s","at":1795414350000`
	tests := []struct {
		name, value string
		check       func(e *Event) bool
	}{
		{"no played time", head + `}`, func(e *Event) bool { return e.PlayedMs == Unknown && e.ID.IsZero() && e.Slot == Unknown }},
		{"built-in aliases", `{"eventType":"skip","userId":"u","trackId":"t","ts":1795414350,"durationPlayed":5}`, func(e *Event) bool {
			return e.Kind == KindSkip && string(e.User) == "u" && string(e.Song) == "t" && e.At == 1_795_414_350_000 && e.PlayedMs == 5
		}},
		{"other aliases", `{"kind":"like","user":"u","song":"t","timestamp":1795414350,"msPlayed":6}`, func(e *Event) bool {
			return e.Kind == KindLike && string(e.Song) == "t" && e.PlayedMs == 6
		}},
		{"configured aliases", `{"event":"like","listener":"u","trk":"t","time":1795414350}`, func(e *Event) bool {
			return string(e.User) == "u" && string(e.Song) == "t"
		}},
		{"canonical wins over alias", `{"user":"Bob","type":"play","user_id":"u","song_id":"s","at":1795414350}`, func(e *Event) bool {
			return string(e.User) == "u"
		}},
		{"canonical null wins too", head + `,"playlist_id":null,"playlistId":"x"}`, func(e *Event) bool { return e.PlaylistID == [16]byte{} }},
		{"skip takes position", `{"type":"skip","user_id":"u","song_id":"s","at":1795414350,"position_ms":7000}`, func(e *Event) bool {
			return e.PlayedMs == 7000 && e.PositionMs == 7000
		}},
		{"skip keeps played", `{"type":"skip","user_id":"u","song_id":"s","at":1795414350,"position_ms":7000,"ms_played":1}`, func(e *Event) bool {
			return e.PlayedMs == 1
		}},
		{"escapes", `{"type":"play","user_id":"\u00fc\ud83c\udfb5\/","song_id":"s","at":1795414350}`, func(e *Event) bool {
			return string(e.User) == "ü🎵/"
		}},
		{"escaped key", `{"type":"play","user\u005fid":"u","song_id":"s","at":1795414350}`, func(e *Event) bool { return string(e.User) == "u" }},
		{"white space", " {\n\t\"type\" : \"play\" , \"user_id\":\"u\",\"song_id\":\"s\",\"at\": 1795414350 }\r\n", func(e *Event) bool { return e.Kind == KindPlay }},
		{"device in capitals", head + `,"device":"TV","source":"Radio","region":"gb"}`, func(e *Event) bool {
			return e.Device == DeviceTV && e.Source == SourceRadio && e.Region == [2]byte{'G', 'B'}
		}},
		{"device unknown to us", head + `,"device":"fridge","source":"dream"}`, func(e *Event) bool {
			return e.Device == DeviceOther && e.Source == SourceOther
		}},
		{"artist of a play", head + `,"artist":"Nina"}`, func(e *Event) bool { return e.Artist == nil }},
		{"ban of an artist", `{"type":"ban","user_id":"u","artist_id":"Nina","at":1795414350}`, func(e *Event) bool {
			return string(e.Artist) == "Nina" && len(e.Song) == 0
		}},
		{"ban of a song by an artist", `{"type":"ban","user_id":"u","artist":"Nina","song_id":"s","at":1795414350}`, func(e *Event) bool {
			return len(e.Artist) == 0 && string(e.Song) == "s"
		}},
		{"fractional ms", head + `,"ms_played":1234.9}`, func(e *Event) bool { return e.PlayedMs == 1234 }},
		{"registry framing", "\x00\x00\x00\x00\x07" + head + `}`, func(e *Event) bool { return string(e.Song) == "s" }},
		{"31 levels below", head + `,"x":` + strings.Repeat("[", 31) + strings.Repeat("]", 31) + `}`, func(e *Event) bool { return e.Kind == KindPlay }},
		{"brackets in a string", head + `,"x":"` + strings.Repeat(`[\"`, 40) + `"}`, func(e *Event) bool { return e.Kind == KindPlay }},
		{"upper-case uuid", head + `,"event_id":"01933B2E-6F00-7C3A-9B1E-2F6D6C1A0E55"}`, func(e *Event) bool { return e.ID.String() == exampleUUID }},
		{"id of 256 bytes", `{"type":"play","user_id":"` + strings.Repeat("u", 256) + `","song_id":"s","at":1795414350}`, func(e *Event) bool { return len(e.User) == 256 }},
	}
	var e Event // reused on purpose: nothing may be left over
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := d.Decode(&e, []byte(tt.value), nil); err != nil {
				t.Fatal(err)
			}
			if !tt.check(&e) {
				t.Errorf("got %+v", e)
			}
		})
	}
}

func TestDecodeRefusesMalformed(t *testing.T) {
	d := newDecoder(t, DecoderConfig{})
	for name, value := range files(t, "event/malformed") {
		if got, want := codeOf(t, d.Decode(new(Event), value, nil)), codeInName(t, name); got != want {
			t.Errorf("%s: got %s", name, got)
		}
	}
}

func TestDecodeRefusesLargeUnread(t *testing.T) {
	value := []byte(plainPlay)
	if got := codeOf(t, newDecoder(t, DecoderConfig{MaxBytes: len(value) - 1}).Decode(new(Event), value, nil)); got != CodeTooLarge {
		t.Errorf("got %s", got)
	}
	if err := newDecoder(t, DecoderConfig{MaxBytes: len(value)}).Decode(new(Event), value, nil); err != nil {
		t.Error(err)
	}
	huge := []byte(strings.Repeat("[", DefaultMaxBytes+1))
	if got := codeOf(t, newDecoder(t, DecoderConfig{}).Decode(new(Event), huge, nil)); got != CodeTooLarge {
		t.Errorf("got %s", got)
	}
}

func TestDecodeErrorsHoldNoPayload(t *testing.T) {
	d := newDecoder(t, DecoderConfig{})
	const canary = "canary7391"
	for _, value := range []string{
		canary, `{"` + canary + `"`, `{"type":"` + canary + `"}`, `{"type":"play","user_id":["` + canary + `"]}`,
		`{"type":"play","user_id":"u","song_id":"s","at":"` + canary + `"}`,
		`{"type":"play","user_id":"u","song_id":"s","at":1795414350,"event_id":"` + canary + `"}`,
		`{"` + canary + `":1,"` + canary + `":2}`,
	} {
		err := d.Decode(new(Event), []byte(value), []Header{{"ce_x", []byte(canary)}})
		if err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: error %v", value, err)
		}
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	d := newDecoder(t, DecoderConfig{})
	headers := []Header{{"traceparent", []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")}}
	var e Event
	for name, value := range map[string]string{
		"play":    plainPlay,
		"rfc3339": `{"type":"like","userId":"hörer","track_id":"歌","timestamp":"2026-11-23T06:12:30.123+01:00","x":true,"y":-1.5e3}`,
		"micros":  `{"type":"skip","user_id":"u","song_id":"s","at":1795414350123456,"position_ms":7000,"slot":3}`,
		"nested":  `{"type":"like","user_id":"u","song_id":"s","at":1795414350,"title":"caf\u00e9","artist":"Beyonc\u00e9","context":{"app":{"v":[1,{"a":null}]},"ab":[]}}`,
		"survey":  `{"type":"survey","user_id":7,"at":"1795414350","rating":4}`,
	} {
		raw := []byte(value)
		if n := testing.AllocsPerRun(200, func() {
			if err := d.Decode(&e, raw, headers); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// The budget is one microsecond; the test allows for a busy machine and the
// race detector by taking the best of many runs.
func TestDecodeTakesAMicrosecond(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("timing means nothing under the race detector")
	}
	d, raw := newDecoder(t, DecoderConfig{}), []byte(plainPlay)
	var e Event
	best := time.Hour
	for range 200 {
		start := time.Now()
		for range 100 {
			if err := d.Decode(&e, raw, nil); err != nil {
				t.Fatal(err)
			}
		}
		best = min(best, time.Since(start)/100)
	}
	t.Logf("best %v an event", best)
	if best > time.Microsecond {
		t.Errorf("an event takes %v, budget 1µs", best)
	}
}

func TestNewDecoderNamesBadAliases(t *testing.T) {
	for _, cfg := range []DecoderConfig{
		{Aliases: map[string]string{"x": "nonsense"}},
		{Aliases: map[string]string{"": "user_id"}},
		{Aliases: map[string]string{"song_id": "user_id"}},
		{MaxBytes: -1},
	} {
		if _, err := NewDecoder(cfg); err == nil {
			t.Errorf("%+v: accepted", cfg)
		}
	}
	if _, err := NewDecoder(DecoderConfig{Aliases: map[string]string{"x": "nonsense"}}); !strings.Contains(err.Error(), `"nonsense"`) {
		t.Errorf("error %v does not name the field", err)
	}
}

func TestAliasesCanBeOverridden(t *testing.T) {
	d := newDecoder(t, DecoderConfig{Aliases: map[string]string{"song": "title", "user": "user_id"}})
	var e Event
	if err := d.Decode(&e, []byte(`{"type":"play","user":"u","song":"So What","song_id":"s","at":1795414350}`), nil); err != nil || string(e.Song) != "s" {
		t.Errorf("song %q, %v", e.Song, err)
	}
	if got := codeOf(t, d.Decode(&e, []byte(`{"type":"play","user":"u","song":"So What","at":1795414350}`), nil)); got != CodeMissingField {
		t.Errorf("got %s", got)
	}
}

// TestTimesAgree compares our reader of RFC 3339 with the library's.
func TestTimesAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.UnixMilli(rapid.Int64Range(-62_135_596_800_000, 253_402_300_799_999).Draw(t, "at"))
		offset := rapid.IntRange(-23*60-59, 23*60+59).Draw(t, "offset minutes")
		text := at.In(time.FixedZone("", offset*60)).Format(time.RFC3339Nano)
		if len(text) > 0 && (text[0] == '-' || len(text) > 4 && text[4] != '-') {
			t.Skip("a year outside 0 to 9999")
		}
		if got, ok := parseRFC3339([]byte(text)); !ok || got != at.UnixMilli() {
			t.Fatalf("%s: got %d %v, want %d", text, got, ok, at.UnixMilli())
		}
	})
}

// rfc3339 is the grammar of a time in RFC 3339 §5.6, with the space its note
// allows. The library takes more: a comma before the fraction, one digit of an
// hour, offsets of 24 hours and of 60 minutes.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\d[Tt ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// FuzzTime checks that we read what both the grammar and the library take, and
// nothing else.
func FuzzTime(f *testing.F) {
	for _, seed := range []string{
		"2026-11-23T06:12:30Z", "2026-11-23t06:12:30.123456789+14:00", "0000-01-01T00:00:00Z", "2024-02-29T23:59:59-00:01",
		"2023-02-29T00:00:00Z", "2026-11-23 06:12:30Z", "1795414350", "99999999999999999", "2026-11-23T24:00:00Z", "2026-11-23T06:12:30.Z",
		"2026-11-23T06:12:30,5Z", "2026-11-23T6:12:30Z", "2026-11-23T06:12:30+24:00", "2026-11-23T06:12:30-00:60",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := parseRFC3339([]byte(text))
		upper := strings.ToUpper(text)
		if len(upper) > 10 && upper[10] == ' ' {
			upper = upper[:10] + "T" + upper[11:]
		}
		want, err := time.Parse(time.RFC3339Nano, upper)
		if ok && (err != nil || want.UnixMilli() != got) {
			t.Fatalf("%q: got %d, library %v %v", text, got, want, err)
		}
		if takes := err == nil && len(text) <= 64 && rfc3339.MatchString(text); takes != ok {
			t.Fatalf("%q: taken %v, grammar and library %v", text, ok, takes)
		}
	})
}

// FuzzDecode checks that nothing panics, that the fast path agrees with the
// library wherever it accepts, and that what was accepted is within bounds and
// round-trips through both encodings.
func FuzzDecode(f *testing.F) {
	for _, folder := range []string{"event/valid", "event/invalid", "event/malformed"} {
		for _, value := range files(f, folder) {
			f.Add(value)
		}
	}
	d := newDecoder(f, DecoderConfig{})
	f.Fuzz(func(t *testing.T, value []byte) {
		var fast, slow document
		if scanFlat(&fast, d.events, value) {
			if err := scanAny(&slow, d.events, value); err != nil {
				t.Fatalf("the fast path accepts, the library says %v", err)
			}
			for i := range fast.tokens {
				fast.token(field(i))
			}
			if !reflect.DeepEqual(fast, slow) { //nolint:govet // the events hold no errors
				t.Fatalf("fast %+v\nslow %+v", fast, slow)
			}
		}
		var e Event
		if codeOf(t, d.Decode(&e, value, nil)) != CodeNone {
			return
		}
		checkBounds(t, &e)
		var again Event
		if err := d.Decode(&again, e.AppendJSON(nil), nil); err != nil || !reflect.DeepEqual(normal(e), normal(again)) {
			t.Fatalf("JSON: %v\n%+v\n%+v", err, e, again)
		}
		if err := again.UnmarshalBinary(e.AppendBinary(nil)); err != nil || !reflect.DeepEqual(normal(e), normal(again)) {
			t.Fatalf("compact: %v\n%+v\n%+v", err, e, again)
		}
	})
}

func checkBounds(t *testing.T, e *Event) {
	t.Helper()
	if e.Kind < KindPlay || e.Kind > KindOnboarding || len(e.User) == 0 || len(e.User) > MaxIDBytes || !validUTF8(e.User) ||
		len(e.Song) > MaxIDBytes || !validUTF8(e.Song) || e.Kind.needsSong() && len(e.Song) == 0 || e.At < MinAt || e.At >= MaxAt ||
		e.PlayedMs < Unknown || e.PlayedMs > MaxMillis || e.DurationMs > MaxMillis || e.PositionMs > MaxMillis ||
		e.Slot < Unknown || e.Slot > MaxSlot || e.Rating < 0 || e.Rating > 5 ||
		len(e.Genres) > MaxListEntries || len(e.Artists) > MaxListEntries {
		t.Fatalf("out of bounds: %+v", e)
	}
}
