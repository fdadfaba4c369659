package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
)

// token returns the value of a field. Escapes are resolved here, when the field
// is asked for: most fields with escapes are ones that nobody reads.
func (doc *document) token(f field) *token {
	tok := &doc.tokens[f]
	if tok.typ == tokenEscaped {
		*tok = libraryToken(tok.raw)
	}
	return tok
}

// fail keeps the first thing that is wrong with a field. The readers below go
// on after it and return the value of an absent field.
func (doc *document) fail(code Code, f field, why reason) {
	if doc.err == nil {
		doc.err = refuse(code, f.String(), why)
	}
}

// id reads an id: a string of 1 to MaxIDBytes bytes, or a non-negative whole
// number, which stands for its digits.
func (doc *document) id(f field, required bool) []byte {
	tok := doc.token(f)
	switch tok.typ {
	case tokenAbsent:
		if required {
			doc.fail(CodeMissingField, f, "is required")
		}
		return nil
	case tokenNumber:
		if len(tok.raw) > 20 || digitsEnd(tok.raw, 0) != len(tok.raw) {
			doc.fail(CodeWrongType, f, "must be a string or a whole number")
		}
		return tok.raw
	case tokenString:
		doc.checkID(f, tok)
		return tok.raw
	default:
		doc.fail(CodeWrongType, f, "must be a string or a whole number")
		return nil
	}
}

// checkID enforces the rules for an id in text form.
func (doc *document) checkID(f field, tok *token) {
	switch {
	case len(tok.raw) == 0:
		doc.fail(CodeBadID, f, "is empty")
	case len(tok.raw) > MaxIDBytes:
		doc.fail(CodeBadID, f, "longer than 256 bytes")
	case tok.mangled || bytes.IndexByte(tok.raw, 0) >= 0:
		doc.fail(CodeBadID, f, "holds NUL or half a surrogate pair")
	}
}

// uuid reads an optional UUID.
func (doc *document) uuid(f field) [16]byte {
	tok := doc.token(f)
	switch tok.typ {
	case tokenAbsent:
		return [16]byte{}
	case tokenString:
		id, ok := parseUUID(tok.raw)
		if !ok {
			doc.fail(CodeBadID, f, "must be a UUID")
		}
		return id
	default:
		doc.fail(CodeWrongType, f, "must be a string")
		return [16]byte{}
	}
}

// text reads an optional string of at most limit bytes.
func (doc *document) text(f field, limit int) []byte {
	tok := doc.token(f)
	switch {
	case tok.typ == tokenAbsent:
		return nil
	case tok.typ != tokenString:
		doc.fail(CodeWrongType, f, "must be a string")
		return nil
	case len(tok.raw) > limit:
		doc.fail(CodeOutOfRange, f, "is too long")
	}
	return tok.raw
}

// region reads an optional ISO 3166 alpha-2 code; the empty string is none.
func (doc *document) region(f field) [2]byte {
	text := doc.text(f, MaxIDBytes)
	if len(text) == 0 {
		return [2]byte{}
	}
	region, ok := parseRegion(text)
	if !ok {
		doc.fail(CodeOutOfRange, f, "must be two letters")
	}
	return region
}

// parseRegion reads two ASCII letters of either case.
func parseRegion[T string | []byte](text T) (region [2]byte, ok bool) {
	if len(text) != 2 {
		return region, false
	}
	for i := range region {
		c := text[i] &^ 0x20
		if c < 'A' || c > 'Z' {
			return [2]byte{}, false
		}
		region[i] = c
	}
	return region, true
}

// millis reads an optional time span in ms; fractions are cut off.
func (doc *document) millis(f field) int64 {
	v, ok := doc.real(f, 0, MaxMillis)
	if !ok {
		return Unknown
	}
	return int64(v)
}

// whole reads an optional whole number between low and high.
func (doc *document) whole(f field, low, high int16) (v int16, ok bool) {
	n, ok := doc.real(f, float64(low), float64(high))
	if n != math.Trunc(n) {
		doc.fail(CodeWrongType, f, "must be a whole number")
	}
	return int16(n), ok
}

