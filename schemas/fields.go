package schemas

import (
	"fmt"
	"maps"
	"slices"
)

// field is a canonical field of an event, a song or a profile.
type field uint8

const (
	fieldNone field = iota
	fieldEventID
	fieldType
	fieldUserID
	fieldSongID
	fieldAt
	fieldMsPlayed
	fieldDurationMs
	fieldPositionMs
	fieldRegion
	fieldDevice
	fieldSource
	fieldPlaylistID
	fieldSlot
	fieldRating
	fieldGenres
	fieldArtists
	fieldArtist
	fieldTimeZone
	fieldAgeBand
	fieldLanguages
	fieldOptOut
	fieldDiscovery
	fieldTitle
	fieldAlbum
	fieldMoods
	fieldLanguage
	fieldTempo
	fieldEnergy
	fieldReleasedAt
	fieldISRC
	// The members of a CloudEvents envelope that are no fields of ours.
	fieldSpecVersion
	fieldData
	fieldDataBase64
	fieldCount
)

// lastEventField is the last field that occurs in an event; those behind it are
// foreign keys there, and are not kept.
const lastEventField = fieldArtist

// lastField is the last field of any document.
const lastField = fieldISRC

// fieldNames is indexed by field.
var fieldNames = [fieldCount]string{
	"", "event_id", "type", "user_id", "song_id", "at", "ms_played", "duration_ms", "position_ms", "region",
	"device", "source", "playlist_id", "slot", "rating", "genres", "artists", "artist", "time_zone", "age_band",
	"languages", "opt_out", "discovery", "title", "album", "moods", "language", "tempo", "energy", "released_at", "isrc",
	"specversion", "data", "data_base64",
}

// String returns the canonical name.
func (f field) String() string { return fieldNames[f] }

// The built-in aliases, alias to canonical name: those of every document, and
// those that mean something in one document only.
var (
	commonAliases = map[string]string{
		"userId": "user_id", "user": "user_id",
		"songId": "song_id", "trackId": "song_id", "track_id": "song_id", "song": "song_id",
		"timestamp": "at", "time": "at", "ts": "at",
		"durationMs": "duration_ms",
		"artistId":   "artist", "artist_id": "artist",
	}
	eventAliases = map[string]string{
		"eventId": "event_id", "eventType": "type", "event_type": "type", "event": "type", "kind": "type",
		"msPlayed": "ms_played", "durationPlayed": "ms_played", "positionMs": "position_ms", "playlistId": "playlist_id",
	}
	songAliases = map[string]string{
		"id": "song_id", "name": "title", "genre": "genres", "releasedAt": "released_at", "release_date": "released_at",
	}
	profileAliases = map[string]string{
		"id": "user_id", "timeZone": "time_zone", "timezone": "time_zone", "ageBand": "age_band",
		"optOut": "opt_out", "country": "region",
	}
)

// tableSlots is the size of a name table: a power of two, several times the
// number of names, so that a look-up nearly always ends at its first slot.
const tableSlots = 512

// maxAliases keeps the table sparse whatever the configuration says.
const maxAliases = 64

// nameTable finds the field of a key without hashing whole strings or
// allocating. It is read-only once built.
type nameTable struct {
	slots [tableSlots]nameSlot
}

// nameSlot is one name; an empty name marks a free slot.
type nameSlot struct {
	name  string
	field field
	alias bool
}

// newNameTable builds the table of the canonical names up to last and of the
// aliases given, later sets of aliases over earlier ones.
func newNameTable(last field, aliases ...map[string]string) (*nameTable, error) {
	table := &nameTable{}
	canonical := make(map[string]field, fieldCount)
	for f := fieldNone + 1; f <= lastField; f++ {
		canonical[fieldNames[f]] = f
		if f <= last {
			table.insert(nameSlot{name: fieldNames[f], field: f})
		}
	}
	merged := make(map[string]string)
	for _, set := range aliases {
		maps.Copy(merged, set)
	}
	for _, alias := range slices.Sorted(maps.Keys(merged)) {
		target := canonical[merged[alias]]
		switch {
		case target == fieldNone:
			return nil, fmt.Errorf("alias %q: %q is not a field", alias, merged[alias])
		case alias == "" || len(alias) > MaxIDBytes:
			return nil, fmt.Errorf("alias %q of %q: must have 1 to %d bytes", alias, merged[alias], MaxIDBytes)
		case canonical[alias] == target:
			continue
		case canonical[alias] != fieldNone:
			return nil, fmt.Errorf("alias %q: is itself a field, and cannot stand for %q", alias, merged[alias])
		case target > last:
			continue
		}
		table.insert(nameSlot{name: alias, field: target, alias: true})
	}
	return table, nil
}

// newEnvelopeTable builds the table of a CloudEvents envelope, whose own names
// stand for our fields.
func newEnvelopeTable() *nameTable {
	table := &nameTable{}
	for _, s := range []nameSlot{
		{name: "specversion", field: fieldSpecVersion},
		{name: "id", field: fieldEventID},
		{name: "source", field: fieldSource},
		{name: "type", field: fieldType},
		{name: "time", field: fieldAt},
		{name: "data", field: fieldData},
		{name: "data_base64", field: fieldDataBase64},
	} {
		table.insert(s)
	}
	return table
}

// insert puts a name into the first free slot from its hash on.
func (t *nameTable) insert(s nameSlot) {
	at := nameHash(s.name)
	for t.slots[at].name != "" {
		at = (at + 1) % tableSlots
	}
	t.slots[at] = s
}

// find returns the slot of a key, or nil.
func (t *nameTable) find(key []byte) *nameSlot {
	if len(key) == 0 {
		return nil
	}
	for at := nameHash(key); ; at = (at + 1) % tableSlots {
		s := &t.slots[at]
		if s.name == string(key) {
			return s
		}
		if s.name == "" {
			return nil
		}
	}
}

// nameHash mixes the length and three bytes, which tell our names apart.
func nameHash[T string | []byte](name T) uint {
	n := uint(len(name))
	return (n*37 + uint(name[0])*7 + uint(name[n/2])*59 + uint(name[n-1])*131) % tableSlots
}

// tokenType is the JSON type of a captured value.
type tokenType uint8

const (
	tokenAbsent  tokenType = iota
	tokenString            // raw is the unescaped text
	tokenEscaped           // raw is the literal of a string with escapes
	tokenNumber            // raw is the literal
	tokenTrue
	tokenFalse
	tokenArray // raw is the JSON text
	tokenObject
)

// token is the value of one field as it stands in the document.
type token struct {
	raw []byte
	typ tokenType
	// mangled marks a string whose escapes are not Unicode: text was lost in decoding.
	mangled bool
}

// document is one scanned object: the token of every known field.
type document struct {
	tokens [fieldCount]token
	// nonFinite tells that a bare NaN or Infinity was read as a number too
	// large for any field; the document is not JSON.
	nonFinite bool
	// err is the first thing that a reader of a field found wrong.
	err error
}
