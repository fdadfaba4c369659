package listener

import (
	"fmt"
	"slices"

	"earworm/model/calendar"
	"earworm/model/engagement"
	"earworm/model/factor"
	"earworm/model/playlist"
	"earworm/model/rank"
	"earworm/schemas"
	"earworm/state"
)

// The blend of the sources is learnt from the outcomes of playlists, too: with a playlist the features of its tracks are kept; while
// its week lasts, its row notes what becomes of each track; and when the next one is made the task learns which of the tracks
// that the listener reached they liked. Then the list is closed, and only its songs are remembered.

// list is a playlist in memory.
type list struct {
	songs    []factor.Key
	at       int64          // when it was made, Unix ms; of an open list
	outcomes []rank.Outcome // by track; nil is a closed list
}

// listBytes is the memory of a list without tracks: the struct and its place in the map of lists.
const listBytes = 100

func (l *list) bytes() int { return listBytes + 8*cap(l.songs) + cap(l.outcomes) }

// parse takes in a row.
func (l *list) parse(row []byte) error {
	var stored state.Playlist
	if err := stored.UnmarshalBinary(row); err != nil {
		return err
	}
	*l = list{songs: make([]factor.Key, len(stored.Songs)), at: stored.At}
	for i, song := range stored.Songs {
		l.songs[i] = factor.Key(song)
	}
	if stored.Outcomes != nil {
		l.outcomes = make([]rank.Outcome, len(stored.Outcomes))
		for i, o := range stored.Outcomes {
			l.outcomes[i] = rank.Outcome(o)
		}
	}
	return nil
}

// appendBinary appends the row.
func (l *list) appendBinary(dst []byte) []byte {
	stored := state.Playlist{Songs: make([]uint64, len(l.songs)), At: l.at}
	for i, song := range l.songs {
		stored.Songs[i] = uint64(song)
	}
	if l.outcomes != nil {
		stored.Outcomes = make([]byte, len(l.outcomes))
		for i, o := range l.outcomes {
			stored.Outcomes[i] = byte(o)
		}
	}
	return stored.AppendBinary(dst)
}

// openList returns the list of a listener whose outcomes are awaited, nil if there is none. There is one at most: making a list closes
// the one before.
func (p *person) openList() (week int32, open *list) {
	for week, l := range p.lists {
		if l.outcomes != nil {
			return week, l
		}
	}
	return 0, nil
}

// relist marks a list for writing.
func (p *person) relist(week int32) {
	if !slices.Contains(p.weekly, week) {
		p.weekly = append(p.weekly, week)
	}
}

// note remembers what became of a track, if the event comes from the listener's open list and from its week. The slot that an event
// names is not needed: a song stands in a list once, and where the two contradict each other the song is what was heard.
func (t *Task) note(p *person, song factor.Key, e *schemas.Event) error {
	if e.PlaylistID == ([16]byte{}) || p.core.OptOut {
		return nil
	}
	if _, served := p.weeks.Last(); !served {
		return nil
	}
	if err := t.loadLists(p); err != nil {
		return err
	}
	week, open := p.openList()
	if open == nil || e.At < open.at || e.At >= open.at+studyWindow.Milliseconds() {
		return nil
	}
	n := slices.Index(open.songs, song)
	if n < 0 {
		return nil
	}
	user, err := t.reveal.Reveal(p.id)
	if err != nil {
		return fmt.Errorf("revealing a listener: %w", err)
	}
	if e.PlaylistID != schemas.PlaylistID(schemas.UserID(user), calendar.WeekFromOrdinal(week).String()) {
		return nil
	}
	if after := outcomeAfter(open.outcomes[n], e); after != open.outcomes[n] {
		open.outcomes[n] = after
		p.relist(week)
	}
	return nil
}

// outcomeAfter returns what has become of a track after one more event.
func outcomeAfter(o rank.Outcome, e *schemas.Event) rank.Outcome {
	switch e.Kind {
	case schemas.KindPlay, schemas.KindSkip:
		listen := engagement.Listen{
			Signal: signalOf(e.Kind), PlayedMs: e.PlayedMs, DurationMs: e.DurationMs, PositionMs: e.PositionMs,
		}
		switch {
		case engagement.FullListen(listen):
			return o.Heard()
		case engagement.Rejected(listen):
			return o.Rejected()
		default:
			return o.Undecided()
		}
	case schemas.KindLike:
		return o.Liked()
	case schemas.KindUnlike:
		return o.Unliked()
	case schemas.KindPlaylistAdd, schemas.KindShare:
		return o.Saved()
	case schemas.KindDislike, schemas.KindBan:
		return o.Refused()
	default:
		return o
	}
}

// closeList ends the wait for the outcomes of a listener's list, and learns from them.
func (t *Task) closeList(p *person) error {
	week, open := p.openList()
	if open == nil {
		return nil
	}
	outcomes := open.outcomes
	open.at, open.outcomes = 0, nil
	p.relist(week)
	var given *state.Frozen
	reached := rank.Reached(outcomes)
	if reached > 0 && !p.core.OptOut {
		var err error
		if given, err = t.givenOf(p); err != nil {
			return err
		}
	}
	p.given, p.ungiven = nil, true
	t.mark(p)
	if given == nil || !open.isOf(given) {
		return nil
	}
	for i, song := range open.songs[:reached] {
		if _, known := p.history.find(song); known && !outcomes[i].Touched() {
			outcomes[i] = outcomes[i].Elsewhere()
		}
		t.metrics.reached(outcomes[i])
	}
	if t.ranker.LearnOutcomes(t.partition, given.Rows, outcomes) {
		t.metrics.taught.Inc()
	}
	return nil
}

// isOf says whether these are the tracks of the list. Those with an earlier version of the features are not.
func (l *list) isOf(given *state.Frozen) bool {
	return given.Features == rank.Features && slices.EqualFunc(l.songs, given.Songs, func(a factor.Key, b uint64) bool { return uint64(a) == b })
}

// givenOf returns the tracks of the open list with their features, nil if there are none.
func (t *Task) givenOf(p *person) (*state.Frozen, error) {
	if p.given != nil || p.ungiven || p.wiped {
		return p.given, nil
	}
	row, err := t.store.Get(state.AppendGivenKey(t.key[:0], p.id))
	if err != nil || row == nil {
		return nil, err
	}
	given := &state.Frozen{}
	if err := given.UnmarshalBinary(row); err != nil {
		return nil, fmt.Errorf("reading the tracks of a playlist: %w", err)
	}
	return given, nil
}

// await opens a new list: it keeps the features that its tracks had among the candidates.
func (t *Task) await(p *person, l *list, tracks []playlist.Track, now int64) {
	if p.core.OptOut || t.cfg.StudySample == 0 {
		return
	}
	given := &state.Frozen{At: now, Features: rank.Features}
	for i, track := range tracks {
		n := slices.IndexFunc(t.candidate, func(c rank.Candidate) bool { return c.Song == track.Song })
		if n < 0 {
			return
		}
		given.Songs = append(given.Songs, uint64(l.songs[i]))
		given.Rows = append(given.Rows, t.candidate[n].Row...)
	}
	l.at, l.outcomes = now, make([]rank.Outcome, len(tracks))
	p.given = given
}
