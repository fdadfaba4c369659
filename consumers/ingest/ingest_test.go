package ingest_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"earworm/consumers/ingest"
	"earworm/consumers/stream"
	"earworm/internal/pseudonym"
	"earworm/schemas"
)

// produced is the broker's time of every record here.
const produced = "2026-03-04T10:00:00Z"

func config() ingest.Config {
	cfg := ingest.Default()
	cfg.Events, cfg.Users, cfg.Listens = "events", "users", "listens"
	return cfg
}

// start returns a task of partition 3 with pseudonyms as the mapper makes them.
func start(t *testing.T, cfg ingest.Config, mapper ingest.Pseudonymiser) *stream.Detached {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	task, err := ingest.New(cfg, mapper)
	if err != nil {
		t.Fatal(err)
	}
	return stream.NewDetached(stream.DetachedConfig{Task: task, DeadLetters: "letters", Partition: 3})
}

// record is one of an input topic.
func record(t *testing.T, topic, key string, value []byte) *stream.Record {
	t.Helper()
	at, err := time.Parse(time.RFC3339, produced)
	if err != nil {
		t.Fatal(err)
	}
	return &stream.Record{Topic: topic, Partition: 3, Offset: 17, Key: []byte(key), Value: value, At: at}
}

// send processes and commits one record, and returns the one message it became.
func send(t *testing.T, d *stream.Detached, rec *stream.Record) stream.Message {
	t.Helper()
	if _, err := d.Process(rec); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	sent := d.Take()
	if len(sent) != 1 {
		t.Fatalf("one record became %d messages", len(sent))
	}
	return sent[0]
}

func header(m stream.Message, key string) string {
	for _, h := range m.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

func play(fields string) []byte {
	return []byte(`{"event_id":"0196b7d4-9a00-7000-8000-000000000001","type":"play","user_id":"ann","song_id":"s1"` + fields + `}`)
}

func TestBadInputHasACode(t *testing.T) {
	t.Parallel()
	at := `,"at":"2026-03-04T09:59:00Z"`
	for name, test := range map[string]struct {
		topic, key string
		value      []byte
		code       schemas.Code
	}{
		"no JSON":            {value: []byte("hello"), code: schemas.CodeNotJSON},
		"binary":             {value: []byte{0, 1, 2, 0xFF}, code: schemas.CodeUnsupportedFormat},
		"empty":              {value: []byte{}, code: schemas.CodeNotJSON},
		"null event":         {value: nil, code: schemas.CodeNotJSON},
		"cut off":            {value: play(at)[:40], code: schemas.CodeNotJSON},
		"a list":             {value: []byte("[1]"), code: schemas.CodeNotJSON},
		"oversized":          {value: play(at + `,"x":"` + strings.Repeat("y", schemas.DefaultMaxBytes) + `"`), code: schemas.CodeTooLarge},
		"deep":               {value: play(at + `,"x":` + strings.Repeat("[", 99) + strings.Repeat("]", 99)), code: schemas.CodeTooDeep},
		"no time":            {value: play(""), code: schemas.CodeMissingField},
		"no user":            {value: []byte(`{"type":"play","song_id":"s"` + at + `}`), code: schemas.CodeMissingField},
		"no song":            {value: []byte(`{"type":"play","user_id":"u"` + at + `}`), code: schemas.CodeMissingField},
		"wrong type":         {value: play(at + `,"ms_played":"long"`), code: schemas.CodeWrongType},
		"song is an object":  {value: []byte(`{"type":"play","user_id":"u","song_id":{}` + at + `}`), code: schemas.CodeWrongType},
		"NaN":                {value: play(at + `,"ms_played":NaN`), code: schemas.CodeOutOfRange},
		"huge number":        {value: play(at + `,"ms_played":1e300`), code: schemas.CodeOutOfRange},
		"negative time":      {value: play(at + `,"ms_played":-5`), code: schemas.CodeOutOfRange},
		"unknown kind":       {value: []byte(`{"type":"dance","user_id":"u","song_id":"s"` + at + `}`), code: schemas.CodeUnknownKind},
		"key twice":          {value: play(at + `,"at":1772618340000`), code: schemas.CodeDuplicateKey},
		"1970":               {value: play(`,"at":"1970-01-01T00:00:01Z"`), code: schemas.CodeBadTime},
		"zero":               {value: play(`,"at":0`), code: schemas.CodeBadTime},
		"2090":               {value: play(`,"at":"2090-01-01T00:00:00Z"`), code: schemas.CodeBadTime},
		"2190":               {value: play(`,"at":"2190-01-01T00:00:00Z"`), code: schemas.CodeBadTime},
		"a day and a second": {value: play(`,"at":"2026-03-05T10:00:01Z"`), code: schemas.CodeBadTime},
		"long id":            {value: []byte(`{"type":"play","user_id":"` + strings.Repeat("u", 257) + `","song_id":"s"` + at + `}`), code: schemas.CodeBadID},
		"empty id":           {value: []byte(`{"type":"play","user_id":"","song_id":"s"` + at + `}`), code: schemas.CodeBadID},
		"profile no JSON":    {topic: "users", key: "ann", value: []byte("x"), code: schemas.CodeNotJSON},
		"profile empty":      {topic: "users", key: "ann", value: []byte{}, code: schemas.CodeNotJSON},
		"erase of nobody":    {topic: "users", value: nil, code: schemas.CodeMissingField},
		"profile 2090":       {topic: "users", key: "ann", value: []byte(`{"user_id":"ann","at":"2090-01-01T00:00:00Z"}`), code: schemas.CodeBadTime},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := start(t, config(), &pseudonym.Mapper{})
			topic := test.topic
			if topic == "" {
				topic = "events"
			}
			rec := record(t, topic, test.key, test.value)
			rec.Headers = []stream.Header{{Key: "trace", Value: []byte("abc")}}
			m := send(t, d, rec)
			if m.Topic != "letters" || header(m, stream.HeaderErrorCode) != test.code.String() {
				t.Fatalf("%s with code %q (%s), want %q", m.Topic, header(m, stream.HeaderErrorCode), header(m, stream.HeaderMessage), test.code)
			}
			if c := d.Counts(topic); c != (stream.Counts{Consumed: 1, DeadLettered: 1}) {
				t.Errorf("counted %+v", c)
			}
			if !bytes.Equal(m.Value, rec.Value) || !bytes.Equal(m.Key, rec.Key) || header(m, "trace") != "abc" {
				t.Error("the dead letter is not the record, verbatim")
			}
			if header(m, stream.HeaderTopic) != topic || header(m, stream.HeaderPartition) != "3" || header(m, stream.HeaderOffset) != "17" {
				t.Errorf("the dead letter does not say where it comes from: %v", m.Headers)
			}
			if text := header(m, stream.HeaderMessage); text == "" || strings.Contains(text, "ann") {
				t.Errorf("the reason is %q", text)
			}
		})
	}
}

