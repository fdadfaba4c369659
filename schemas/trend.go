package schemas

import (
	"errors"
	"fmt"
	"math"
)

// TrendStatus is the state of a trend.
type TrendStatus string

// The states of a trend.
const (
	TrendStarted     TrendStatus = "started"
	TrendOngoing     TrendStatus = "ongoing"
	TrendEnded       TrendStatus = "ended"
	TrendQuarantined TrendStatus = "quarantined"
)

// Trend tells that a song goes viral in a region, or that it no longer does.
type Trend struct {
	Song SongID
	// Region is an upper-case ISO 3166 alpha-2 code; empty is the world.
	Region string
	Status TrendStatus
	// At is the time of the reading and StartedAt that of the alarm, in Unix ms.
	At, StartedAt int64
	// Score is the z value, Ratio the rate against the expected one, Velocity
	// the logarithmic growth, Listeners the decayed count of trusted listeners.
	Score, Ratio, Velocity, Listeners float64
	// Reason is the code of a quarantine; empty otherwise.
	Reason string
}

// trendJSON is the JSON form of a Trend.
type trendJSON struct {
	Song      SongID      `json:"song_id"`
	Region    string      `json:"region,omitempty"`
	Status    TrendStatus `json:"status"`
	At        int64       `json:"at"`
	StartedAt int64       `json:"started_at"`
	Score     float64     `json:"score"`
	Ratio     float64     `json:"ratio"`
	Velocity  float64     `json:"velocity"`
	Listeners float64     `json:"listeners"`
	Reason    string      `json:"reason,omitempty"`
}

// Validate reports everything that makes t a record nobody should read.
func (t *Trend) Validate() error {
	var errs []error
	check := func(ok bool, text string) {
		if !ok {
			errs = append(errs, errors.New(text))
		}
	}
	check(validID(string(t.Song)), "song_id must have 1 to 256 bytes")
	region, ok := parseRegion(t.Region)
	check(t.Region == "" || ok && t.Region == string(region[:]), "region must be two capitals")
	switch t.Status {
	case TrendStarted, TrendOngoing, TrendEnded:
		check(t.Reason == "", "only a quarantine has a reason")
	case TrendQuarantined:
		check(t.Reason != "", "a quarantine needs a reason")
	default:
		check(false, "status must be started, ongoing, ended or quarantined")
	}
	check(t.At >= MinAt && t.At < MaxAt && t.StartedAt >= MinAt && t.StartedAt <= t.At,
		"times must lie between 2000 and 2099 and in order")
	for _, v := range [...]float64{t.Score, t.Ratio, t.Velocity, t.Listeners} {
		check(!math.IsNaN(v) && !math.IsInf(v, 0), "a number is not finite")
	}
	check(t.Ratio >= 0 && t.Listeners >= 0, "ratio and listeners must not be negative")
	return errors.Join(errs...)
}

// AppendJSON appends t, or returns what Validate finds.
func (t *Trend) AppendJSON(dst []byte) ([]byte, error) {
	if err := t.Validate(); err != nil {
		return dst, fmt.Errorf("encoding trend: %w", err)
	}
	return appendMarshal(dst, "trend", trendJSON(*t))
}

// MarshalJSON is AppendJSON for encoding/json.
func (t *Trend) MarshalJSON() ([]byte, error) { return t.AppendJSON(nil) }

// UnmarshalJSON reads a trend record and validates it. The error wraps a
// *DecodeError.
func (t *Trend) UnmarshalJSON(value []byte) error {
	var in trendJSON
	if err := decodeOutput(value, &in); err != nil {
		return fmt.Errorf("decoding trend: %w", err)
	}
	*t = Trend(in)
	if err := t.Validate(); err != nil {
		return fmt.Errorf("decoding trend: %w", &DecodeError{Code: CodeOutOfRange, err: err})
	}
	return nil
}
