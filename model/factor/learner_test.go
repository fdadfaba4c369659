package factor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// small settings: little enough to compute by hand, and a pool that is smaller than the catalogue.
func small() Params {
	p := DefaultParams()
	p.Dim, p.Negatives, p.PoolSize = 6, 4, 8
	return p
}

// catalogue fills a table with described songs and returns them.
func catalogue(t *Table, n int) []Index {
	songs := make([]Index, n)
	for i := range songs {
		songs[i] = t.Song(fmt.Sprintf("song%d", i))
		m := Meta{Artist: fmt.Sprintf("artist%d", i%5), Genres: []string{"rock", fmt.Sprintf("genre%d", i%3)}, Language: "en"}
		if i%7 != 0 { // some of which nothing is known
			t.Describe(songs[i], m)
		}
	}
	return songs
}

// twin is the learner written down as plainly as possible: float64, maps, no copies, no slab.
type twin struct {
	p      Params
	table  *Table
	rng    splitMix
	rows   map[Index][]float64
	biases map[Index]float64
	songs  []Index // all of them listened to and all in the pool
}

func (w *twin) row(i Index) []float64 {
	if w.rows[i] == nil {
		v := make([]float32, w.p.Dim)
		InitRow(w.p, w.table.KeyAt(i), v)
		for _, x := range v {
			w.rows[i] = append(w.rows[i], float64(x))
		}
	}
	return w.rows[i]
}

// parts lists the rows of which a song is made, the share of each in its vector, and the step of each.
func (w *twin) parts(song Index) (rows []Index, shares, steps []float64) {
	c, at := w.table.at(song)
	f := c.rows[at].features
	add := func(i Index, share, step float64) {
		if i != None {
			rows, shares, steps = append(rows, i), append(shares, share), append(steps, step)
		}
	}
	step := float64(w.p.SongStep)
	add(song, 1, step)
	add(f.artist, 1, step)
	add(f.language, 1, step*float64(w.p.GenreScale))
	for _, g := range f.genres {
		add(g, float64(f.genreShare), step*float64(w.p.GenreScale))
	}
	return rows, shares, steps
}

func (w *twin) pull(user, gradient []float64, song Index, target, weight float64) {
	rows, shares, steps := w.parts(song)
	q := make([]float64, w.p.Dim)
	for n, i := range rows {
		for k, x := range w.row(i) {
			q[k] += shares[n] * x
		}
	}
	score := w.biases[song]
	for k := range q {
		score += user[k] * q[k]
	}
	e := weight * (target - score)
	e = max(min(e, float64(w.p.ErrorClip)), -float64(w.p.ErrorClip))
	for k := range q {
		gradient[k] += e * q[k]
	}
	lambda := float64(w.p.Regularisation)
	w.biases[song] += float64(w.p.BiasStep) * (e - lambda*w.biases[song])
	for n, i := range rows {
		for k := range user {
			row := w.row(i)
			row[k] += steps[n] * (shares[n]*e*user[k] - lambda*row[k])
		}
	}
}

func (w *twin) positive(user []float64, song Index, weight, share float64) {
	gradient := make([]float64, w.p.Dim)
	w.pull(user, gradient, song, 1, weight*share)
	for range w.p.Negatives {
		if other := w.songs[w.rng.below(len(w.songs))]; other != song {
			w.pull(user, gradient, other, 0, share)
		}
	}
	for k := range user {
		user[k] += float64(w.p.UserStep) * (gradient[k] - float64(w.p.Regularisation)*user[k])
	}
}

func (w *twin) firstListen(user []float64, song Index, weight float64, history []Index) {
	w.positive(user, song, weight, 1)
	m := 0
	if n := len(history); n > 0 {
		m = min(n, w.p.Replays, max(w.p.ReplayFloor, w.p.ReplayBudget/n))
	}
	for range m {
		if other := history[w.rng.below(len(history))]; other != song {
			w.positive(user, other, 1, float64(w.p.ReplayWeight))
		}
	}
}

