package factor

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
)

// Index is the dense position of a row in one Table. It is never persisted or sent. 0 is no row.
type Index uint32

// None is the Index of no row. Its vector is zero for ever.
const None Index = 0

const (
	chunkRows = 4096 // rows that are allocated together; rows never move
	blockRows = 64   // rows that share a lock: a full scan takes one lock per 64 rows
)

// Meta describes a song. The zero Meta is a song of which nothing is known.
type Meta struct {
	Title, Artist, Album string
	Genres               []string
	Language             string
	ReleasedAt           int64 // Unix ms, 0 = unknown
	DurationMs           int64 // 0 = unknown
	Tempo, Energy        float32
}

// features are the rows that a song shares with others. Absent ones are None.
type features struct {
	artist, language Index
	genres           [maxGenres]Index
	genreShare       float32 // 1/number of genres: their mean is part of the song's vector
	artistKey        Key     // 0 = unknown
}

// row is what a Table holds of a row besides its numbers. key, kind and id never change.
type row struct {
	key       Key
	id        string
	kind      Kind
	active    bool
	epoch     uint32 // of the refit that it has taken in last
	recording uint64
	pending   *change
	meta      *Meta  // replaced as a whole, never changed
	stats     *Stats // replaced as a whole, never changed
}

// chunk holds chunkRows rows. Each lock guards the vectors, evidence, features and rows of one block.
type chunk struct {
	locks   [chunkRows / blockRows]sync.RWMutex
	vectors []float32
	// evidence is how much the rows have been heard: the weight of what they were trained on.
	evidence [chunkRows]float32
	features [chunkRows]features // not in rows: a scan of all songs needs nothing else of them
	rows     [chunkRows]row
}

// Table holds the factor rows of this process, with the songs' descriptions and published statistics. All its methods may be
// called concurrently.
type Table struct {
	params  Params
	seed    maphash.Seed
	changes sync.Pool // *change

	chunks atomic.Pointer[[]*chunk] // replaced under mu when it grows

	positives atomic.Int64 // evidence of all songs, in evidenceUnits
	geometry  atomic.Pointer[Geometry]
	measuring sync.Mutex
	byKey     atomic.Pointer[[]Index] // the songs that came first, as many as a measurement saw, by key; replaced as a whole

	mu     sync.RWMutex // guards the fields below; never taken while a block lock is held
	index  map[Key]Index
	rows   int // allocated, None included
	songs  []Index
	active int // songs that somebody has listened to

	version atomic.Uint64 // grows with each Load and Describe
	epoch   atomic.Uint32 // of the newest refit

	refitted atomic.Int64 // rows that came in another epoch than they were in
}

// NewTable returns an empty table. p must be valid.
func NewTable(p Params) *Table {
	t := &Table{params: p, seed: maphash.MakeSeed(), index: make(map[Key]Index)}
	t.changes.New = func() any { return &change{vector: make([]float32, p.Dim)} }
	t.growLocked() // row 0 is None
	t.rows = 1
	return t
}

// Params returns the settings that the table was made with.
func (t *Table) Params() Params { return t.params }

func (t *Table) growLocked() {
	var grown []*chunk
	if old := t.chunks.Load(); old != nil {
		grown = slices.Clip(*old) // so that append copies, and a reader's slice stays as it is
	}
	grown = append(grown, &chunk{vectors: make([]float32, chunkRows*t.params.Dim)})
	t.chunks.Store(&grown)
}

// at returns the chunk of a row and its place in it.
func (t *Table) at(i Index) (*chunk, int) {
	return (*t.chunks.Load())[i/chunkRows], int(i % chunkRows)
}

func (c *chunk) lock(at int) *sync.RWMutex { return &c.locks[at/blockRows] }

func (c *chunk) vector(at, dim int) []float32 { return c.vectors[at*dim : (at+1)*dim : (at+1)*dim] }

// Song returns the index of a song and makes its row if it is new.
func (t *Table) Song(id string) Index { return t.Row(KindSong, id) }

// SongOf is Song for an id in a buffer that the caller reuses. It allocates only for a new song.
func (t *Table) SongOf(id []byte) Index {
	k := KeyOf(KindSong, id)
	if i, ok := t.Lookup(k); ok {
		return i
	}
	return t.intern(KindSong, k, string(id))
}

// Row returns the index of a row and makes it, with the initial vector of its key, if it is new.
func (t *Table) Row(kind Kind, id string) Index {
	k := KeyOf(kind, id)
	if i, ok := t.Lookup(k); ok {
		return i
	}
	return t.intern(kind, k, strings.Clone(id))
}

func (t *Table) intern(kind Kind, k Key, id string) Index {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i, ok := t.index[k]; ok {
		return i
	}
	if t.rows == len(*t.chunks.Load())*chunkRows {
		t.growLocked()
	}
	i := Index(t.rows) //nolint:gosec // a row takes 200 bytes: memory ends long before 2³²
	t.rows++
	c, at := t.at(i)
	// No lock of the block: nobody knows the index before it is in the map, and a scan reads only the rows counted under t.mu.
	InitRow(t.params, k, c.vector(at, t.params.Dim))
	c.rows[at] = row{key: k, id: id, kind: kind}
	if kind == KindSong {
		t.songs = append(t.songs, i)
	}
	t.index[k] = i
	return i
}

// Lookup returns the index of the row with key k, if there is one.
func (t *Table) Lookup(k Key) (Index, bool) {
	t.mu.RLock()
	i, ok := t.index[k]
	t.mu.RUnlock()
	return i, ok
}

