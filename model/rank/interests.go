package rank

import (
	"cmp"
	"slices"

	"earworm/model/factor"
	"earworm/model/interest"
)

// divided are the interests of one listener.
type divided struct {
	divider interest.Divider
	unit    []float32 // vectors of the songs that they came to last, of length 1
	songs   []factor.Index
	weights []float32
	asked   []factor.Index
	queries []factor.Query // one for each interest; none where there are not several
	parts   []part
}

// part is one interest.
type part struct {
	weight float32 // share of what the listener came to last
	vector []float32
	scores factor.Scores // by number of the candidate
}

// interests divides what the listener came to last, and where that makes several interests scores the candidates for each: for the
// vector of a listener who came to nothing but its songs. fold has set the songs and their weights.
func (r *Ranker) interests(s *scratch, v *view) {
	d := &s.divided
	d.queries = d.queries[:0]
	dim := r.table.Params().Dim
	last := min(len(s.songsOf), r.params.History)
	d.unit = resize(d.unit, last*dim)
	for i, song := range s.songsOf[:last] {
		r.table.Effective(song, d.unit[i*dim:][:dim])
		normalise(d.unit[i*dim:][:dim])
	}
	labels, n := d.divider.Divide(r.params.Interests, d.unit, dim)
	if n < 2 {
		return
	}
	for len(d.parts) < n {
		d.parts = append(d.parts, part{})
	}
	for k := range n {
		p := &d.parts[k]
		d.songs, d.weights, p.weight = d.songs[:0], d.weights[:0], 0
		for i, label := range labels {
			if int(label) == k {
				d.songs, d.weights = append(d.songs, s.songsOf[i]), append(d.weights, s.weights[i])
				p.weight += s.weights[i]
			}
		}
		p.vector = resize(p.vector, dim)
		if !s.solver.Solve(p.vector, r.table, v.geometry, d.songs, d.weights) {
			clear(p.vector)
		}
		d.queries = append(d.queries, factor.Query{User: p.vector, Dst: &p.scores})
	}
	d.asked = resize(d.asked, len(s.songs))
	for c, o := range s.songs {
		d.asked[c] = v.songs[o]
	}
	r.table.ScoreSongs(d.asked, d.queries...)
}

// mix sets the value of each candidate to the chance, up to a factor, that one of the interests comes to it next: Σ weight·odds/Σ odds. One
// who has a single interest comes to what their vector says.
func (s *scratch) mix(limit int) {
	values := s.values[SourceInterests]
	n := len(s.divided.queries)
	if n == 0 {
		copy(values, s.values[SourceFold])
		copy(s.places[SourceInterests], s.places[SourceFold])
		return
	}
	clear(values)
	for k := range s.divided.parts[:n] {
		p := &s.divided.parts[k]
		var sum float32
		for c := range values {
			sum += odds(&p.scores, int32(c))
		}
		for c := range values {
			values[c] += p.weight * odds(&p.scores, int32(c)) / sum
		}
	}
	s.byScore = resize(s.byScore, len(values))
	for c := range s.byScore {
		s.byScore[c] = int32(c)
	}
	slices.SortFunc(s.byScore, func(a, b int32) int {
		return cmp.Or(cmp.Compare(values[b], values[a]), cmp.Compare(s.keys[s.songs[a]], s.keys[s.songs[b]]))
	})
	for at, c := range s.byScore[:min(limit, len(values))] {
		s.places[SourceInterests][c] = int32(at) + 1
	}
}
