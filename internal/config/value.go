package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bytes is a size in bytes. Its text form takes the suffixes B, KiB, MiB, GiB and TiB, or none.
type Bytes int64

// Binary units of a size.
const (
	KiB Bytes = 1 << (10 * (iota + 1))
	MiB
	GiB
	TiB
)

var byteUnits = []struct {
	suffix string
	size   Bytes
}{{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}, {"B", 1}}

// ParseBytes reads a size such as 256KiB or 1048576.
func ParseBytes(text string) (Bytes, error) {
	number, size := strings.TrimSpace(text), Bytes(1)
	for _, unit := range byteUnits {
		if rest, ok := strings.CutSuffix(number, unit.suffix); ok {
			number, size = strings.TrimSpace(rest), unit.size
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not a size such as 256KiB", text)
	}
	if n > math.MaxInt64/int64(size) {
		return 0, fmt.Errorf("%q is too large", text)
	}
	return Bytes(n) * size, nil
}

// String returns the size in the largest unit that divides it.
func (b Bytes) String() string {
	for _, unit := range byteUnits {
		if b >= unit.size && b%unit.size == 0 && unit.size > 1 {
			return strconv.FormatInt(int64(b/unit.size), 10) + unit.suffix
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// Int returns the size as an int.
func (b Bytes) Int() int { return int(b) }

const day = 24 * time.Hour

// ParseDuration reads a duration as time.ParseDuration does, and in addition a leading number of days: 365d, 1d12h.
// A day is 24 hours.
func ParseDuration(text string) (time.Duration, error) {
	wrong := fmt.Errorf("%q is not a duration such as 200ms, 5m or 7d", text)
	rest, days := strings.TrimSpace(text), time.Duration(0)
	if head, tail, ok := strings.Cut(rest, "d"); ok {
		n, err := strconv.ParseInt(head, 10, 32)
		if err != nil || n < 0 || n > int64(math.MaxInt64/day) {
			return 0, wrong
		}
		days, rest = time.Duration(n)*day, tail
		if rest == "" {
			return days, nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil || (days > 0 && d < 0) || d > math.MaxInt64-days {
		return 0, wrong
	}
	return days + d, nil
}

// formatDuration is the inverse of ParseDuration, in its shortest form.
func formatDuration(d time.Duration) string {
	if d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// parseList splits a comma-separated list; spaces around the items do not count and empty text is an empty list.
func parseList(text string) []string {
	items := strings.Split(text, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return slices.DeleteFunc(items, func(s string) bool { return s == "" })
}

// parsePairs splits name=value pairs that are separated by commas.
func parsePairs(text string) (map[string]any, error) {
	pairs := make(map[string]any)
	var problems []error
	for _, item := range parseList(text) {
		name, value, ok := strings.Cut(item, "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" {
			problems = append(problems, fmt.Errorf("%q is not of the form name=value", item))
			continue
		}
		pairs[name] = strings.TrimSpace(value)
	}
	return pairs, errors.Join(problems...)
}
