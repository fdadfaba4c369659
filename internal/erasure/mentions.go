package erasure

import (
	"bytes"
	"encoding/json"
	"slices"
	"unicode"
	"unicode/utf8"
)

// person are all names of one listener.
type person struct {
	id      []byte
	names   map[string]bool // under which rows may be stored, the id included
	aliases map[string]bool // fields that hold the id of a listener
}

// userFields are the spellings of the field that schemas knows, and those of profiles.
var userFields = []string{"user_id", "userId", "user", "id"}

func newPerson(id []byte, names [][]byte, aliases map[string]string) *person {
	p := &person{id: id, names: map[string]bool{string(id): true}, aliases: map[string]bool{}}
	for _, name := range names {
		p.names[string(name)] = true
	}
	for _, field := range userFields {
		p.aliases[field] = true
	}
	for alias, field := range aliases {
		if field == "user_id" {
			p.aliases[alias] = true
		}
	}
	return p
}

// in reports whether a record that a producer sent is about the person: by its key, by a field of its value that holds the id of a listener,
// or, where the value is no JSON, because the id stands in it as a word of its own. A doubtful record counts: this decides what is
// taken out of sight, and what a receipt says remains.
func (p *person) in(key, value []byte) bool {
	if p.names[string(key)] {
		return true
	}
	if len(value) == 0 {
		return false
	}
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.UseNumber()
	var doc any
	if decoder.Decode(&doc) != nil || decoder.More() {
		return p.word(value)
	}
	return p.field(doc)
}

// field looks for the id in the fields that hold listeners, at any depth: events in envelopes lie one deeper.
func (p *person) field(doc any) bool {
	switch v := doc.(type) {
	case map[string]any:
		for name, inner := range v {
			if p.aliases[name] && p.is(inner) || p.field(inner) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, p.field)
	}
	return false
}

// is reports whether a value is the id, as text or, from producers whose ids are numbers, as a number.
func (p *person) is(v any) bool {
	switch v := v.(type) {
	case string:
		return v == string(p.id)
	case json.Number:
		return v.String() == string(p.id)
	default:
		return false
	}
}

// word looks for the names between characters that no id would go on with.
func (p *person) word(value []byte) bool {
	for name := range p.names {
		for rest := value; ; {
			at := bytes.Index(rest, []byte(name))
			if at < 0 {
				break
			}
			before, _ := utf8.DecodeLastRune(rest[:at])
			after, _ := utf8.DecodeRune(rest[at+len(name):])
			if !part(before) && !part(after) {
				return true
			}
			rest = rest[at+1:]
		}
	}
	return false
}

// part reports whether a character can be part of a word.
func part(r rune) bool {
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r))
}