// ID returns the id of a row, "" for None.
func (t *Table) ID(i Index) string {
	c, at := t.at(i)
	return c.rows[at].id
}

// KeyAt returns the key of a row.
func (t *Table) KeyAt(i Index) Key {
	c, at := t.at(i)
	return c.rows[at].key
}

// KindAt returns the kind of a row, 0 for None.
func (t *Table) KindAt(i Index) Kind {
	c, at := t.at(i)
	return c.rows[at].kind
}

// Rows returns the number of rows of all kinds.
func (t *Table) Rows() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.rows - 1
}

// Songs returns the number of songs.
func (t *Table) Songs() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.songs)
}

// Active returns the number of songs that somebody has listened to, as far as this process knows.
func (t *Table) Active() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.active
}

// Version grows with each Load and Describe: a reader that caches something of the table compares it.
func (t *Table) Version() uint64 { return t.version.Load() }

// SongList returns the songs in the order in which they became known; the position of a song is its ordinal.
// The caller must not change the slice; songs that arrive later are not in it.
func (t *Table) SongList() []Index {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Clip(t.songs)
}

// Describe sets the description of a song and interns the rows of its artist, genres and language.
func (t *Table) Describe(song Index, m Meta) {
	m.Genres = slices.Clone(m.Genres)
	var f features
	if m.Artist != "" {
		f.artist = t.Row(KindArtist, m.Artist)
		f.artistKey = t.KeyAt(f.artist)
	}
	if m.Language != "" {
		f.language = t.Row(KindLanguage, m.Language)
	}
	if n := min(len(m.Genres), t.params.GenresMax); n > 0 {
		for g := range n {
			f.genres[g] = t.Row(KindGenre, m.Genres[g])
		}
		f.genreShare = 1 / float32(n)
	}
	recording := t.recordingOf(m)

	c, at := t.at(song)
	c.lock(at).Lock()
	c.rows[at].meta, c.features[at], c.rows[at].recording = &m, f, recording
	c.lock(at).Unlock()
	t.version.Add(1)
}

// recordingOf hashes the artist and the title without case, punctuation and bracketed additions such as "(Remastered 2011)":
// two songs with the same value are taken for the same recording. 0 = unknown.
func (t *Table) recordingOf(m Meta) uint64 {
	if m.Title == "" {
		return 0
	}
	var h maphash.Hash
	h.SetSeed(t.seed)
	var runes int
	for _, s := range [2]string{m.Artist, m.Title} {
		depth := 0
		for _, r := range s {
			switch {
			case r == '(' || r == '[':
				depth++
			case r == ')' || r == ']':
				depth = max(depth-1, 0)
			case depth == 0 && (unicode.IsLetter(r) || unicode.IsNumber(r)):
				_, _ = h.WriteString(string(unicode.ToLower(r))) // a Hash's Write returns no error
				runes++
			}
		}
		_ = h.WriteByte(0)
	}
	if runes == 0 { // "(Intro)", "?": nothing to compare by
		return 0
	}
	return h.Sum64() | 1
}

// Recording returns a value that songs with the same artist and title share, 0 if the title is unknown.
func (t *Table) Recording(song Index) uint64 {
	c, at := t.at(song)
	c.lock(at).RLock()
	defer c.lock(at).RUnlock()
	return c.rows[at].recording
}

// Meta returns the description of a song. The caller must not change its Genres.
func (t *Table) Meta(song Index) Meta {
	c, at := t.at(song)
	c.lock(at).RLock()
	defer c.lock(at).RUnlock()
	if m := c.rows[at].meta; m != nil {
		return *m
	}
	return Meta{}
}

// ReleasedAt returns when a song comes out, Unix ms; 0 = unknown.
func (t *Table) ReleasedAt(song Index) int64 {
	c, at := t.at(song)
	c.lock(at).RLock()
	defer c.lock(at).RUnlock()
	if m := c.rows[at].meta; m != nil {
		return m.ReleasedAt
	}
	return 0
}

// Artist returns the row of the song's artist, None if it is unknown.
func (t *Table) Artist(song Index) Index {
	c, at := t.at(song)
	c.lock(at).RLock()
	defer c.lock(at).RUnlock()
	return c.features[at].artist
}

// MaxGenres is how many genres of a song are rows of its own.
const MaxGenres = maxGenres

// Features returns the rows that a song shares with others: its artist and its genres, None where there is none.
func (t *Table) Features(song Index) (artist Index, genres [MaxGenres]Index) {
	c, at := t.at(song)
	c.lock(at).RLock()
	defer c.lock(at).RUnlock()
	return c.features[at].artist, c.features[at].genres
}

// Glance returns what each listen asks of its song, in one look: the key of its artist, 0 if unknown, and where it is trending. The caller
// must not change the slice.
func (t *Table) Glance(song Index) (artist Key, trend TrendInfo) {
	c, at := t.at(song)
	c.lock(at).RLock()
	defer c.lock(at).RUnlock()
	if s := c.rows[at].stats; s != nil {
		trend = s.Trend
	}
	return c.features[at].artistKey, trend
}

// activate counts a song among those that are listened to.
func (t *Table) activate(song Index) {
	c, at := t.at(song)
	c.lock(at).Lock()
	known := c.rows[at].active
	c.rows[at].active = true
	c.lock(at).Unlock()
	if known {
		return
	}
	t.mu.Lock()
	t.active++
	t.mu.Unlock()
}
