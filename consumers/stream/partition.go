package stream

import "github.com/twmb/franz-go/pkg/kgo"

// PartitionOf returns the partition of the key among n, as Kafka's default partitioner does: murmur2 of the key,
// sign bit cleared, modulo n. A nil key belongs to partition 0.
func PartitionOf(key []byte, n int32) int32 {
	if n <= 1 || key == nil {
		return 0
	}
	return int32(murmur2(key)&0x7fffffff) % n
}

// murmur2 is the 32-bit MurmurHash2 with Kafka's seed (org.apache.kafka.common.utils.Utils.murmur2).
func murmur2(b []byte) uint32 {
	const (
		seed uint32 = 0x9747b28c
		m    uint32 = 0x5bd1e995
		r           = 24
	)
	h := seed ^ uint32(len(b)) //nolint:gosec // the algorithm is modulo 2^32
	for len(b) >= 4 {
		k := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
		b = b[4:]
		k *= m
		k ^= k >> r
		k *= m
		h *= m
		h ^= k
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(b[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return h
}

// keyedPartitioner honours a partition that the message names and else hashes the key. A dead letter keeps the
// partition number of its source, folded into the dead-letter topic's own count.
func keyedPartitioner(foldTopic string) kgo.Partitioner {
	return kgo.BasicConsistentPartitioner(func(topic string) func(*kgo.Record, int) int {
		fold := topic == foldTopic && topic != ""
		return func(r *kgo.Record, n int) int {
			switch {
			case r.Partition < 0:
				return int(PartitionOf(r.Key, int32(n))) //nolint:gosec // a partition count fits
			case fold:
				return int(r.Partition) % n
			default:
				return int(r.Partition)
			}
		}
	})
}
