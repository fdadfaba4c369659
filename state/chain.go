package state

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// Link is one applied event as the chain of a listener sees it.
type Link struct {
	Kind byte
	At   int64 // Unix ms
	ID   [16]byte
	Song []byte
}

// Chain returns the value of ListenerCore.Chain after one more event: H(previous ‖ kind ‖ time ‖ id ‖ song). A missing event,
// one applied twice and two in another order all change it.
func Chain(previous uint64, l Link) uint64 {
	var head [8 + 1 + 8 + 16]byte
	binary.LittleEndian.PutUint64(head[0:], previous)
	head[8] = l.Kind
	binary.LittleEndian.PutUint64(head[9:], uint64(l.At)) //nolint:gosec // bits
	copy(head[17:], l.ID[:])
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write(head[:])
	_, _ = d.Write(l.Song)
	return d.Sum64()
}
