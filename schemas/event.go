package schemas

import (
	"encoding/hex"
	"math"
	"strconv"
	"unicode/utf8"
)

// UserID names a listener: as its producer did on public topics, by pseudonym
// on internal ones.
type UserID string

// SongID names a song as its producer did.
type SongID string

// Limits every decoder enforces.
const (
	// MaxIDBytes bounds an id that a producer sends.
	MaxIDBytes = 256
	// MaxListEntries bounds a list inside an event, song or profile.
	MaxListEntries = 50
	// MaxMillis bounds a played, total or position time: 24 hours.
	MaxMillis = 24 * 60 * 60 * 1000
	// MinAt is the earliest event time in Unix ms: 2000-01-01T00:00:00Z.
	MinAt = 946_684_800_000
	// MaxAt is the first event time in Unix ms that is refused: 2100-01-01T00:00:00Z.
	MaxAt = 4_102_444_800_000
	// MaxSlot bounds the position within a playlist.
	MaxSlot = 999
)

// Unknown is the value of a time or slot the producer did not send.
const Unknown = -1

// Kind is what happened. The numbers are part of the compact encoding: append
// only.
type Kind uint8

// The kinds of events. KindProfile and KindErase come from the users topic and
// have no JSON spelling among listening events.
const (
	KindPlay Kind = iota + 1
	KindSkip
	KindLike
	KindUnlike
	KindDislike
	KindBan
	KindPlaylistAdd
	KindShare
	KindPlaylistOpen
	KindSurvey
	KindOnboarding
	KindProfile
	KindErase
)

// String returns the JSON spelling of k, or "unknown".
func (k Kind) String() string {
	switch k {
	case KindPlay:
		return "play"
	case KindSkip:
		return "skip"
	case KindLike:
		return "like"
	case KindUnlike:
		return "unlike"
	case KindDislike:
		return "dislike"
	case KindBan:
		return "ban"
	case KindPlaylistAdd:
		return "playlist_add"
	case KindShare:
		return "share"
	case KindPlaylistOpen:
		return "playlist_open"
	case KindSurvey:
		return "survey"
	case KindOnboarding:
		return "onboarding"
	case KindProfile:
		return "profile"
	case KindErase:
		return "erase"
	default:
		return "unknown"
	}
}

// parseKind reads the kind of a listening event. Profile and erase are not
// among them: they come from the users topic only, or anybody who may write
// events could erase a listener.
func parseKind(text []byte) (Kind, bool) {
	switch string(text) {
	case "play":
		return KindPlay, true
	case "skip":
		return KindSkip, true
	case "like":
		return KindLike, true
	case "unlike":
		return KindUnlike, true
	case "dislike":
		return KindDislike, true
	case "ban":
		return KindBan, true
	case "playlist_add":
		return KindPlaylistAdd, true
	case "share":
		return KindShare, true
	case "playlist_open":
		return KindPlaylistOpen, true
	case "survey":
		return KindSurvey, true
	case "onboarding":
		return KindOnboarding, true
	default:
		return 0, false
	}
}

// needsSong reports whether an event of this kind is about one song.
func (k Kind) needsSong() bool {
	switch k {
	case KindPlay, KindSkip, KindLike, KindUnlike, KindDislike, KindPlaylistAdd, KindShare:
		return true
	default:
		return false
	}
}

// Device is the class of device an event came from.
type Device uint8

// The device classes. A class we do not know is DeviceOther.
const (
	DeviceUnknown Device = iota
	DeviceMobile
	DeviceDesktop
	DeviceTablet
	DeviceWeb
	DeviceSpeaker
	DeviceTV
	DeviceCar
	DeviceWatch
	DeviceConsole
	DeviceOther
)

// deviceNames is indexed by Device.
var deviceNames = [...]string{
	"", "mobile", "desktop", "tablet", "web", "speaker", "tv", "car", "watch", "console", "other",
}

// String returns the JSON spelling of d; DeviceUnknown is empty.
func (d Device) String() string {
	if int(d) < len(deviceNames) {
		return deviceNames[d]
	}
	return deviceNames[DeviceOther]
}