func TestTimesAreSettled(t *testing.T) {
	t.Parallel()
	now, err := time.Parse(time.RFC3339, produced)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		at      string
		want    time.Duration // from the time of producing
		clamped bool
	}{
		"now":                 {at: produced},
		"within the clamp":    {at: "2026-03-04T10:05:00Z", want: 5 * time.Minute},
		"beyond the clamp":    {at: "2026-03-04T10:05:01Z", clamped: true},
		"a day ahead":         {at: "2026-03-05T10:00:00Z", clamped: true},
		"days ago":            {at: "2026-02-22T10:00:00Z", want: -10 * 24 * time.Hour},
		"years ago":           {at: "2006-03-04T10:00:00Z", want: -7305 * 24 * time.Hour},
		"with another offset": {at: "2026-03-04T12:00:00+02:00"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := start(t, config(), &pseudonym.Mapper{})
			e := decode(t, send(t, d, record(t, "events", "", play(`,"at":"`+test.at+`"`))))
			if got := time.UnixMilli(e.At).Sub(now); got != test.want || e.Clamped != test.clamped {
				t.Errorf("%s from producing, clamped %t; want %s, %t", got, e.Clamped, test.want, test.clamped)
			}
		})
	}
}

func decode(t *testing.T, m stream.Message) schemas.Event {
	t.Helper()
	if m.Topic != "listens" || m.Partition != -1 {
		t.Fatalf("went to %s/%d: %s %s", m.Topic, m.Partition, header(m, stream.HeaderErrorCode), header(m, stream.HeaderMessage))
	}
	var e schemas.Event
	if err := e.UnmarshalBinary(m.Value); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestEverySpellingBecomesTheSameListen(t *testing.T) {
	t.Parallel()
	const id = "0196b7d4-9a00-7000-8000-000000000001"
	cfg := config()
	cfg.Aliases = map[string]string{"hoerer": "user_id", "stueck": "song_id"}
	binary := []stream.Header{
		{Key: "ce_specversion", Value: []byte("1.0")},
		{Key: "ce_id", Value: []byte(id)},
		{Key: "ce_type", Value: []byte("io.earworm.listen.play.v1")},
		{Key: "ce_source", Value: []byte("/player")},
		{Key: "ce_time", Value: []byte("2026-03-04T09:59:00Z")},
	}
	bare := `"user_id":"ann","song_id":"s1","ms_played":200000`
	for name, test := range map[string]struct {
		value   string
		headers []stream.Header
	}{
		"plain":             {value: `{"event_id":"` + id + `","type":"play","at":"2026-03-04T09:59:00Z",` + bare + `}`},
		"millis":            {value: `{"event_id":"` + id + `","type":"play","at":1772618340000,` + bare + `}`},
		"seconds":           {value: `{"event_id":"` + id + `","type":"play","at":1772618340,` + bare + `}`},
		"aliases":           {value: `{"event_id":"` + id + `","type":"play","at":1772618340,"hoerer":"ann","stueck":"s1","ms_played":200000}`},
		"binary CloudEvent": {value: `{` + bare + `}`, headers: binary},
		"structured CloudEvent": {
			value: `{"specversion":"1.0","id":"` + id + `","source":"/player","type":"io.earworm.listen.play.v1",` +
				`"time":"2026-03-04T09:59:00Z","data":{` + bare + `}}`,
			headers: []stream.Header{{Key: "content-type", Value: []byte("application/cloudevents+json")}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rec := record(t, "events", "whatever", []byte(test.value))
			rec.Headers = test.headers
			m := send(t, start(t, cfg, &pseudonym.Mapper{}), rec)
			e := decode(t, m)
			got := fmt.Sprintf("%s %s %s %d %d", m.Key, e.Song, e.Kind, e.At, e.PlayedMs)
			if got != "ann s1 play 1772618340000 200000" || e.ID.String() != id || len(e.User) != 0 {
				t.Errorf("got %s, id %s, user %q", got, e.ID, e.User)
			}
		})
	}
}

// keyed returns a mapper with a key made of one byte.
func keyed(t *testing.T, fill byte) *pseudonym.Mapper {
	t.Helper()
	key := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{fill}, 64))
	m, err := pseudonym.Parse([]byte("1:" + key + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestPseudonymsAreKeyed(t *testing.T) {
	t.Parallel()
	mapper := keyed(t, 1)
	d := start(t, config(), mapper)
	at := `,"at":"2026-03-04T09:59:00Z"`
	first := send(t, d, record(t, "events", "ann", play(at)))
	again := send(t, d, record(t, "events", "", play(at)))
	profile := send(t, d, record(t, "users", "ann", []byte(`{"user_id":"ann","region":"DE"}`)))
	erase := send(t, d, record(t, "users", "ann", nil))
	other := send(t, start(t, config(), keyed(t, 2)), record(t, "events", "", play(at)))
	for name, m := range map[string]stream.Message{"again": again, "profile": profile, "erase": erase} {
		if !bytes.Equal(m.Key, first.Key) {
			t.Errorf("%s has another pseudonym: its records would reach another task", name)
		}
	}
	if bytes.Equal(other.Key, first.Key) {
		t.Error("two keys give one pseudonym")
	}
	for _, m := range []stream.Message{first, profile, erase} {
		if bytes.Contains(m.Key, []byte("ann")) || bytes.Contains(m.Value, []byte("ann")) {
			t.Errorf("the id of a listener passes: %q %q", m.Key, m.Value)
		}
	}
	if id, err := mapper.Reveal(first.Key); err != nil || string(id) != "ann" {
		t.Errorf("revealed %q, %v", id, err)
	}
}

func TestUsersTopic(t *testing.T) {
	t.Parallel()
	d := start(t, config(), &pseudonym.Mapper{})
	m := send(t, d, record(t, "users", "ann", []byte(
		`{"user_id":"ann","region":"jp","time_zone":"Asia/Tokyo","languages":["ja"],"opt_out":true,"discovery":0.25}`)))
	e := decode(t, m)
	if e.Kind != schemas.KindProfile || string(m.Key) != "ann" || e.Profile == nil {
		t.Fatalf("got %s of %q: %+v", e.Kind, m.Key, e.Profile)
	}
	p := e.Profile
	if p.Region != "JP" || p.TimeZone != "Asia/Tokyo" || !slices.Equal(p.Languages, []string{"ja"}) || !p.OptOut ||
		p.Discovery == nil || *p.Discovery != .25 || p.User != "" {
		t.Errorf("profile %+v", p)
	}
	if at, _ := time.Parse(time.RFC3339, produced); e.At != at.UnixMilli() {
		t.Errorf("a profile without a time is of %d, want the time of producing", e.At)
	}
	m = send(t, d, record(t, "users", "ann", nil))
	if e = decode(t, m); e.Kind != schemas.KindErase || string(m.Key) != "ann" || e.Profile != nil {
		t.Errorf("a null became %s of %q", e.Kind, m.Key)
	}
	if c := d.Counts("users"); c != (stream.Counts{Consumed: 2, Applied: 2}) {
		t.Errorf("counted %+v", c)
	}
}

// TestRecordsDoNotLeakIntoEachOther sends a full event before an empty one through the same task.
func TestRecordsDoNotLeakIntoEachOther(t *testing.T) {
	t.Parallel()
	d := start(t, config(), &pseudonym.Mapper{})
	at := `,"at":"2026-03-04T10:30:00Z"`
	full := decode(t, send(t, d, record(t, "events", "", play(at+`,"ms_played":1,"region":"DE","source":"radio","slot":3`))))
	bare := decode(t, send(t, d, record(t, "events", "", []byte(`{"type":"like","user_id":"bob","song_id":"s2","at":"2026-03-04T10:00:00Z"}`))))
	if !full.Clamped || full.Region != [2]byte{'D', 'E'} {
		t.Fatalf("%+v", full)
	}
	if bare.Clamped || bare.Region != ([2]byte{}) || bare.PlayedMs != schemas.Unknown || bare.Slot != schemas.Unknown ||
		bare.Source != schemas.SourceUnknown || !bare.ID.IsZero() {
		t.Errorf("left over from the event before: %+v", bare)
	}
}

// TestAccounting mixes good and bad records: every record has one outcome and becomes one message.
func TestAccounting(t *testing.T) {
	t.Parallel()
	d := start(t, config(), &pseudonym.Mapper{})
	want := stream.Counts{}
	for n := range 1000 {
		value := play(`,"at":"2026-03-04T10:00:00Z"`)
		want.Consumed++
		if n%3 == 0 {
			value = value[n%len(value)/2+1:]
			want.DeadLettered++
		} else {
			want.Applied++
		}
		if _, err := d.Process(record(t, "events", "", value)); err != nil {
			t.Fatal(err)
		}
	}
	if d.Counts("events") != (stream.Counts{}) {
		t.Error("counted before the commit")
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := d.Counts("events"); got != want || !got.Balanced() {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	if sent := len(d.Take()); sent != 1000 {
		t.Errorf("1000 records became %d", sent)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*ingest.Config)
		want   string
	}{
		"no topic":        {func(c *ingest.Config) { c.Listens = "" }, "topics must be named"},
		"negative clamp":  {func(c *ingest.Config) { c.FutureClamp = -1 }, "must not be negative"},
		"reject in front": {func(c *ingest.Config) { c.FutureReject = time.Minute }, "nor above"},
	} {
		cfg := config()
		test.change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cfg := config()
	cfg.Aliases = map[string]string{"x": "no_such_field"}
	if _, err := ingest.New(cfg, &pseudonym.Mapper{}); err == nil || !strings.Contains(err.Error(), `"x"`) {
		t.Errorf("an alias of nothing: %v", err)
	}
}

// TestFailedPseudonymIsADeadLetter covers an id that the mapper cannot take.
func TestFailedPseudonymIsADeadLetter(t *testing.T) {
	t.Parallel()
	m := send(t, start(t, config(), refusing{}), record(t, "events", "", play(`,"at":"2026-03-04T10:00:00Z"`)))
	if m.Topic != "letters" || header(m, stream.HeaderErrorCode) != schemas.CodeBadID.String() {
		t.Errorf("%s: %s", m.Topic, header(m, stream.HeaderErrorCode))
	}
}

type refusing struct{}

func (refusing) Append([]byte, []byte) ([]byte, error) { return nil, errors.New("no key") }
