package schemas

import "strconv"

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
	// CodeRejected marks a record that decoded but that its role could not apply.
	CodeRejected
	codeCount
)

// codeNames is indexed by Code.
var codeNames = [codeCount]string{
	"none", "too_large", "too_deep", "not_json", "duplicate_key", "unsupported_format", "missing_field",
	"wrong_type", "out_of_range", "unknown_kind", "bad_id", "bad_time", "corrupt", "batch_too_large", "rejected",
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

// The headers a dead letter carries besides those of the original record. The
// first five are the names of Kafka Streams (KIP-1034).
const (
	HeaderErrorException = "__streams.errors.exception"
	HeaderErrorMessage   = "__streams.errors.message"
	HeaderErrorTopic     = "__streams.errors.topic"
	HeaderErrorPartition = "__streams.errors.partition"
	HeaderErrorOffset    = "__streams.errors.offset"
	HeaderErrorCode      = "earworm.error.code"
	HeaderErrorAttempt   = "earworm.attempt"
)

// DeadLetter is what the headers of a dead letter say. Key, value and original
// headers of the record travel verbatim.
type DeadLetter struct {
	Topic     string
	Partition int32
	Offset    int64
	Code      Code
	// Exception is the kind of error, for example "schemas.DecodeError".
	Exception string
	// Message is the text of the error; it must not hold payload.
	Message string
	// Attempt counts the replays of this record, from 1.
	Attempt int
}

// AppendHeaders appends the headers of d. Numbers are written as ASCII.
func (d DeadLetter) AppendHeaders(dst []Header) []Header {
	return append(dst,
		Header{HeaderErrorException, []byte(d.Exception)},
		Header{HeaderErrorMessage, []byte(d.Message)},
		Header{HeaderErrorTopic, []byte(d.Topic)},
		Header{HeaderErrorPartition, strconv.AppendInt(nil, int64(d.Partition), 10)},
		Header{HeaderErrorOffset, strconv.AppendInt(nil, d.Offset, 10)},
		Header{HeaderErrorCode, []byte(d.Code.String())},
		Header{HeaderErrorAttempt, strconv.AppendInt(nil, int64(d.Attempt), 10)},
	)
}

// ParseDeadLetter reads the headers of a dead letter and returns the original
// ones besides. Of a header that occurs twice, as after a replay that failed
// again, the last one counts; a code of another version reads as CodeRejected.
// It reports false when the record is no dead letter.
func ParseDeadLetter(headers []Header) (letter DeadLetter, original []Header, ok bool) {
	for _, h := range headers {
		switch h.Key {
		case HeaderErrorException:
			letter.Exception = string(h.Value)
		case HeaderErrorMessage:
			letter.Message = string(h.Value)
		case HeaderErrorTopic:
			letter.Topic = string(h.Value)
		case HeaderErrorPartition:
			n, err := strconv.ParseInt(string(h.Value), 10, 32)
			if err != nil {
				return DeadLetter{}, nil, false
			}
			letter.Partition = int32(n)
		case HeaderErrorOffset:
			n, err := strconv.ParseInt(string(h.Value), 10, 64)
			if err != nil {
				return DeadLetter{}, nil, false
			}
			letter.Offset = n
		case HeaderErrorCode:
			code, known := ParseCode(string(h.Value))
			if !known {
				code = CodeRejected
			}
			letter.Code, ok = code, true
		case HeaderErrorAttempt:
			n, err := strconv.Atoi(string(h.Value))
			if err != nil {
				return DeadLetter{}, nil, false
			}
			letter.Attempt = n
		default:
			original = append(original, h)
		}
	}
	return letter, original, ok && letter.Topic != ""
}