// A learner alone must not notice how often it writes to the slab, nor when its transactions end.
func TestLearnerEqualsNaiveTwin(t *testing.T) {
	for _, syncEvery := range []int{1, 3, 1 << 20} {
		t.Run(fmt.Sprintf("sync=%d", syncEvery), func(t *testing.T) {
			p := small()
			p.SyncEvery, p.PoolSize = syncEvery, 40
			table := NewTable(p)
			songs := catalogue(table, p.PoolSize)
			for _, song := range songs {
				table.activate(song)
			}
			l := NewLearner(table, p, 3, 99)
			w := &twin{p: p, table: table, songs: songs, rng: splitMix(99), rows: map[Index][]float64{}, biases: map[Index]float64{}}
			rng := rand.New(rand.NewPCG(5, 5))
			user, plain := make([]float32, p.Dim), make([]float64, p.Dim)
			InitRow(p, KeyOf(KindListener, "u"), user)
			for k, x := range user {
				plain[k] = float64(x)
			}
			var history []Index
			for n := range 300 {
				song := songs[rng.IntN(len(songs))]
				l.FirstListen(user, song, 1.5, history)
				w.firstListen(plain, song, 1.5, history)
				history = append(history, song)
				if n%20 == 19 {
					l.Flush(int64(n), func(Delta) {})
					l.Committed()
				}
			}
			compare(t, table, w, user, plain)
		})
	}
}

func compare(t *testing.T, table *Table, w *twin, user []float32, plain []float64) {
	t.Helper()
	const tolerance = 1e-3
	for k := range user {
		if math.Abs(float64(user[k])-plain[k]) > tolerance {
			t.Fatalf("the listener's vector is %v, want %v", user, plain)
		}
	}
	got := make([]float32, len(user))
	for i, want := range w.rows {
		bias := table.Vector(i, got)
		for k := range want {
			if math.Abs(float64(got[k])-want[k]) > tolerance {
				t.Fatalf("row %s %q is %v, want %v", table.KindAt(i), table.ID(i), got, want)
			}
		}
		if math.Abs(float64(bias)-w.biases[i]) > tolerance {
			t.Fatalf("the bias of %q is %v, want %v", table.ID(i), bias, w.biases[i])
		}
	}
}

func TestFirstListenDoesNotAllocate(t *testing.T) {
	p := DefaultParams()
	p.PoolSize = 64 // drawn whole in the first round
	table := NewTable(p)
	songs := catalogue(table, 500)
	l := NewLearner(table, p, 0, 1)
	user := make([]float32, p.Dim)
	history := songs[:50]
	round := func() {
		for _, song := range songs[:40] {
			l.FirstListen(user, song, 1, history)
			l.Feedback(user, song, -1, 1)
		}
	}
	for seq := range int64(3) { // after this the transaction's memory is as large as it gets
		for _, song := range songs {
			l.FirstListen(user, song, 1, history)
		}
		l.Flush(seq, func(Delta) {})
		l.Abandon()
	}
	for range 5 { // every row is touched, and has reached the slab
		round()
	}
	if allocs := testing.AllocsPerRun(20, round); allocs != 0 {
		t.Errorf("forty first listens allocate %v times, want 0", allocs)
	}
}

func TestScoresRiseWithListens(t *testing.T) {
	p := small()
	table := NewTable(p)
	songs := catalogue(table, 30)
	l := NewLearner(table, p, 0, 1)
	user := make([]float32, p.Dim)
	InitRow(p, KeyOf(KindListener, "u"), user)
	for round := range int64(150) {
		l.Flush(round, func(Delta) {}) // and a new pool
		l.Committed()
		for _, song := range songs[:5] {
			l.FirstListen(user, song, 1, songs[:5])
		}
		for _, song := range songs[5:] { // somebody else's
			other := make([]float32, p.Dim)
			InitRow(p, KeyOf(KindListener, table.ID(song)), other)
			l.FirstListen(other, song, 1, nil)
		}
	}
	before := l.Feedback(user, songs[0], 1, 0).Score
	if before < .5 {
		t.Errorf("a song heard 150 times scores %v, want at least .5", before)
	}
	for range 30 {
		l.Feedback(user, songs[0], -1, 1)
	}
	if after := l.Feedback(user, songs[0], -1, 0).Score; after > before-.5 {
		t.Errorf("after thirty dislikes the song scores %v, before %v", after, before)
	}
}

