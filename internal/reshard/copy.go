package reshard

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"

	"earworm/consumers/listener"
	"earworm/consumers/song"
	"earworm/consumers/stream"
	"earworm/schemas"
)

// progress is how far one partition of the old generation is copied. It is committed with the records that it counts.
type progress struct {
	// Next is the offset to go on from; Done says that nothing is left.
	Next int64 `json:"next"`
	Done bool  `json:"done,omitempty"`
	// Copied counts the records of the old topic, and their sum. Ahead counts those of them that were processed, by new partition.
	Copied Sum             `json:"copied"`
	Ahead  map[int32]int64 `json:"ahead,omitempty"`
}

func progressKey(topic string, partition int32) string {
	return progressPrefix + topic + "/" + strconv.Itoa(int(partition))
}

// progress returns how far a partition is.
func (m *mover) progress(topic string, partition int32) (progress, error) {
	p := progress{Next: m.at(topic, partition).Start, Ahead: map[int32]int64{}}
	value, ok := m.records[progressKey(topic, partition)]
	if !ok {
		return p, nil
	}
	if err := json.Unmarshal(value, &p); err != nil {
		return p, fmt.Errorf("reading how far %s/%d is: %w", topic, partition, err)
	}
	return p, nil
}

// splitter says what rows of a changelog become, and what they say.
type splitter interface {
	Split(partition int32, key, value []byte, put func(to int32, key, value []byte)) error
	Facts(key, value []byte, yield func(stream.Fact)) error
}

// changelogs are the topics that hold state.
func (m *mover) changelogs() []changelog {
	return []changelog{
		{m.from.ListenerChangelog, m.to.ListenerChangelog, listener.NewSplitter(m.split)},
		{m.from.SongFactors, m.to.SongFactors, song.NewSplitter(m.split)},
	}
}

type changelog struct {
	from, to string
	splitter
}

// copy copies what is not copied yet, one partition after the other.
func (m *mover) copy(ctx context.Context) error {
	for p := range m.split.From {
		for _, c := range m.changelogs() {
			if err := m.copyRows(ctx, c, p); err != nil {
				return fmt.Errorf("copying %s/%d: %w", c.from, p, err)
			}
		}
		for _, records := range []struct {
			topic string
			from  func(schemas.Frozen) int64
			each  func(*carrier) func(*stream.Record) error
		}{
			{m.from.Listens, m.firstListen, m.listen},
			{m.from.Ticks, waiting, m.tick},
			{m.from.SongUpdates, waiting, m.update},
		} {
			if err := m.copyRecords(ctx, records.topic, p, records.from, records.each); err != nil {
				return fmt.Errorf("copying %s/%d: %w", records.topic, p, err)
			}
		}
	}
	return nil
}

// waiting is where what was not processed begins.
func waiting(f schemas.Frozen) int64 { return f.Committed }

// firstListen is where the listens to be copied begin.
func (m *mover) firstListen(f schemas.Frozen) int64 {
	if m.layout.Move.WaitingOnly {
		return f.Committed
	}
	return f.Start
}

// carrier copies one partition of the old generation.
type carrier struct {
	*mover
	ctx       context.Context //nolint:containedctx // of the copying, for the callbacks of a reader
	topic     string
	partition int32
	at        schemas.Frozen
	done      progress
	records   int // in the transaction
	bytes     int
	began     time.Time // the transaction
}

// carry returns the carrier of a partition, nil if nothing is left of it.
func (m *mover) carry(ctx context.Context, topic string, partition int32) (*carrier, error) {
	done, err := m.progress(topic, partition)
	if err != nil || done.Done {
		return nil, err
	}
	return &carrier{mover: m, ctx: ctx, topic: topic, partition: partition, at: m.at(topic, partition), done: done}, nil
}

// read hands what lies behind an offset to fn, and counts it for whoever watches.
func (c *carrier) read(from int64, fn func(*stream.Record) error) error {
	tp := stream.TopicPartition{Topic: c.topic, Partition: c.partition}
	return c.readSpan(c.ctx, tp, stream.Span{Start: from, End: c.at.End}, fn)
}

func (m *mover) readSpan(ctx context.Context, tp stream.TopicPartition, span stream.Span, fn func(*stream.Record) error) error {
	return stream.ReadSpan(ctx, m.cfg.ClientOptions, tp, span, func(rec *stream.Record) error {
		m.cfg.Progress(1)
		return fn(rec)
	})
}

// send adds a record of the new generation to the transaction, as of the time of the old one.
func (c *carrier) send(topic string, to int32, key, value []byte, rec *stream.Record) error {
	message := stream.Message{Topic: topic, Partition: to, Key: slices.Clone(key), Value: slices.Clone(value), At: rec.At}
	for _, h := range rec.Headers {
		message.Headers = append(message.Headers, stream.Header{Key: h.Key, Value: slices.Clone(h.Value)})
	}
	if c.records == 0 {
		c.began = c.cfg.Now()
	}
	c.records++
	c.bytes += len(key) + len(value)
	return c.out.Send(c.ctx, message)
}

