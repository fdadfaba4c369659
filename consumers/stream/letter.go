package stream

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// HeaderStyle is the dialect in which a dead letter says where its record comes from and why it was refused.
type HeaderStyle uint8

// The styles: the names of Kafka Streams (KIP-1034), of Kafka Connect (KIP-298) and of Spring Kafka.
const (
	StyleStreams HeaderStyle = iota
	StyleConnect
	StyleSpring
	headerStyles
)

// styleNames is indexed by HeaderStyle.
var styleNames = [headerStyles]string{"streams", "connect", "spring"}

// String returns the name of the style in settings.
func (s HeaderStyle) String() string {
	if s < headerStyles {
		return styleNames[s]
	}
	return "unknown"
}

// ParseHeaderStyle is the inverse of String.
func ParseHeaderStyle(name string) (HeaderStyle, bool) {
	for s := range headerStyles {
		if styleNames[s] == name {
			return s, true
		}
	}
	return 0, false
}

// Dead-letter headers: the names of Kafka Streams (KIP-1034) and ours. Ours are there in every style.
const (
	HeaderException = "__streams.errors.exception"
	HeaderMessage   = "__streams.errors.message"
	HeaderTopic     = "__streams.errors.topic"
	HeaderPartition = "__streams.errors.partition"
	HeaderOffset    = "__streams.errors.offset"
	HeaderErrorCode = "earworm.error.code"
	// HeaderAttempt counts how often the record was processed and failed: 1 until it is replayed. A record that is replayed
	// carries the number, so that the next dead letter counts on.
	HeaderAttempt = "earworm.attempt"
	// HeaderTruncated is "true" on a stub: the record was too large to be kept whole.
	HeaderTruncated = "earworm.truncated"
	// HeaderValueSHA256 and HeaderValueBytes describe the whole value of a stub.
	HeaderValueSHA256 = "earworm.value.sha256"
	HeaderValueBytes  = "earworm.value.bytes"
	// HeaderNextOffset is the first offset after a batch that was skipped whole.
	HeaderNextOffset = "earworm.batch.next_offset"
)

// Codes of dead letters that the runtime makes by itself.
const (
	CodeBatchTooLarge = "batch_too_large"
	CodeBatchCorrupt  = "batch_corrupt"
)

const (
	errorTextMax = 512
	stubBytesMax = 64 << 10
	attemptsMax  = 1 << 20
)

// letter produces the dead letter.
func (o *Output) letter(rec *Record, code string, err error, extra []Header) {
	r := o.records.next()
	r.Topic, r.Partition = o.letters, rec.Partition
	size := len(rec.Key) + len(rec.Value)
	headers, attempt := 0, 1
	for _, h := range rec.Headers {
		headers += len(h.Key) + len(h.Value) + 16
		if h.Key == HeaderAttempt {
			attempt = nextAttempt(h.Value)
		}
	}
	if size+headers <= o.lettersAt {
		r.Key, r.Value = o.bytes.copy(rec.Key), o.bytes.copy(rec.Value)
		for _, h := range rec.Headers {
			if h.Key != HeaderAttempt { // ours, and counted on below
				r.Headers = append(r.Headers, Header{Key: h.Key, Value: o.bytes.copy(h.Value)})
			}
		}
	} else {
		r.Key, r.Value = o.bytes.copy(head(rec.Key)), o.bytes.copy(head(rec.Value))
		sum := sha256.Sum256(rec.Value)
		r.Headers = append(r.Headers,
			Header{Key: HeaderTruncated, Value: []byte("true")},
			Header{Key: HeaderValueSHA256, Value: []byte(hex.EncodeToString(sum[:]))},
			Header{Key: HeaderValueBytes, Value: number(int64(len(rec.Value)))})
	}
	r.Headers = o.appendReason(r.Headers, rec, err)
	r.Headers = append(r.Headers,
		Header{Key: HeaderErrorCode, Value: []byte(code)},
		Header{Key: HeaderAttempt, Value: number(int64(attempt))})
	r.Headers = append(r.Headers, extra...)
	o.send(r)
}

// nextAttempt counts on from the header of a record that was replayed. Anybody can write that header: what is no sensible number
// counts as the first attempt.
func nextAttempt(value []byte) int {
	n, err := strconv.Atoi(string(value))
	if err != nil || n < 0 || n >= attemptsMax {
		return 1
	}
	return n + 1
}

// appendReason says in the dialect of the style where the record comes from and why it was refused. There is never a stack trace:
// it could hold payload.
func (o *Output) appendReason(dst []kgo.RecordHeader, rec *Record, err error) []kgo.RecordHeader {
	exception, message := []byte(exceptionOf(err)), []byte(textOf(err))
	switch o.style {
	case StyleConnect:
		return append(dst,
			Header{Key: "__connect.errors.topic", Value: []byte(rec.Topic)},
			Header{Key: "__connect.errors.partition", Value: number(int64(rec.Partition))},
			Header{Key: "__connect.errors.offset", Value: number(rec.Offset)},
			Header{Key: "__connect.errors.connector.name", Value: []byte(o.group)},
			Header{Key: "__connect.errors.task.id", Value: number(int64(o.partition))},
			Header{Key: "__connect.errors.stage", Value: []byte("TASK_PUT")},
			Header{Key: "__connect.errors.exception.class.name", Value: exception},
			Header{Key: "__connect.errors.exception.message", Value: message})
	case StyleSpring: // whose numbers are big-endian integers, not text
		return append(dst,
			Header{Key: "kafka_dlt-original-topic", Value: []byte(rec.Topic)},
			Header{Key: "kafka_dlt-original-partition", Value: binary.BigEndian.AppendUint32(nil, uint32(rec.Partition))}, //nolint:gosec // a partition is not negative
			Header{Key: "kafka_dlt-original-offset", Value: binary.BigEndian.AppendUint64(nil, uint64(rec.Offset))},       //nolint:gosec // nor is an offset
			Header{Key: "kafka_dlt-original-timestamp", Value: binary.BigEndian.AppendUint64(nil, millis(rec.At))},
			Header{Key: "kafka_dlt-original-consumer-group", Value: []byte(o.group)},
			Header{Key: "kafka_dlt-exception-fqcn", Value: exception},
			Header{Key: "kafka_dlt-exception-message", Value: message})
	default:
		return append(dst,
			Header{Key: HeaderException, Value: exception},
			Header{Key: HeaderMessage, Value: message},
			Header{Key: HeaderTopic, Value: []byte(rec.Topic)},
			Header{Key: HeaderPartition, Value: number(int64(rec.Partition))},
			Header{Key: HeaderOffset, Value: number(rec.Offset)})
	}
}

// number writes n in ASCII.
func number(n int64) []byte { return strconv.AppendInt(nil, n, 10) }

// millis is the time as Kafka counts it, 0 where it is not known: the stub of a skipped batch has none.
func millis(at time.Time) uint64 {
	if at.IsZero() {
		return 0
	}
	return uint64(at.UnixMilli())
}

// head returns what a stub keeps.
func head(b []byte) []byte {
	if len(b) > stubBytesMax {
		return b[:stubBytesMax]
	}
	return b
}

// exceptionOf names the type of the innermost error: a closed set, in contrast to its text.
func exceptionOf(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return fmt.Sprintf("%T", err)
		}
		err = inner
	}
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	s := err.Error()
	if len(s) > errorTextMax {
		s = s[:errorTextMax]
	}
	return s
}
