package song

import (
	"bytes"
	"fmt"

	"earworm/consumers/stream"
	"earworm/model/factor"
	"earworm/model/trend"
	"earworm/schemas"
	"earworm/state"
)

// Splitter says what the rows of a song task and the updates that wait for it become when their partition is split. It keeps buffers, so it
// must not be used concurrently.
type Splitter struct {
	split   stream.Split
	row     schemas.FactorRow
	updates schemas.SongUpdates
	home    []byte
	value   []byte
	parts   [][]byte // by partition, of what is being split
}

// NewSplitter returns a Splitter.
func NewSplitter(split stream.Split) *Splitter {
	return &Splitter{split: split, parts: make([][]byte, split.To)}
}

// Split calls put for each row that a row of the changelog becomes. Key and value are valid during the call.
func (s *Splitter) Split(partition int32, key, value []byte, put func(to int32, key, value []byte)) error {
	if kind, id, err := state.ParseFactorKey(key); err == nil {
		if value, err = s.withoutAcks(value); err != nil {
			return err
		}
		put(s.split.Of(s.homeOf(kind, id)), key, value)
		return nil
	}
	if song, err := state.ParseNeighboursKey(key); err == nil {
		put(s.split.Of(s.homeOf(byte(factor.KindSong), song)), key, value)
		return nil
	}
	if _, err := state.ParseHeldKey(key); err == nil {
		return s.splitHeld(value, func(to int32, value []byte) { put(to, key, value) })
	}
	var err error
	if bytes.Equal(key, state.ClockKey()) {
		value, err = s.clock(value)
	} else {
		value, err = s.season(key, value)
	}
	if err != nil {
		return err
	}
	for to := range s.split.Parts(partition) {
		put(to, key, value)
	}
	return nil
}

// Facts calls yield for what a row says.
func (s *Splitter) Facts(key, value []byte, yield func(stream.Fact)) error {
	if kind, id, err := state.ParseFactorKey(key); err == nil {
		if value, err = s.withoutAcks(value); err != nil {
			return err
		}
		yield(stream.Fact{Family: "factor rows", Home: s.homeOf(kind, id), Key: key, Value: value})
		return nil
	}
	if song, err := state.ParseNeighboursKey(key); err == nil {
		yield(stream.Fact{Family: "neighbours", Home: s.homeOf(byte(factor.KindSong), song), Key: key, Value: value})
		return nil
	}
	if _, err := state.ParseHeldKey(key); err == nil {
		return s.heldFacts(value, yield)
	}
	family := "clocks"
	if !bytes.Equal(key, state.ClockKey()) {
		if _, err := state.ParseSeasonKey(key); err != nil {
			return err
		}
		family = "traffic of regions"
	}
	yield(stream.Fact{Family: family, Key: key, Value: value})
	return nil
}

// homeOf is the key that a row is placed by.
func (s *Splitter) homeOf(kind byte, id []byte) []byte {
	s.home = append(append(s.home[:0], kind), id...)
	return s.home
}

// withoutAcks returns a row without its acknowledgements. They name offsets of the listens topic, and the one of another generation counts
// from 0 again: a change at offset 5 would pass for one that the row has had since offset 1000.
func (s *Splitter) withoutAcks(value []byte) ([]byte, error) {
	if err := s.row.UnmarshalBinary(value); err != nil {
		return nil, err
	}
	acks := s.row.Acks
	s.row.Acks = nil
	s.value = s.row.AppendBinary(s.value[:0])
	s.row.Acks, s.row.State = acks, nil
	return s.value, nil
}

// splitHeld gives the listens that wait for the clock to the partitions of their songs.
func (s *Splitter) splitHeld(value []byte, put func(to int32, value []byte)) error {
	if err := s.updates.UnmarshalBinary(value); err != nil {
		return fmt.Errorf("%w: listens that wait: %w", state.ErrRow, err)
	}
	s.spread()
	s.send(put)
	return nil
}

// spread sorts the updates in hand by the partition of their row.
func (s *Splitter) spread() {
	for i := range s.updates.Updates {
		u := &s.updates.Updates[i]
		to := s.split.Of(s.homeOf(u.Kind, u.ID))
		s.parts[to] = schemas.AppendSongUpdate(s.parts[to], u)
	}
}

// send hands over what spread has sorted.
func (s *Splitter) send(put func(to int32, value []byte)) {
	for to := range s.parts {
		if len(s.parts[to]) > 0 {
			put(int32(to), s.parts[to])
			s.parts[to] = s.parts[to][:0]
		}
	}
}

// heldFacts says each listen that waits by itself: a row of them may be split.
func (s *Splitter) heldFacts(value []byte, yield func(stream.Fact)) error {
	if err := s.updates.UnmarshalBinary(value); err != nil {
		return fmt.Errorf("%w: listens that wait: %w", state.ErrRow, err)
	}
	for i := range s.updates.Updates {
		u := &s.updates.Updates[i]
		for _, bucket := range u.Listens {
			one := schemas.SongUpdate{Kind: u.Kind, ID: u.ID, Partition: u.Partition, Listens: []schemas.ListenBucket{bucket}}
			s.value = one.AppendBinary(s.value[:0])
			yield(stream.Fact{Family: "listens that wait", Home: s.homeOf(u.Kind, u.ID), Value: s.value})
		}
	}
	return nil
}

// clock returns what a part knows of the time: what was heard from a listens partition was heard from each of its parts.
func (s *Splitter) clock(value []byte) ([]byte, error) {
	var c clock
	if err := c.unmarshalBinary(value); err != nil {
		return nil, err
	}
	heard := c.voices
	c.voices = make(map[int32]voice, len(heard))
	for from, v := range heard {
		for part := range s.split.Parts(from) {
			c.voices[part] = v
		}
	}
	s.value = c.appendBinary(s.value[:0])
	return s.value, nil
}

// season returns the traffic of a part: songs are spread by hash, so each has a fair share. With all of it, what comes to a part would be
// half of the usual, and every song that goes on as ever would seem to rise.
func (s *Splitter) season(key, value []byte) ([]byte, error) {
	if _, err := state.ParseSeasonKey(key); err != nil {
		return nil, err
	}
	var season trend.Season
	if _, err := season.UnmarshalBinary(value); err != nil {
		return nil, fmt.Errorf("%w: traffic of a region: %w", state.ErrRow, err)
	}
	season.Divide(float64(s.split.Ways()))
	s.value = season.AppendBinary(s.value[:0])
	return s.value, nil
}

// SplitUpdates calls put for each record that a record of song updates becomes. Changes lose the offset that acknowledges them (see
// withoutAcks), and how far a listens partition has come is told of each of its parts, after what it had to say.
func (s *Splitter) SplitUpdates(partition int32, value []byte, put func(to int32, value []byte)) error {
	if err := s.updates.UnmarshalBinary(value); err != nil {
		return err
	}
	for i := range s.updates.Updates {
		s.updates.Updates[i].Seq = 0
	}
	s.spread()
	for to := range s.split.Parts(partition) {
		s.parts[to] = schemas.MarkSongUpdates(s.parts[to], s.updates.Mark)
	}
	s.send(put)
	for from := range s.split.Parts(s.updates.Mark.Partition) {
		if from == s.updates.Mark.Partition || s.updates.Mark.At == 0 {
			continue
		}
		s.value = schemas.MarkSongUpdates(s.value[:0], schemas.SongMark{Partition: from, At: s.updates.Mark.At})
		for to := range s.split.Parts(partition) {
			put(to, s.value)
		}
	}
	return nil
}
