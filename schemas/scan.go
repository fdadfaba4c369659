package schemas

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// maxDepth bounds the nesting of a document, the outermost object included.
const maxDepth = 32

// maxForeignKeys is how many unknown keys the fast scanner remembers.
const maxForeignKeys = 32

// scan fills doc from value. Ordinary objects take the fast path. Whatever is
// out of the ordinary, errors included, is settled by the library path, so that
// there is one judge of what JSON is.
func scan(doc *document, names *nameTable, value []byte) error {
	if scanFlat(doc, names, value) {
		return nil
	}
	*doc = document{}
	return scanAny(doc, names, value)
}

// Classes of bytes inside a string; zero is an ordinary character.
const (
	classStop  = 1 // quote, backslash or control character
	classAbove = 2 // part of a multi-byte character
)

// stringClass tells how a byte inside a string is treated. It is written once
// here and never changed.
var stringClass = func() (table [256]uint8) {
	for c := range 0x20 {
		table[c] = classStop
	}
	table['"'], table['\\'] = classStop, classStop
	for c := utf8.RuneSelf; c < 256; c++ {
		table[c] = classAbove
	}
	return table
}()

// scanFlat reads an object without allocating, as long as its keys have no
// escapes and nothing occurs twice. It reports false for anything else, good or
// bad; doc is then half filled.
func scanFlat(doc *document, names *nameTable, value []byte) bool {
	i := skipSpace(value, 0)
	if i >= len(value) || value[i] != '{' {
		return false
	}
	var foreign keySet
	for more := true; more; {
		var key []byte
		var ok bool
		if key, i, ok = plainKey(value, i+1); !ok {
			return false
		}
		start := i
		if i = skipValue(value, start, 1); i < 0 {
			return false
		}
		if slot := names.find(key); slot != nil {
			// Null counts as absent, and absence cannot be told from a second
			// occurrence later: leave that to the other path.
			if value[start] == 'n' || doc.tokens[slot.field].typ != tokenAbsent {
				return false
			}
			doc.tokens[slot.field] = plainToken(value[start:i:i])
		} else if !foreign.add(key) {
			return false
		}
		if i, more = nextMember(value, i, '}'); i < 0 {
			return false
		}
	}
	return skipSpace(value, i+1) == len(value)
}

// keySet remembers the keys of one object, up to a bound that keeps it on the stack.
type keySet struct {
	keys  [maxForeignKeys][]byte
	count int
}

// add reports false when the key is there already or there is no room for it.
func (s *keySet) add(key []byte) bool {
	for _, seen := range s.keys[:s.count] {
		if bytes.Equal(seen, key) {
			return false
		}
	}
	if s.count == maxForeignKeys {
		return false
	}
	s.keys[s.count] = key
	s.count++
	return true
}

// plainKey reads a key without escapes and its colon, and returns the index of
// the value.
func plainKey(value []byte, i int) (key []byte, next int, ok bool) {
	i = skipSpace(value, i)
	end, escaped := skipString(value, i)
	if end < 0 || escaped {
		return nil, i, false
	}
	next = skipSpace(value, end)
	if next >= len(value) || value[next] != ':' {
		return nil, i, false
	}
	return value[i+1 : end-1], skipSpace(value, next+1), true
}

// nextMember looks behind a value: at a comma there is more, at the closing
// byte there is not. It returns the index of either, or -1.
func nextMember(value []byte, i int, closing byte) (next int, more bool) {
	i = skipSpace(value, i)
	switch {
	case i >= len(value):
		return -1, false
	case value[i] == ',':
		return i, true
	case value[i] == closing:
		return i, false
	default:
		return -1, false
	}
}

// plainToken turns a value that skipValue accepted into a token.
func plainToken(raw []byte) token {
	switch raw[0] {
	case '"':
		if text := raw[1 : len(raw)-1 : len(raw)-1]; bytes.IndexByte(text, '\\') < 0 {
			return token{raw: text, typ: tokenString}
		}
		return token{raw: raw, typ: tokenEscaped}
	case 't':
		return token{typ: tokenTrue}
	case 'f':
		return token{typ: tokenFalse}
	case '[':
		return token{raw: raw, typ: tokenArray}
	case '{':
		return token{raw: raw, typ: tokenObject}
	default:
		return token{raw: raw, typ: tokenNumber}
	}
}

