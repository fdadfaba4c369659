package rank

import (
	"cmp"
	"math"
	"slices"

	"earworm/model/decay"
	"earworm/model/factor"
)

// scratch is the working memory of one ranking. Values by ordinal cover the catalogue, those by number the candidates.
type scratch struct {
	keys           []factor.Key // of the view, by ordinal
	tastes, folded factor.Scores
	near           []float32 // by ordinal; zero but where touched
	touched        []int32
	number         []int32   // by ordinal: number of the candidate + 1
	excluded       []bool    // by ordinal
	lasting        []float32 // by artist: the listener's share, as are recent and plays
	recent, plays  []float32
	genres         map[factor.Index]float32 // the listener's share
	recentFirst    []int32                  // history, latest first
	solver         factor.Solver
	divided        divided
	vector         []float32
	songsOf        []factor.Index
	weights        []float32
	heap           []int32
	buffer         []float32

	songs  []int32 // ordinals of the candidates
	places [Sources][]int32
	values [Sources][]float32
	trends []float32
	rows   []float32
	scores []float32
	extra  []int32 // candidates for trends and exploration

	order, late, byScore []int32
	counts               []int
	chosen               []bool
	vectors              []float32
}

func (s *scratch) row(n int32) []float32 { return s.rows[int(n)*Features : (int(n)+1)*Features] }

func (s *scratch) compare(a, b int32) int {
	return cmp.Or(cmp.Compare(s.scores[b], s.scores[a]), cmp.Compare(s.keys[s.songs[a]], s.keys[s.songs[b]]))
}

// sorted returns the candidates by score, best first, ties by key.
func (s *scratch) sorted() []int32 {
	s.byScore = resize(s.byScore, len(s.songs))
	for i := range s.byScore {
		s.byScore[i] = int32(i)
	}
	slices.SortFunc(s.byScore, s.compare)
	return s.byScore
}

// gather fills the scratch with the listener's candidates and their features.
func (r *Ranker) gather(s *scratch, v *view, l *Listener, at int64) {
	n := len(v.songs)
	s.keys = v.keys
	s.number, s.excluded, s.near = resize(s.number, n), resize(s.excluded, n), resize(s.near, n)
	clear(s.number)
	copy(s.excluded, v.unreleased)
	clear(s.near)
	s.songs, s.extra, s.touched = s.songs[:0], s.extra[:0], s.touched[:0]
	for k := range s.places {
		s.places[k] = s.places[k][:0]
	}
	s.exclude(v, l)
	r.orderHistory(s, l)
	r.affinities(s, v, l, at)
	r.fold(s, v, l, at)
	r.table.ScoreAll(factor.Query{User: l.Vector, Dst: &s.tastes}, factor.Query{User: s.vector, Dst: &s.folded})
	r.neighbours(s, v, l, at)

	s.propose(SourceTaste, r.byFactors(s, &s.tastes, n))
	s.propose(SourceFold, r.byFactors(s, &s.folded, n))
	s.propose(SourceNeighbours, r.byNeighbours(s))
	s.propose(SourceArtist, r.byArtists(s, v, s.lasting))
	s.propose(SourceArtistRecent, r.byArtists(s, v, s.recent))
	s.propose(SourceGenre, r.byGenres(s, v))
	for _, k := range []Source{SourceDay, SourceWeek, SourceMonth} {
		s.propose(k, r.unheard(s, v.popular[k]))
	}
	region := v.region(r.table, r.params, factor.RegionOf(l.Region))
	s.propose(SourceRegion, r.unheard(s, region.top))
	r.addTrending(s, v, l)
	r.addCold(s, v)
	r.interests(s, v)
	s.describe(v, region, l, r.params.PerSource)
}

// propose enters the songs that a source proposes, best first.
func (s *scratch) propose(source Source, list []int32) {
	for place, o := range list {
		n := s.enter(o)
		s.places[source] = grown(s.places[source], int(n)+1)
		s.places[source][n] = int32(place) + 1
	}
}

// enter makes a song a candidate and returns its number.
func (s *scratch) enter(ordinal int32) int32 {
	if s.number[ordinal] == 0 {
		s.songs = append(s.songs, ordinal)
		s.number[ordinal] = int32(len(s.songs)) //nolint:gosec // a few hundred
	}
	return s.number[ordinal] - 1
}

// grown returns s with at least n values, new ones zero.
func grown(s []int32, n int) []int32 {
	for len(s) < n {
		s = append(s, 0)
	}
	return s
}

// exclude marks what the listener has heard and what must not be heard.
func (s *scratch) exclude(v *view, l *Listener) {
	for _, h := range l.History {
		if n := v.ordinal(h.Song); n >= 0 {
			s.excluded[n] = true
		}
	}
	for _, song := range l.Excluded {
		if n := v.ordinal(song); n >= 0 {
			s.excluded[n] = true
		}
	}
	for _, artist := range l.ExcludedArtists {
		if a, known := v.artists[artist]; known {
			for _, n := range v.byArtist[a] {
				s.excluded[n] = true
			}
		}
	}
}

