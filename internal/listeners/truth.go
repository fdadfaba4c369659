package listeners

import (
	"cmp"
	"container/heap"
	"math"
	"slices"
	"time"
)

// listLength is how many songs a weekly playlist holds, the 30 of recall@30.
const listLength = 30

// WouldLove is the chance, in truth, that the listener loves the song at that time.
func (w *World) WouldLove(listener, song int, at time.Time) float64 {
	p := &w.people[listener]
	now := p.interestsIn(w.weekOf(at.UnixMilli()))
	return p.affinity(w, &now, int32(song)) //nolint:gosec // at most 10 M songs
}

// Relevant returns the songs the listener found without a weekly playlist in week n, had never heard before, and
// played for at least half at that first listen. They are known once week n has been delivered.
func (w *World) Relevant(listener, n int) []int {
	from, to := seconds(n), seconds(n+1)
	h, given := &w.habits[listener], w.cfg.Playlists != nil
	var found []int
	for _, f := range h.firsts {
		if f.at >= from && f.at < to && f.flags&listened != 0 && (!given || !h.givenBefore(f.song, from)) {
			found = append(found, int(f.song))
		}
	}
	return found
}

// HeardBefore calls yield for each song the listener had started before week n, given ones included.
func (w *World) HeardBefore(listener, n int, yield func(song int)) {
	until := seconds(n)
	for _, f := range w.habits[listener].firsts {
		if f.at < until {
			yield(int(f.song))
		}
	}
}

func (h *habit) givenBefore(song, until int32) bool {
	return slices.ContainsFunc(h.firsts, func(f first) bool {
		return f.song == song && f.flags&fromWeekly != 0 && f.at < until
	})
}

// seconds is the start of week n as first.at counts.
func seconds(n int) int32 { return int32(int64(n) * week / second) } //nolint:gosec // at most 520 weeks

// Oracle is the best list of 30 one could give for week n who knows the tastes, the waves and the charts: songs
// out by then and not heard before, by their true chance to be found and listened to in that week.
func (w *World) Oracle(listener, n int) []int {
	chance := make([]float64, len(w.songs))
	w.chances(listener, n, chance)
	return best(chance, listLength)
}

// chances fills in each song's chance, up to a common factor, to be found and half listened to in week n; 0 for
// songs heard before. It mirrors sitting.choose.
func (w *World) chances(listener, n int, chance []float64) {
	p, h := &w.people[listener], &w.habits[listener]
	now := p.interestsIn(n)
	at := w.WeekStart(n).UnixMilli() + week/2
	heard := make([]bool, len(w.songs))
	w.HeardBefore(listener, n, func(song int) { heard[song] = true })
	for s := range w.songs {
		if !heard[s] && w.songs[s].released <= at {
			chance[s] = chartShare * w.songs[s].weight / w.mass
			if !p.understands(w.songs[s].language) {
				chance[s] *= .3
			}
		}
	}
	for k := range p.count {
		w.tasteChances(now[k], at, heard, chance)
	}
	w.artistChances(h, seconds(n), at, heard, chance)
	searching := float64(p.newShare)
	for s := range chance {
		chance[s] *= searching
	}
	for i := range w.virals {
		v := &w.virals[i]
		if v.region >= 0 && v.region != int(p.region) || heard[v.Song] {
			continue
		}
		for at := w.WeekStart(n).UnixMilli(); at < w.WeekStart(n+1).UnixMilli(); at += 6 * hour {
			chance[v.Song] += v.share(at) * float64(p.viral) / 28
		}
	}
	for s := range chance {
		if chance[s] > 0 {
			a := p.affinity(w, &now, int32(s))
			chance[s] *= 1 - p.abandons(a, false)
		}
	}
}

// tasteChances adds what one interest finds in its scene, by fame and among what is just out.
func (w *World) tasteChances(in interest, at int64, heard []bool, chance []float64) {
	z := &w.scenes[in.scene]
	accepted := make([]float64, len(z.songs))
	total, out := 0., 0.
	for j, s := range z.songs {
		if !heard[s] && w.songs[s].released <= at {
			accepted[j] = love(dot(&in.vec, &w.vectors[s]))
			total += z.chance[j] * accepted[j]
			if w.songs[s].released > at-2*week {
				out += accepted[j]
			}
		}
	}
	if total == 0 {
		return
	}
	for j, s := range z.songs {
		c := (1 - chartShare - artistShare - releaseShare) * z.chance[j] * accepted[j] / total
		if out > 0 && w.songs[s].released > at-2*week {
			c += releaseShare * accepted[j] / out
		}
		chance[s] += float64(in.weight) * c
	}
}

