package schemas

import (
	"bytes"
	"strings"
)

// maxTagBytes bounds short codes: languages, age bands, zones, ISRC.
const maxTagBytes = 64

// Profile is what a listener told about themselves. On internal topics User is
// empty: the record is keyed by pseudonym and holds no original id.
type Profile struct {
	User UserID
	// Region is an upper-case ISO 3166 alpha-2 code, TimeZone an IANA name; empty when unknown.
	Region, TimeZone string
	// AgeBand is free text such as "25-34".
	AgeBand   string
	Languages []string
	// OptOut tells that nothing personal may be learnt or used: playlists
	// come from region and popularity alone.
	OptOut bool
	// Discovery is the wish for new music between 0 and 1; nil when not told.
	Discovery *float64
}

// profile turns the fields into a KindProfile event. The key, where there is
// one, must be the user id: a tombstone could not erase the profile otherwise.
func (doc *document) profile(dst *Event, key []byte, env *envelope) error {
	if doc.tokens[fieldUserID].typ == tokenAbsent {
		doc.tokens[fieldUserID] = keyToken(key)
	}
	dst.Kind = KindProfile
	dst.User = doc.keyID(fieldUserID)
	if len(key) > 0 && !bytes.Equal(key, dst.User) {
		doc.fail(CodeBadID, fieldUserID, "differs from the record key")
	}
	dst.ID = doc.eventID(env)
	dst.At = doc.eventTime(env, false)
	p := &Profile{User: UserID(dst.User)}
	if region := doc.region(fieldRegion); region != [2]byte{} {
		p.Region = string(region[:])
	}
	p.TimeZone = string(doc.text(fieldTimeZone, maxTagBytes))
	if !isZoneName(p.TimeZone) {
		doc.fail(CodeOutOfRange, fieldTimeZone, "must be an IANA time zone name")
	}
	p.AgeBand = string(doc.text(fieldAgeBand, maxTagBytes))
	p.Languages = doc.texts(fieldLanguages)
	for _, language := range p.Languages {
		if len(language) > maxTagBytes {
			doc.fail(CodeOutOfRange, fieldLanguages, "is too long")
		}
	}
	p.OptOut = doc.flag(fieldOptOut)
	if v, ok := doc.real(fieldDiscovery, 0, 1); ok {
		p.Discovery = &v
	}
	dst.Profile = p
	return doc.finish()
}

// isZoneName reports whether name could be an IANA zone; it keeps ".." and
// other paths away from whoever loads zones from files.
func isZoneName(name string) bool {
	for _, c := range []byte(name) {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("_+-/", rune(c)) {
			return false
		}
	}
	return !strings.HasPrefix(name, "/")
}

// profileJSON is the JSON form of a Profile.
type profileJSON struct {
	User      UserID   `json:"user_id"`
	Region    string   `json:"region,omitempty"`
	TimeZone  string   `json:"time_zone,omitempty"`
	AgeBand   string   `json:"age_band,omitempty"`
	Languages []string `json:"languages,omitempty"`
	OptOut    bool     `json:"opt_out,omitempty"`
	Discovery *float64 `json:"discovery,omitempty"`
}

// AppendJSON appends p with canonical names.
func (p *Profile) AppendJSON(dst []byte) ([]byte, error) {
	return appendMarshal(dst, "profile", profileJSON(*p))
}
