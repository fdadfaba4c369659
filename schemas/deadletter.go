package schemas

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// Code says why a record was refused. The set is closed: it becomes a metric
// label and a header of dead letters. The numbers are not persisted.
type Code uint8

// The codes.
const (
	// CodeNone is the zero value: nothing is wrong.
	CodeNone Code = iota
	// CodeTooLarge marks a value above the size limit; it was not parsed.
	CodeTooLarge
	// CodeTooDeep marks JSON nested deeper than 32 levels.
	CodeTooDeep
	// CodeNotJSON marks bytes that are not one JSON object in UTF-8.
	CodeNotJSON
	// CodeDuplicateKey marks an object that names a key, or a field under two aliases, twice.
	CodeDuplicateKey
	// CodeUnsupportedFormat marks a CloudEvents or registry framing we do not read.
	CodeUnsupportedFormat
	// CodeMissingField marks an object without a field its kind needs.
	CodeMissingField
	// CodeWrongType marks a field of another JSON type than the schema's.
	CodeWrongType
	// CodeOutOfRange marks a number, text or list outside its bounds, NaN and infinity included.
	CodeOutOfRange
	// CodeUnknownKind marks an event type we do not know.
	CodeUnknownKind
	// CodeBadID marks an id that is empty, too long, not UTF-8, holds NUL, or is not a UUID where one is needed.
	CodeBadID
	// CodeBadTime marks a time that cannot be read or lies outside 2000 to 2100.
	CodeBadTime
	// CodeCorrupt marks a compact value that does not decode.
	CodeCorrupt
	// CodeBatchTooLarge marks the stub of a batch that was skipped because it decompresses beyond the cap.
	CodeBatchTooLarge
	// CodeBatchCorrupt marks the stub of a batch that was skipped because its bytes are damaged.
	CodeBatchCorrupt
	// CodeTooLate marks an event that may be a copy of one that was applied and forgotten; it is no dead letter in the counts.
	CodeTooLate
	// CodeRejected marks a record that decoded but that its role could not apply.
	CodeRejected
	codeCount
)

// codeNames is indexed by Code.
var codeNames = [codeCount]string{
	"none", "too_large", "too_deep", "not_json", "duplicate_key", "unsupported_format", "missing_field",
	"wrong_type", "out_of_range", "unknown_kind", "bad_id", "bad_time", "corrupt", "batch_too_large",
	"batch_corrupt", "too_late", "rejected",
}

// String returns the spelling used in headers and metric labels.
func (c Code) String() string {
	if c < codeCount {
		return codeNames[c]
	}
	return codeNames[CodeRejected]
}

// ParseCode is the inverse of String.
func ParseCode(text string) (Code, bool) {
	for c := range codeCount {
		if codeNames[c] == text {
			return c, true
		}
	}
	return CodeNone, false
}

// Codes returns every code a record can be refused with.
func Codes() []Code {
	codes := make([]Code, 0, codeCount-1)
	for c := CodeNone + 1; c < codeCount; c++ {
		codes = append(codes, c)
	}
	return codes
}

// DecodeError tells why a value was refused. Its text names the field and the
// reason and never the content.
type DecodeError struct {
	Code Code
	// Field is the canonical name of the field at fault; empty when it is the whole value.
	Field string
	err   error
}

// Error returns code, field and reason.
func (e *DecodeError) Error() string {
	text := e.Code.String()
	if e.Field != "" {
		text += " in " + e.Field
	}
	if e.err != nil {
		text += ": " + e.err.Error()
	}
	return text
}

// Unwrap returns the reason.
func (e *DecodeError) Unwrap() error { return e.err }

// reason is a constant text that serves as an error.
type reason string

// Error returns the text.
func (r reason) Error() string { return string(r) }

// refuse builds a DecodeError from constant texts only, so that no payload can
// leak into it.
func refuse(code Code, field string, why reason) error {
	return &DecodeError{Code: code, Field: field, err: why}
}

// Header is a Kafka record header.
type Header struct {
	Key   string
	Value []byte
}

// The headers that a dead letter carries in every style, besides those of the original record.
const (
	HeaderErrorCode   = "earworm.error.code"
	HeaderAttempt     = "earworm.attempt"
	HeaderTruncated   = "earworm.truncated"
	HeaderValueSHA256 = "earworm.value.sha256"
	HeaderValueBytes  = "earworm.value.bytes"
	HeaderNextOffset  = "earworm.batch.next_offset"
)

// DeadLetter is what the headers of a dead letter say. Key, value and original
// headers of the record travel verbatim.
type DeadLetter struct {
	// Topic is the one that the record was read from; empty when the letter does not say, as with CodeTooLate.
	Topic     string
	Partition int32
	Offset    int64
	Code      Code
	// Exception is the kind of error, for example "schemas.DecodeError".
	Exception string
	// Message is the text of the error; it must not hold payload.
	Message string
	// Attempt counts the replays of this record, from 1; 0 when the letter does not say.
	Attempt int
	// Truncated says that key and value are not whole: the record, or the batch, was too large to be kept.
	Truncated bool
}

