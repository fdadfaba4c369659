package state

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// SchemaVersion is the version of the key layout and of the meta row. A store of another version is rebuilt from its changelog.
const SchemaVersion = 2

// metaVersion is the first byte of a meta row.
const metaVersion = 1

const maxNameBytes = 256

// metaKey sorts before every key that a caller may use.
var metaKey = []byte("\x00meta")

// countKey counts batches. Each batch adds one to it by a merge, and also writes the number it should be into the meta row. If the
// files of a store lose a batch from the middle of its history (a log removed, the end of a MANIFEST unreadable), Pebble notices
// nothing, later rows and the offset look fine, but the sum no longer agrees.
var countKey = []byte("\x00count")

// one is the operand that a batch adds to the count.
var one = binary.LittleEndian.AppendUint64(nil, 1)

// Identity names one store: the application it belongs to, the role, and one of the application's partitions.
type Identity struct {
	App, Role             string
	Partition, Partitions int32
}

// String returns role/partition.
func (id Identity) String() string { return fmt.Sprintf("%s/%d", id.Role, id.Partition) }

func (id Identity) validate() error {
	switch {
	case id.App == "" || len(id.App) > maxNameBytes:
		return fmt.Errorf("store %s: application id is empty or too long", id)
	case !plainName(id.Role):
		return fmt.Errorf("store %s: role must be lower-case letters, digits and dashes", id)
	case id.Partition < 0 || id.Partition >= id.Partitions:
		return fmt.Errorf("store %s: partition is not among %d", id, id.Partitions)
	}
	return nil
}

// plainName says whether a role can be a directory name on every system.
func plainName(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// meta is the row that makes a directory self-describing; every batch writes it together with the rows.
type meta struct {
	id      Identity
	schema  uint32
	batches uint64 // batches written since the store was created, this one included
	offset  int64
	applied int64 // Unix ms of the last Apply, 0 = never
}

func (m meta) appendBinary(dst []byte) []byte {
	dst = append(dst, metaVersion)
	dst = appendBytes(dst, m.id.App)
	dst = appendBytes(dst, m.id.Role)
	dst = binary.AppendUvarint(dst, uint64(uint32(m.id.Partition)))  //nolint:gosec // bits
	dst = binary.AppendUvarint(dst, uint64(uint32(m.id.Partitions))) //nolint:gosec // bits
	dst = binary.AppendUvarint(dst, uint64(m.schema))
	dst = binary.AppendUvarint(dst, m.batches)
	dst = binary.AppendVarint(dst, m.offset)
	return binary.AppendVarint(dst, m.applied)
}

func (m *meta) unmarshalBinary(b []byte) error {
	r := reader{b: b}
	if v := r.byte(); v != metaVersion && r.err == nil {
		// A later program may have changed all that follows; what it wrote is only good for a rebuild.
		return errUnknownMeta
	}
	m.id.App = r.string("", maxNameBytes)
	m.id.Role = r.string("", maxNameBytes)
	m.id.Partition = int32(r.bounded(1<<31-1, "partition is out of range"))        //nolint:gosec // bounded
	m.id.Partitions = int32(r.bounded(1<<31-1, "partition count is out of range")) //nolint:gosec // bounded
	m.schema = uint32(r.bounded(1<<32-1, "schema version is out of range"))        //nolint:gosec // bounded
	m.batches = r.uvarint()
	m.offset = r.varint()
	m.applied = r.varint()
	if m.offset < 0 {
		r.fail("offset is negative")
	}
	return r.end()
}

var errUnknownMeta = fmt.Errorf("%w: meta row of an unknown version", ErrRow)

// mismatch compares the meta row found with the identity asked for.
func (m meta) mismatch(id Identity) (Reason, error) {
	switch {
	case m.id.App != id.App:
		return "", fmt.Errorf("%w: it belongs to %q, not %q", ErrForeign, m.id.App, id.App)
	case m.schema != SchemaVersion:
		return ReasonSchema, nil
	case m.id.Role != id.Role || m.id.Partition != id.Partition:
		return ReasonIdentity, nil
	case m.id.Partitions != id.Partitions:
		return ReasonPartitions, nil
	}
	return "", nil
}

func (m meta) appliedAt() time.Time {
	if m.applied == 0 {
		return time.Time{}
	}
	return time.UnixMilli(m.applied)
}

// counting is Pebble's merge operator for countKey: values are numbers, and merging adds them.
func counting() *pebble.Merger {
	return &pebble.Merger{
		Name:  "earworm.count",
		Merge: func(_, value []byte) (pebble.ValueMerger, error) { return newSum(value) },
	}
}

type sum uint64

func newSum(value []byte) (*sum, error) {
	var s sum
	return &s, s.MergeNewer(value)
}

// MergeNewer adds an operand.
func (s *sum) MergeNewer(value []byte) error {
	if len(value) != 8 {
		return fmt.Errorf("%w: a count has %d bytes", ErrRow, len(value))
	}
	*s += sum(binary.LittleEndian.Uint64(value))
	return nil
}

// MergeOlder adds an operand; the order does not matter.
func (s *sum) MergeOlder(value []byte) error { return s.MergeNewer(value) }

// Finish returns the sum.
func (s *sum) Finish(bool) ([]byte, io.Closer, error) {
	return binary.LittleEndian.AppendUint64(nil, uint64(*s)), nil, nil
}