// artistChances adds what is found by artists the listener knows, which is proportional to the loved firsts of each.
func (w *World) artistChances(h *habit, until int32, at int64, heard []bool, chance []float64) {
	known, total := map[int32]float64{}, 0.
	for _, f := range h.firsts {
		if f.at < until && f.flags&listened != 0 {
			known[w.songs[f.song].artist]++
			total++
		}
	}
	for artist, times := range known {
		songs := w.artists[artist]
		for j, s := range songs {
			if heard[s] || w.songs[s].released > at {
				continue
			}
			// byKnownArtist squares a uniform number: song j of n has chance √((j+1)/n) - √(j/n).
			n := float64(len(songs))
			chance[s] += artistShare * times / total * (math.Sqrt(float64(j+1)/n) - math.Sqrt(float64(j)/n))
		}
	}
}

// best returns the indices of the n largest positive scores, best first, the smaller index first among equals.
func best(scores []float64, n int) []int {
	top := &ranking{scores: scores}
	for i, s := range scores {
		switch {
		case s <= 0:
		case len(top.index) < n:
			heap.Push(top, i)
		case s > scores[top.index[0]]:
			top.index[0] = i
			heap.Fix(top, 0)
		}
	}
	slices.SortFunc(top.index, func(a, b int) int {
		return cmp.Or(cmp.Compare(scores[b], scores[a]), cmp.Compare(a, b))
	})
	return top.index
}

// ranking is a heap with the worst on top.
type ranking struct {
	scores []float64
	index  []int
}

var _ heap.Interface = (*ranking)(nil)

// Len implements heap.Interface.
func (r *ranking) Len() int { return len(r.index) }

// Less implements heap.Interface.
func (r *ranking) Less(i, j int) bool {
	a, b := r.index[i], r.index[j]
	return cmp.Or(cmp.Compare(r.scores[a], r.scores[b]), cmp.Compare(b, a)) < 0
}

// Swap implements heap.Interface.
func (r *ranking) Swap(i, j int) { r.index[i], r.index[j] = r.index[j], r.index[i] }

// Push implements heap.Interface.
func (r *ranking) Push(x any) {
	i, _ := x.(int)
	r.index = append(r.index, i)
}

// Pop implements heap.Interface.
func (r *ranking) Pop() any {
	last := r.index[len(r.index)-1]
	r.index = r.index[:len(r.index)-1]
	return last
}

// popularity is the baseline to beat: listens of at least half a song, whoever it is new to, decayed with a half-life
// of seven days. Forward decay (Cormode et al., ICDE 2009): a listen weighs 2^((at-start)/h), the common factor
// 2^(-(now-start)/h) does not change the order, so the counts need no ageing and take events in any order.
type popularity struct {
	start, until int64
	counts       []float64
	ahead        []listen  // listens that belong to the week after the one in hand
	charts       [][]int32 // the most popular songs at each freeze, best first
}

type listen struct {
	song int32
	at   int64
}

// chartLength is how far down a popularity list is kept: beyond what one listener has heard of it.
const chartLength = 1500

func newPopularity(songs int, start int64) popularity {
	return popularity{start: start, until: start + week, counts: make([]float64, songs)}
}

func (p *popularity) add(song int32, at int64) {
	if at >= p.until {
		p.ahead = append(p.ahead, listen{song, at})
		return
	}
	p.counts[song] += math.Exp2(float64(at-p.start) / float64(week))
}

// freeze keeps the chart at the end of the week in hand and opens the next week.
func (p *popularity) freeze(at int64) {
	top := best(p.counts, chartLength)
	chart := make([]int32, len(top))
	for i, s := range top {
		chart[i] = int32(s) //nolint:gosec // at most 10 M songs
	}
	p.charts = append(p.charts, chart)
	p.until = at + week
	ahead := p.ahead
	p.ahead = p.ahead[len(p.ahead):]
	for _, l := range ahead {
		p.add(l.song, l.at)
	}
}

// Popular is the baseline's list of 30 for week n: the songs most listened to before it, decayed with a half-life of
// seven days, that the listener had not heard. Known once week n-1 has been delivered; empty for week 0.
func (w *World) Popular(listener, n int) []int {
	if n < 1 || n > len(w.popular.charts) {
		return nil
	}
	heard := map[int32]bool{}
	w.HeardBefore(listener, n, func(song int) { heard[int32(song)] = true }) //nolint:gosec // at most 10 M songs
	list := make([]int, 0, listLength)
	for _, s := range w.popular.charts[n-1] {
		if !heard[s] {
			if list = append(list, int(s)); len(list) == listLength {
				break
			}
		}
	}
	return list
}
