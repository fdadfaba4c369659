package calendar

import (
	"errors"
	"fmt"
	"time"
)

const (
	dayMs  = 24 * 60 * 60 * 1000
	weekMs = 7 * dayMs

	// epochMondayMs is 1970-01-05T00:00Z, the first Monday of Unix time: ordinal 0.
	epochMondayMs = 4 * dayMs
)

// MinYear and MaxYear bound the weeks this package speaks of: the years ISO 8601 spells with four digits.
const (
	MinYear = 1
	MaxYear = 9999
)

// ErrWeek is returned, wrapped, for text that names no ISO week.
var ErrWeek = errors.New("not an ISO week such as 2026-W48")

// Week is an ISO 8601 week: Monday to Sunday, belonging to the year that holds its Thursday.
// The zero value is no week.
type Week struct {
	Year, Number int
}

// WeekOf returns the ISO week of at, in at's own location.
func WeekOf(at time.Time) Week {
	year, number := at.ISOWeek()
	return Week{Year: year, Number: number}
}

// ParseWeek reads the form that String writes, "2026-W48". It accepts nothing else and refuses a week 53 of a
// year that has 52; the error wraps ErrWeek.
func ParseWeek(s string) (Week, error) {
	if len(s) != len("2026-W48") || s[4] != '-' || s[5] != 'W' {
		return Week{}, fmt.Errorf("parsing week %.20q: %w", s, ErrWeek)
	}
	year, okYear := digits(s[:4])
	number, okNumber := digits(s[6:])
	w := Week{Year: year, Number: number}
	if !okYear || !okNumber || !w.Valid() {
		return Week{}, fmt.Errorf("parsing week %.20q: %w", s, ErrWeek)
	}
	return w, nil
}

func digits(s string) (int, bool) {
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}

// Valid reports whether the week exists: a year of four digits and a week number that this year has.
func (w Week) Valid() bool {
	if w.Year < MinYear || w.Year > MaxYear || w.Number < 1 || w.Number > 53 {
		return false
	}
	return w.Number < 53 || WeekOf(w.Monday()) == w
}

// String returns the ISO 8601 form, "2026-W48".
func (w Week) String() string {
	return fmt.Sprintf("%04d-W%02d", w.Year, w.Number)
}

// Monday returns 00:00 UTC of the week's Monday. For a week number the year does not have it returns the Monday
// that many weeks after the year's first.
func (w Week) Monday() time.Time {
	// 4 January is always in week 1 (ISO 8601), whatever day it falls on.
	fourth := time.Date(w.Year, time.January, 4, 0, 0, 0, 0, time.UTC)
	sinceMonday := (int(fourth.Weekday()) + 6) % 7
	return fourth.AddDate(0, 0, 7*(w.Number-1)-sinceMonday)
}

// Ordinal returns the number of weeks from the week of 1970-01-05 to w; consecutive weeks have consecutive
// ordinals across years, and earlier weeks are negative.
func (w Week) Ordinal() int32 {
	return int32((w.Monday().UnixMilli() - epochMondayMs) / weekMs) //nolint:gosec // four-digit years: |ordinal| < 520,000.
}

// WeekFromOrdinal is the inverse of Ordinal.
func WeekFromOrdinal(ordinal int32) Week {
	return WeekOf(time.UnixMilli(epochMondayMs + int64(ordinal)*weekMs).UTC())
}

// Next returns the week after w.
func (w Week) Next() Week {
	return WeekOf(w.Monday().AddDate(0, 0, 7))
}

// Previous returns the week before w.
func (w Week) Previous() Week {
	return WeekOf(w.Monday().AddDate(0, 0, -7))
}

// Before reports whether w is earlier than o.
func (w Week) Before(o Week) bool {
	if w.Year != o.Year {
		return w.Year < o.Year
	}
	return w.Number < o.Number
}

// Delivery returns the first instant at which a clock on the wall in loc shows w's Monday hour:00 or later.
// Where a DST gap swallows hour:00 that is the end of the gap, and where the hour occurs twice it is the first
// occurrence. hour is clamped to 0…23; a nil loc is UTC. The result is in loc.
func (w Week) Delivery(loc *time.Location, hour int) time.Time {
	if loc == nil {
		loc = time.UTC
	}
	// wanted is the wall-clock reading written as if it were UTC; the instant is wanted − offset, for the offset
	// that holds at that instant. time.Date would choose one side of a gap without saying which, so walk the
	// zone's periods of constant offset instead, from before any offset could matter.
	wanted := w.Monday().Add(time.Duration(min(max(hour, 0), 23)) * time.Hour)
	at := wanted.Add(-26 * time.Hour).In(loc)
	for {
		_, offset := at.Zone()
		start, end := at.ZoneBounds()
		candidate := wanted.Add(-time.Duration(offset) * time.Second)
		if !start.IsZero() && candidate.Before(start) {
			return start
		}
		if end.IsZero() || candidate.Before(end) {
			return candidate.In(loc)
		}
		at = end
	}
}