// orderHistory sorts what the listener liked of the history, latest first.
func (r *Ranker) orderHistory(s *scratch, l *Listener) {
	s.recentFirst = s.recentFirst[:0]
	for i := range l.History {
		if l.History[i].Value > 0 {
			s.recentFirst = append(s.recentFirst, int32(i))
		}
	}
	slices.SortFunc(s.recentFirst, func(a, b int32) int {
		x, y := &l.History[a], &l.History[b]
		if x.At != y.At {
			return cmp.Compare(y.At, x.At)
		}
		return cmp.Compare(r.table.KeyAt(x.Song), r.table.KeyAt(y.Song))
	})
}

// affinities computes the listener's shares of artists and genres, and the number of songs that they heard by each artist.
func (r *Ranker) affinities(s *scratch, v *view, l *Listener, at int64) {
	artists := len(v.byArtist)
	s.lasting, s.recent, s.plays = resize(s.lasting, artists), resize(s.recent, artists), resize(s.plays, artists)
	clear(s.lasting)
	clear(s.recent)
	clear(s.plays)
	if s.genres == nil {
		s.genres = map[factor.Index]float32{}
	}
	clear(s.genres)
	// Sums are taken in the order of the history: that of artists is the one in which they became known, that of a map is none.
	var lasting, recent, genres float64
	for _, i := range s.recentFirst {
		h := &l.History[i]
		o := v.ordinal(h.Song)
		if o < 0 {
			continue
		}
		value := min(h.Value, r.params.ValueMax)
		if a := v.artist[o]; a != 0 { // songs without an artist have none in common
			x, y := float32(decayed(value, at-h.At, r.params.ArtistHalfLife)), float32(decayed(value, at-h.At, r.params.ArtistRecent))
			s.lasting[a] += x
			s.recent[a] += y
			s.plays[a]++
			lasting, recent = lasting+float64(x), recent+float64(y)
		}
		weight := float32(decayed(1, at-h.At, r.params.GenreHalfLife))
		count := genreCount(&v.genres[o])
		for _, g := range v.genres[o][:count] {
			s.genres[g] += weight / float32(count)
			genres += float64(weight / float32(count))
		}
	}
	share(s.lasting, lasting)
	share(s.recent, recent)
	if !(genres > 0) { // all of it is so old that nothing is left
		clear(s.genres)
	}
	for g := range s.genres {
		s.genres[g] /= float32(genres)
	}
}

func genreCount(genres *[factor.MaxGenres]factor.Index) int {
	for n, g := range genres {
		if g == factor.None {
			return n
		}
	}
	return len(genres)
}

// genreShare is the mean of the listener's shares of a song's genres.
func (s *scratch) genreShare(genres *[factor.MaxGenres]factor.Index) float32 {
	count := genreCount(genres)
	if count == 0 {
		return 0
	}
	var sum float32
	for _, g := range genres[:count] {
		sum += s.genres[g]
	}
	return sum / float32(count)
}

// repeated is the weight of a song by how often it was played: 1 + ln plays, because repeats are not monotone evidence of liking.
func repeated(plays int) float64 { return 1 + math.Log(float64(max(plays, 1))) }

func decayed(value float64, age int64, h decay.HalfLife) float64 {
	return value * math.Exp2(-float64(max(age, 0))*1e6/float64(h))
}

// fold solves the listener's vector from what they heard last.
func (r *Ranker) fold(s *scratch, v *view, l *Listener, at int64) {
	s.songsOf, s.weights = s.songsOf[:0], s.weights[:0]
	for _, i := range s.recentFirst[:min(len(s.recentFirst), r.params.FoldHistory)] {
		h := &l.History[i]
		s.songsOf = append(s.songsOf, h.Song)
		s.weights = append(s.weights, float32(decayed(repeated(h.Plays), at-h.At, r.params.FoldHalfLife)))
	}
	s.vector = resize(s.vector, r.table.Params().Dim)
	if !s.solver.Solve(s.vector, r.table, v.geometry, s.songsOf, s.weights) {
		clear(s.vector)
		if len(l.Vector) == len(s.vector) {
			copy(s.vector, l.Vector)
		}
	}
}