// letterField is what a header of a dead letter says.
type letterField uint8

const (
	letterException letterField = iota
	letterMessage
	letterTopic
	letterPartition
	letterOffset
	letterCode
	letterAttempt
	letterTruncated
	letterOther // about the failure, and of no use here
)

// letterHeaders are the names of the three dialects and ours. Those of Kafka Streams are of KIP-1034, those of Kafka Connect of KIP-298.
var letterHeaders = map[string]letterField{
	"__streams.errors.exception":  letterException,
	"__streams.errors.message":    letterMessage,
	"__streams.errors.stacktrace": letterOther,
	"__streams.errors.topic":      letterTopic,
	"__streams.errors.partition":  letterPartition,
	"__streams.errors.offset":     letterOffset,

	"__connect.errors.topic":                letterTopic,
	"__connect.errors.partition":            letterPartition,
	"__connect.errors.offset":               letterOffset,
	"__connect.errors.connector.name":       letterOther,
	"__connect.errors.task.id":              letterOther,
	"__connect.errors.stage":                letterOther,
	"__connect.errors.class.name":           letterOther,
	"__connect.errors.exception.class.name": letterException,
	"__connect.errors.exception.message":    letterMessage,
	"__connect.errors.exception.stacktrace": letterOther,

	"kafka_dlt-original-topic":          letterTopic,
	"kafka_dlt-original-partition":      letterPartition,
	"kafka_dlt-original-offset":         letterOffset,
	"kafka_dlt-original-timestamp":      letterOther,
	"kafka_dlt-original-timestamp-type": letterOther,
	"kafka_dlt-original-consumer-group": letterOther,
	"kafka_dlt-exception-fqcn":          letterException,
	"kafka_dlt-exception-cause-fqcn":    letterOther,
	"kafka_dlt-exception-message":       letterMessage,
	"kafka_dlt-exception-stacktrace":    letterOther,

	HeaderErrorCode:   letterCode,
	HeaderAttempt:     letterAttempt,
	HeaderTruncated:   letterTruncated,
	HeaderValueSHA256: letterOther,
	HeaderValueBytes:  letterOther,
	HeaderNextOffset:  letterOther,
}

// springHeaders is how the names of Spring Kafka begin: its numbers are big-endian integers, the others' are ASCII.
const springHeaders = "kafka_dlt-"

// ParseDeadLetter reads the headers of a dead letter, in the style of Kafka
// Streams, Kafka Connect or Spring Kafka, and returns the original ones
// besides. Of a header that occurs twice the last one counts; a code of another
// version, and none, reads as CodeRejected. It reports false when the record is
// no dead letter.
func ParseDeadLetter(headers []Header) (letter DeadLetter, original []Header, ok bool) {
	letter.Code = CodeRejected
	for _, h := range headers {
		field, known := letterHeaders[h.Key]
		if !known {
			original = append(original, h)
			continue
		}
		if !letter.set(field, h) {
			return DeadLetter{}, nil, false
		}
		ok = ok || field == letterCode || field == letterTopic && letter.Topic != ""
	}
	if !ok {
		return DeadLetter{}, original, false
	}
	return letter, original, true
}

// set takes in one header and reports whether it makes sense.
func (d *DeadLetter) set(field letterField, h Header) bool {
	var n int64
	ok := true
	switch field {
	case letterException:
		d.Exception = string(h.Value)
	case letterMessage:
		d.Message = string(h.Value)
	case letterTopic:
		d.Topic = string(h.Value)
	case letterPartition:
		n, ok = letterNumber(h, 32)
		d.Partition = int32(n) //nolint:gosec // of 32 bits
	case letterOffset:
		d.Offset, ok = letterNumber(h, 64)
	case letterAttempt:
		n, ok = letterNumber(h, 32)
		d.Attempt = int(n)
	case letterCode:
		if code, known := ParseCode(string(h.Value)); known {
			d.Code = code
		} else {
			d.Code = CodeRejected
		}
	case letterTruncated:
		d.Truncated = string(h.Value) == "true"
	case letterOther:
	}
	return ok
}

// letterNumber reads a number of some bits in the spelling of the header's dialect; it must not be negative.
func letterNumber(h Header, bits int) (int64, bool) {
	if strings.HasPrefix(h.Key, springHeaders) {
		switch {
		case len(h.Value) == 4 && bits == 32:
			n := int32(binary.BigEndian.Uint32(h.Value)) //nolint:gosec // the bits of an int
			return int64(n), n >= 0
		case len(h.Value) == 8 && bits == 64:
			n := int64(binary.BigEndian.Uint64(h.Value)) //nolint:gosec // the bits of a long
			return n, n >= 0
		default:
			return 0, false
		}
	}
	n, err := strconv.ParseInt(string(h.Value), 10, bits)
	return n, err == nil && n >= 0
}
