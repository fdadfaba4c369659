package rank_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"earworm/model/factor"
	"earworm/model/playlist"
	"earworm/model/rank"
)

const week = int64(7 * 24 * 3600 * 1000)

// listen is one event of a replay.
type listen struct {
	at   int64 // Unix ms
	user string
	song string
	meta factor.Meta
}

// replay is the whole learning loop in one process: a learner, the song rows that it sends its changes to, and the table that the rows are
// published into. Users are all of one partition.
type replay struct {
	factors factor.Params
	table   *factor.Table
	learner *factor.Learner
	rows    map[factor.Key]*factor.Row
	songs   map[string]*factor.Published // statistics by song id
	users   map[string]*user
	touched map[string]bool
	seq     int64
	every   int64 // events between two flushes
	ranker  *rank.Ranker
	list    playlist.Params
	rng     *rand.Rand
	scratch []rank.Candidate
}

type user struct {
	vector  []float32
	history []rank.Heard
	songs   []factor.Index
	place   map[factor.Index]int
}

func newReplay(f factor.Params, r rank.Params, l playlist.Params, every int64) *replay {
	t := factor.NewTable(f)
	return &replay{
		factors: f, table: t, learner: factor.NewLearner(t, f, 0, 1), rows: map[factor.Key]*factor.Row{},
		songs: map[string]*factor.Published{}, users: map[string]*user{}, touched: map[string]bool{}, every: every,
		ranker: rank.New(t, r), list: l, rng: rand.New(rand.NewPCG(1, 2)),
	}
}

func (r *replay) user(id string) *user {
	u := r.users[id]
	if u == nil {
		u = &user{vector: make([]float32, r.factors.Dim), place: map[factor.Index]int{}}
		factor.InitRow(r.factors, factor.KeyOf(factor.KindListener, id), u.vector)
		r.users[id] = u
	}
	return u
}

// observe takes in one event.
func (r *replay) observe(e listen) {
	r.seq++
	song := r.table.Song(e.song)
	if r.songs[e.song] == nil {
		r.table.Describe(song, e.meta)
		r.songs[e.song] = &factor.Published{Kind: factor.KindSong, ID: e.song, FirstAt: e.at}
	}
	u := r.user(e.user)
	if n, heard := u.place[song]; heard {
		h := &u.history[n]
		h.Value = h.Value*math.Exp2(-float64(e.at-h.At)/float64(14*24*3600*1000)) + 1
		h.At = e.at
		h.Plays++
	} else {
		r.learner.FirstListen(u.vector, song, 1, u.songs)
		u.place[song] = len(u.history)
		u.history = append(u.history, rank.Heard{Song: song, Value: 1, At: e.at, Plays: 1})
		u.songs = append(u.songs, song)
		s := r.songs[e.song]
		s.Popularity.Add(r.factors, factor.Region{}, e.at, 1)
		s.LastAt = e.at
		r.touched[e.song] = true
	}
	if r.seq%r.every == 0 {
		r.flush()
	}
}

// flush is one transaction: changes to the song rows, and the rows back into the table.
func (r *replay) flush() {
	published := map[factor.Key]*factor.Published{}
	r.learner.Flush(r.seq, func(d factor.Delta) {
		k := factor.KeyOf(d.Kind, d.ID)
		row := r.rows[k]
		if row == nil {
			fresh := factor.NewRow(r.factors, k)
			row = &fresh
			r.rows[k] = row
		}
		row.Apply(r.factors, d)
		p := &factor.Published{Kind: d.Kind, ID: d.ID}
		if d.Kind == factor.KindSong {
			p = r.songs[d.ID]
			delete(r.touched, d.ID)
		}
		p.Vector, p.Bias, p.Acks = row.Vector, row.Bias, []factor.Origin{d.Origin}
		published[k] = p
	})
	r.learner.Committed()
	for _, p := range published {
		r.table.Load(*p)
	}
}

// playlistOf is the playlist that a listener would get.
func (r *replay) playlistOf(id string, at int64) []factor.Index {
	u := r.users[id]
	l := rank.Listener{Vector: u.vector, History: u.history, Discovery: rank.NeutralDiscovery, ViralAffinity: rank.NeutralViralAffinity}
	r.scratch = r.ranker.Candidates(r.scratch, l, at)
	tracks := playlist.Build(r.list, r.table, r.scratch, r.rng)
	out := make([]factor.Index, len(tracks))
	for n, t := range tracks {
		out[n] = t.Song
	}
	return out
}

// quality is the mean over weeks of the means over users.
type quality struct {
	recall, ndcg float64
	userWeeks    int
}

// lists makes the list of a listener at a Monday.
type lists func(id string, at int64) []factor.Index

// weekly replays events and, at each Monday from warm (a part of the whole time) on, scores each kind of list for every user with at least five songs
// and a new one in the week that follows: the protocol of scorer/protocol.py, of which it skips the first tune weeks.
func weekly(tb testing.TB, r *replay, events []listen, warm float64, tune int, kinds ...lists) []quality {
	tb.Helper()
	first, last := events[0].at, events[len(events)-1].at
	monday := int64(4 * 24 * 3600 * 1000)
	start := first + int64(warm*float64(last-first))
	freeze := (start-monday+week-1)/week*week + monday
	total := make([]quality, len(kinds))
	var weeks int
	at := 0
	for n := 0; freeze+week <= last+week/7; freeze += week {
		for at < len(events) && events[at].at < freeze {
			r.observe(events[at])
			at++
		}
		r.flush()
		relevant := r.relevant(events[at:], freeze+week)
		if len(relevant) < 20 {
			continue
		}
		if n++; n <= tune {
			continue
		}
		weeks++
		for k, kind := range kinds {
			q := score(r, relevant, func(id string) []factor.Index { return kind(id, freeze) })
			total[k].recall += q.recall
			total[k].ndcg += q.ndcg
			total[k].userWeeks += q.userWeeks
		}
	}
	if weeks == 0 {
		tb.Fatal("no week to report")
	}
	for k := range total {
		total[k].recall /= float64(weeks)
		total[k].ndcg /= float64(weeks)
	}
	return total
}

// relevant returns for each user with at least five songs the new songs of the events before end.
func (r *replay) relevant(events []listen, end int64) map[string][]string {
	out := map[string][]string{}
	for _, e := range events {
		if e.at >= end {
			break
		}
		u := r.users[e.user]
		if u == nil || len(u.history) < 5 || slices.Contains(out[e.user], e.song) {
			continue
		}
		if i, ok := r.table.Lookup(factor.KeyOf(factor.KindSong, e.song)); ok {
			if _, heard := u.place[i]; heard {
				continue
			}
		}
		out[e.user] = append(out[e.user], e.song)
	}
	return out
}

func score(r *replay, relevant map[string][]string, listOf func(id string) []factor.Index) quality {
	var q quality
	ids := make([]string, 0, len(relevant))
	for id := range relevant {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		want := relevant[id]
		var hits, gain, ideal float64
		for n, song := range listOf(id) {
			if n < 30 && slices.Contains(want, r.table.ID(song)) {
				hits++
				gain += 1 / math.Log2(float64(n)+2)
			}
		}
		for n := range min(30, len(want)) {
			ideal += 1 / math.Log2(float64(n)+2)
		}
		q.recall += hits / float64(min(30, len(want)))
		q.ndcg += gain / ideal
		q.userWeeks++
	}
	q.recall /= float64(q.userWeeks)
	q.ndcg /= float64(q.userWeeks)
	return q
}
