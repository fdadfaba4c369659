package refit

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"earworm/model/decay"
	"earworm/model/factor"
	"earworm/state"
)

// Histories are what listeners came to, as the changelog of the listener tasks tells. The zero Histories is empty and has no bound. It
// must not be used concurrently.
type Histories struct {
	pairsMax  int
	listeners map[string]*past
	pairs     int    // held, replaced ones included
	limit     uint64 // the hash up to which a listener is taken
	newest    int64  // of all events, Unix ms

	core  state.ListenerCore // buffers
	entry state.HistoryEntry
}

// past is one listener.
type past struct {
	heard  []heard // the last of a song counts
	optOut bool
}

// heard is a song that a listener came to.
type heard struct {
	song  factor.Key
	at    uint32 // of the last event, Unix seconds; 0 takes the song back
	plays uint32
}

// NewHistories returns histories of at most so many pairs of listener and song; 0 has no bound. Where there are more, half of the
// listeners are let go, by their hash, until the others fit.
func NewHistories(pairsMax int) *Histories {
	return &Histories{pairsMax: pairsMax, listeners: map[string]*past{}, limit: math.MaxUint64}
}

// Row takes in a record of the changelog; the last one of a key counts, nil deletes it. Rows that say nothing of a history are passed over.
func (h *Histories) Row(key, value []byte) error {
	k, err := state.ParseUserKey(key)
	if err != nil || (k.Row != state.RowCore && k.Row != state.RowHistory) || xxhash.Sum64(k.User) > h.limit {
		return nil //nolint:nilerr // rows of the task as a whole
	}
	if k.Row == state.RowCore {
		return h.profile(k.User, value)
	}
	if value == nil {
		if p := h.listeners[string(k.User)]; p != nil {
			h.add(p, heard{song: factor.Key(k.Song)})
		}
		return nil
	}
	if err := h.entry.UnmarshalBinary(value); err != nil {
		return fmt.Errorf("reading a history: %w", err)
	}
	if h.entry.Flags&state.FlagTrained == 0 {
		return nil // heard, and not come to
	}
	at := h.entry.Engagement.At
	h.newest = max(h.newest, at)
	h.add(h.of(k.User), heard{
		song: factor.Key(k.Song), at: uint32(min(max(at/1000, 1), math.MaxUint32)), plays: h.entry.Plays,
	})
	return nil
}

// profile takes in the core row of a listener. Who has none is gone with all their rows.
func (h *Histories) profile(user, value []byte) error {
	if value == nil {
		if p := h.listeners[string(user)]; p != nil {
			h.pairs -= len(p.heard)
			delete(h.listeners, string(user))
		}
		return nil
	}
	if err := h.core.UnmarshalBinary(value); err != nil {
		return fmt.Errorf("reading a listener: %w", err)
	}
	h.of(user).optOut = h.core.OptOut
	return nil
}

func (h *Histories) of(user []byte) *past {
	p := h.listeners[string(user)]
	if p == nil {
		p = &past{}
		h.listeners[string(user)] = p
	}
	return p
}

// add appends a song. Rows come again with each play: a list that is full is first freed of what was replaced.
func (h *Histories) add(p *past, e heard) {
	if len(p.heard) == cap(p.heard) {
		h.settle(p)
		if len(p.heard) > cap(p.heard)/2 { // most are in force: with room for as many again sorting stays rare
			p.heard = slices.Grow(p.heard, len(p.heard))
		}
	}
	p.heard = append(p.heard, e)
	h.pairs++
	if h.pairsMax > 0 && h.pairs > h.pairsMax {
		h.shrink()
	}
}

// settle keeps the last word on each song, in order of the songs.
func (h *Histories) settle(p *past) {
	slices.SortStableFunc(p.heard, func(a, b heard) int { return cmp.Compare(a.song, b.song) })
	kept := p.heard[:0]
	for i, e := range p.heard {
		last := i+1 == len(p.heard) || p.heard[i+1].song != e.song
		if last && e.at != 0 {
			kept = append(kept, e)
		}
	}
	h.pairs -= len(p.heard) - len(kept)
	p.heard = kept
}

// shrink makes room: what was replaced goes first, then half of the listeners at a time.
func (h *Histories) shrink() {
	for _, p := range h.listeners {
		h.settle(p)
	}
	for h.pairs > h.pairsMax*3/4 && h.limit > 0 {
		h.limit /= 2
		for user, p := range h.listeners {
			if xxhash.Sum64String(user) > h.limit {
				h.pairs -= len(p.heard)
				delete(h.listeners, user)
			}
		}
	}
}

// Share is the share of the listeners that is held.
func (h *Histories) Share() float64 { return float64(h.limit) / math.MaxUint64 }

// Newest is the time of the newest event of those listeners, Unix ms; 0 without any.
func (h *Histories) Newest() int64 { return h.newest }

// users lists those whose taste may be used, in the order of their names: a fit adds up in it.
func (h *Histories) users() []string {
	var users []string
	for user, p := range h.listeners {
		if h.settle(p); !p.optOut && len(p.heard) > 0 {
			users = append(users, user)
		}
	}
	slices.Sort(users)
	return users
}

// weight is what a song weighs in a listener's vector at an instant in Unix ms, as it does when the ranker solves that from the history.
func (e heard) weight(at int64, halfLife decay.HalfLife) float32 {
	age := time.Duration(max(at-1000*int64(e.at), 0)) * time.Millisecond
	return float32((1 + math.Log(float64(max(e.plays, 1)))) * math.Exp2(-float64(age)/float64(halfLife)))
}
