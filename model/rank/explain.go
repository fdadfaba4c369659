package rank

import (
	"math"

	"earworm/model/factor"
)

// explainHistory bounds the heard songs that are compared with every candidate: the most engaging ones.
const explainHistory = 50

// sameArtist is added to the likeness of a heard song by the candidate's artist: a reason that a listener can check goes first.
const sameArtist = 1

// explain finds for each candidate the heard songs that speak for it most: by the same artist, or else alike in the factors, weighted by
// what the listener still makes of them.
func (r *Ranker) explain(list []Candidate, s *scratch, v *view, l Listener, at int64) {
	if r.params.SeedsMax == 0 || len(l.History) == 0 {
		return
	}
	heard := r.engaging(v, l, at)
	d := r.table.Params().Dim
	s.vectors = resize(s.vectors, (len(heard)+1)*d)
	for n, h := range heard {
		q := s.vectors[n*d : (n+1)*d]
		r.table.Effective(h.song, q)
		normalise(q)
	}
	own := s.vectors[len(heard)*d:]
	for c := range list {
		r.table.Effective(list[c].Song, own)
		normalise(own)
		list[c].Seeds = r.seeds(list[c], heard, s.vectors, own)
	}
}

// weighted is a heard song with what the listener makes of it now.
type weighted struct {
	song, artist factor.Index
	value        float32 // log(1 + decayed engagement)
}

// engaging returns the songs of the history with the greatest positive engagement, greatest first.
func (r *Ranker) engaging(v *view, l Listener, at int64) []weighted {
	values, keys := make([]float32, len(l.History)), make([]factor.Key, len(l.History))
	for n, h := range l.History {
		values[n] = -math.MaxFloat32
		if o := v.ordinal(h.Song); h.Value > 0 && o >= 0 {
			values[n], keys[n] = float32(decayed(h.Value, at-h.At, r.params.ArtistHalfLife)), v.keys[o]
		}
	}
	heap := topHeap{values: values, keys: keys}
	for n := range values {
		if values[n] > -math.MaxFloat32 {
			heap.offer(int32(n), explainHistory)
		}
	}
	top := heap.sorted()
	list := make([]weighted, len(top))
	for n, i := range top {
		h := l.History[i]
		list[n] = weighted{song: h.Song, artist: r.table.Artist(h.Song), value: float32(math.Log1p(float64(values[i])))}
	}
	return list
}

// seeds returns the best explanations of one candidate.
func (r *Ranker) seeds(c Candidate, heard []weighted, vectors, own []float32) []factor.Index {
	d := len(own)
	n := min(r.params.SeedsMax, len(heard))
	songs := make([]factor.Index, 0, n)
	likeness := make([]float32, 0, n)
	for h := range heard {
		like := cosine(vectors[h*d:(h+1)*d], own)
		if c.Artist != factor.None && heard[h].artist == c.Artist {
			like += sameArtist
		}
		like *= heard[h].value
		if !(like > 0) {
			continue
		}
		at := len(songs)
		for at > 0 && like > likeness[at-1] {
			at--
		}
		if at == n {
			continue
		}
		if len(songs) < n {
			songs, likeness = append(songs, 0), append(likeness, 0)
		}
		copy(songs[at+1:], songs[at:])
		copy(likeness[at+1:], likeness[at:])
		songs[at], likeness[at] = heard[h].song, like
	}
	return songs
}

// cosine is the product of two vectors of length 1, with four accumulators.
func cosine(a, b []float32) float32 {
	b = b[:len(a)]
	var s0, s1, s2, s3 float32
	for len(a) >= 4 && len(b) >= 4 {
		s0 += a[0] * b[0]
		s1 += a[1] * b[1]
		s2 += a[2] * b[2]
		s3 += a[3] * b[3]
		a, b = a[4:], b[4:]
	}
	for i, x := range a {
		s0 += x * b[i]
	}
	return (s0 + s1) + (s2 + s3)
}

// normalise scales q to length 1; a vector of zeros stays.
func normalise(q []float32) {
	var square float64
	for _, x := range q {
		square += float64(x) * float64(x)
	}
	if square == 0 {
		return
	}
	c := float32(1 / math.Sqrt(square))
	for i := range q {
		q[i] *= c
	}
}
