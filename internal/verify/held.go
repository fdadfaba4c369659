package verify

import (
	"fmt"

	"earworm/consumers/stream"
	"earworm/model/factor"
	"earworm/schemas"
	"earworm/state"
)

// held is what the system holds, as its changelogs and output topics tell.
type held struct {
	partitions int32
	listeners  map[string]*heldListener
	listens    map[string]uint64 // plays and skips by song
	strays     int               // rows in a partition that their key does not belong to
	playlists  map[string]map[string]bool
	lists      int // playlists in the topic
	repeated   int // playlists for a listener and week that had one
	tooLate    uint64
	corrupt    uint64 // dead letters from the listens topic
}

type heldListener struct {
	core          bool // has a core row
	events, chain uint64
	plays         map[uint64]uint64 // by factor key of the song; an entry for each history row
}

func newHeld(partitions int32) *held {
	return &held{
		partitions: partitions, listeners: map[string]*heldListener{}, listens: map[string]uint64{},
		playlists: map[string]map[string]bool{},
	}
}

// changelog takes in one record of the listener changelog; the last one of a key counts.
func (h *held) changelog(rec *stream.Record) error {
	key, err := state.ParseUserKey(rec.Key)
	if err != nil {
		return nil //nolint:nilerr // rows of the task as a whole: nothing in the listens topic determines them
	}
	if stream.PartitionOf(key.User, h.partitions) != rec.Partition {
		h.strays++
	}
	l := h.listeners[string(key.User)]
	if l == nil {
		l = &heldListener{plays: map[uint64]uint64{}}
		h.listeners[string(key.User)] = l
	}
	if err := l.row(key, rec.Value); err != nil {
		return fmt.Errorf("changelog partition %d offset %d: %w", rec.Partition, rec.Offset, err)
	}
	if !l.core && len(l.plays) == 0 {
		delete(h.listeners, string(key.User))
	}
	return nil
}

func (l *heldListener) row(key state.UserKey, value []byte) error {
	switch {
	case key.Row == state.RowCore && value == nil:
		l.core, l.events, l.chain = false, 0, 0
	case key.Row == state.RowCore:
		var core state.ListenerCore
		if err := core.UnmarshalBinary(value); err != nil {
			return err
		}
		l.core, l.events, l.chain = true, core.Events, core.Chain
	case key.Row == state.RowHistory && value == nil:
		delete(l.plays, key.Song)
	case key.Row == state.RowHistory:
		var entry state.HistoryEntry
		if err := entry.UnmarshalBinary(value); err != nil {
			return err
		}
		l.plays[key.Song] = uint64(entry.Plays)
	}
	return nil
}

// factors takes in one record of the published rows.
func (h *held) factors(rec *stream.Record) error {
	kind, id, err := state.ParseFactorKey(rec.Key)
	if err != nil || factor.Kind(kind) != factor.KindSong {
		return nil //nolint:nilerr // rows of features, and of the task as a whole
	}
	if rec.Value == nil {
		delete(h.listens, string(id))
		return nil
	}
	var row schemas.FactorRow
	if err := row.UnmarshalBinary(rec.Value); err != nil {
		return fmt.Errorf("song factors partition %d offset %d: %w", rec.Partition, rec.Offset, err)
	}
	h.listens[string(id)] = row.Plays
	return nil
}

// playlist takes in one record of the playlists topic; nil withdraws what the listener had.
func (h *held) playlist(user string, list *schemas.Playlist) error {
	if list == nil {
		delete(h.playlists, user)
		return nil
	}
	weeks := h.playlists[user]
	if weeks == nil {
		weeks = map[string]bool{}
		h.playlists[user] = weeks
	}
	if weeks[list.Week] {
		h.repeated++
	}
	weeks[list.Week] = true
	h.lists++
	return nil
}

// letter takes in one dead letter. It may have come from the listens topic of an earlier generation, whose records moved to this one.
func (h *held) letter(listens string) func(*stream.Record) error {
	return func(rec *stream.Record) error {
		for _, header := range rec.Headers {
			switch {
			case header.Key == stream.HeaderErrorCode && string(header.Value) == stream.OutcomeTooLate.String():
				h.tooLate++
			case header.Key == stream.HeaderTopic && schemas.FirstName(string(header.Value)) == schemas.FirstName(listens):
				h.corrupt++
			}
		}
		return nil
	}
}