// skipValue returns the index behind the value at i, or -1 when it is not JSON,
// or nested in a way the fast path leaves alone. depth counts the containers
// around it.
func skipValue(value []byte, i, depth int) int {
	if i >= len(value) {
		return -1
	}
	switch c := value[i]; {
	case c == '"':
		end, _ := skipString(value, i)
		return end
	case c == '-' || '0' <= c && c <= '9':
		if end := numberEnd(value, i); end > i {
			return end
		}
		return -1
	case c == '{' && depth < maxDepth:
		return skipObject(value, i, depth+1)
	case c == '[' && depth < maxDepth:
		return skipArray(value, i, depth+1)
	default:
		return skipWord(value, i)
	}
}

// skipWord returns the index behind true, false or null at i, or -1.
func skipWord(value []byte, i int) int {
	switch rest := value[i:]; {
	case len(rest) >= 4 && string(rest[:4]) == "true", len(rest) >= 4 && string(rest[:4]) == "null":
		return i + 4
	case len(rest) >= 5 && string(rest[:5]) == "false":
		return i + 5
	default:
		return -1
	}
}

// skipObject is skipValue for an object.
func skipObject(value []byte, i, depth int) int {
	if end := skipSpace(value, i+1); end < len(value) && value[end] == '}' {
		return end + 1
	}
	var keys keySet
	for more := true; more; {
		key, next, ok := plainKey(value, i+1)
		if !ok || !keys.add(key) {
			return -1
		}
		if i = skipValue(value, next, depth); i < 0 {
			return -1
		}
		if i, more = nextMember(value, i, '}'); i < 0 {
			return -1
		}
	}
	return i + 1
}

// skipArray is skipValue for an array.
func skipArray(value []byte, i, depth int) int {
	if end := skipSpace(value, i+1); end < len(value) && value[end] == ']' {
		return end + 1
	}
	for more := true; more; {
		if i = skipValue(value, skipSpace(value, i+1), depth); i < 0 {
			return -1
		}
		if i, more = nextMember(value, i, ']'); i < 0 {
			return -1
		}
	}
	return i + 1
}

