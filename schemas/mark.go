package schemas

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// What became of a dead letter.
const (
	// MarkReplayed says that the letter's record was sent again.
	MarkReplayed = "replayed"
	// MarkErased says that the letter is of a person who was erased: it is neither shown nor sent again.
	MarkErased = "erased"
)

// LetterMark says what became of one dead letter. Its record is keyed by the letter's place, and names nobody.
type LetterMark struct {
	Partition int32 `json:"-"`
	Offset    int64 `json:"-"`
	// LetterAt is the timestamp of the letter, Unix ms: a topic that was deleted and created anew has the same places.
	LetterAt int64  `json:"letter_at"`
	State    string `json:"state"`
	// To is the topic that the record was sent to.
	To string `json:"to,omitempty"`
}

// Key returns the key of the record.
func (m LetterMark) Key() []byte { return []byte(LetterPlace(m.Partition, m.Offset)) }

// AppendJSON appends the value of the record.
func (m LetterMark) AppendJSON(dst []byte) ([]byte, error) {
	value, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding a mark: %w", err)
	}
	return append(dst, value...), nil
}

// ParseLetterMark reads a record. The error is a *DecodeError.
func ParseLetterMark(key, value []byte) (LetterMark, error) {
	var m LetterMark
	if err := json.Unmarshal(value, &m); err != nil {
		return LetterMark{}, refuse(CodeNotJSON, "", reason("not a mark"))
	}
	var ok bool
	if m.Partition, m.Offset, ok = ParseLetterPlace(string(key)); !ok {
		return LetterMark{}, refuse(CodeBadID, "", reason("not the place of a letter"))
	}
	if m.State != MarkReplayed && m.State != MarkErased {
		return LetterMark{}, refuse(CodeUnknownKind, "state", reason("not a state"))
	}
	return m, nil
}

// LetterPlace writes where a dead letter lies: partition/offset.
func LetterPlace(partition int32, offset int64) string {
	return strconv.FormatInt(int64(partition), 10) + "/" + strconv.FormatInt(offset, 10)
}

// ParseLetterPlace is the inverse of LetterPlace.
func ParseLetterPlace(text string) (partition int32, offset int64, ok bool) {
	left, right, found := strings.Cut(text, "/")
	p, err1 := strconv.ParseInt(left, 10, 32)
	o, err2 := strconv.ParseInt(right, 10, 64)
	if !found || err1 != nil || err2 != nil || p < 0 || o < 0 {
		return 0, 0, false
	}
	return int32(p), o, true
}
