//go:build crash && linux

package poison_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The codecs in the attributes of a batch.
const (
	codecGzip   = 1
	codecSnappy = 2
	codecLZ4    = 3
	codecZstd   = 4
)

// bomb is a batch that cannot be read.
type bomb struct {
	name  string
	codec int16
	raw   []byte // as if it were records, compressed
}

// unpacked is what the largest bombs unpack to.
const unpacked = 1 << 30

// bombs are one for each codec, and one of bytes that no codec reads.
func bombs() ([]bomb, error) {
	zeros := make([]byte, 1<<20)
	var packed bytes.Buffer
	writer, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	for range unpacked / len(zeros) {
		if _, err := writer.Write(zeros); err != nil {
			return nil, err
		}
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	list := []bomb{
		{"zstd", codecZstd, zstdBomb()}, {"gzip", codecGzip, packed.Bytes()}, {"no zstd frame", codecZstd, []byte("this is no zstd frame")},
	}
	for _, c := range []struct {
		name  string
		codec int16
		kgo   kgo.CompressionCodec
	}{{"lz4", codecLZ4, kgo.Lz4Compression()}, {"snappy", codecSnappy, kgo.SnappyCompression()}} {
		compressor, err := kgo.DefaultCompressor(c.kgo)
		if err != nil {
			return nil, err
		}
		var dst bytes.Buffer
		raw, _ := compressor.Compress(&dst, make([]byte, 64<<20))
		list = append(list, bomb{c.name, c.codec, bytes.Clone(raw)})
	}
	return list, nil
}

// zstdBomb says "128 KiB of zeros" again and again, four bytes each time.
func zstdBomb() []byte {
	const block = 128 << 10
	frame := []byte{0x28, 0xB5, 0x2F, 0xFD, 0, 10 << 3} // magic, no size and no checksum, a window of 1 MiB
	for n := range unpacked / block {
		header := uint32(block)<<3 | 1<<1 // one byte, repeated
		if n == unpacked/block-1 {
			header |= 1 // the last block
		}
		frame = append(frame, byte(header), byte(header>>8), byte(header>>16), 0)
	}
	return frame
}

// throw produces a batch of n records as it is.
func throw(ctx context.Context, cl *kgo.Client, leader int32, topic string, id [16]byte, partition, n int32, b bomb) (offset int64, err error) {
	now := time.Now().UnixMilli()
	batch := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, Attributes: b.codec, LastOffsetDelta: n - 1, FirstTimestamp: now, MaxTimestamp: now,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: n, Records: b.raw,
	}
	raw := batch.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, raw
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID, t.Partitions = topic, id, append(t.Partitions, p)
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis, req.Topics = -1, 10_000, append(req.Topics, t)
	resp, err := req.RequestWith(ctx, cl.Broker(int(leader)))
	if err != nil {
		return 0, fmt.Errorf("producing %s: %w", b.name, err)
	}
	answer := resp.Topics[0].Partitions[0]
	return answer.BaseOffset, kerr.ErrorForCode(answer.ErrorCode)
}