// passed notes that an old record is dealt with, and commits if the transaction is large enough, or so old that the brokers might end it:
// there may be millions of records that are not copied between two that are.
func (c *carrier) passed(rec *stream.Record) error {
	c.done.Next = rec.Offset + 1
	if c.records == 0 {
		return nil
	}
	if c.records < c.cfg.ChunkRecords && c.bytes < c.cfg.ChunkBytes && c.cfg.Now().Sub(c.began) < c.cfg.TransactionTimeout/4 {
		return nil
	}
	return c.commit()
}

// commit ends the transaction with how far the partition is.
func (c *carrier) commit() error {
	value, err := json.Marshal(c.done)
	if err != nil {
		return fmt.Errorf("encoding progress: %w", err)
	}
	if err := c.note(c.ctx, progressKey(c.topic, c.partition), value); err != nil {
		return err
	}
	c.records, c.bytes = 0, 0
	return c.out.Commit(c.ctx)
}

// finish ends the partition.
func (c *carrier) finish() error {
	c.done.Next, c.done.Done = c.at.End, true
	return c.commit()
}

// rowKey stands for a key: no two keys have the same one.
type rowKey [16]byte

func keyOf(key []byte) rowKey {
	sum := sha256.Sum256(key)
	return rowKey(sum[:16])
}

// copyRows copies the live rows of a changelog partition: a first reading finds the last record of each key, a second copies these.
func (m *mover) copyRows(ctx context.Context, log changelog, partition int32) error {
	c, err := m.carry(ctx, log.from, partition)
	if c == nil {
		return err
	}
	last := map[rowKey]int64{}
	if err := c.read(c.at.Start, func(rec *stream.Record) error {
		if rec.Value == nil {
			delete(last, keyOf(rec.Key))
			return nil
		}
		last[keyOf(rec.Key)] = rec.Offset
		return nil
	}); err != nil {
		return err
	}
	if err := c.read(c.done.Next, func(rec *stream.Record) error {
		if at, ok := last[keyOf(rec.Key)]; !ok || at != rec.Offset {
			return c.passed(rec)
		}
		var failed error
		err := log.Split(partition, rec.Key, rec.Value, func(to int32, key, value []byte) {
			if failed == nil {
				failed = c.send(log.to, to, key, value, rec)
			}
		})
		if err != nil {
			return fmt.Errorf("offset %d: %w", rec.Offset, err)
		}
		if failed != nil {
			return failed
		}
		return c.passed(rec)
	}); err != nil {
		return err
	}
	return c.finish()
}

// copyRecords copies the records of a partition from an offset on.
func (m *mover) copyRecords(
	ctx context.Context, topic string, partition int32, from func(schemas.Frozen) int64, each func(*carrier) func(*stream.Record) error,
) error {
	c, err := m.carry(ctx, topic, partition)
	if c == nil {
		return err
	}
	do := each(c)
	if first := from(c.at); c.done.Next <= first {
		c.done.Next = first
		if topic == m.from.Listens && first > 0 {
			if err := c.headless(); err != nil {
				return err
			}
		}
	}
	if err := c.read(c.done.Next, func(rec *stream.Record) error {
		if err := do(rec); err != nil {
			return fmt.Errorf("offset %d: %w", rec.Offset, err)
		}
		c.done.Copied.add(Sum{Rows: 1, Checksum: sumOf(rec.Key, rec.Value)})
		return c.passed(rec)
	}); err != nil {
		return err
	}
	return c.finish()
}

// headless puts a record in front of everything in the new partitions, which is deleted before the switch: so their first offset is not 0,
// and nobody takes what is there for the whole.
func (c *carrier) headless() error {
	for to := range c.split.Parts(c.partition) {
		if err := c.send(c.to.Listens, to, stream.BarrierKey(), nil, &stream.Record{At: c.cfg.Now()}); err != nil {
			return err
		}
	}
	return c.commit()
}

// listen copies an event to where its listener belongs.
func (m *mover) listen(c *carrier) func(*stream.Record) error {
	return func(rec *stream.Record) error {
		to := m.split.Of(rec.Key)
		if rec.Offset < c.at.Committed {
			c.done.Ahead[to]++
		}
		return c.send(m.to.Listens, to, rec.Key, rec.Value, rec)
	}
}

// tick copies a tick to every part: its cursor is a listener, and the parts share out who is behind it.
func (m *mover) tick(c *carrier) func(*stream.Record) error {
	return func(rec *stream.Record) error {
		for to := range m.split.Parts(c.partition) {
			if err := c.send(m.to.Ticks, to, rec.Key, rec.Value, rec); err != nil {
				return err
			}
		}
		return nil
	}
}

// update copies a record of song updates. One that cannot be read goes to the first part as it is, to become a dead letter there.
func (m *mover) update(c *carrier) func(*stream.Record) error {
	splitter := song.NewSplitter(m.split)
	return func(rec *stream.Record) error {
		var failed error
		err := splitter.SplitUpdates(c.partition, rec.Value, func(to int32, value []byte) {
			if failed == nil {
				failed = c.send(m.to.SongUpdates, to, rec.Key, value, rec)
			}
		})
		if err != nil {
			return c.send(m.to.SongUpdates, c.partition, rec.Key, rec.Value, rec)
		}
		return failed
	}
}

// sumOf is the hash of a key with its value.
func sumOf(key, value []byte) Checksum {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.WriteString(strconv.Itoa(len(key)) + ":") // a Digest's Write returns no error
	_, _ = d.Write(key)
	_, _ = d.Write(value)
	return Checksum(d.Sum64())
}
