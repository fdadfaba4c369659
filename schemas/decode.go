package schemas

import (
	"fmt"

	"github.com/google/uuid"
)

// DefaultMaxBytes is the size above which a value is refused unread.
const DefaultMaxBytes = 256 << 10

// DecoderConfig configures a Decoder. The zero value is the default.
type DecoderConfig struct {
	// Aliases are further spellings of fields, alias to canonical name. They
	// come on top of the built-in ones and win over them.
	Aliases map[string]string
	// MaxBytes bounds a value; 0 is DefaultMaxBytes.
	MaxBytes int
}

// Decoder reads what producers send: listening events, songs and listener
// profiles, as plain JSON or as CloudEvents. It holds no state between calls
// and may be used concurrently.
type Decoder struct {
	maxBytes                           int
	events, songs, profiles, envelopes *nameTable
}

// NewDecoder returns a decoder, or an error that names the alias at fault.
func NewDecoder(cfg DecoderConfig) (*Decoder, error) {
	if cfg.MaxBytes < 0 {
		return nil, fmt.Errorf("configuring decoder: size limit %d is negative", cfg.MaxBytes)
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if len(cfg.Aliases) > maxAliases {
		return nil, fmt.Errorf("configuring decoder: %d aliases, at most %d", len(cfg.Aliases), maxAliases)
	}
	d := &Decoder{maxBytes: cfg.MaxBytes, envelopes: newEnvelopeTable()}
	for _, table := range []struct {
		dst     **nameTable
		last    field
		aliases map[string]string
	}{
		{&d.events, lastEventField, eventAliases},
		{&d.songs, lastField, songAliases},
		{&d.profiles, lastField, profileAliases},
	} {
		names, err := newNameTable(table.last, commonAliases, table.aliases, cfg.Aliases)
		if err != nil {
			return nil, fmt.Errorf("configuring decoder: %w", err)
		}
		*table.dst = names
	}
	return d, nil
}

// Decode reads a listening event into dst, which may be reused. Byte slices of
// dst alias value. A plain event without escapes in its strings costs no
// allocation. The error wraps a *DecodeError; dst is then undefined.
func (d *Decoder) Decode(dst *Event, value []byte, headers []Header) error {
	dst.reset()
	var doc document
	env, err := d.read(&doc, d.events, value, headers)
	if err == nil {
		err = doc.event(dst, &env)
	}
	if err != nil {
		return fmt.Errorf("decoding event: %w", err)
	}
	return nil
}

// DecodeProfile reads a record of the users topic into dst: KindProfile, or
// KindErase when value is nil. At is 0 when the profile carries no time. An
// empty value that is not nil is refused: forgetting a listener takes a
// deliberate null.
func (d *Decoder) DecodeProfile(dst *Event, key, value []byte, headers []Header) error {
	dst.reset()
	var doc document
	if value == nil {
		doc.tokens[fieldUserID] = keyToken(key)
		dst.Kind = KindErase
		dst.User = doc.keyID(fieldUserID)
		if doc.err != nil {
			return fmt.Errorf("decoding erasure: %w", doc.err)
		}
		return nil
	}
	env, err := d.read(&doc, d.profiles, value, headers)
	if err == nil {
		err = doc.profile(dst, key, &env)
	}
	if err != nil {
		return fmt.Errorf("decoding profile: %w", err)
	}
	return nil
}

// DecodeSong reads a record of the catalogue into dst. A nil value is a song
// that left the catalogue: dst holds the id from the key, and Removed is set.
func (d *Decoder) DecodeSong(dst *Song, key, value []byte, headers []Header) error {
	*dst = Song{}
	var doc document
	var err error
	if value == nil {
		doc.tokens[fieldSongID] = keyToken(key)
		*dst = Song{ID: SongID(doc.keyID(fieldSongID)), Removed: true}
		err = doc.err
	} else if _, err = d.read(&doc, d.songs, value, headers); err == nil {
		err = doc.song(dst, key)
	}
	if err != nil {
		return fmt.Errorf("decoding song: %w", err)
	}
	return nil
}

// read unwraps and scans one value. A document that only scanned because a
// bare NaN was read as a number is refused by finish.
func (d *Decoder) read(doc *document, names *nameTable, value []byte, headers []Header) (envelope, error) {
	if len(value) > d.maxBytes {
		return envelope{}, refuse(CodeTooLarge, "", "above the size limit")
	}
	env, payload, err := d.unwrap(value, headers)
	if err != nil {
		return env, err
	}
	return env, scan(doc, names, payload)
}

// finish returns what the readers of the fields found wrong. A bare NaN in a
// field is out of its range; anywhere else it still is not JSON.
func (doc *document) finish() error {
	if doc.err == nil && doc.nonFinite {
		return refuse(CodeNotJSON, "", "not valid JSON")
	}
	return doc.err
}

// event turns the fields into an event.
func (doc *document) event(dst *Event, env *envelope) error {
	dst.Kind = doc.kind(env)
	dst.User = doc.id(fieldUserID, true)
	dst.Song = doc.id(fieldSongID, dst.Kind.needsSong())
	dst.ID = doc.eventID(env)
	dst.At = doc.eventTime(env, true)
	dst.PlayedMs = doc.millis(fieldMsPlayed)
	dst.DurationMs = doc.millis(fieldDurationMs)
	dst.PositionMs = doc.millis(fieldPositionMs)
	dst.Region = doc.region(fieldRegion)
	if text := doc.text(fieldDevice, MaxIDBytes); len(text) > 0 {
		dst.Device = Device(indexFold(deviceNames[:], text))
	}
	if text := doc.text(fieldSource, MaxIDBytes); len(text) > 0 {
		dst.Source = Source(indexFold(sourceNames[:], text))
	}
	dst.PlaylistID = doc.playlistID()
	if slot, ok := doc.whole(fieldSlot, 0, MaxSlot); ok {
		dst.Slot = slot
	}
	doc.ofKind(dst)
	return doc.finish()
}

// ofKind reads the fields that mean something for one kind only. Elsewhere they
// are not looked at: a play may carry the name of its artist in any shape.
func (doc *document) ofKind(dst *Event) {
	switch dst.Kind {
	case KindSkip:
		if dst.PlayedMs == Unknown {
			dst.PlayedMs = dst.PositionMs
		}
	case KindBan:
		if len(dst.Song) == 0 {
			if dst.Artist = doc.id(fieldArtist, false); len(dst.Artist) == 0 {
				doc.fail(CodeMissingField, fieldSongID, "a ban needs a song or an artist")
			}
		}
	case KindSurvey:
		rating, ok := doc.whole(fieldRating, 1, 5)
		if !ok {
			doc.fail(CodeMissingField, fieldRating, "is required")
		}
		dst.Rating = int8(rating) //nolint:gosec // within 1 to 5
	case KindOnboarding:
		dst.Genres = doc.list(dst.Genres, fieldGenres)
		dst.Artists = doc.list(dst.Artists, fieldArtists)
		if len(dst.Genres)+len(dst.Artists) == 0 {
			doc.fail(CodeMissingField, fieldArtists, "onboarding needs artists or genres")
		}
	default:
	}
}

// kind reads the kind from the object, or else from the CloudEvents type.
func (doc *document) kind(env *envelope) Kind {
	tok := doc.token(fieldType)
	text := tok.raw
	switch tok.typ {
	case tokenString:
	case tokenAbsent:
		if text = kindOfType(env.typ); len(text) == 0 {
			doc.fail(CodeMissingField, fieldType, "is required")
			return 0
		}
	default:
		doc.fail(CodeWrongType, fieldType, "must be a string")
		return 0
	}
	kind, ok := parseKind(text)
	if !ok {
		doc.fail(CodeUnknownKind, fieldType, "is no kind of event")
	}
	return kind
}

// eventID takes the identity from the CloudEvents envelope, or else from the object.
func (doc *document) eventID(env *envelope) EventID {
	if env.id == nil {
		return doc.uuid(fieldEventID)
	}
	doc.checkID(fieldEventID, &token{raw: env.id, typ: tokenString})
	return env.eventID()
}

// eventTime takes the time from the object, or else from the CloudEvents envelope.
func (doc *document) eventTime(env *envelope, required bool) int64 {
	if doc.tokens[fieldAt].typ == tokenAbsent && env.at != nil {
		doc.tokens[fieldAt] = token{raw: env.at, typ: tokenString}
	}
	if required && doc.tokens[fieldAt].typ == tokenAbsent {
		doc.fail(CodeMissingField, fieldAt, "is required")
	}
	return doc.time(fieldAt)
}

// playlistID reads the playlist a song was played from. Ours are UUIDs; the id
// of another one becomes the UUID derived from it.
func (doc *document) playlistID() [16]byte {
	text := doc.id(fieldPlaylistID, false)
	if len(text) == 0 {
		return [16]byte{}
	}
	if id, ok := parseUUID(text); ok {
		return id
	}
	return uuid.NewSHA1(foreignNamespace, text)
}

// keyToken is the record key as if it were a field.
func keyToken(key []byte) token {
	if len(key) == 0 {
		return token{}
	}
	return token{raw: key, typ: tokenString}
}

// keyID reads an id that came as a record key, which no JSON parser has checked.
func (doc *document) keyID(f field) []byte {
	id := doc.id(f, true)
	if !validUTF8(id) {
		doc.fail(CodeBadID, f, "not UTF-8")
	}
	return id
}