// neighbours adds up how alike each song is to those that the listener came to last.
func (r *Ranker) neighbours(s *scratch, v *view, l *Listener, at int64) {
	for _, i := range s.recentFirst[:min(len(s.recentFirst), r.params.History)] {
		song := l.History[i].Song
		from := v.ordinal(song)
		if from < 0 {
			continue
		}
		norm := v.norm[from] * float32(repeated(l.History[i].Plays))
		r.near.Each(song, at, func(neighbour factor.Index, pairs float32) {
			o := v.ordinal(neighbour)
			if o < 0 || s.excluded[o] {
				return
			}
			if s.near[o] == 0 {
				s.touched = append(s.touched, int32(o)) //nolint:gosec // below 2³¹
			}
			s.near[o] += pairs * norm * v.norm[o]
		})
	}
}

// byFactors proposes the songs with the greatest factor scores.
func (r *Ranker) byFactors(s *scratch, scores *factor.Scores, n int) []int32 {
	n = min(n, len(scores.Taste))
	heap := topHeap{values: scores.Taste, keys: s.keys, items: s.heap[:0]}
	least := float32(math.Inf(-1)) // what gets in: of a catalogue hardly anything does
	for i, x := range scores.Taste[:n] {
		if x < least || s.excluded[i] {
			continue
		}
		heap.offer(int32(i), r.params.PerSource)
		if len(heap.items) == r.params.PerSource && r.params.PerSource > 0 {
			least = scores.Taste[heap.items[0]]
		}
	}
	s.heap = heap.sorted()
	return s.heap
}

func (r *Ranker) byNeighbours(s *scratch) []int32 {
	heap := topHeap{values: s.near, keys: s.keys, items: s.heap[:0]}
	for _, i := range s.touched {
		heap.offer(i, r.params.PerSource)
	}
	s.heap = heap.sorted()
	return s.heap
}

// byArtists proposes songs by the listener's artists: their share of the artist times the song's share of the artist's listens.
func (r *Ranker) byArtists(s *scratch, v *view, shares []float32) []int32 {
	s.buffer = resize(s.buffer, len(v.songs))
	heap := topHeap{values: s.buffer, keys: s.keys, items: s.heap[:0]}
	for a, x := range shares {
		if x <= 0 {
			continue
		}
		taken := 0
		for _, i := range v.byArtist[a] { // most popular first
			if taken == r.params.PerSource {
				break
			}
			if !s.excluded[i] {
				taken++
				s.buffer[i] = x * v.inArtist[i]
				heap.offer(i, r.params.PerSource)
			}
		}
	}
	s.heap = heap.sorted()
	return s.heap
}

// byGenres proposes popular songs of the listener's genres.
func (r *Ranker) byGenres(s *scratch, v *view) []int32 {
	if len(s.genres) == 0 {
		return nil
	}
	s.buffer = resize(s.buffer, len(v.songs))
	heap := topHeap{values: s.buffer, keys: s.keys, items: s.heap[:0]}
	for _, i := range v.popular[SourceWeek] {
		if x := s.genreShare(&v.genres[i]) * v.week[i]; x > 0 && !s.excluded[i] {
			s.buffer[i] = x
			heap.offer(i, r.params.PerSource)
		}
	}
	s.heap = heap.sorted()
	return s.heap
}

// unheard proposes the first of a list that may be proposed.
func (r *Ranker) unheard(s *scratch, list []int32) []int32 {
	s.heap = s.heap[:0]
	for _, i := range list {
		if len(s.heap) == r.params.PerSource {
			break
		}
		if !s.excluded[i] {
			s.heap = append(s.heap, i)
		}
	}
	return s.heap
}

// addTrending enters the songs on trend that the listener can see and that suit best.
func (r *Ranker) addTrending(s *scratch, v *view, l *Listener) {
	s.trends = s.trends[:0]
	region := factor.RegionOf(l.Region)
	s.buffer = resize(s.buffer, len(v.songs))
	heap := topHeap{values: s.buffer, keys: s.keys, items: s.heap[:0]}
	strengths := map[int32]float32{}
	for _, t := range v.trending {
		best, visible := t.info.Best(region)
		if !visible || s.excluded[t.ordinal] || best.Score <= 0 || int(t.ordinal) >= len(s.tastes.Taste) {
			continue
		}
		strengths[t.ordinal] = min(best.Score, trendMax) / trendMax
		s.buffer[t.ordinal] = s.tastes.Taste[t.ordinal]
		heap.offer(t.ordinal, r.params.Trending)
	}
	s.heap = heap.sorted()
	for _, i := range s.heap {
		s.extra = append(s.extra, s.enter(i))
	}
	s.trends = resize(s.trends, len(s.songs))
	for n, i := range s.songs {
		s.trends[n] = strengths[i]
	}
}

// trendMax is the strength of a trend from which more says nothing (models.md §B.7).
const trendMax = 8