// skipSpace returns the index of the first byte from i on that is not JSON
// white space.
func skipSpace(value []byte, i int) int {
	for i < len(value) && value[i] <= ' ' && (value[i] == ' ' || value[i] == '\n' || value[i] == '\t' || value[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the index behind the string literal at i and whether it
// has escapes, or -1 when it is not one in UTF-8.
func skipString(value []byte, i int) (end int, escaped bool) {
	if i >= len(value) || value[i] != '"' {
		return -1, false
	}
	start, class := i+1, uint8(0)
	for i = start; ; i++ {
		for i < len(value) && stringClass[value[i]] != classStop {
			class |= stringClass[value[i]]
			i++
		}
		if i >= len(value) {
			return -1, false
		}
		if value[i] != '\\' {
			break
		}
		escaped = true
		i++
		if i >= len(value) {
			return -1, false
		}
		switch value[i] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		case 'u':
			for range 4 {
				i++
				if i >= len(value) || unhex[value[i]] > 0x0f {
					return -1, false
				}
			}
		default:
			return -1, false
		}
	}
	if value[i] != '"' || class&classAbove != 0 && !utf8.Valid(value[start:i]) {
		return -1, false
	}
	return i + 1, escaped
}

// numberEnd returns the index behind the JSON number at start, or start when
// there is none.
func numberEnd(value []byte, start int) int {
	i := start
	if i < len(value) && value[i] == '-' {
		i++
	}
	whole := digitsEnd(value, i)
	if whole == i || value[i] == '0' && whole > i+1 {
		return start
	}
	i = whole
	if i < len(value) && value[i] == '.' {
		end := digitsEnd(value, i+1)
		if end == i+1 {
			return start
		}
		i = end
	}
	if i < len(value) && (value[i] == 'e' || value[i] == 'E') {
		i++
		if i < len(value) && (value[i] == '+' || value[i] == '-') {
			i++
		}
		end := digitsEnd(value, i)
		if end == i {
			return start
		}
		i = end
	}
	return i
}

// digitsEnd returns the index of the first byte from i on that is no digit.
func digitsEnd(value []byte, i int) int {
	for i < len(value) && value[i]-'0' <= 9 {
		i++
	}
	return i
}

// scanAny reads any object with encoding/json. Keys are compared after their
// escapes are resolved.
func scanAny(doc *document, names *nameTable, value []byte) error {
	if err := checkDepth(value); err != nil {
		return err
	}
	if !json.Valid(value) {
		repaired, found := withoutNonFinite(value)
		if !found || !json.Valid(repaired) {
			return refuse(CodeNotJSON, "", "not valid JSON")
		}
		doc.nonFinite, value = true, repaired
	}
	if err := checkDuplicates(value); err != nil {
		return err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(value, &members); err != nil || members == nil {
		return refuse(CodeNotJSON, "", "not an object")
	}
	utf8Whole := utf8.Valid(value)
	var aliased [fieldCount]bool
	for key, raw := range members {
		slot := names.find([]byte(key))
		if slot == nil {
			continue
		}
		if slot.alias {
			if _, exact := members[slot.field.String()]; exact {
				continue
			}
			if aliased[slot.field] {
				return refuse(CodeDuplicateKey, slot.field.String(), "given under two aliases")
			}
			aliased[slot.field] = true
		}
		if !utf8Whole && isID(slot.field) && !utf8.Valid(raw) {
			return refuse(CodeBadID, slot.field.String(), "not UTF-8")
		}
		doc.tokens[slot.field] = libraryToken(raw)
	}
	if !utf8Whole {
		return refuse(CodeNotJSON, "", "not UTF-8")
	}
	return nil
}

// isID reports whether the field holds an id.
func isID(f field) bool {
	switch f {
	case fieldEventID, fieldUserID, fieldSongID, fieldArtist, fieldPlaylistID:
		return true
	default:
		return false
	}
}

// libraryToken turns one JSON value, known to be valid, into a token.
func libraryToken(raw []byte) token {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return token{}
	}
	switch raw[0] {
	case '"':
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return token{typ: tokenObject}
		}
		return token{raw: []byte(text), typ: tokenString, mangled: hasLoneSurrogate(raw)}
	case 't':
		return token{typ: tokenTrue}
	case 'f':
		return token{typ: tokenFalse}
	case 'n':
		return token{}
	case '[':
		return token{raw: raw, typ: tokenArray}
	case '{':
		return token{raw: raw, typ: tokenObject}
	default:
		return token{raw: raw, typ: tokenNumber}
	}
}

// hasLoneSurrogate reports whether a string literal escapes half a surrogate
// pair. Decoders turn it into U+FFFD, so two different ids would become one.
func hasLoneSurrogate(literal []byte) bool {
	high := false
	for i := 0; i < len(literal); i++ {
		if literal[i] != '\\' {
			if high {
				return true
			}
			continue
		}
		i++
		if i+4 >= len(literal) || literal[i] != 'u' {
			if high {
				return true
			}
			continue
		}
		kind := unhex[literal[i+1]]<<4 | unhex[literal[i+2]]
		isHigh, isLow := kind >= 0xd8 && kind <= 0xdb, kind >= 0xdc && kind <= 0xdf
		if high != isLow {
			return true
		}
		high = isHigh
		i += 4
	}
	return high
}

// checkDepth refuses nesting beyond maxDepth before any parser recurses or
// keeps a stack of it.
func checkDepth(value []byte) error {
	depth, inString := 0, false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return refuse(CodeTooDeep, "", "nested deeper than 32 levels")
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// checkDuplicates refuses valid JSON in which an object names a key twice, at
// any level: readers disagree on which of the two counts.
func checkDuplicates(value []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.UseNumber()
	var open []map[string]struct{} // nil for an array
	isKey := false
	for {
		tok, err := decoder.Token()
		if err != nil {
			return nil //nolint:nilerr // the value is known to be valid, so this is its end
		}
		switch tok {
		case json.Delim('{'):
			open, isKey = append(open, make(map[string]struct{})), true
			continue
		case json.Delim('['):
			open, isKey = append(open, nil), false
			continue
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		default:
			if key, ok := tok.(string); ok && isKey {
				top := open[len(open)-1]
				if _, twice := top[key]; twice {
					return refuse(CodeDuplicateKey, "", "an object names a key twice")
				}
				top[key] = struct{}{}
				isKey = false
				continue
			}
		}
		// A value ended: inside an object a key follows.
		isKey = len(open) > 0 && open[len(open)-1] != nil
	}
}

// withoutNonFinite replaces the bare words NaN, Infinity and -Infinity, which
// some writers emit, by a number beyond every bound, and reports whether there
// were any.
func withoutNonFinite(value []byte) (repaired []byte, found bool) {
	inString := false
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case inString && c == '\\' && i+1 < len(value):
			repaired = append(repaired, c)
			i++
			c = value[i]
		case c == '"':
			inString = !inString
		case inString:
		default:
			if n := nonFiniteWord(value[i:]); n > 0 {
				repaired, found = append(repaired, "1e999"...), true
				i += n - 1
				continue
			}
		}
		repaired = append(repaired, c)
	}
	return repaired, found
}

// nonFiniteWord returns the length of a NaN or Infinity at the start of rest, or 0.
func nonFiniteWord(rest []byte) int {
	for _, word := range [...]string{"NaN", "Infinity", "-Infinity"} {
		if len(rest) >= len(word) && string(rest[:len(word)]) == word {
			return len(word)
		}
	}
	return 0
}
