package schemas

import (
	"bytes"
	"encoding/json"
	"flag"
	"io/fs"
	"maps"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "rewrite docs/events.md")

// compileSchema compiles one of the embedded schemas.
func compileSchema(tb testing.TB, noun string) *jsonschema.Schema {
	tb.Helper()
	text, err := fs.ReadFile(JSONSchemas(), noun+".schema.json")
	if err != nil {
		tb.Fatal(err)
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		tb.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource(noun, parsed); err != nil {
		tb.Fatal(err)
	}
	schema, err := compiler.Compile(noun)
	if err != nil {
		tb.Fatal(err)
	}
	return schema
}

// conforms returns what the schema says about a JSON text.
func conforms(tb testing.TB, schema *jsonschema.Schema, text []byte) error {
	tb.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

// recoders decode an example of a noun and encode it again.
func recoders(tb testing.TB) map[string]func(value []byte) ([]byte, error) {
	tb.Helper()
	d := newDecoder(tb, DecoderConfig{})
	return map[string]func(value []byte) ([]byte, error){
		"event": func(value []byte) ([]byte, error) {
			var e Event
			if err := d.Decode(&e, value, nil); err != nil {
				return nil, err
			}
			return e.AppendJSON(nil), nil
		},
		"song": func(value []byte) ([]byte, error) {
			var s Song
			if err := d.DecodeSong(&s, nil, value, nil); err != nil {
				return nil, err
			}
			return s.AppendJSON(nil)
		},
		"profile": func(value []byte) ([]byte, error) {
			var e Event
			if err := d.DecodeProfile(&e, nil, value, nil); err != nil {
				return nil, err
			}
			return e.Profile.AppendJSON(nil)
		},
		"playlist": func(value []byte) ([]byte, error) {
			var p Playlist
			if err := p.UnmarshalJSON(value); err != nil {
				return nil, err
			}
			return p.AppendJSON(nil)
		},
		"trend": func(value []byte) ([]byte, error) {
			var t Trend
			if err := t.UnmarshalJSON(value); err != nil {
				return nil, err
			}
			return t.AppendJSON(nil)
		},
	}
}

func TestExamplesAgreeWithSchemas(t *testing.T) {
	for noun, recode := range recoders(t) {
		schema := compileSchema(t, noun)
		for name, value := range files(t, noun+"/valid") {
			if err := conforms(t, schema, value); err != nil {
				t.Errorf("%s/%s: schema refuses: %v", noun, name, err)
			}
			encoded, err := recode(value)
			if err != nil {
				t.Errorf("%s/%s: decoder refuses: %v", noun, name, err)
				continue
			}
			if err := conforms(t, schema, encoded); err != nil {
				t.Errorf("%s/%s: schema refuses what we encode: %v\n%s", noun, name, err, encoded)
			}
			again, err := recode(encoded)
			if err != nil || !bytes.Equal(encoded, again) {
				t.Errorf("%s/%s: %v\n%s\nbecame\n%s", noun, name, err, encoded, again)
			}
		}
		for name, value := range files(t, noun+"/invalid") {
			if err := conforms(t, schema, value); err == nil {
				t.Errorf("%s/%s: schema accepts", noun, name)
			}
			_, err := recode(value)
			if got, want := codeOf(t, err), codeInName(t, name); got != want {
				t.Errorf("%s/%s: decoder says %s (%v)", noun, name, got, err)
			}
		}
	}
}

// Every code that a decoder gives must have an example.
func TestExamplesCoverTheCodes(t *testing.T) {
	seen := map[Code]bool{CodeTooLarge: true /* see TestDecodeRefusesLargeUnread */}
	for _, folder := range []string{"event/invalid", "event/malformed"} {
		for name := range files(t, folder) {
			seen[codeInName(t, name)] = true
		}
	}
	for code := CodeTooLarge; code < CodeCorrupt; code++ {
		if !seen[code] {
			t.Errorf("no example of %s", code)
		}
	}
}

// streamsHeaders are those of a dead letter in the style of Kafka Streams, as docs/events.md describes them.
func streamsHeaders(code string, attempt string) []Header {
	return []Header{
		{"__streams.errors.exception", []byte("schemas.DecodeError")},
		{"__streams.errors.message", []byte("bad_id in user_id: is empty")},
		{"__streams.errors.topic", []byte("music.events.v1")},
		{"__streams.errors.partition", []byte("3")},
		{"__streams.errors.offset", []byte("1099511627776")},
		{"earworm.error.code", []byte(code)},
		{"earworm.attempt", []byte(attempt)},
	}
}

func TestDeadLetterHeadersConform(t *testing.T) {
	schema := compileSchema(t, "deadletter")
	for _, code := range Codes() {
		original := []Header{{"traceparent", []byte("00-1")}, {"ce_id", nil}}
		headers := append(slices.Clone(original), streamsHeaders(code.String(), "2")...)
		asJSON := make(map[string]any)
		for _, h := range headers {
			asJSON[h.Key] = string(h.Value)
		}
		if err := schema.Validate(asJSON); err != nil {
			t.Errorf("%s: %v", code, err)
		}
		want := DeadLetter{
			Topic: "music.events.v1", Partition: 3, Offset: 1 << 40, Code: code, Exception: "schemas.DecodeError",
			Message: "bad_id in user_id: is empty", Attempt: 2,
		}
		got, rest, ok := ParseDeadLetter(headers)
		if !ok || got != want || !reflect.DeepEqual(rest, original) {
			t.Errorf("%s: got %+v %v %v", code, got, rest, ok)
		}
	}
}

// TestParseDeadLetterOfOthers reads what Kafka Connect and Spring Kafka write, which have no code of ours.
func TestParseDeadLetterOfOthers(t *testing.T) {
	original := Header{"traceparent", []byte("00-1")}
	want := DeadLetter{Topic: "orders", Partition: 258, Offset: 1 << 33, Code: CodeRejected, Exception: "a.B", Message: "no"}
	for name, headers := range map[string][]Header{
		"connect": {
			{"__connect.errors.topic", []byte("orders")},
			{"__connect.errors.partition", []byte("258")},
			{"__connect.errors.offset", []byte("8589934592")},
			{"__connect.errors.connector.name", []byte("sink")},
			{"__connect.errors.task.id", []byte("0")},
			{"__connect.errors.stage", []byte("VALUE_CONVERTER")},
			{"__connect.errors.class.name", []byte("io.C")},
			{"__connect.errors.exception.class.name", []byte("a.B")},
			{"__connect.errors.exception.message", []byte("no")},
			{"__connect.errors.exception.stacktrace", []byte("at a.B")},
			original,
		},
		"spring": {
			original,
			{"kafka_dlt-original-topic", []byte("orders")},
			{"kafka_dlt-original-partition", []byte{0, 0, 1, 2}},
			{"kafka_dlt-original-offset", []byte{0, 0, 0, 2, 0, 0, 0, 0}},
			{"kafka_dlt-original-timestamp", []byte{0, 0, 0, 2, 0, 0, 0, 0}},
			{"kafka_dlt-original-timestamp-type", []byte("CreateTime")},
			{"kafka_dlt-original-consumer-group", []byte("billing")},
			{"kafka_dlt-exception-fqcn", []byte("a.B")},
			{"kafka_dlt-exception-cause-fqcn", []byte("a.C")},
			{"kafka_dlt-exception-message", []byte("no")},
			{"kafka_dlt-exception-stacktrace", []byte("at a.B")},
		},
	} {
		got, rest, ok := ParseDeadLetter(headers)
		if !ok || got != want || !reflect.DeepEqual(rest, []Header{original}) {
			t.Errorf("%s: got %+v %v %v", name, got, rest, ok)
		}
	}
}

func TestParseDeadLetter(t *testing.T) {
	twice := append(streamsHeaders("bad_id", "1"), streamsHeaders("bad_time", "2")...)
	if got, _, ok := ParseDeadLetter(twice); !ok || got.Code != CodeBadTime || got.Attempt != 2 {
		t.Errorf("the last headers must win: %+v %v", got, ok)
	}
	if _, rest, ok := ParseDeadLetter([]Header{{"x", []byte("y")}}); ok || len(rest) != 1 {
		t.Error("a record without our headers is no dead letter")
	}
	if got, _, ok := ParseDeadLetter(streamsHeaders("of_tomorrow", "1")); !ok || got.Code != CodeRejected {
		t.Errorf("a code of another version: %+v %v", got, ok)
	}
	if got, _, ok := ParseDeadLetter([]Header{{HeaderErrorCode, []byte("too_late")}}); !ok || got != (DeadLetter{Code: CodeTooLate}) {
		t.Errorf("a late event has no source: %+v %v", got, ok)
	}
	stub := append(streamsHeaders("too_large", "1"), Header{HeaderTruncated, []byte("true")}, Header{HeaderValueBytes, []byte("6")})
	if got, rest, ok := ParseDeadLetter(stub); !ok || !got.Truncated || len(rest) != 0 {
		t.Errorf("a stub: %+v %v %v", got, rest, ok)
	}
	for _, bad := range []Header{
		{"__streams.errors.partition", []byte("x")},
		{"__streams.errors.offset", []byte("-1")},
		{"__connect.errors.partition", []byte("4294967296")},
		{HeaderAttempt, []byte("")},
		{"kafka_dlt-original-partition", []byte("7")},
		{"kafka_dlt-original-partition", []byte{0x80, 0, 0, 0}},
		{"kafka_dlt-original-offset", []byte{1, 2, 3, 4}},
	} {
		if _, _, ok := ParseDeadLetter(append(streamsHeaders("bad_id", "1"), bad)); ok {
			t.Errorf("%s: garbage %q accepted", bad.Key, bad.Value)
		}
	}
}

func TestCodesAreDistinctAndParse(t *testing.T) {
	seen := make(map[string]bool)
	for _, code := range Codes() {
		if parsed, ok := ParseCode(code.String()); !ok || parsed != code || seen[code.String()] {
			t.Errorf("%d: %s", code, code)
		}
		seen[code.String()] = true
	}
	if _, ok := ParseCode("nonsense"); ok || Code(200).String() != "rejected" {
		t.Error("an unknown code")
	}
}

// The schema's enumerations are the ones the code knows.
func TestSchemaEnumerations(t *testing.T) {
	enum := func(noun, property string) []string {
		text, err := fs.ReadFile(JSONSchemas(), noun+".schema.json")
		if err != nil {
			t.Fatal(err)
		}
		var schema struct {
			Properties map[string]struct {
				Enum []string `json:"enum"`
			} `json:"properties"`
		}
		if err := json.Unmarshal(text, &schema); err != nil {
			t.Fatal(err)
		}
		return schema.Properties[property].Enum
	}
	var kinds, codes []string
	for k := KindPlay; k <= KindOnboarding; k++ {
		kinds = append(kinds, k.String())
		if parsed, ok := parseKind([]byte(k.String())); !ok || parsed != k {
			t.Errorf("kind %s does not parse", k)
		}
	}
	for _, code := range Codes() {
		codes = append(codes, code.String())
	}
	if got := enum("event", "type"); !slices.Equal(got, kinds) {
		t.Errorf("kinds: %v, code has %v", got, kinds)
	}
	if got := enum("deadletter", HeaderErrorCode); !slices.Equal(got, codes) {
		t.Errorf("codes: %v, code has %v", got, codes)
	}
}

// The schemas describe every field the decoder knows.
func TestSchemasCoverTheFields(t *testing.T) {
	described := make(map[string]bool)
	for _, noun := range schemaOrder {
		text, err := fs.ReadFile(JSONSchemas(), noun+".schema.json")
		if err != nil {
			t.Fatal(err)
		}
		properties, err := orderedProperties(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range properties {
			described[p.name] = true
		}
	}
	for f := fieldNone + 1; f <= lastField; f++ {
		if !described[f.String()] {
			t.Errorf("no schema describes %s", f)
		}
	}
	for alias, target := range maps.All(eventAliases) {
		if !described[target] {
			t.Errorf("alias %s of %s", alias, target)
		}
	}
}

func TestReferenceIsCurrent(t *testing.T) {
	const path = "../docs/events.md"
	want, err := Reference()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/events.md is stale: go generate ./schemas")
	}
}

func TestReferenceExampleDecodes(t *testing.T) {
	if err := conforms(t, compileSchema(t, "event"), []byte(referenceExample)); err != nil {
		t.Error(err)
	}
	if err := newDecoder(t, DecoderConfig{}).Decode(new(Event), []byte(referenceExample), nil); err != nil {
		t.Error(err)
	}
}

// examplePlaylist is a playlist with two tracks.
func examplePlaylist() Playlist {
	return Playlist{
		ID: PlaylistID("u-1", "2026-W48"), User: "u-1", Week: "2026-W48", Status: PlaylistReady,
		CreatedAt: time.Date(2026, 11, 23, 5, 0, 0, 0, time.UTC), ModelEpoch: 3,
		Tracks: []Track{
			{Rank: 1, Song: "s-1", Title: "<So> & What", Artist: "Miles", Score: 1.5, Slot: "taste", Reason: "like_seeds", Seeds: []SongID{"s-9"}, Propensity: 1},
			{Rank: 2, Song: "s-2", Score: -0.25, Slot: "explore", Propensity: 0.125},
		},
	}
}

func TestPlaylist(t *testing.T) {
	schema := compileSchema(t, "playlist")
	want := examplePlaylist()
	text, err := json.Marshal(&want)
	if err != nil {
		t.Fatal(err)
	}
	if err := conforms(t, schema, text); err != nil {
		t.Error(err)
	}
	var got Playlist
	if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%+v\n%+v", err, got, want)
	}
	none := Playlist{
		ID: PlaylistID("u-1", "2026-W48"), User: "u-1", Week: "2026-W48", Status: PlaylistNone, Reason: "opted_out", CreatedAt: want.CreatedAt,
	}
	if text, err = none.AppendJSON(nil); err != nil || conforms(t, schema, text) != nil {
		t.Errorf("%v: %s", err, text)
	}
	if want.ID.Version() != 5 || want.ID == PlaylistID("u-1", "2026-W49") || want.ID == PlaylistID("u-12", "026-W48") {
		t.Error("playlist ids must tell listeners and weeks apart")
	}
	// Pinned, from another implementation: listeners' saved links must live on.
	if got := want.ID.String(); got != "2359c3cb-ab51-57e5-8ba7-41ea3a382a17" {
		t.Errorf("the id of a playlist changed: %s", got)
	}
}

func TestPlaylistValidate(t *testing.T) {
	for name, spoil := range map[string]func(p *Playlist){
		"user": func(p *Playlist) { p.User = "" }, "id": func(p *Playlist) { p.ID[3]++ }, "week": func(p *Playlist) { p.Week = "2026-48" },
		"week 54": func(p *Playlist) { p.Week = "2026-W54"; p.ID = PlaylistID(p.User, p.Week) },
		"status":  func(p *Playlist) { p.Status = "soon" }, "empty": func(p *Playlist) { p.Tracks = nil },
		"none with tracks": func(p *Playlist) { p.Status, p.Reason = PlaylistNone, "x" },
		"none, no reason":  func(p *Playlist) { p.Status, p.Tracks = PlaylistNone, nil },
		"rank":             func(p *Playlist) { p.Tracks[1].Rank = 1 }, "twice": func(p *Playlist) { p.Tracks[1].Song = "s-1" },
		"slot": func(p *Playlist) { p.Tracks[0].Slot = "A slot" }, "score": func(p *Playlist) { p.Tracks[0].Score = math.Inf(1) },
		"propensity": func(p *Playlist) { p.Tracks[0].Propensity = 1.01 }, "epoch": func(p *Playlist) { p.ModelEpoch = -1 },
		"time": func(p *Playlist) { p.CreatedAt = time.Time{} }, "seeds": func(p *Playlist) { p.Tracks[0].Seeds = make([]SongID, 51) },
		"long": func(p *Playlist) { p.Tracks = make([]Track, MaxTracks+1) },
	} {
		p := examplePlaylist()
		spoil(&p)
		if _, err := p.AppendJSON(nil); err == nil {
			t.Errorf("%s: encoded", name)
		}
	}
}

func TestTrend(t *testing.T) {
	schema := compileSchema(t, "trend")
	want := Trend{Song: "s-1", Region: "DE", Status: TrendStarted, At: 1_795_414_350_000, StartedAt: 1_795_414_050_000, Score: 5.5, Ratio: 12, Velocity: -1, Listeners: 80}
	text, err := json.Marshal(&want)
	if err != nil || conforms(t, schema, text) != nil {
		t.Fatalf("%v: %s", err, text)
	}
	var got Trend
	if err := json.Unmarshal(text, &got); err != nil || got != want {
		t.Errorf("%v: %+v", err, got)
	}
	quarantined := want
	quarantined.Status, quarantined.Reason, quarantined.Region = TrendQuarantined, "top_share", ""
	if text, err = quarantined.AppendJSON(nil); err != nil || conforms(t, schema, text) != nil {
		t.Errorf("%v: %s", err, text)
	}
}

func TestSongAndProfileRecords(t *testing.T) {
	d := newDecoder(t, DecoderConfig{})
	var s Song
	if err := d.DecodeSong(&s, []byte("s-1"), nil, nil); err != nil || s.ID != "s-1" || !s.Removed {
		t.Errorf("a null song: %+v %v", s, err)
	}
	if err := d.DecodeSong(&s, []byte("s-1"), []byte(`{"title":"So What"}`), nil); err != nil || s.ID != "s-1" || s.Removed || s.Title != "So What" {
		t.Errorf("the id from the key: %+v %v", s, err)
	}
	for at, text := range map[int64]string{
		-327_110_400_000: `"1959-08-21"`, -347_155_200_000: `"1959"`, -328_838_400_000: `"1959-08"`, 1_795_414_350_000: `1795414350`,
		-327_110_399_500: `"1959-08-21T00:00:00.5Z"`,
	} {
		if err := d.DecodeSong(&s, nil, []byte(`{"id":"s","released_at":`+text+`}`), nil); err != nil || s.ReleasedAt != at {
			t.Errorf("%s: %d %v", text, s.ReleasedAt, err)
		}
	}
	var e Event
	if err := d.DecodeProfile(&e, []byte("u-1"), nil, nil); err != nil || e.Kind != KindErase || string(e.User) != "u-1" || e.Profile != nil {
		t.Errorf("erasure: %+v %v", e, err)
	}
	if err := d.DecodeProfile(&e, []byte("u-1"), []byte(`{"country":"de","optOut":true,"discovery":0}`), nil); err != nil ||
		e.Kind != KindProfile || e.Profile.User != "u-1" || e.Profile.Region != "DE" || !e.Profile.OptOut || e.Profile.Discovery == nil || e.At != 0 {
		t.Errorf("profile: %+v %v", e, err)
	}
	for want, rec := range map[Code][2][]byte{
		CodeMissingField: {nil, nil}, CodeBadID: {[]byte("u-2"), []byte(`{"user_id":"u-1"}`)}, CodeNotJSON: {[]byte("u-1"), {}},
	} {
		if got := codeOf(t, d.DecodeProfile(&e, rec[0], rec[1], nil)); got != want {
			t.Errorf("key %q, value %q: %s", rec[0], rec[1], got)
		}
	}
	for _, key := range []string{"\xff", "a\x00", strings.Repeat("u", 257)} {
		if got := codeOf(t, d.DecodeProfile(&e, []byte(key), nil, nil)); got != CodeBadID {
			t.Errorf("erasure of %q: %s", key, got)
		}
	}
}

func TestTopicSpecs(t *testing.T) {
	topics := NewTopics("demo")
	specs := topics.Specs()
	names := make(map[string]TopicSpec)
	for _, s := range specs {
		names[s.Name] = s
	}
	if value := reflect.ValueOf(topics); len(names) != value.NumField() || len(specs) != value.NumField() {
		t.Fatalf("%d specs of %d names for %d topics", len(specs), len(names), value.NumField())
	}
	for name, s := range names {
		if s.Partitions(32) < 1 || s.Key == "" || s.Value == "" {
			t.Errorf("%s: %+v", name, s)
		}
		switch s.Cleanup {
		case CleanupDelete:
			if s.Retention <= 0 || s.DeleteRetention != 0 {
				t.Errorf("%s: %+v", name, s)
			}
		case CleanupCompact:
			if s.DeleteRetention <= 0 || s.MaxCompactionLag <= 0 || s.Retention != 0 {
				t.Errorf("%s: %+v", name, s)
			}
		default:
			t.Errorf("%s: cleanup %q", name, s.Cleanup)
		}
	}
	if got := names["demo-listens"].Partitions(16); got != 16 {
		t.Errorf("listens has %d partitions", got)
	}
	if got := names["demo.dead-letters.v1"].Partitions(16); got != 4 {
		t.Errorf("dead letters has %d partitions", got)
	}
}
