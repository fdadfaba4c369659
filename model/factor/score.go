package factor

import "slices"

// Scores holds the scores of every song for one listener, by ordinal. The zero Scores is ready; it is reused between calls and
// must not be used concurrently.
type Scores struct {
	Songs []Index   // SongList at the time of the call
	Taste []float32 // ⟨user, q̂⟩

	rows []float32 // ⟨user, row⟩ of every row of any kind
}

// Query is a vector by which to score songs, and where the scores go.
type Query struct {
	User []float32
	Dst  *Scores
}

// Score computes the scores of every song for one vector.
func (t *Table) Score(user []float32, dst *Scores) { t.ScoreAll(Query{User: user, Dst: dst}) }

// ScoreAll computes the scores of every song for several vectors, which costs little more than for one: most of it is to fetch the rows.
// Since q̂ is a sum of rows, ⟨user, q̂⟩ is the sum of the rows' own products: each row is read once, and no effective vector is kept that a
// concurrent learner could make stale. A vector of another width scores nothing.
func (t *Table) ScoreAll(queries ...Query) {
	t.mu.RLock()
	songs, rows := slices.Clip(t.songs), t.rows
	t.mu.RUnlock()
	usable := queries[:0:0]
	for _, q := range queries {
		q.Dst.Songs, q.Dst.rows, q.Dst.Taste = songs, resize(q.Dst.rows, rows), resize(q.Dst.Taste, len(songs))
		if len(q.User) == t.params.Dim {
			usable = append(usable, q)
		} else {
			clear(q.Dst.Taste)
		}
	}
	chunks := *t.chunks.Load()
	for first := 0; first < rows && len(usable) > 0; first += blockRows {
		c, at := chunks[first/chunkRows], first%chunkRows
		n := min(blockRows, rows-first)
		c.lock(at).RLock()
		for _, q := range usable {
			dots(q.User, c.vectors[at*t.params.Dim:][:n*t.params.Dim], q.Dst.rows[first:first+n])
		}
		c.lock(at).RUnlock()
	}
	for n := 0; n < len(songs) && len(usable) > 0; {
		n = sumFeatures(chunks, songs, n, usable)
	}
}

// ScoreSongs computes the scores of some songs for several vectors: Dst.Songs and Dst.Taste go by the place in songs. A vector of another
// width scores nothing.
func (t *Table) ScoreSongs(songs []Index, queries ...Query) {
	d := t.params.Dim
	for _, q := range queries {
		q.Dst.Songs, q.Dst.Taste = songs, resize(q.Dst.Taste, len(songs))
		clear(q.Dst.Taste)
	}
	block := make([]float32, blockRows*d)
	for first := 0; first < len(songs); first += blockRows {
		n := min(blockRows, len(songs)-first)
		for i, song := range songs[first : first+n] {
			t.Effective(song, block[i*d:(i+1)*d])
		}
		for _, q := range queries {
			if len(q.User) == d {
				dots(q.User, block[:n*d], q.Dst.Taste[first:first+n])
			}
		}
	}
}

// sumFeatures adds up the products of the rows of which each song is made, for the songs from the n-th on that lie in one block, and returns
// the number of the next song.
func sumFeatures(chunks []*chunk, songs []Index, n int, queries []Query) int {
	c, block := chunks[songs[n]/chunkRows], songs[n]/blockRows
	lock := c.lock(int(songs[n] % chunkRows))
	lock.RLock()
	defer lock.RUnlock()
	for ; n < len(songs) && songs[n]/blockRows == block; n++ {
		f := &c.features[songs[n]%chunkRows]
		for _, q := range queries {
			q.Dst.Taste[n] = q.Dst.sum(songs[n], f)
		}
	}
	return n
}

// sum is the score of a song with these features.
func (s *Scores) sum(song Index, f *features) float32 {
	taste := s.rows[song] + s.of(f.artist) + s.of(f.language)
	if f.genreShare != 0 {
		g := &f.genres
		taste += f.genreShare * (s.of(g[0]) + s.of(g[1]) + s.of(g[2]) + s.of(g[3]))
	}
	return taste
}

// of is the product of a row. A description may have arrived since the rows were read: what it names scores nothing yet.
func (s *Scores) of(i Index) float32 {
	if int(i) < len(s.rows) {
		return s.rows[i]
	}
	return 0
}

// Effective sets dst to the effective vector of a song; that of any other row is the row itself.
func (t *Table) Effective(song Index, dst []float32) {
	c, at := t.at(song)
	c.lock(at).RLock()
	copy(dst, c.vector(at, t.params.Dim))
	f := c.features[at]
	c.lock(at).RUnlock()
	t.addRow(f.artist, 1, dst)
	t.addRow(f.language, 1, dst)
	for _, g := range f.genres {
		t.addRow(g, f.genreShare, dst)
	}
}

// Parts calls yield with each row of which the effective vector of a song is the sum, its own first, and with the row's share.
func (t *Table) Parts(song Index, yield func(row Index, share float32)) {
	c, at := t.at(song)
	c.lock(at).RLock()
	f := c.features[at]
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