// real reads an optional number between low and high; ok tells whether it is
// there.
func (doc *document) real(f field, low, high float64) (v float64, ok bool) {
	tok := doc.token(f)
	if tok.typ == tokenAbsent {
		return 0, false
	}
	if tok.typ != tokenNumber {
		doc.fail(CodeWrongType, f, "must be a number")
		return 0, false
	}
	v, err := parseNumber(tok.raw)
	if err != nil || v < low || v > high {
		doc.fail(CodeOutOfRange, f, "is outside its bounds")
		return 0, false
	}
	return v, true
}

// flag reads an optional boolean; absent is false.
func (doc *document) flag(f field) bool {
	switch doc.tokens[f].typ {
	case tokenAbsent, tokenFalse:
		return false
	case tokenTrue:
		return true
	default:
		doc.fail(CodeWrongType, f, "must be true or false")
		return false
	}
}

// list reads an optional array of ids into dst; a bare string is a list of one.
func (doc *document) list(dst [][]byte, f field) [][]byte {
	tok := doc.token(f)
	switch tok.typ {
	case tokenAbsent:
		return dst
	case tokenString:
		doc.checkID(f, tok)
		return append(dst, tok.raw)
	case tokenArray:
	default:
		doc.fail(CodeWrongType, f, "must be an array of strings")
		return dst
	}
	var entries []json.RawMessage
	if err := json.Unmarshal(tok.raw, &entries); err != nil {
		doc.fail(CodeWrongType, f, "must be an array of strings")
	}
	if len(entries) > MaxListEntries {
		doc.fail(CodeOutOfRange, f, "has more than 50 entries")
		return dst
	}
	for _, raw := range entries {
		entry := libraryToken(raw)
		if entry.typ != tokenString {
			doc.fail(CodeWrongType, f, "must be an array of strings")
			return dst
		}
		doc.checkID(f, &entry)
		dst = append(dst, entry.raw)
	}
	return dst
}

// texts is list as strings.
func (doc *document) texts(f field) []string {
	entries := doc.list(nil, f)
	if len(entries) == 0 {
		return nil
	}
	texts := make([]string, len(entries))
	for i, entry := range entries {
		texts[i] = string(entry)
	}
	return texts
}

// time reads an optional event time in Unix ms; absent is 0.
func (doc *document) time(f field) int64 {
	tok := doc.token(f)
	var at int64
	var ok bool
	switch tok.typ {
	case tokenAbsent:
		return 0
	case tokenNumber, tokenString:
		at, ok = parseTime(tok.raw, tok.typ == tokenNumber)
	default:
		doc.fail(CodeWrongType, f, "must be a number or a string")
		return 0
	}
	if !ok {
		doc.fail(CodeBadTime, f, "must be Unix seconds, ms or µs, or RFC 3339")
	} else if at < MinAt || at >= MaxAt {
		doc.fail(CodeBadTime, f, "is before 2000 or after 2099")
	}
	return at
}

// parseTime reads a Unix time, the unit told by its magnitude, or RFC 3339. A
// string counts as a Unix time when it has digits only.
func parseTime(text []byte, number bool) (at int64, ok bool) {
	if !number && digitsEnd(text, 0) != len(text) || len(text) == 0 {
		return parseRFC3339(text)
	}
	v, err := parseNumber(text)
	if err != nil {
		return 0, false
	}
	return fromUnix(v)
}

// fromUnix tells the unit of a Unix time by its magnitude: seconds below 1e11
// (the year 5138), ms below 1e14, µs below 1e17. Between 1973 and 5138 no two
// units overlap.
func fromUnix(v float64) (at int64, ok bool) {
	switch magnitude := math.Abs(v); {
	case magnitude < 1e11:
		return int64(math.Round(v * 1000)), true
	case magnitude < 1e14:
		return int64(v), true
	case magnitude < 1e17:
		return int64(v) / 1000, true
	default:
		return 0, false
	}
}

// maxExact is the number of digits that a float64 holds without rounding.
const maxExact = 15