// Source is where in the client the listener found the song.
type Source uint8

// The sources. SourceWeekly is earworm's own weekly playlist; SourcePlaylist
// is any other one. A source we do not know is SourceOther.
const (
	SourceUnknown Source = iota
	SourceSearch
	SourceLibrary
	SourcePlaylist
	SourceWeekly
	SourceAlbum
	SourceArtist
	SourceRadio
	SourceAutoplay
	SourceRecommendation
	SourceChart
	SourceShare
	SourceOther
)

// sourceNames is indexed by Source.
var sourceNames = [...]string{
	"", "search", "library", "playlist", "weekly", "album", "artist", "radio", "autoplay",
	"recommendation", "chart", "share", "other",
}

// String returns the JSON spelling of s; SourceUnknown is empty.
func (s Source) String() string {
	if int(s) < len(sourceNames) {
		return sourceNames[s]
	}
	return sourceNames[SourceOther]
}

// indexFold returns the index of text in names, ASCII case aside, or the last
// index when it is not there: a client that is newer than we are is not an error.
func indexFold(names []string, text []byte) uint8 {
	for i, name := range names {
		if equalFold(name, text) {
			return uint8(i)
		}
	}
	return uint8(len(names) - 1) //nolint:gosec // the tables have fewer than 256 names
}