// addCold enters the cold songs whose description suits the listener best.
func (r *Ranker) addCold(s *scratch, v *view) {
	heap := topHeap{values: s.tastes.Taste, keys: s.keys, items: s.heap[:0]}
	for _, i := range v.cold {
		if int(i) < len(s.tastes.Taste) && !s.excluded[i] {
			heap.offer(i, r.params.Cold)
		}
	}
	s.heap = heap.sorted()
	for _, i := range s.heap {
		n := s.enter(i)
		s.extra = append(s.extra, n)
		if int(n) == len(s.trends) {
			s.trends = append(s.trends, 0)
		}
	}
}

// describe computes the features of all candidates.
func (s *scratch) describe(v *view, region *regional, l *Listener, perSource int) {
	n := len(s.songs)
	for k := range s.values {
		s.values[k] = resize(s.values[k], n)
		s.places[k] = grown(s.places[k], n)
	}
	s.rows = resize(s.rows, n*Features)
	clear(s.rows)
	for c, i := range s.songs {
		a := v.artist[i]
		s.values[SourceTaste][c] = odds(&s.tastes, i)
		s.values[SourceFold][c] = odds(&s.folded, i)
		s.values[SourceNeighbours][c] = s.near[i]
		s.values[SourceArtist][c] = s.lasting[a] * v.inArtist[i]
		s.values[SourceArtistRecent][c] = s.recent[a] * v.inArtist[i]
		s.values[SourceGenre][c] = s.genreShare(&v.genres[i]) * v.week[i]
		s.values[SourceDay][c] = v.day[i] + popularityFloor
		s.values[SourceWeek][c] = v.week[i] + popularityFloor
		s.values[SourceMonth][c] = v.month[i] + popularityFloor
		s.values[SourceRegion][c] = region.week[i] + popularityFloor
	}
	s.mix(perSource)
	column := resize(s.buffer, n)
	s.buffer = column
	for k := range sources {
		relative(column, s.values[k])
		s.put(strength(k), column)
		for c := range n {
			s.rows[c*Features+place(k)] = placeOf(s.places[k][c])
		}
	}
	for f, value := range map[int]func(i int32) float64{
		featureEvidence: func(i int32) float64 { return math.Log1p(float64(v.listens[i])) },
		featureAge:      func(i int32) float64 { return math.Log1p(float64(v.age[i])) },
		featureGenre:    func(i int32) float64 { return math.Sqrt(float64(s.genreShare(&v.genres[i]))) },
	} {
		for c, i := range s.songs {
			column[c] = float32(value(i))
		}
		s.put(f, column)
	}
	affinity := float32(unit(l.ViralAffinity, NeutralViralAffinity) / NeutralViralAffinity)
	for c, i := range s.songs {
		row := s.row(int32(c))
		if v.age[i] < newDays {
			row[featureNew] = 1
		}
		if plays := s.plays[v.artist[i]]; plays > 0 {
			row[featurePlays], row[featureKnown] = float32(math.Log1p(float64(plays))), 1
			for k, source := range knownSources {
				row[featureKnownTaste+k] = row[strength(source)]
			}
		}
		row[featureTrend] = s.trends[c] * affinity
	}
}

const (
	popularityFloor = .05 // listens that every song is counted as having, so that few are not infinitely more than none
	newDays         = 7
)

// put standardises a column and writes it into the rows.
func (s *scratch) put(feature int, column []float32) {
	standardise(column)
	for c, x := range column {
		s.rows[c*Features+feature] = x
	}
}

// odds turns a factor score into what is in proportion to a chance. The learner sees a positive of song i with chance P(i) and a negative
// with chance n/N, so the score that minimises the squared loss is s = P/(P + n/N), and P ∝ s/(1−s).
func odds(scores *factor.Scores, i int32) float32 {
	if int(i) >= len(scores.Taste) {
		return 0
	}
	x := min(max(scores.Taste[i], 1e-4), .95)
	return x / (1 - x)
}

// rate computes the scores: the blend of the features and
//
//	tilt·(mean − log(1 + week))
//
// by which the discovery knob tilts around the popularity that an average listen goes to: at 0 popular songs gain, at 1 rare ones do.
func (s *scratch) rate(w *[Features]float32, l *Listener, v *view) {
	tilt := float32(unit(l.Discovery, NeutralDiscovery) - NeutralDiscovery)
	s.scores = resize(s.scores, len(s.songs))
	for c, i := range s.songs {
		s.scores[c] = score(w, s.rows[c*Features:]) + tilt*(v.popMean-v.logWeek[i])
	}
}

// unit bounds x to [0, 1]; what is not a number becomes neutral.
func unit(x, neutral float64) float64 {
	if math.IsNaN(x) {
		return neutral
	}
	return min(max(x, 0), 1)
}

// share scales values of a total to one of 1; nothing happens to values without a total.
func share(values []float32, total float64) {
	if !(total > 0) {
		return
	}
	for i := range values {
		values[i] = float32(float64(values[i]) / total)
	}
}
