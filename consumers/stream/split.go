package stream

import (
	"errors"
	"fmt"
	"iter"
)

// ErrSplit means that partitions cannot be split in this way.
var ErrSplit = errors.New("partitions cannot be split like that")

// Split is the change from one number of partitions to a multiple of it. Keys are placed by their hash modulo the number, so what partition
// p holds is spread over p, p+From, p+2From ... and nothing else comes there.
type Split struct{ From, To int32 }

// Validate reports whether it is one.
func (s Split) Validate() error {
	if s.From < 1 || s.To <= s.From || s.To%s.From != 0 {
		return fmt.Errorf("%w: from %d to %d; it must be a multiple, and more", ErrSplit, s.From, s.To)
	}
	return nil
}

// Ways is the number of parts of a partition.
func (s Split) Ways() int32 { return s.To / s.From }

// Parts lists the parts of a partition.
func (s Split) Parts(partition int32) iter.Seq[int32] {
	return func(yield func(int32) bool) {
		for part := partition; part < s.To; part += s.From {
			if !yield(part) {
				return
			}
		}
	}
}

// Of returns the part that a key belongs to.
func (s Split) Of(key []byte) int32 { return PartitionOf(key, s.To) }

// Fact is something that a changelog says, in a form that a split does not change.
type Fact struct {
	Family string
	// Home is the key whose hash says where the fact belongs; nil if it belongs to every part.
	Home []byte
	// Key and Value are what is said; they are valid during the call.
	Key, Value []byte
}