// errNotFinite is what parseNumber returns for a literal beyond float64.
var errNotFinite = errors.New("not a finite number")

// parseNumber reads a JSON number, or digits with leading zeros.
func parseNumber(text []byte) (float64, error) {
	if len(text) <= maxExact && digitsEnd(text, 0) == len(text) {
		v := int64(0)
		for _, c := range text {
			v = v*10 + int64(c-'0')
		}
		return float64(v), nil
	}
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
		return 0, errNotFinite
	}
	return v, nil
}

// parseRFC3339 reads "2026-11-23T06:00:00.123+01:00". Digits beyond ms are cut
// off; "t", "z" and a space between date and time are allowed, as the RFC does.
// A time without an offset is refused: nobody knows which instant it is.
func parseRFC3339(text []byte) (at int64, ok bool) {
	if len(text) < len("2006-01-02T15:04:05Z") || len(text) > 64 {
		return 0, false
	}
	days, ok := parseDate(text[:10])
	separator := text[10]
	hour, okHour := twoDigits(text[11:])
	minute, okMinute := twoDigits(text[14:])
	second, okSecond := twoDigits(text[17:])
	if !ok || !okHour || !okMinute || !okSecond || text[13] != ':' || text[16] != ':' ||
		separator != 'T' && separator != 't' && separator != ' ' || hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	at = ((days*24+hour)*60+minute)*60_000 + second*1000
	rest := text[19:]
	if rest[0] == '.' {
		end := digitsEnd(rest, 1)
		if end == 1 || end == len(rest) {
			return 0, false
		}
		for i, unit := 1, int64(100); i < end && unit > 0; i, unit = i+1, unit/10 {
			at += int64(rest[i]-'0') * unit
		}
		rest = rest[end:]
	}
	offset, ok := parseOffset(rest)
	return at - offset, ok
}

// parseOffset reads "Z" or "+01:00" as ms.
func parseOffset(text []byte) (offset int64, ok bool) {
	if len(text) == 1 {
		return 0, text[0] == 'Z' || text[0] == 'z'
	}
	if len(text) != 6 || text[3] != ':' || text[0] != '+' && text[0] != '-' {
		return 0, false
	}
	hour, okHour := twoDigits(text[1:])
	minute, okMinute := twoDigits(text[4:])
	if !okHour || !okMinute || hour > 23 || minute > 59 {
		return 0, false
	}
	offset = (hour*60 + minute) * 60_000
	if text[0] == '-' {
		offset = -offset
	}
	return offset, true
}

// parseDate reads "2006-01-02" as days since 1970-01-01.
func parseDate(text []byte) (days int64, ok bool) {
	century, ok1 := twoDigits(text)
	year, ok2 := twoDigits(text[2:])
	month, ok3 := twoDigits(text[5:])
	day, ok4 := twoDigits(text[8:])
	year += century * 100
	if !ok1 || !ok2 || !ok3 || !ok4 || text[4] != '-' || text[7] != '-' ||
		month < 1 || month > 12 || day < 1 || day > daysIn(year, month) {
		return 0, false
	}
	return civilDays(year, month, day), true
}

// twoDigits reads the first two bytes of text as a decimal number.
func twoDigits(text []byte) (int64, bool) {
	high, low := text[0]-'0', text[1]-'0'
	return int64(high)*10 + int64(low), high <= 9 && low <= 9
}

// daysIn returns the length of a month of the proleptic Gregorian calendar.
func daysIn(year, month int64) int64 {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	default:
		return 31
	}
}

// civilDays counts the days from 1970-01-01, by H. Hinnant's days_from_civil
// for years from 0 on: years begin in March, so that the leap day comes last.
func civilDays(year, month, day int64) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	if year < 0 { // January and February of the year 0
		return civilDays(year+400, month, day) - 146_097
	}
	era := year / 400
	yearOfEra := year - era*400
	dayOfYear := (153*(month-3)+2)/5 + day - 1
	dayOfEra := yearOfEra*365 + yearOfEra/4 - yearOfEra/100 + dayOfYear
	return era*146_097 + dayOfEra - 719_468
}
