package listener

import (
	"cmp"
	"fmt"
	"slices"

	"earworm/model/decay"
	"earworm/model/rank"
	"earworm/state"
)

// Inspection is what is known of one listener, for people.
type Inspection struct {
	Events    uint64         `json:"events"`
	Chain     string         `json:"chain"`
	FirstAt   string         `json:"first_at,omitempty"`
	LastAt    string         `json:"last_at,omitempty"`
	Region    string         `json:"region,omitempty"`
	Zone      string         `json:"zone"`
	Languages []string       `json:"languages,omitempty"`
	OptOut    bool           `json:"opt_out"`
	SkipShare float64        `json:"skip_share"`
	Weeks     []string       `json:"weeks,omitempty"`
	Songs     int            `json:"songs"`
	Heard     []HeardSong    `json:"heard"`
	Vector    []float32      `json:"vector"`
	Counts    map[string]int `json:"counts"`
}

// HeardSong is one song of a history.
type HeardSong struct {
	Song       string  `json:"song"`
	Title      string  `json:"title,omitempty"`
	Plays      uint32  `json:"plays"`
	Engagement float64 `json:"engagement"`
	LastAt     string  `json:"last_at,omitempty"`
	Liked      bool    `json:"liked,omitempty"`
	Banned     bool    `json:"banned,omitempty"`
}

// Inspect returns the committed state of a listener, nil if nothing is known. It must not run beside Process.
func (t *Task) Inspect(pseudonym []byte) (*Inspection, error) {
	p, err := t.load(pseudonym)
	if err != nil {
		return nil, err
	}
	if !p.stored {
		return nil, nil
	}
	c := &p.core
	out := &Inspection{
		Events: c.Events, Chain: fmt.Sprintf("%016x", c.Chain), Zone: c.ServedZone, Languages: c.Languages,
		OptOut: c.OptOut, Songs: len(p.history.entries), Vector: c.Vector, Heard: []HeardSong{},
		SkipShare: c.Skips.Read(c.LastAt, skipHalfLife) / max(1, c.Plays.Read(c.LastAt, skipHalfLife)),
		Counts:    map[string]int{"trained": len(p.trained), "banned_artists": len(c.Artists)},
	}
	if c.Region != ([2]byte{}) {
		out.Region = string(c.Region[:])
	}
	if c.FirstAt != 0 {
		out.FirstAt, out.LastAt = at(c.FirstAt).Format(timeLayout), at(c.LastAt).Format(timeLayout)
	}
	for week := range p.weeks.All() {
		out.Weeks = append(out.Weeks, week.String())
	}
	for i := range p.history.entries {
		h := &p.history.entries[i]
		song := HeardSong{
			Plays: h.Plays, Engagement: h.Engagement.Read(c.LastAt, decay.HalfLife(t.cfg.TasteHalfLife)), Liked: h.Flags&state.FlagLiked != 0, Banned: h.Flags&state.FlagBanned != 0,
		}
		if h.LastAt != 0 {
			song.LastAt = at(h.LastAt).Format(timeLayout)
		}
		if index, ok := t.songOf(h); ok {
			song.Song, song.Title = t.table.ID(index), t.table.Meta(index).Title
		}
		out.Heard = append(out.Heard, song)
	}
	slices.SortFunc(out.Heard, func(a, b HeardSong) int {
		return cmp.Or(cmp.Compare(b.Engagement, a.Engagement), cmp.Compare(a.Song, b.Song))
	})
	return out, nil
}

const timeLayout = "2006-01-02T15:04:05Z"

// Listener returns a listener of the partition as the ranker sees them at an instant in Unix ms, running transaction included.
func (t *Task) Listener(pseudonym []byte, now int64) (rank.Listener, error) {
	p, err := t.person(pseudonym)
	if err != nil {
		return rank.Listener{}, err
	}
	return t.profileOf(p, now), nil
}