// The negatives of a transaction come from a pool, so that it touches few rows however long it is.
func TestTransactionTouchesFewRows(t *testing.T) {
	p := small()
	p.PoolSize = 16
	table := NewTable(p)
	songs := catalogue(table, 2000)
	for _, song := range songs {
		table.activate(song)
	}
	l := NewLearner(table, p, 0, 1)
	user := make([]float32, p.Dim)
	InitRow(p, 1, user)
	for range 5000 {
		l.FirstListen(user, songs[0], 1, songs[:1])
	}
	var touched int
	l.Flush(1, func(d Delta) {
		if d.Kind == KindSong {
			touched++
		}
	})
	if touched < 10 || touched > 1+p.PoolSize {
		t.Errorf("5,000 listens to one song changed %d songs, want at most 1 and a pool of %d", touched, p.PoolSize)
	}
}

// Whatever a listener's row, a weight or a target holds, everything stays finite and bounded.
func TestHostileInputStaysFinite(t *testing.T) {
	p := small()
	table := NewTable(p)
	songs := catalogue(table, 30)
	l := NewLearner(table, p, 0, 1)
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	hostile := []float32{inf, -inf, nan, math.MaxFloat32, -math.MaxFloat32, 1e20, 0}
	rng := rand.New(rand.NewPCG(1, 9))
	pick := func() float32 { return hostile[rng.IntN(len(hostile))] }
	user := make([]float32, p.Dim)
	for n := range 2000 {
		user[rng.IntN(p.Dim)] = pick()
		song := songs[rng.IntN(len(songs))]
		l.FirstListen(user, song, pick(), songs[:n%7])
		l.Feedback(user, song, pick(), pick())
		if !bound(user, p.NormMax*1.001) {
			t.Fatalf("the listener's vector is out of bounds: %v", user)
		}
		if n%50 == 0 {
			l.Flush(int64(n), func(d Delta) {
				if !finite(dot(d.Vector, d.Vector)) || !finite(d.Bias) {
					t.Fatalf("the change of %q is not finite: %v", d.ID, d.Vector)
				}
			})
			l.Committed()
		}
	}
	q := make([]float32, p.Dim)
	for _, song := range songs {
		if bias := table.Vector(song, q); !finite(dot(q, q)) || !finite(bias) {
			t.Fatalf("the row of %q is not finite: %v", table.ID(song), q)
		}
	}
	if step := l.FirstListen(user[:2], songs[0], 1, nil); step != (Step{}) {
		t.Errorf("a vector of the wrong width was trained: %v", step)
	}
	if step := l.FirstListen(user, None, 1, nil); step != (Step{}) {
		t.Errorf("no song was trained: %v", step)
	}
}

func TestReplaysShrinkWithHistory(t *testing.T) {
	p := small()
	p.Replays, p.ReplayBudget, p.ReplayFloor = 8, 100, 1
	l := NewLearner(NewTable(p), p, 0, 1)
	for n, want := range map[int]int{0: 0, 1: 1, 5: 5, 10: 8, 20: 5, 100: 1, 1000: 1} {
		if got := l.replays(n); got != want {
			t.Errorf("a history of %d songs is replayed %d times, want %d", n, got, want)
		}
	}
	l.Hurry(true)
	for n, want := range map[int]int{0: 0, 1: 1, 5: 1, 1000: 1} {
		if got := l.replays(n); got != want {
			t.Errorf("in a hurry a history of %d songs is replayed %d times, want %d", n, got, want)
		}
	}
	if l.Hurry(false); l.replays(10) != 8 {
		t.Error("the hurry does not end")
	}
}

func BenchmarkFirstListen(b *testing.B) {
	for _, replays := range []int{0, 8} {
		b.Run(fmt.Sprintf("negatives=15/replays=%d", replays), func(b *testing.B) {
			p := DefaultParams()
			p.Replays = replays
			table := NewTable(p)
			songs := catalogue(table, 100_000)
			for _, song := range songs {
				table.activate(song)
			}
			l := NewLearner(table, p, 0, 1)
			rng := rand.New(rand.NewPCG(1, 1))
			user := make([]float32, p.Dim)
			InitRow(p, 1, user)
			n := int64(0)
			b.ReportAllocs()
			for b.Loop() {
				l.FirstListen(user, songs[rng.IntN(len(songs))], 1, songs[:40])
				if n++; n%1000 == 0 {
					l.Flush(n, func(Delta) {})
					l.Abandon() // as no song task is there to acknowledge
				}
			}
			examples := float64(1+p.Negatives) * float64(1+l.replays(40))
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/examples, "ns/step")
		})
	}
}