// equalFold compares lower-case ASCII with text, ASCII case aside.
func equalFold(lower string, text []byte) bool {
	if len(lower) != len(text) {
		return false
	}
	for i := range text {
		c := text[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// EventID is the identity of an event. The zero value means none: the event is
// accepted but cannot be recognised when it comes again.
type EventID [16]byte

// IsZero reports whether there is no id.
func (id EventID) IsZero() bool { return id == EventID{} }

// String returns the id in UUID text form.
func (id EventID) String() string { return string(appendUUID(nil, id)) }

// Event is one thing a listener did. Byte slices alias the input of the decoder
// that filled it and are valid as long as that input is.
type Event struct {
	ID   EventID
	Kind Kind
	// Clamped tells that At was moved into the accepted window by ingest.
	Clamped bool
	User    []byte
	// Song is the song the event is about; empty where the kind needs none.
	Song []byte
	// Artist is the target of a ban that names no song; empty otherwise.
	Artist []byte
	// At is the event time in Unix ms; 0 when a profile carries none.
	At int64
	// PlayedMs, DurationMs and PositionMs are Unknown when not sent. A skip
	// without a played time takes its position.
	PlayedMs, DurationMs, PositionMs int64
	// Region is an upper-case ISO 3166 alpha-2 code; zero when not sent.
	Region [2]byte
	Device Device
	Source Source
	// PlaylistID is the playlist the song was played from; zero when not sent.
	PlaylistID [16]byte
	// Slot is the position within that playlist; Unknown when not sent.
	Slot int16
	// Rating is 1 to 5 in a survey, 0 otherwise.
	Rating int8
	// Genres and Artists are what a new listener chose; onboarding only.
	Genres, Artists [][]byte
	// Profile is set for KindProfile only.
	Profile *Profile
}

// reset empties e for reuse; the lists keep their room.
func (e *Event) reset() {
	*e = Event{
		PlayedMs: Unknown, DurationMs: Unknown, PositionMs: Unknown, Slot: Unknown,
		Genres: e.Genres[:0], Artists: e.Artists[:0],
	}
}

// AppendJSON appends e as a flat JSON object with canonical names. Decoding it
// gives e again, except for Clamped and Profile, which have no JSON spelling
// in an event. The kinds profile and erase are written for people to read and
// are refused by Decode.
func (e *Event) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"type":"`...)
	dst = append(dst, e.Kind.String()...)
	dst = append(dst, `","user_id":`...)
	dst = appendQuoted(dst, e.User)
	if !e.ID.IsZero() {
		dst = append(dst, `,"event_id":"`...)
		dst = append(appendUUID(dst, e.ID), '"')
	}
	dst = appendText(dst, "song_id", e.Song)
	dst = appendText(dst, "artist", e.Artist)
	dst = append(dst, `,"at":`...)
	dst = strconv.AppendInt(dst, e.At, 10)
	dst = appendKnown(dst, "ms_played", e.PlayedMs)
	dst = appendKnown(dst, "duration_ms", e.DurationMs)
	dst = appendKnown(dst, "position_ms", e.PositionMs)
	if e.Region != [2]byte{} {
		dst = appendText(dst, "region", e.Region[:])
	}
	dst = appendText(dst, "device", []byte(e.Device.String()))
	dst = appendText(dst, "source", []byte(e.Source.String()))
	if e.PlaylistID != [16]byte{} {
		dst = append(dst, `,"playlist_id":"`...)
		dst = append(appendUUID(dst, e.PlaylistID), '"')
	}
	dst = appendKnown(dst, "slot", int64(e.Slot))
	if e.Rating != 0 {
		dst = appendKnown(dst, "rating", int64(e.Rating))
	}
	dst = appendList(dst, "genres", e.Genres)
	dst = appendList(dst, "artists", e.Artists)
	return append(dst, '}')
}

// appendKnown appends a number field unless it is Unknown.
func appendKnown(dst []byte, name string, v int64) []byte {
	if v == Unknown {
		return dst
	}
	dst = append(append(append(dst, `,"`...), name...), `":`...)
	return strconv.AppendInt(dst, v, 10)
}

// appendText appends a string field unless it is empty.
func appendText(dst []byte, name string, text []byte) []byte {
	if len(text) == 0 {
		return dst
	}
	dst = append(append(append(dst, `,"`...), name...), `":`...)
	return appendQuoted(dst, text)
}

// appendList appends an array of strings unless it is empty.
func appendList(dst []byte, name string, entries [][]byte) []byte {
	if len(entries) == 0 {
		return dst
	}
	dst = append(append(append(dst, `,"`...), name...), `":[`...)
	for i, entry := range entries {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendQuoted(dst, entry)
	}
	return append(dst, ']')
}

// appendQuoted appends text as a JSON string. Bytes that are not UTF-8 become
// U+FFFD, as in encoding/json: the output is JSON whatever the input is.
func appendQuoted(dst, text []byte) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
			i++
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0')
			dst = hex.AppendEncode(dst, []byte{c})
			i++
		case c < utf8.RuneSelf:
			dst = append(dst, c)
			i++
		default:
			r, size := utf8.DecodeRune(text[i:])
			dst = utf8.AppendRune(dst, r)
			i += size
		}
	}
	return append(dst, '"')
}

// appendUUID appends id in UUID text form.
func appendUUID(dst []byte, id [16]byte) []byte {
	dst = hex.AppendEncode(dst, id[0:4])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, id[4:6])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, id[6:8])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, id[8:10])
	dst = append(dst, '-')
	return hex.AppendEncode(dst, id[10:16])
}

// parseUUID reads the 36-byte text form of a UUID of any version.
func parseUUID(text []byte) (id [16]byte, ok bool) {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return id, false
	}
	at, bad := 0, byte(0)
	for i := 0; i < 36; i += 2 {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			i++
		}
		high, low := unhex[text[i]], unhex[text[i+1]]
		bad |= high | low
		id[at] = high<<4 | low&0x0f
		at++
	}
	if bad&0xf0 != 0 {
		return [16]byte{}, false
	}
	return id, true
}

// unhex maps a hexadecimal digit to its value and every other byte to 0xff. It
// is written once here and never changed.
var unhex = func() (table [256]byte) {
	for i := range table {
		table[i] = math.MaxUint8
	}
	for c := byte('0'); c <= '9'; c++ {
		table[c] = c - '0'
	}
	for c := byte('a'); c <= 'f'; c++ {
		table[c] = c - 'a' + 10
		table[c-'a'+'A'] = c - 'a' + 10
	}
	return table
}()
