package listener

import (
	"slices"

	"earworm/model/factor"
	"earworm/model/rank"
)

// prequentialSongs is how many songs of the catalogue there are to each first listen between two that are ranked.
const prequentialSongs = 16

// segment is the part of the listeners, or of the songs, that a ranked first listen belongs to. Its words are the closed sets of
// label values below.
type segment uint8

// historyNames are the parts of the listeners by the songs that they knew, with the bounds of the backtest: at most 3, at most 20, more.
// ageNames are those of the songs by the time since their release, or else since somebody first heard them.
var (
	historyNames = [...]string{"new", "growing", "settled"}
	ageNames     = [...]string{"under_7_days", "under_28_days", "older"}
)

// historyOf is the part of a listener who knows so many songs.
func historyOf(songs int) segment {
	switch {
	case songs <= 3:
		return 0
	case songs <= 20:
		return 1
	default:
		return 2
	}
}

// ageOf is the part of a song at an instant, all in Unix ms; 0 is unknown. One of which nothing is known is new.
func ageOf(released, firstAt, now int64) segment {
	born := released
	if born == 0 {
		born = firstAt
	}
	switch age := now - born; {
	case born == 0 || age < 7*dayMs:
		return 0
	case age < 28*dayMs:
		return 1
	default:
		return 2
	}
}

// ranked is the outcome of a first listen that was ranked before it was learnt.
type ranked struct {
	hit          bool
	history, age segment
}

// prequential ranks a sample of first listens before they are learnt: would the listener have got the song among 30?
//
// A ranking looks at every song, about 200 ns each, and learning one first listen takes a few µs: the larger the catalogue, the
// smaller the sample, so that the measure stays a small part of what it measures. What part of the listeners and songs it belongs
// to is looked up for the sample only.
func (t *Task) prequential(p *person, song factor.Index, now int64) {
	t.firsts++
	if t.firsts < max(t.cfg.PrequentialEvery, t.table.Songs()/prequentialSongs) || len(p.trained) == 0 {
		return
	}
	t.firsts = 0
	l := t.profileOf(p, now)
	l.History = slices.DeleteFunc(l.History, func(h rank.Heard) bool { return h.Song == song }) // it is this very listen
	place := t.ranker.Rank(l, song, now)
	t.metrics.prequential(ranked{
		hit:     place > 0 && place <= t.cfg.Playlist.Length, // a song that nothing proposes is a miss like any other
		history: historyOf(len(p.history.entries) - 1),
		age:     ageOf(t.table.Meta(song).ReleasedAt, t.table.Stats(song).FirstAt, now),
	})
}
