package schemas

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// The states of a playlist record.
const (
	// PlaylistReady marks a record with tracks.
	PlaylistReady = "ready"
	// PlaylistNone marks a record that says why there is no playlist.
	PlaylistNone = "none"
)

// PlaylistSchemaVersion and TrendSchemaVersion go into the schema-version header.
const (
	PlaylistSchemaVersion = 1
	TrendSchemaVersion    = 1
)

// MaxTracks bounds the tracks of a playlist.
const MaxTracks = 200

// Playlist is what a listener gets in one ISO week, or the reason why nothing.
type Playlist struct {
	// ID is PlaylistID(User, Week).
	ID   uuid.UUID
	User UserID
	// Week is an ISO week such as "2026-W48".
	Week string
	// Status is PlaylistReady or PlaylistNone; Reason explains the latter.
	Status, Reason string
	CreatedAt      time.Time
	ModelEpoch     int
	Tracks         []Track
}

// Track is one song of a playlist.
type Track struct {
	// Rank counts from 1.
	Rank          int
	Song          SongID
	Title, Artist string
	Score         float64
	// Slot is the kind of slot: taste, artist, trend, explore or popular.
	Slot string
	// Reason is a code; Seeds are the heard songs it refers to.
	Reason string
	Seeds  []SongID
	// Propensity is the probability that the policy put this song here.
	Propensity float64
}

// PlaylistID returns the version 5 UUID of a listener's week: the same week
// twice is the same playlist.
func PlaylistID(user UserID, week string) uuid.UUID {
	return uuid.NewSHA1(playlistNamespace, []byte(string(user)+"\x00"+week))
}

// playlistJSON is the JSON form of a Playlist.
type playlistJSON struct {
	ID         uuid.UUID   `json:"playlist_id"`
	User       UserID      `json:"user_id"`
	Week       string      `json:"week"`
	Status     string      `json:"status"`
	Reason     string      `json:"reason,omitempty"`
	CreatedAt  string      `json:"created_at"`
	ModelEpoch int         `json:"model_epoch"`
	Tracks     []trackJSON `json:"tracks"`
}

// trackJSON is the JSON form of a Track.
type trackJSON struct {
	Rank       int      `json:"rank"`
	Song       SongID   `json:"song_id"`
	Title      string   `json:"title,omitempty"`
	Artist     string   `json:"artist,omitempty"`
	Score      float64  `json:"score"`
	Slot       string   `json:"slot"`
	Reason     string   `json:"reason,omitempty"`
	Seeds      []SongID `json:"seeds,omitempty"`
	Propensity float64  `json:"propensity"`
}

// Validate reports everything that makes p a record nobody should read.
func (p *Playlist) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(validID(string(p.User)), "user_id must have 1 to 256 bytes")
	check(isWeek(p.Week), "week must look like 2026-W48")
	check(p.ID == PlaylistID(p.User, p.Week), "playlist_id is not the id of this listener and week")
	check(p.ModelEpoch >= 0, "model_epoch must not be negative")
	check(!p.CreatedAt.IsZero(), "created_at is required")
	switch p.Status {
	case PlaylistReady:
		check(len(p.Tracks) > 0, "a ready playlist needs tracks")
	case PlaylistNone:
		check(len(p.Tracks) == 0, "no playlist has tracks")
		check(p.Reason != "", "no playlist needs a reason")
	default:
		check(false, "status must be ready or none")
	}
	check(len(p.Tracks) <= MaxTracks, "more than %d tracks", MaxTracks)
	seen := make(map[SongID]struct{}, len(p.Tracks))
	for i := range p.Tracks {
		t := &p.Tracks[i]
		_, twice := seen[t.Song]
		seen[t.Song] = struct{}{}
		check(validID(string(t.Song)) && !twice, "track %d: song_id must have 1 to 256 bytes and occur once", i+1)
		check(t.Rank == i+1, "track %d: has rank %d", i+1, t.Rank)
		check(isCode(t.Slot), "track %d: slot must be a code of a to z and _", i+1)
		check(!math.IsNaN(t.Score) && !math.IsInf(t.Score, 0), "track %d: score is not finite", i+1)
		check(t.Propensity >= 0 && t.Propensity <= 1, "track %d: propensity must be 0 to 1", i+1)
		check(len(t.Seeds) <= MaxListEntries, "track %d: more than %d seeds", i+1, MaxListEntries)
	}
	return errors.Join(errs...)
}

// AppendJSON appends p, or returns what Validate finds.
func (p *Playlist) AppendJSON(dst []byte) ([]byte, error) {
	if err := p.Validate(); err != nil {
		return dst, fmt.Errorf("encoding playlist: %w", err)
	}
	out := playlistJSON{
		p.ID, p.User, p.Week, p.Status, p.Reason, p.CreatedAt.UTC().Format(timeLayout), p.ModelEpoch,
		make([]trackJSON, len(p.Tracks)),
	}
	for i := range p.Tracks {
		out.Tracks[i] = trackJSON(p.Tracks[i])
	}
	return appendMarshal(dst, "playlist", out)
}

// MarshalJSON is AppendJSON for encoding/json.
func (p *Playlist) MarshalJSON() ([]byte, error) { return p.AppendJSON(nil) }

// UnmarshalJSON reads a playlist record and validates it. The error wraps a
// *DecodeError.
func (p *Playlist) UnmarshalJSON(value []byte) error {
	var in playlistJSON
	if err := decodeOutput(value, &in); err != nil {
		return fmt.Errorf("decoding playlist: %w", err)
	}
	at, ok := parseRFC3339([]byte(in.CreatedAt))
	if !ok {
		return fmt.Errorf("decoding playlist: %w", refuse(CodeBadTime, "created_at", "must be RFC 3339"))
	}
	*p = Playlist{
		ID: in.ID, User: in.User, Week: in.Week, Status: in.Status, Reason: in.Reason,
		CreatedAt: time.UnixMilli(at).UTC(), ModelEpoch: in.ModelEpoch,
	}
	for _, t := range in.Tracks {
		p.Tracks = append(p.Tracks, Track(t))
	}
	if err := p.Validate(); err != nil {
		return fmt.Errorf("decoding playlist: %w", &DecodeError{Code: CodeOutOfRange, err: err})
	}
	return nil
}

// decodeOutput reads one of our own outputs with the caps of the inputs.
func decodeOutput(value []byte, dst any) error {
	if len(value) > DefaultMaxBytes {
		return refuse(CodeTooLarge, "", "above the size limit")
	}
	if err := checkDepth(value); err != nil {
		return err
	}
	if !json.Valid(value) || !utf8.Valid(value) {
		return refuse(CodeNotJSON, "", "not valid JSON")
	}
	if err := checkDuplicates(value); err != nil {
		return err
	}
	if err := json.Unmarshal(value, dst); err != nil {
		return refuse(CodeWrongType, "", "a field has another type than its schema's")
	}
	return nil
}

// validID reports whether an id is within the bounds of MaxIDBytes and UTF-8.
func validID(id string) bool {
	return id != "" && len(id) <= MaxIDBytes && utf8.ValidString(id)
}

// isCode reports whether text is a code: 1 to 32 of a to z, digits and _.
func isCode(text string) bool {
	for _, c := range []byte(text) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return text != "" && len(text) <= 32
}

// isWeek reports whether text looks like an ISO week.
func isWeek(text string) bool {
	if len(text) != len("2006-W01") || text[4:6] != "-W" {
		return false
	}
	digits := text[:4] + text[6:]
	week := text[6:]
	return digitsEnd([]byte(digits), 0) == len(digits) && week >= "01" && week <= "53"
}
