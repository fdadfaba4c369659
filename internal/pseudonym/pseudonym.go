package pseudonym

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tink-crypto/tink-go/v2/daead/subtle"
)

// Overhead is how many bytes a pseudonym is longer than its id: envelope, key id and the synthetic IV.
const Overhead = 2 + 16

// envelope is the first byte of every keyed pseudonym. A plain id never begins with it, because the
// decoder of events refuses control characters.
const envelope = 0x01

// Errors that Mapper methods return.
var (
	ErrForeign    = errors.New("not a pseudonym of a configured key")
	ErrNoKeys     = errors.New("the key file holds no key")
	errKeyedPlain = errors.New("id begins with the reserved byte 0x01")
)

// Mapper maps ids to pseudonyms with its primary key and back with any of its keys. The zero Mapper
// passes ids unchanged. It is safe for concurrent use.
type Mapper struct {
	primary byte
	ciphers map[byte]*subtle.AESSIV
}

// Parse reads keys, one per line as `id:base64`, id in 0..255 and the key 64 bytes. The first line is the
// primary key, the others still reverse older pseudonyms. Empty lines and lines that begin with # are skipped.
func Parse(keys []byte) (*Mapper, error) {
	m := &Mapper{ciphers: map[byte]*subtle.AESSIV{}}
	lines := bufio.NewScanner(bytes.NewReader(keys))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, cipher, err := parseKey(line)
		if err != nil {
			return nil, fmt.Errorf("pseudonym key on line %d: %w", n, err)
		}
		if _, twice := m.ciphers[id]; twice {
			return nil, fmt.Errorf("pseudonym key on line %d: key id %d stands twice", n, id)
		}
		if len(m.ciphers) == 0 {
			m.primary = id
		}
		m.ciphers[id] = cipher
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading pseudonym keys: %w", err)
	}
	if len(m.ciphers) == 0 {
		return nil, ErrNoKeys
	}
	return m, nil
}

// parseKey never repeats the key's text in its errors.
func parseKey(line string) (byte, *subtle.AESSIV, error) {
	name, text, ok := strings.Cut(line, ":")
	if !ok {
		return 0, nil, errors.New("want id:base64")
	}
	id, err := strconv.ParseUint(strings.TrimSpace(name), 10, 8)
	if err != nil {
		return 0, nil, errors.New("the key id is a number from 0 to 255")
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return 0, nil, errors.New("the key is not base64")
	}
	if len(key) != subtle.AESSIVKeySize {
		return 0, nil, fmt.Errorf("the key has %d bytes, want %d", len(key), subtle.AESSIVKeySize)
	}
	cipher, err := subtle.NewAESSIV(key)
	if err != nil {
		return 0, nil, fmt.Errorf("preparing the key: %w", err)
	}
	return byte(id), cipher, nil
}

// Keyed reports whether ids are encrypted.
func (m *Mapper) Keyed() bool { return len(m.ciphers) > 0 }

// Append appends the pseudonym of id to dst.
func (m *Mapper) Append(dst, id []byte) ([]byte, error) {
	if !m.Keyed() {
		if len(id) > 0 && id[0] == envelope {
			return dst, errKeyedPlain
		}
		return append(dst, id...), nil
	}
	sealed, err := m.ciphers[m.primary].EncryptDeterministically(id, nil)
	if err != nil {
		return dst, fmt.Errorf("sealing a listener id: %w", err)
	}
	dst = append(dst, envelope, m.primary)
	return append(dst, sealed...), nil
}

// All returns every name under which an id may be stored: its pseudonym, those of older keys, and the id as it is, which was stored
// before a key was configured. The first one is what Append makes now.
func (m *Mapper) All(id []byte) ([][]byte, error) {
	first, err := m.Append(nil, id)
	if err != nil {
		return nil, err
	}
	all := [][]byte{first}
	for _, key := range slices.Sorted(maps.Keys(m.ciphers)) {
		if key == m.primary {
			continue
		}
		sealed, err := m.ciphers[key].EncryptDeterministically(id, nil)
		if err != nil {
			return nil, fmt.Errorf("sealing a listener id: %w", err)
		}
		all = append(all, append([]byte{envelope, key}, sealed...))
	}
	if m.Keyed() {
		all = append(all, bytes.Clone(id))
	}
	return all, nil
}

// Reveal returns the id behind a pseudonym. A plain id, stored before a key was configured, is returned unchanged.
func (m *Mapper) Reveal(pseudonym []byte) ([]byte, error) {
	if len(pseudonym) == 0 || pseudonym[0] != envelope {
		return pseudonym, nil
	}
	if len(pseudonym) < Overhead {
		return nil, ErrForeign
	}
	cipher, ok := m.ciphers[pseudonym[1]]
	if !ok {
		return nil, ErrForeign
	}
	id, err := cipher.DecryptDeterministically(pseudonym[2:], nil)
	if err != nil {
		return nil, ErrForeign
	}
	return id, nil
}
