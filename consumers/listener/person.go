package listener

import (
	"cmp"
	"fmt"
	"slices"

	"earworm/model/calendar"
	"earworm/model/factor"
	"earworm/model/trend"
	"earworm/state"
)

// person is one listener in memory: everything that is stored of them but their old playlists.
type person struct {
	id      []byte             // pseudonym
	core    state.ListenerCore // but Weeks, Trust and Remembered, which are filled in for writing
	recall  recall             // ids of events about no song
	weeks   calendar.WeekSet
	trust   trend.Trust
	history history
	// trained lists the songs whose first listen was learnt, in the order in which that happened or, after loading, in the order of
	// their first listens: replay draws from it, and pairs are made with its end.
	trained []factor.Index
	// refused lists the songs that they disliked or banned, in the order in which that happened or, after loading, in that of their
	// first listens; chosen are the rows of what they named at onboarding.
	refused, chosen []factor.Index
	// lists are the playlists that are remembered, by week; nil until they are needed.
	lists map[int32]*list

	// frozen are the candidates to be written in this transaction, thawed says that stored ones are to be deleted.
	frozen *state.Frozen
	thawed bool
	// given are the tracks of the open list with their features, to be written in this transaction; ungiven says that stored ones are to be
	// deleted.
	given   *state.Frozen
	ungiven bool

	counted int      // bytes by which the task has counted this listener
	stored  bool     // has a row in the store
	dirty   bool     // the core changed in this transaction
	changed []uint32 // positions in history
	weekly  []int32  // weeks of lists that changed
	expired []int32  // weeks of lists to delete
	erased  bool     // and nothing came after it
	wiped   bool     // erased in this transaction: what is stored must go
	// wipedZone is the zone whose index holds a listener who was erased in this transaction.
	wipedZone string
}

// personBytes is the memory of a person without a history: the struct, the id, the vector and the place in the map of people.
const personBytes = 1000

func (p *person) bytes() int {
	n := personBytes + p.history.bytes() + 4*(cap(p.trained)+cap(p.refused)+cap(p.chosen)) + 4*cap(p.changed)
	for _, l := range p.lists {
		n += l.bytes()
	}
	return n
}

// touch marks a song for writing and returns it.
func (p *person) touch(n uint32) *heard {
	h := &p.history.entries[n]
	if !h.dirty {
		h.dirty = true
		p.changed = append(p.changed, n)
	}
	return h
}

// settled forgets what was to be written: it is committed.
func (p *person) settled() {
	for _, n := range p.changed {
		p.history.entries[n].dirty = false
	}
	p.changed, p.weekly, p.expired = p.changed[:0], nil, nil
	p.frozen, p.thawed = nil, false
	p.given, p.ungiven = nil, false
	p.dirty, p.stored = false, true
	p.wiped, p.wipedZone = false, ""
}

// newPerson returns a listener of whom nothing is known.
func newPerson(id []byte, dim int) *person {
	p := &person{id: slices.Clone(id)}
	p.core.Vector = make([]float32, dim)
	p.core.Discovery = -1
	return p
}

// load reads a listener from the store, or returns a new one. Whoever has any row has a core; to look for that one is much
// cheaper than a scan, because the store's filters know that it is not there.
func (t *Task) load(id []byte) (*person, error) {
	p := newPerson(id, t.params.Dim)
	t.key = state.AppendCoreKey(t.key[:0], id)
	core, err := t.store.Get(t.key)
	if err != nil {
		return nil, fmt.Errorf("loading a listener: %w", err)
	}
	if core == nil {
		factor.InitRow(t.params, factor.KeyOf(factor.KindListener, id), p.core.Vector)
		return p, nil
	}
	if err := p.loadCore(core, t.params.Dim); err != nil {
		return nil, fmt.Errorf("loading a listener: %w", err)
	}
	t.key = state.AppendUserPrefix(t.key[:0], id)
	err = t.store.Scan(t.key, func(key, value []byte) error {
		k, err := state.ParseUserKey(key)
		if err != nil {
			return err
		}
		switch k.Row {
		case state.RowCore:
			return nil // it is there already
		case state.RowHistory:
			if err := t.entry.UnmarshalBinary(value); err != nil {
				return err
			}
			p.history.restoreEntry(factor.Key(k.Song), &t.entry)
			return nil
		default:
			return state.ErrStop // what follows is read when it is needed
		}
	})
	if err != nil {
		return nil, fmt.Errorf("loading a listener: %w", err)
	}
	t.restorePast(p)
	return p, nil
}

// restorePast lists the rows from which the listener's vector is solved.
func (t *Task) restorePast(p *person) {
	p.trained = t.flagged(p, state.FlagTrained)
	p.refused = t.flagged(p, state.FlagBanned)
	for _, key := range p.core.Chosen {
		if row, known := t.table.Lookup(factor.Key(key)); known {
			p.chosen = append(p.chosen, row)
		}
	}
}

// flagged lists the songs of a history with a flag, in the order of their first listens.
func (t *Task) flagged(p *person, flag byte) []factor.Index {
	var entries []*heard
	for n := range p.history.entries {
		if h := &p.history.entries[n]; h.Flags&flag != 0 {
			entries = append(entries, h)
		}
	}
	slices.SortStableFunc(entries, func(a, b *heard) int { return cmp.Compare(a.FirstAt, b.FirstAt) })
	var songs []factor.Index
	for _, h := range entries {
		if song, known := t.songOf(h); known {
			songs = append(songs, song)
		}
	}
	return songs
}

// past is what the listener's vector is solved from.
func (p *person) past() factor.Past {
	return factor.Past{Songs: p.trained, Refused: p.refused, Chosen: p.chosen}
}

func (p *person) loadCore(value []byte, dim int) error {
	if err := p.core.UnmarshalBinary(value); err != nil {
		return err
	}
	if _, err := p.weeks.UnmarshalBinary(p.core.Weeks); err != nil {
		return fmt.Errorf("emitted weeks: %w", err)
	}
	if len(p.core.Trust) > 0 {
		if err := p.trust.UnmarshalBinary(p.core.Trust); err != nil {
			return fmt.Errorf("trust: %w", err)
		}
	}
	if len(p.core.Vector) != dim {
		return fmt.Errorf("%w: vector of %d components, the model has %d", state.ErrRow, len(p.core.Vector), dim)
	}
	p.history.restore(&p.recall, noSong, &p.core.Remembered)
	p.core.Weeks, p.core.Trust, p.core.Remembered = nil, nil, state.Remembered{}
	p.stored = true
	return nil
}

// songOf returns the row of a song that was heard, and whether the table has it.
func (t *Task) songOf(h *heard) (factor.Index, bool) {
	if h.row == factor.None {
		h.row, _ = t.table.Lookup(h.song)
	}
	return h.row, h.row != factor.None
}

// loadLists reads the playlists that are remembered.
func (t *Task) loadLists(p *person) error {
	if p.lists != nil {
		return nil
	}
	lists := map[int32]*list{}
	err := t.store.Scan(state.AppendPlaylistPrefix(nil, p.id), func(key, value []byte) error {
		k, err := state.ParseUserKey(key)
		if err != nil {
			return err
		}
		lists[k.Week] = &list{}
		return lists[k.Week].parse(value)
	})
	if err != nil {
		return fmt.Errorf("loading playlists of a listener: %w", err)
	}
	p.lists = lists
	return nil
}
