package schemas

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Bounds of the texts and numbers of a song.
const (
	maxTextBytes  = 1024
	maxTempo      = 1000
	minReleasedAt = -30_610_224_000_000 // 1000-01-01
)

// Song is an entry of the catalogue. Artist is the name or id that other
// events ban an artist by.
type Song struct {
	ID                   SongID
	Title, Artist, Album string
	Genres, Moods        []string
	Language             string
	// Tempo is in beats a minute and Energy between 0 and 1; 0 is unknown.
	Tempo, Energy float32
	// DurationMs is 0 when unknown.
	DurationMs int64
	// ReleasedAt is Unix ms, before 1970 negative; 0 is unknown.
	ReleasedAt int64
	ISRC       string
	// Removed marks a song that left the catalogue: a null value. It has no JSON.
	Removed bool
}

// song turns the fields into a song.
func (doc *document) song(dst *Song, key []byte) error {
	if doc.tokens[fieldSongID].typ == tokenAbsent {
		doc.tokens[fieldSongID] = keyToken(key)
	}
	dst.ID = SongID(doc.keyID(fieldSongID))
	dst.Title = string(doc.text(fieldTitle, maxTextBytes))
	dst.Artist = string(doc.id(fieldArtist, false))
	dst.Album = string(doc.text(fieldAlbum, maxTextBytes))
	dst.Genres = doc.texts(fieldGenres)
	dst.Moods = doc.texts(fieldMoods)
	dst.Language = string(doc.text(fieldLanguage, maxTagBytes))
	tempo, _ := doc.real(fieldTempo, 0, maxTempo)
	energy, _ := doc.real(fieldEnergy, 0, 1)
	dst.Tempo, dst.Energy = float32(tempo), float32(energy)
	dst.DurationMs = max(0, doc.millis(fieldDurationMs))
	dst.ReleasedAt = doc.released()
	dst.ISRC = string(doc.text(fieldISRC, maxTagBytes))
	return doc.finish()
}

// released reads a release date: a year, "2006-01", "2006-01-02", or a time in
// any spelling that an event may use, but from the year 1000 on.
func (doc *document) released() int64 {
	tok := doc.token(fieldReleasedAt)
	if tok.typ == tokenAbsent {
		return 0
	}
	if tok.typ != tokenNumber && tok.typ != tokenString {
		doc.fail(CodeWrongType, fieldReleasedAt, "must be a number or a string")
		return 0
	}
	at, ok := parseReleased(tok.raw, tok.typ == tokenNumber)
	if !ok || at < minReleasedAt || at >= MaxAt {
		doc.fail(CodeBadTime, fieldReleasedAt, "must be a date between 1000 and 2099")
		return 0
	}
	return at
}

// parseReleased reads a release date as Unix ms.
func parseReleased(text []byte, number bool) (at int64, ok bool) {
	const dayMs = 24 * 60 * 60 * 1000
	date := append([]byte(nil), text[:min(len(text), 10)]...)
	switch len(text) {
	case len("2006"):
		date = append(date, "-01-01"...)
	case len("2006-01"):
		date = append(date, "-01"...)
	case len("2006-01-02"):
	default:
		return parseTime(text, number)
	}
	if days, ok := parseDate(date); ok {
		return days * dayMs, true
	}
	return parseTime(text, number)
}

// songJSON is the JSON form of a Song.
type songJSON struct {
	ID         SongID   `json:"song_id"`
	Title      string   `json:"title,omitempty"`
	Artist     string   `json:"artist,omitempty"`
	Album      string   `json:"album,omitempty"`
	Genres     []string `json:"genres,omitempty"`
	Moods      []string `json:"moods,omitempty"`
	Language   string   `json:"language,omitempty"`
	Tempo      float32  `json:"tempo,omitempty"`
	Energy     float32  `json:"energy,omitempty"`
	DurationMs int64    `json:"duration_ms,omitempty"`
	ReleasedAt string   `json:"released_at,omitempty"`
	ISRC       string   `json:"isrc,omitempty"`
}

// AppendJSON appends s with canonical names. The release date is written in
// RFC 3339: as a number, dates around 1970 would be read in another unit.
func (s *Song) AppendJSON(dst []byte) ([]byte, error) {
	out := songJSON{
		s.ID, s.Title, s.Artist, s.Album, s.Genres, s.Moods, s.Language, s.Tempo, s.Energy, s.DurationMs, "", s.ISRC,
	}
	if s.ReleasedAt != 0 {
		out.ReleasedAt = time.UnixMilli(s.ReleasedAt).UTC().Format(timeLayout)
	}
	return appendMarshal(dst, "song", out)
}

// appendMarshal appends v as encoding/json writes it.
func appendMarshal(dst []byte, what string, v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return dst, fmt.Errorf("encoding %s: %w", what, err)
	}
	return append(dst, text...), nil
}

// appendInt appends v in decimal.
func appendInt(dst []byte, v int64) []byte { return strconv.AppendInt(dst, v, 10) }
