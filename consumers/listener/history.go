package listener

import (
	"slices"

	"earworm/model/decay"
	"earworm/model/factor"
	"earworm/state"
)

// heard is what a listener did with one song, in memory. It holds no pointers, so a history is a few large blocks that the garbage
// collector does not look into, and an event touches two or three cache lines of it.
type heard struct {
	song                     factor.Key
	FirstAt, LastAt, LikedAt int64 // as in state.HistoryEntry
	Engagement               decay.Counter
	recall                   recall
	Plays                    uint32
	row                      factor.Index // of the table, None until the table is known to have the song
	Flags                    uint8
	dirty                    bool
}

// inlineIDs is how many event ids a heard holds itself. Most songs are heard once or twice within the window of duplicates.
const inlineIDs = 2

// recall is state.Remembered in memory: the oldest ids are here, the others lie in history.more in the order in which they came.
type recall struct {
	ids     [inlineIDs]uint64
	times   [inlineIDs]uint32
	horizon uint32
	n       uint32 // all ids, those in history.more included
}

// seen is an id that found no room in its recall.
type seen struct {
	id uint64
	at uint32
	of uint32 // position of the song in the history, or noSong
}

// noSong is the position of events about no song.
const noSong = ^uint32(0)

// history holds what a listener did with each song. Positions never change and songs are never removed.
type history struct {
	entries []heard
	index   []uint32 // position+1 by hash, linear probing, at most half full; nil while a look through the entries is cheaper
	more    []seen
}

// indexFrom is the number of songs from which there is an index.
const indexFrom = 9

// find returns the position of a song, and whether it is there.
func (h *history) find(song factor.Key) (uint32, bool) {
	if h.index == nil {
		for i := range h.entries {
			if h.entries[i].song == song {
				return uint32(i), true
			}
		}
		return 0, false
	}
	for at := h.slot(song); h.index[at] != 0; at = (at + 1) & (len(h.index) - 1) {
		if n := h.index[at] - 1; h.entries[n].song == song {
			return n, true
		}
	}
	return 0, false
}

// slot is where the search for a song begins. Keys are hashes already; their upper half chose nothing else yet.
func (h *history) slot(song factor.Key) int {
	return int(song>>32) & (len(h.index) - 1)
}

// add appends a song that find did not find, and returns its position. Entries move in memory: pointers to them end here.
func (h *history) add(e heard) uint32 {
	if len(h.entries) == cap(h.entries) {
		// By a quarter: half of a doubled slice would be empty, and most listeners have few songs. append would double it.
		grown := make([]heard, len(h.entries), len(h.entries)+max(2, len(h.entries)/4))
		copy(grown, h.entries)
		h.entries = grown
	}
	n := uint32(len(h.entries)) //nolint:gosec // memory ends long before
	h.entries = append(h.entries, e)
	switch {
	case len(h.entries) < indexFrom:
	case 2*len(h.entries) > len(h.index):
		size := 32
		for size < 3*len(h.entries) {
			size *= 2
		}
		h.index = make([]uint32, size)
		for i := range h.entries {
			h.enter(uint32(i))
		}
	default:
		h.enter(n)
	}
	return n
}

func (h *history) enter(n uint32) {
	at := h.slot(h.entries[n].song)
	for h.index[at] != 0 {
		at = (at + 1) & (len(h.index) - 1)
	}
	h.index[at] = n + 1
}

// knows reports whether an id is remembered of a song.
func (h *history) knows(r *recall, of uint32, id uint64) bool {
	for i := range min(r.n, inlineIDs) {
		if r.ids[i] == id {
			return true
		}
	}
	if r.n <= inlineIDs {
		return false
	}
	return slices.ContainsFunc(h.more, func(s seen) bool { return s.id == id && s.of == of })
}

// remember adds an id to those of a song. The oldest half gives way when there are too many.
func (h *history) remember(r *recall, of uint32, id uint64, at uint32) {
	if r.n >= state.MaxRemembered {
		var all state.Remembered
		h.export(r, of, &all)
		slices.Sort(all.Times)
		h.forget(r, of, all.Times[len(all.Times)/2]+1)
	}
	if r.n < inlineIDs {
		r.ids[r.n], r.times[r.n] = id, at
	} else {
		h.more = append(h.more, seen{id: id, at: at, of: of})
	}
	r.n++
}

// forget drops the ids of a song that are older than a time, in Unix seconds. The horizon moves only if there were any.
func (h *history) forget(r *recall, of uint32, before uint32) {
	kept := uint32(0)
	for i := range min(r.n, inlineIDs) {
		if r.times[i] >= before {
			r.ids[kept], r.times[kept] = r.ids[i], r.times[i]
			kept++
		}
	}
	if r.n > inlineIDs {
		rest := h.more[:0]
		for _, s := range h.more {
			switch {
			case s.of != of:
				rest = append(rest, s)
			case s.at < before:
			case kept < inlineIDs:
				r.ids[kept], r.times[kept] = s.id, s.at
				kept++
			default:
				rest = append(rest, s)
				kept++
			}
		}
		h.more = rest
	}
	if kept < r.n {
		r.n, r.horizon = kept, max(r.horizon, before)
	}
}

// export sets dst to the ids of a song, in the order in which they came.
func (h *history) export(r *recall, of uint32, dst *state.Remembered) {
	inline := min(r.n, inlineIDs)
	dst.IDs, dst.Times = append(dst.IDs[:0], r.ids[:inline]...), append(dst.Times[:0], r.times[:inline]...)
	dst.Horizon = r.horizon
	if r.n <= inlineIDs {
		return
	}
	for _, s := range h.more {
		if s.of == of {
			dst.IDs, dst.Times = append(dst.IDs, s.id), append(dst.Times, s.at)
		}
	}
}

// restore takes the ids of a song from a stored row.
func (h *history) restore(r *recall, of uint32, src *state.Remembered) {
	r.horizon = src.Horizon
	for i, id := range src.IDs {
		h.remember(r, of, id, src.Times[i])
	}
}

// exportEntry sets dst to the row of a song.
func (h *history) exportEntry(n uint32, dst *state.HistoryEntry) {
	e := &h.entries[n]
	dst.Plays, dst.FirstAt, dst.LastAt, dst.LikedAt = e.Plays, e.FirstAt, e.LastAt, e.LikedAt
	dst.Engagement, dst.Flags = e.Engagement, e.Flags
	h.export(&e.recall, n, &dst.Remembered)
}

// restoreEntry appends a song from its row, and returns its position.
func (h *history) restoreEntry(song factor.Key, src *state.HistoryEntry) uint32 {
	n := h.add(heard{
		song: song, Plays: src.Plays, FirstAt: src.FirstAt, LastAt: src.LastAt, LikedAt: src.LikedAt,
		Engagement: src.Engagement, Flags: src.Flags,
	})
	h.restore(&h.entries[n].recall, n, &src.Remembered)
	return n
}

// Sizes of the elements in bytes.
const (
	heardBytes = 96
	seenBytes  = 16
	indexBytes = 4
)

// bytes is what the history occupies.
func (h *history) bytes() int {
	return heardBytes*cap(h.entries) + seenBytes*cap(h.more) + indexBytes*len(h.index)
}
