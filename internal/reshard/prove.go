package reshard

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"earworm/consumers/stream"
)

// starts is where the groups go on in the new topics.
type starts struct {
	listener, song map[stream.TopicPartition]int64
	// firsts are the first offsets of listens whose beginning is not there.
	firsts map[stream.TopicPartition]int64
}

// prove reads the old and the new topics and compares them. ErrDiffers says what is not as it must be.
func (m *mover) prove(ctx context.Context) (*Receipt, *starts, error) {
	move := m.layout.Move
	receipt := &Receipt{
		Application: m.cfg.App, From: m.layout.Current, To: move.To, StartedAt: time.UnixMilli(move.StartedAt).UTC(), Runs: move.Runs,
	}
	spans, err := m.stable(ctx, m.to.Moving())
	if err != nil {
		return nil, nil, err
	}
	book := &book{families: map[string]*Family{}}
	start := &starts{
		listener: map[stream.TopicPartition]int64{}, song: map[stream.TopicPartition]int64{}, firsts: map[stream.TopicPartition]int64{},
	}
	for p := range m.split.From {
		for _, log := range m.changelogs() {
			if err := m.compareRows(ctx, log, p, spans, book); err != nil {
				return nil, nil, fmt.Errorf("comparing %s/%d: %w", log.from, p, err)
			}
		}
		if err := m.compareListens(ctx, p, spans, book, start, receipt); err != nil {
			return nil, nil, fmt.Errorf("comparing %s/%d: %w", m.from.Listens, p, err)
		}
		for topic, count := range map[string]*int64{m.from.Ticks: &receipt.Waiting.Ticks, m.from.SongUpdates: &receipt.Waiting.Updates} {
			done, err := m.progress(topic, p)
			if err != nil {
				return nil, nil, err
			}
			*count += done.Copied.Rows
		}
	}
	for p := range m.split.To {
		start.listener[stream.TopicPartition{Topic: m.to.Ticks, Partition: p}] = 0
		start.song[stream.TopicPartition{Topic: m.to.SongUpdates, Partition: p}] = 0
	}
	receipt.Families, receipt.Orphans = book.sorted(), book.orphans
	if len(book.wrong) > 0 || !receipt.Equal() {
		return nil, nil, fmt.Errorf("%w: %s; the old generation stays in force: give the move up with --abort and report this", ErrDiffers, book.differences())
	}
	return receipt, start, nil
}

// book is what was found.
type book struct {
	families map[string]*Family
	orphans  int64
	wrong    []string // comparisons of a single partition that failed
}

func (b *book) family(name string, each bool) *Family {
	f := b.families[name]
	if f == nil {
		f = &Family{Family: name, EachPart: each}
		b.families[name] = f
	}
	return f
}

func (b *book) sorted() []Family {
	var all []Family
	for _, f := range b.families {
		all = append(all, *f)
	}
	slices.SortFunc(all, func(x, y Family) int { return cmp.Compare(x.Family, y.Family) })
	return all
}

func (b *book) differences() string {
	const most = 5
	found := slices.Clone(b.wrong)
	if b.orphans > 0 {
		found = append(found, fmt.Sprintf("%d orphans", b.orphans))
	}
	if len(found) > most {
		found = append(found[:most], "...")
	}
	return strings.Join(found, "; ")
}

// compare books what one old partition must have become and what its parts have.
func (b *book) compare(topic string, partition int32, before, after map[string]Sum, each map[string]bool) {
	for _, sums := range []map[string]Sum{before, after} {
		for name := range sums {
			b.family(name, each[name])
		}
	}
	for name, f := range b.families {
		if before[name] != after[name] {
			b.wrong = append(b.wrong, fmt.Sprintf("%s/%d, %s: %d rows with sum %s, must be %d with %s", topic, partition, name,
				after[name].Rows, after[name].Checksum, before[name].Rows, before[name].Checksum))
		}
		f.Before.add(before[name])
		f.After.add(after[name])
	}
}

// said is what the record of a key says that is the last one so far.
type said struct {
	family string
	sum    Sum
}

