package schemas

import (
	"bytes"
	"encoding/base64"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Namespaces of the version 5 UUIDs we derive. They are read only; changing one
// changes every id derived from it.
var (
	eventNamespace    = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://earworm.dev/ns/event"))
	playlistNamespace = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://earworm.dev/ns/playlist"))
	foreignNamespace  = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://earworm.dev/ns/foreign-playlist"))
)

// The header names of CloudEvents in Kafka's binary mode that we read or write.
const (
	headerContentType = "content-type"
	headerSpecVersion = "ce_specversion"
	headerID          = "ce_id"
	headerSource      = "ce_source"
	headerType        = "ce_type"
	headerTime        = "ce_time"
	// HeaderSchemaVersion tells readers of our outputs which version they see.
	HeaderSchemaVersion = "schema-version"
)

// envelope is what a CloudEvents envelope says; nil where it says nothing.
type envelope struct {
	id, source, typ, at []byte
}

// eventID returns the id itself when it is a UUID. CloudEvents only promises
// that source and id together are unique, so any other id is hashed with its
// source.
func (e *envelope) eventID() EventID {
	if id, ok := parseUUID(e.id); ok {
		return id
	}
	name := make([]byte, 0, len(e.source)+1+len(e.id))
	name = append(append(append(name, e.source...), 0), e.id...)
	return EventID(uuid.NewSHA1(eventNamespace, name))
}

// kindOfType returns the last part of a CloudEvents type, a version aside:
// "io.example.listening.play.v1" is "play".
func kindOfType(typ []byte) []byte {
	last := typ[bytes.LastIndexByte(typ, '.')+1:]
	if len(last) > 1 && last[0] == 'v' && digitsEnd(last, 1) == len(last) && len(last) < len(typ) {
		return kindOfType(typ[:len(typ)-len(last)-1])
	}
	return last
}

// unwrap finds out how value is framed and returns the JSON object inside and
// the envelope around it.
func (d *Decoder) unwrap(value []byte, headers []Header) (env envelope, payload []byte, err error) {
	binary := false
	for i := range headers {
		h := &headers[i]
		switch {
		case h.Key == headerSpecVersion:
			if !bytes.HasPrefix(h.Value, []byte("1.")) {
				return env, nil, refuse(CodeUnsupportedFormat, "", "CloudEvents version is not 1.x")
			}
			binary = true
		case h.Key == headerID:
			env.id = nonNil(h.Value)
		case h.Key == headerSource:
			env.source = h.Value
		case h.Key == headerType:
			env.typ = h.Value
		case h.Key == headerTime:
			env.at = h.Value
		case len(h.Key) == len(headerContentType) && strings.EqualFold(h.Key, headerContentType):
			structured, ok := cloudEventsMode(h.Value)
			if !ok {
				return env, nil, refuse(CodeUnsupportedFormat, "", "CloudEvents format is not JSON")
			}
			if structured {
				return d.unwrapStructured(value)
			}
		}
	}
	if !binary {
		env = envelope{}
	} else if env.id != nil && !validUTF8(env.id) {
		return env, nil, refuse(CodeBadID, fieldEventID.String(), "not UTF-8")
	}
	payload, err = unframe(value)
	return env, payload, err
}

// nonNil keeps an empty header value apart from an absent one.
func nonNil(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}

// validUTF8 reports whether text is UTF-8.
func validUTF8(text []byte) bool { return utf8.Valid(text) }

// cloudEventsMode tells by the content type, case aside, whether the value is a
// structured CloudEvent; ok is false for the formats of it that we do not read.
func cloudEventsMode(contentType []byte) (structured, ok bool) {
	const prefix, format = "application/cloudevents", "+json"
	if len(contentType) < len(prefix) || !equalFold(prefix, contentType[:len(prefix)]) {
		return false, true
	}
	rest := contentType[len(prefix):]
	if len(rest) < len(format) || !equalFold(format, rest[:len(format)]) {
		return false, false
	}
	rest = bytes.TrimLeft(rest[len(format):], " ")
	return true, len(rest) == 0 || rest[0] == ';'
}

// unframe strips the five bytes that a schema registry client puts before
// JSON. JSON itself never begins with 0 or 1.
func unframe(value []byte) ([]byte, error) {
	if len(value) == 0 || value[0] > 1 {
		return value, nil
	}
	const framing = 5
	if value[0] == 0 && len(value) > framing && value[framing] == '{' {
		return value[framing:], nil
	}
	return nil, refuse(CodeUnsupportedFormat, "", "schema registry framing of another format than JSON")
}

// unwrapStructured reads an envelope in JSON and returns the data inside.
func (d *Decoder) unwrapStructured(value []byte) (env envelope, payload []byte, err error) {
	var doc document
	if err := scan(&doc, d.envelopes, value); err != nil {
		return env, nil, err
	}
	if doc.nonFinite {
		return env, nil, refuse(CodeNotJSON, "", "not valid JSON")
	}
	version := doc.text(fieldSpecVersion, MaxIDBytes)
	env = envelope{
		id: doc.id(fieldEventID, false), source: doc.text(fieldSource, maxTextBytes),
		typ: doc.text(fieldType, maxTextBytes), at: doc.text(fieldAt, maxTextBytes),
	}
	if doc.err == nil && !bytes.HasPrefix(version, []byte("1.")) {
		doc.fail(CodeUnsupportedFormat, fieldSpecVersion, "CloudEvents version is not 1.x")
	}
	payload = doc.data()
	return env, payload, doc.err
}

// data returns the object in "data" or "data_base64".
func (doc *document) data() []byte {
	if text := doc.token(fieldDataBase64); text.typ != tokenAbsent {
		data, err := base64.StdEncoding.DecodeString(string(text.raw))
		if text.typ != tokenString || err != nil {
			doc.fail(CodeWrongType, fieldDataBase64, "must be base64")
		}
		return data
	}
	data := doc.token(fieldData)
	switch data.typ {
	case tokenObject:
	case tokenAbsent:
		doc.fail(CodeMissingField, fieldData, "is required")
	default:
		doc.fail(CodeWrongType, fieldData, "must be an object")
	}
	return data.raw
}

// CloudEvent is the envelope of a record we write.
type CloudEvent struct {
	// ID and Source identify the record together.
	ID, Source string
	// Type is for example "io.earworm.playlist.weekly.v1"; see OutputType.
	Type string
	// At is Unix ms.
	At int64
	// SchemaVersion is the version of the value's schema.
	SchemaVersion int
}

// AppendHeaders appends the headers of binary mode and the schema version.
func (e CloudEvent) AppendHeaders(dst []Header) []Header {
	return append(dst,
		Header{headerSpecVersion, []byte("1.0")},
		Header{headerID, []byte(e.ID)},
		Header{headerSource, []byte(e.Source)},
		Header{headerType, []byte(e.Type)},
		Header{headerTime, time.UnixMilli(e.At).UTC().AppendFormat(nil, timeLayout)},
		Header{headerContentType, []byte("application/json")},
		Header{HeaderSchemaVersion, appendInt(nil, int64(e.SchemaVersion))},
	)
}

// OutputType returns the CloudEvents type of an output of the application, for
// example OutputType("earworm", "playlist.weekly", 1).
func OutputType(app, noun string, version int) string {
	return "io." + app + "." + noun + ".v" + string(appendInt(nil, int64(version)))
}

// timeLayout is RFC 3339 with ms.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"
