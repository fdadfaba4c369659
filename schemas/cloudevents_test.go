package schemas

import (
	"strings"
	"testing"

	"github.com/google/uuid"
)

// flatData is an event without identity, kind and time of its own.
const flatData = `{"user_id":"u","song_id":"s"}`

// binaryHeaders are the headers of CloudEvents binary mode.
func binaryHeaders(id string) []Header {
	return []Header{
		{"traceparent", []byte("00-1")},
		{"ce_specversion", []byte("1.0")},
		{"ce_id", []byte(id)},
		{"ce_source", []byte("/player/7")},
		{"ce_type", []byte("io.example.listening.play.v1")},
		{"ce_time", []byte("2026-11-23T06:12:30Z")},
		{"content-type", []byte("application/json")},
	}
}

func structuredHeaders(contentType string) []Header {
	return []Header{{"Content-Type", []byte(contentType)}}
}

func TestCloudEventsSameInEverySpelling(t *testing.T) {
	d := newDecoder(t, DecoderConfig{})
	envelope := `{"specversion":"1.0","id":"` + exampleUUID + `","source":"/player/7","type":"io.example.listening.play.v1","time":"2026-11-23T06:12:30Z",`
	plain := `{"event_id":"` + exampleUUID + `","type":"play","user_id":"u","song_id":"s","at":1795414350}`
	for name, rec := range map[string]struct {
		value   string
		headers []Header
	}{
		"plain":              {plain, nil},
		"binary":             {flatData, binaryHeaders(exampleUUID)},
		"structured":         {envelope + `"data":` + flatData + `}`, structuredHeaders("application/cloudevents+json")},
		"structured, params": {envelope + `"data": ` + flatData + ` }`, structuredHeaders("Application/CloudEvents+JSON; charset=utf-8")},
		"structured, base64": {envelope + `"data_base64":"eyJ1c2VyX2lkIjoidSIsInNvbmdfaWQiOiJzIn0="}`, structuredHeaders("application/cloudevents+json")},
	} {
		var e Event
		if err := d.Decode(&e, []byte(rec.value), rec.headers); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if e.ID.String() != exampleUUID || e.Kind != KindPlay || string(e.User) != "u" || string(e.Song) != "s" || e.At != 1_795_414_350_000 {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func TestCloudEventsIdentity(t *testing.T) {
	d := newDecoder(t, DecoderConfig{})
	idOf := func(headers []Header, value string) string {
		t.Helper()
		var e Event
		if err := d.Decode(&e, []byte(value), headers); err != nil {
			t.Fatal(err)
		}
		return e.ID.String()
	}
	ofName := uuid.NewSHA1(uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://earworm.dev/ns/event")), []byte("/player/7\x00msg-1")).String()
	if got := idOf(binaryHeaders("msg-1"), flatData); got != ofName {
		t.Errorf("got %s, want %s", got, ofName)
	}
	other := binaryHeaders("msg-1")
	other[3].Value = []byte("/player/8")
	if idOf(other, flatData) == ofName {
		t.Error("another source gives the same identity")
	}
	withOwn := `{"event_id":"00000000-0000-4000-8000-000000000001",` + flatData[1:]
	if got := idOf(binaryHeaders(exampleUUID), withOwn); got != exampleUUID {
		t.Errorf("the envelope's id must win, got %s", got)
	}
	noVersion := binaryHeaders(exampleUUID)
	noVersion[1].Key = "x"
	if got := idOf(noVersion, `{"type":"play","at":1795414350,`+flatData[1:]); got != (EventID{}).String() {
		t.Errorf("without ce_specversion the record is plain, got %s", got)
	}
}

func TestCloudEventsPayloadWins(t *testing.T) {
	var e Event
	value := `{"type":"like","at":1795414351,` + flatData[1:]
	if err := newDecoder(t, DecoderConfig{}).Decode(&e, []byte(value), binaryHeaders("x")); err != nil || e.Kind != KindLike || e.At != 1_795_414_351_000 {
		t.Errorf("%+v %v", e, err)
	}
}

func TestCloudEventsRefused(t *testing.T) {
	d := newDecoder(t, DecoderConfig{})
	with := func(i int, value string) []Header {
		headers := binaryHeaders("x")
		headers[i].Value = []byte(value)
		return headers
	}
	structured := structuredHeaders("application/cloudevents+json")
	for name, tt := range map[string]struct {
		want    Code
		value   string
		headers []Header
	}{
		"old version":        {CodeUnsupportedFormat, flatData, with(1, "0.3")},
		"empty id":           {CodeBadID, flatData, with(2, "")},
		"long id":            {CodeBadID, flatData, with(2, strings.Repeat("x", 257))},
		"id not UTF-8":       {CodeBadID, flatData, with(2, "\xff")},
		"kind":               {CodeUnknownKind, flatData, with(4, "io.example.pause.v2")},
		"only a version":     {CodeUnknownKind, flatData, with(4, "v1")},
		"no kind":            {CodeMissingField, flatData, with(4, "")},
		"time":               {CodeBadTime, flatData, with(5, "noon")},
		"avro":               {CodeUnsupportedFormat, flatData, structuredHeaders("application/cloudevents+avro")},
		"batch":              {CodeUnsupportedFormat, `[]`, structuredHeaders("application/cloudevents-batch+json")},
		"format of tomorrow": {CodeUnsupportedFormat, `{}`, structuredHeaders("application/cloudevents+jsonl")},
		"not JSON":           {CodeNotJSON, `{`, structured},
		"array":              {CodeNotJSON, `[]`, structured},
		"null":               {CodeNotJSON, `null`, structured},
		"no version":         {CodeUnsupportedFormat, `{"id":"x"}`, structured},
		"no data":            {CodeMissingField, `{"specversion":"1.0","id":"x","type":"play"}`, structured},
		"null data":          {CodeMissingField, `{"specversion":"1.0","data":null}`, structured},
		"text data":          {CodeWrongType, `{"specversion":"1.0","data":"{}"}`, structured},
		"bad base64":         {CodeWrongType, `{"specversion":"1.0","data_base64":"%"}`, structured},
		"number id":          {CodeWrongType, `{"specversion":"1.0","id":1.5,"data":{}}`, structured},
		"NaN":                {CodeNotJSON, `{"specversion":"1.0","data":{"x":NaN}}`, structured},
		"twice":              {CodeDuplicateKey, `{"specversion":"1.0","data":{"a":1,"a":2}}`, structured},
		"deep":               {CodeTooDeep, strings.Repeat("[", 33), structured},
		"no value":           {CodeNotJSON, ``, binaryHeaders("x")},
	} {
		if got := codeOf(t, d.Decode(new(Event), []byte(tt.value), tt.headers)); got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
}

func TestCloudEventHeadersRead(t *testing.T) {
	out := CloudEvent{ID: exampleUUID, Source: "/earworm", Type: OutputType("earworm", "playlist.weekly", 1), At: 1_795_414_350_000, SchemaVersion: 1}
	if out.Type != "io.earworm.playlist.weekly.v1" {
		t.Errorf("type %s", out.Type)
	}
	env, payload, err := newDecoder(t, DecoderConfig{}).unwrap([]byte(`{}`), out.AppendHeaders(nil))
	if err != nil || string(payload) != "{}" || string(env.id) != out.ID || string(env.source) != out.Source || string(env.typ) != out.Type {
		t.Errorf("%+v %s %v", env, payload, err)
	}
	if at, ok := parseRFC3339(env.at); !ok || at != out.At {
		t.Errorf("time %s", env.at)
	}
}

// FuzzCloudEvents decodes arbitrary structured envelopes and binary attributes.
func FuzzCloudEvents(f *testing.F) {
	f.Add([]byte(`{"specversion":"1.0","id":"x","source":"/","type":"play","time":"2026-11-23T06:12:30Z","data":`+flatData+`}`), "application/cloudevents+json", "x")
	f.Add([]byte(`{"specversion":"1.0","data_base64":"e30="}`), "APPLICATION/cloudevents+json ;x", "")
	f.Add([]byte(flatData), "application/json", exampleUUID)
	f.Add([]byte("\x00\x00\x00\x00\x01{}"), "", "\xff")
	d := newDecoder(f, DecoderConfig{})
	f.Fuzz(func(t *testing.T, value []byte, contentType, id string) {
		headers := append(binaryHeaders(id), Header{"content-type", []byte(contentType)})
		var e Event
		if codeOf(t, d.Decode(&e, value, headers)) == CodeNone {
			checkBounds(t, &e)
		}
	})
}

// FuzzRecords decodes arbitrary songs, profiles, playlists, trends and dead letters.
func FuzzRecords(f *testing.F) {
	for _, folder := range []string{
		"song/valid", "song/invalid", "profile/valid", "profile/invalid", "playlist/valid", "playlist/invalid", "trend/valid", "trend/invalid",
	} {
		for _, value := range files(f, folder) {
			f.Add([]byte("u-1"), value)
		}
	}
	f.Add([]byte("7"), []byte(nil))
	d := newDecoder(f, DecoderConfig{})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		var e Event
		if codeOf(t, d.DecodeProfile(&e, key, value, nil)) == CodeNone && (len(e.User) == 0 || len(e.User) > MaxIDBytes) {
			t.Fatalf("profile %+v", e)
		}
		var s Song
		if codeOf(t, d.DecodeSong(&s, key, value, nil)) == CodeNone && !s.Removed {
			text, err := s.AppendJSON(nil)
			var again Song
			if err != nil || d.DecodeSong(&again, nil, text, nil) != nil || again.ID != s.ID || again.ReleasedAt != s.ReleasedAt {
				t.Fatalf("%v: %+v became %+v", err, s, again)
			}
		}
		var p Playlist
		if codeOf(t, p.UnmarshalJSON(value)) == CodeNone {
			if _, err := p.AppendJSON(nil); err != nil {
				t.Fatal(err)
			}
		}
		var trend Trend
		if codeOf(t, trend.UnmarshalJSON(value)) == CodeNone {
			if _, err := trend.AppendJSON(nil); err != nil {
				t.Fatal(err)
			}
		}
		letter, rest, ok := ParseDeadLetter([]Header{{HeaderErrorCode, key}, {"__streams.errors.offset", value}, {"kafka_dlt-original-offset", value}})
		if letter.Offset < 0 || len(rest) != 0 || (!ok && letter != DeadLetter{}) {
			t.Fatalf("%+v, %d other headers, %v", letter, len(rest), ok)
		}
	})
}