// compareRows compares a partition of a changelog with its parts. What the old one must have become is summed from its own rows, without
// the code that copies; only what is of a task as a whole is split first.
func (m *mover) compareRows(ctx context.Context, log changelog, partition int32, spans map[stream.TopicPartition]stream.Span, b *book) error {
	live, each := map[rowKey]said{}, map[string]bool{}
	at := m.at(log.from, partition)
	err := m.readSpan(ctx, stream.TopicPartition{Topic: log.from, Partition: partition}, stream.Span{Start: at.Start, End: at.End}, func(rec *stream.Record) error {
		if rec.Value == nil {
			delete(live, keyOf(rec.Key))
			return nil
		}
		s, err := log.says(partition, rec, each)
		live[keyOf(rec.Key)] = s
		return err
	})
	if err != nil {
		return err
	}
	before, after := map[string]Sum{}, map[string]Sum{}
	for _, s := range live {
		total := before[s.family]
		total.add(s.sum)
		before[s.family] = total
	}
	for part := range m.split.Parts(partition) {
		tp := stream.TopicPartition{Topic: log.to, Partition: part}
		err := m.readSpan(ctx, tp, spans[tp], func(rec *stream.Record) error {
			return log.Facts(rec.Key, rec.Value, func(f stream.Fact) {
				if f.Home != nil && m.split.Of(f.Home) != part {
					b.orphans++
				}
				total := after[f.Family]
				total.add(Sum{Rows: 1, Checksum: sumOf(f.Key, f.Value)})
				after[f.Family] = total
			})
		})
		if err != nil {
			return err
		}
	}
	b.compare(log.from, partition, before, after, each)
	return nil
}

// says sums what an old row must have become.
func (c changelog) says(partition int32, rec *stream.Record, each map[string]bool) (said, error) {
	var s said
	whole := false
	add := func(f stream.Fact) {
		s.family = f.Family
		s.sum.add(Sum{Rows: 1, Checksum: sumOf(f.Key, f.Value)})
		whole = whole || f.Home == nil
	}
	if err := c.Facts(rec.Key, rec.Value, add); err != nil || !whole {
		return s, err
	}
	each[s.family] = true
	s.sum = Sum{}
	var failed error
	err := c.Split(partition, rec.Key, rec.Value, func(_ int32, key, value []byte) {
		// Facts of such a row are the row: it does not use the buffers in which Split hands over its own.
		if err := c.Facts(bytes.Clone(key), bytes.Clone(value), add); err != nil {
			failed = err
		}
	})
	if err == nil {
		err = failed
	}
	return s, err
}

// compareListens compares the listens of a partition with what was counted while they were copied, and finds where the group goes on: in
// front of the first that it had not processed.
func (m *mover) compareListens(
	ctx context.Context, partition int32, spans map[stream.TopicPartition]stream.Span, b *book, start *starts, receipt *Receipt,
) error {
	done, err := m.progress(m.from.Listens, partition)
	if err != nil {
		return err
	}
	ahead := int64(0)
	var found Sum
	for part := range m.split.Parts(partition) {
		tp := stream.TopicPartition{Topic: m.to.Listens, Partition: part}
		count, next, first := int64(0), spans[tp].End, spans[tp].End
		err := m.readSpan(ctx, tp, spans[tp], func(rec *stream.Record) error {
			if count == 0 {
				first = rec.Offset
			}
			if count == done.Ahead[part] {
				next = rec.Offset
			}
			if m.split.Of(rec.Key) != part {
				b.orphans++
			}
			count++
			found.add(Sum{Rows: 1, Checksum: sumOf(rec.Key, rec.Value)})
			return nil
		})
		if err != nil {
			return err
		}
		ahead += done.Ahead[part]
		start.listener[tp] = next
		if m.firstListen(m.at(m.from.Listens, partition)) > 0 {
			start.firsts[tp] = first
		}
	}
	const name = "listens"
	b.compare(m.from.Listens, partition, map[string]Sum{name: done.Copied}, map[string]Sum{name: found}, nil)
	receipt.Waiting.Listens += done.Copied.Rows - ahead
	return nil
}
