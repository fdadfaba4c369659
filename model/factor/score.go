package factor

import "slices"

// Scores holds the scores of every song for one listener, by ordinal. The zero Scores is ready; it is reused between calls and
// must not be used concurrently.
type Scores struct {
	Songs []Index   // SongList at the time of the call
	Taste []float32 // ⟨user, q̂⟩

	rows []float32 // ⟨user, row⟩ of every row of any kind
}

// Score computes the scores of every song. Since q̂ is a sum of rows, ⟨user, q̂⟩ is the sum of the rows' own products: each row is read
// once, and no effective vector is kept that a concurrent learner could make stale.
func (t *Table) Score(user []float32, dst *Scores) {
	t.mu.RLock()
	dst.Songs = slices.Clip(t.songs)
	rows := t.rows
	t.mu.RUnlock()
	dst.rows = resize(dst.rows, rows)
	dst.Taste = resize(dst.Taste, len(dst.Songs))
	if len(user) != t.params.Dim {
		clear(dst.Taste)
		return
	}
	chunks := *t.chunks.Load()
	for first := 0; first < rows; first += blockRows {
		c, at := chunks[first/chunkRows], first%chunkRows
		n := min(blockRows, rows-first)
		c.lock(at).RLock()
		dots(user, c.vectors[at*t.params.Dim:][:n*t.params.Dim], dst.rows[first:first+n])
		c.lock(at).RUnlock()
	}
	sumFeatures(chunks, dst)
}

// sumFeatures adds up the products of the rows of which each song is made.
func sumFeatures(chunks []*chunk, dst *Scores) {
	rows := Index(len(dst.rows)) //nolint:gosec // see intern
	at := func(i Index) float32 {
		if i < rows { // a description may have arrived since the rows were read
			return dst.rows[i]
		}
		return 0
	}
	for n := 0; n < len(dst.Songs); {
		block := dst.Songs[n] / blockRows
		c := chunks[dst.Songs[n]/chunkRows]
		lock := c.lock(int(dst.Songs[n] % chunkRows))
		lock.RLock()
		for ; n < len(dst.Songs) && dst.Songs[n]/blockRows == block; n++ {
			i := dst.Songs[n]
			f := &c.rows[i%chunkRows].features
			taste := dst.rows[i] + at(f.artist) + at(f.language)
			if f.genreShare != 0 {
				g := &f.genres
				taste += f.genreShare * (at(g[0]) + at(g[1]) + at(g[2]) + at(g[3]))
			}
			dst.Taste[n] = taste
		}
		lock.RUnlock()
	}
}

// Effective sets dst to the effective vector of a song; that of any other row is the row itself.
func (t *Table) Effective(song Index, dst []float32) { t.effective(song, dst, nil) }

// Parts calls yield with each row of which the effective vector of a song is the sum, its own first, and with the row's share.
func (t *Table) Parts(song Index, yield func(row Index, share float32)) {
	c, at := t.at(song)
	c.lock(at).RLock()
	f := c.rows[at].features
	c.lock(at).RUnlock()
	yield(song, 1)
	for _, row := range [2]Index{f.artist, f.language} {
		if row != None {
			yield(row, 1)
		}
	}
	for _, row := range f.genres {
		if row != None {
			yield(row, f.genreShare)
		}
	}
}

// Vector sets dst to the vector of a row of any kind and returns its evidence.
func (t *Table) Vector(i Index, dst []float32) float32 {
	c, at := t.at(i)
	c.lock(at).RLock()
	defer c.lock(at).RUnlock()
	copy(dst, c.vector(at, t.params.Dim))
	return c.evidence[at]
}

func (t *Table) addRow(i Index, share float32, dst []float32) {
	if i == None {
		return
	}
	c, at := t.at(i)
	c.lock(at).RLock()
	axpy(share, c.vector(at, t.params.Dim), dst)
	c.lock(at).RUnlock()
}

// resize returns a slice of length n that reuses s. Its contents are undefined.
func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}
