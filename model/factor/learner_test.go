package factor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// small settings: little enough to compute by hand, with solutions that are exact.
func small() Params {
	p := DefaultParams()
	p.Dim, p.Window, p.Steps = 6, 3, 60
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

// twin is the learner written down as plainly as possible: float64, maps, no copies, no slab, exact solutions. The geometry is the
// table's, which has a twin of its own.
type twin struct {
	p        Params
	table    *Table
	rng      splitMix
	rows     map[Index][]float64
	evidence map[Index]float64
}

func newTwin(t *Table, p Params, seed uint64) *twin {
	return &twin{p: p, table: t, rng: splitMix(seed), rows: map[Index][]float64{}, evidence: map[Index]float64{}}
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

// parts lists the rows of which a song is made, and the share of each in its vector.
func (w *twin) parts(song Index) (rows []Index, shares []float64) {
	c, at := w.table.at(song)
	f := c.features[at]
	add := func(i Index, share float64) {
		if i != None {
			rows, shares = append(rows, i), append(shares, share)
		}
	}
	add(song, 1)
	add(f.artist, 1)
	add(f.language, 1)
	for _, g := range f.genres {
		add(g, float64(f.genreShare))
	}
	return rows, shares
}

func (w *twin) effective(song Index) []float64 {
	q := make([]float64, w.p.Dim)
	rows, shares := w.parts(song)
	for n, i := range rows {
		for k, x := range w.row(i) {
			q[k] += shares[n] * x
		}
	}
	return q
}

// solve is the exact minimum over the end of a past, and perhaps a song with a weight.
func (w *twin) solve(g *Geometry, past Past, song Index, weight float64) []float64 {
	d := w.p.Dim
	a, b := make([][]float64, d), make([]float64, d)
	for i := range a {
		a[i] = make([]float64, d)
	}
	var total float64
	add := func(i Index, weight, target float64) {
		q := w.effective(i)
		total += weight
		for x := range q {
			for y := range q {
				a[x][y] += weight * q[x] * q[y]
			}
			b[x] += weight * target * q[x]
		}
	}
	end := max(0, len(past.Songs)-w.p.Window)
	for n := range min(w.p.Window, end) { // one song of each stretch of the others, weighing as much as the stretch
		first, behind := n*end/min(w.p.Window, end), (n+1)*end/min(w.p.Window, end)
		add(past.Songs[first+w.rng.below(behind-first)], min(drawnWeightMax, float64(behind-first)), 1)
	}
	for _, i := range past.Songs[end:] {
		add(i, 1, 1)
	}
	for _, i := range past.Refused[max(0, len(past.Refused)-2*w.p.Window):] {
		add(i, refusedWeight, 0)
	}
	for _, i := range past.Chosen[max(0, len(past.Chosen)-2*w.p.Window):] {
		add(i, 1, 1)
	}
	if song != None {
		add(song, weight, 1)
	}
	negatives := float64(w.p.Negatives)
	lambda := min(float64(w.p.RidgeMax), float64(w.p.Ridge)+float64(w.p.ListenerSparse)/max(total, 1))
	for x := range d {
		for y := range d {
			a[x][y] += negatives * total / float64(g.Songs) * g.gram[x*d+y]
		}
		a[x][x] += lambda * total * (1 + negatives)
	}
	return gauss(a, b)
}

// pull is a step of recursive least squares; keep says that the first listen was learnt before.
func (w *twin) pull(g *Geometry, user []float64, song Index, target, weight float64, keep bool) {
	d := w.p.Dim
	direction := make([]float64, d)
	var gain float64
	for x := range d {
		for y := range d {
			direction[x] += float64(g.curvature[x*d+y]) * user[y]
		}
		gain += direction[x] * user[x]
	}
	rows, shares := w.parts(song)
	q := w.effective(song)
	e := target
	for k := range q {
		e -= user[k] * q[k]
	}
	total := 0.
	step := make([]float64, len(rows))
	prior := make([]float64, len(rows))
	for n, i := range rows {
		songs := 1.
		if int(i) < len(g.songsOf) {
			songs = max(songs, float64(g.songsOf[i]))
		}
		prior[n] = float64(w.p.Negatives) * float64(g.mean) * songs
		step[n] = shares[n] / max(w.evidence[i]+prior[n], .1)
		total += step[n] * shares[n] * gain
	}
	e = weight * e / (1 + weight*total)
	for n, i := range rows {
		row := w.row(i)
		for k := range row {
			if keep {
				row[k] *= 1 - min(.5, prior[n]/max(w.evidence[i]+prior[n], .1)/max(w.evidence[i], 1)*shares[n])
			}
			row[k] += step[n] * e * direction[k]
		}
	}
}

func (w *twin) heard(song Index, weight float64) {
	rows, shares := w.parts(song)
	for n, i := range rows {
		w.row(i)
		w.evidence[i] += weight * shares[n]
	}
}

func (w *twin) firstListen(g *Geometry, song Index, weight float64, past Past) []float64 {
	user := w.solve(g, past, song, weight)
	w.heard(song, weight)
	w.pull(g, user, song, 1, weight, false)
	for range min(w.p.Replays, len(past.Songs)) {
		if other := past.Songs[w.rng.below(len(past.Songs))]; other != song {
			w.pull(g, user, other, 1, 1, true)
		}
	}
	return user
}

// stream has a learner and its twin go through a short stream. It is short because with few songs of random vectors the minimum of a
// listener can lie far from that of the listen before: rounding grows with every step.
func stream(p Params, seed uint64) (table *Table, w *twin, user []float32, plain []float64) {
	table = NewTable(p)
	songs := catalogue(table, 40)
	l, w := NewLearner(table, p, 3, 99), newTwin(table, p, 99)
	rng := rand.New(rand.NewPCG(5, seed))
	user = make([]float32, p.Dim)
	past := Past{Refused: songs[:1], Chosen: []Index{table.Row(KindArtist, "artist2"), table.Row(KindGenre, "rock")}}
	for n := range 10 {
		song := songs[rng.IntN(len(songs))]
		l.FirstListen(user, song, 1.5, past)
		plain = w.firstListen(table.geometry.Load(), song, 1.5, past)
		past.Songs = append(past.Songs, song)
		if n%4 == 3 {
			l.Flush(int64(n), func(Delta) {})
			l.Committed()
		}
	}
	song := songs[rng.IntN(len(songs))]
	l.Feedback(user, song, 0, 2)
	w.heard(song, 2)
	w.pull(table.geometry.Load(), plain, song, 0, 2, false)
	l.Flush(1000, func(Delta) {})
	return table, w, user, plain
}

func TestLearnerEqualsNaiveTwin(t *testing.T) {
	for seed := range uint64(40) {
		p := small()
		p.SyncEvery = 1 // whoever is alone, and tells the table at once, sees what it did
		table, w, user, plain := stream(p, seed)
		compare(t, table, w, user, plain)
	}
}

// How often a learner writes to the slab changes what its listeners' vectors are solved from, and no evidence.
func TestLateWritesLoseNoEvidence(t *testing.T) {
	for seed := range uint64(40) {
		p := small()
		p.SyncEvery = 1 << 20
		table, w, _, _ := stream(p, seed)
		for i := range w.rows {
			if evidence := table.Vector(i, make([]float32, p.Dim)); math.Abs(float64(evidence)-w.evidence[i]) > 1e-3 {
				t.Errorf("seed %d: the evidence of %q is %v, want %v", seed, table.ID(i), evidence, w.evidence[i])
			}
		}
	}
}

func compare(t *testing.T, table *Table, w *twin, user []float32, plain []float64) {
	t.Helper()
	const tolerance = 2e-3
	for k := range user {
		if math.Abs(float64(user[k])-plain[k]) > tolerance {
			t.Fatalf("the listener's vector is %v, want %v", user, plain)
		}
	}
	got := make([]float32, len(user))
	for i, want := range w.rows {
		evidence := table.Vector(i, got)
		for k := range want {
			if math.Abs(float64(got[k])-want[k]) > tolerance {
				t.Fatalf("row %s %q is %v, want %v", table.KindAt(i), table.ID(i), got, want)
			}
		}
		if math.Abs(float64(evidence)-w.evidence[i]) > tolerance {
			t.Fatalf("the evidence of %q is %v, want %v", table.ID(i), evidence, w.evidence[i])
		}
	}
}

// The few steps of conjugate gradients that each first listen takes stay near the minimum that they are taken towards.
func TestFewStepsStayNearTheMinimum(t *testing.T) {
	p := DefaultParams()
	table := NewTable(p)
	songs := catalogue(table, 300)
	l := NewLearner(table, p, 0, 1)
	exact := NewLearner(table, p, 1, 1)
	exact.params.Steps = 200
	rng := rand.New(rand.NewPCG(2, 2))
	user, minimum := make([]float32, p.Dim), make([]float32, p.Dim)
	var past Past
	for n := range 400 {
		song := songs[rng.IntN(100)*3] // a taste of their own
		l.FirstListen(user, song, 1, past)
		past.Songs = append(past.Songs, song)
		other := make([]float32, p.Dim)
		l.FirstListen(other, songs[n%len(songs)], 1, Past{Songs: songs[n%7 : n%7+5]})
	}
	l.Flush(1, func(Delta) {})
	exact.rng = l.rng // draws the same songs
	l.Solve(user, past)
	exact.Solve(minimum, past)
	cosine := float64(dot(user, minimum)) / math.Sqrt(float64(dot(user, user))*float64(dot(minimum, minimum)))
	if cosine < .99 {
		t.Errorf("a few steps end at %v, the minimum is %v: cosine %.4f", user, minimum, cosine)
	}
}

func TestFirstListenDoesNotAllocate(t *testing.T) {
	p := DefaultParams()
	table := NewTable(p)
	songs := catalogue(table, 500)
	q := make([]float32, p.Dim)
	for _, song := range songs { // so much evidence that the geometry stays
		table.Vector(song, q)
		table.Load(Published{Kind: KindSong, ID: table.ID(song), Vector: q, Evidence: 1e4, FirstAt: 1})
	}
	l := NewLearner(table, p, 0, 1)
	user := make([]float32, p.Dim)
	past := Past{Songs: songs[:80], Refused: songs[80:90]}
	round := func() {
		for _, song := range songs[:40] {
			l.FirstListen(user, song, 1, past)
			l.Feedback(user, song, -1, 1)
			l.Solve(user, past)
		}
	}
	for seq := range int64(3) { // after this the transaction's memory is as large as it gets
		for _, song := range songs {
			l.FirstListen(user, song, 1, past)
		}
		l.Flush(seq, func(Delta) {})
		l.Abandon()
	}
	for range 20 { // every row is touched, and has reached the slab
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
	past := Past{Songs: songs[1:5]}
	for round := range int64(40) {
		for n := range 20 { // people of one taste, and people of another
			InitRow(p, KeyOf(KindListener, fmt.Sprint(round, n)), user)
			own, others := songs[:5], songs[5:]
			l.FirstListen(user, own[n%5], 1, Past{Songs: own})
			InitRow(p, KeyOf(KindListener, fmt.Sprint("other", round, n)), user)
			l.FirstListen(user, others[n], 1, Past{Songs: others})
		}
		l.Flush(round, func(Delta) {})
		l.Committed()
	}
	score := func(song Index) float32 {
		n := l.slotOf(song)
		return l.look(&l.slots[n], user, l.effective)
	}
	l.Solve(user, past)
	like, unlike := score(songs[0]), score(songs[20])
	if like < .08 || like < 3*unlike {
		t.Errorf("a song of the listener's taste scores %v and another one %v", like, unlike)
	}
	past.Refused = []Index{songs[0]}
	for range 30 {
		l.Feedback(user, songs[0], 0, 2)
		l.Solve(user, past)
	}
	if after := score(songs[0]); after > .8*like {
		t.Errorf("after thirty dislikes the song scores %v, before %v", after, like)
	}
}

// A transaction touches the songs that were heard, those that were trained again, and the rows that they share.
func TestTransactionTouchesFewRows(t *testing.T) {
	p := small()
	table := NewTable(p)
	songs := catalogue(table, 2000)
	for _, song := range songs {
		table.activate(song)
	}
	l := NewLearner(table, p, 0, 1)
	user := make([]float32, p.Dim)
	for range 500 {
		l.FirstListen(user, songs[0], 1, Past{Songs: songs[1:4], Refused: songs[100:200]})
	}
	var touched int
	var evidence float32
	l.Flush(1, func(d Delta) {
		if d.Kind == KindSong {
			touched++
			evidence += d.Evidence
		}
	})
	if touched != 4 || evidence != 500 {
		t.Errorf("500 listens to one song, beside a history of three, changed %d songs with the evidence %v", touched, evidence)
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
		l.FirstListen(user, song, pick(), Past{Songs: songs[:n%7], Refused: songs[:n%3], Chosen: songs[:n%2]})
		l.Feedback(user, song, pick(), pick())
		if !bound(user, p.NormMax*1.001) {
			t.Fatalf("the listener's vector is out of bounds: %v", user)
		}
		if n%50 == 0 {
			l.Flush(int64(n), func(d Delta) {
				if !finite(dot(d.Vector, d.Vector)) || !(d.Evidence >= 0) {
					t.Fatalf("the change of %q is not finite: %v", d.ID, d.Vector)
				}
			})
			l.Committed()
		}
	}
	q := make([]float32, p.Dim)
	for _, song := range songs {
		if evidence := table.Vector(song, q); !finite(dot(q, q)) || !(evidence >= 0 && evidence <= evidenceMax) {
			t.Fatalf("the row of %q is not finite: %v", table.ID(song), q)
		}
	}
	if step := l.FirstListen(user[:2], songs[0], 1, Past{}); step != (Step{}) {
		t.Errorf("a vector of the wrong width was trained: %v", step)
	}
	if step := l.FirstListen(user, None, 1, Past{}); step != (Step{}) {
		t.Errorf("no song was trained: %v", step)
	}
}

func TestAHurriedLearnerLooksAtLess(t *testing.T) {
	p := small()
	p.Replays, p.HurriedReplays, p.Window, p.HurriedWindow = 8, 1, 20, 4
	table := NewTable(p)
	songs := catalogue(table, 40)
	l := NewLearner(table, p, 0, 1)
	user := make([]float32, p.Dim)
	seen := func(n int) (replays, window int) {
		l.FirstListen(user, songs[39], 1, Past{Songs: songs[:n]})
		return l.replays(n), len(l.window.weights) - 1
	}
	for n, want := range map[int][2]int{0: {0, 0}, 1: {1, 1}, 5: {5, 5}, 10: {8, 10}, 30: {8, 30}, 40: {8, 40}} {
		if replays, window := seen(n); replays != want[0] || window != want[1] {
			t.Errorf("of %d songs %d are trained again and %d solved from, want %v", n, replays, window, want)
		}
	}
	l.Hurry(true)
	for n, want := range map[int][2]int{0: {0, 0}, 1: {1, 1}, 5: {1, 5}, 8: {1, 8}, 30: {1, 8}} {
		if replays, window := seen(n); replays != want[0] || window != want[1] {
			t.Errorf("in a hurry, of %d songs %d are trained again and %d solved from, want %v", n, replays, window, want)
		}
	}
	l.Hurry(false)
	if replays, window := seen(10); replays != 8 || window != 10 {
		t.Error("the hurry does not end")
	}
}

// Where many have come to a song, training it again changes nothing that its rows could not do without; where few have, it is worth most.
func TestOnlySongsThatFewKnowAreTrainedAgain(t *testing.T) {
	p := small()
	p.Replays = 4
	for name, c := range map[string]struct {
		evidence float32
		moves    bool
	}{"few": {replayBelow - 1, true}, "many": {replayBelow, false}} {
		table := NewTable(p)
		songs := catalogue(table, 40)
		l := NewLearner(table, p, 0, 1)
		known := l.slotOf(songs[0])
		l.slots[known].evidence = c.evidence
		l.FirstListen(make([]float32, p.Dim), songs[39], 1, Past{Songs: songs[:1]})
		if moved := l.slots[known].total > 0; moved != c.moves {
			t.Errorf("%s: trained again: %v, want %v", name, moved, c.moves)
		}
	}
}

// A listener's vector is solved from the songs that they came to last and from a sample of the others, which stands for all of them.
func TestWindowStandsForThePast(t *testing.T) {
	p := small()
	p.Window = 4
	table := NewTable(p)
	songs := catalogue(table, 200)
	l := NewLearner(table, p, 0, 1)
	of := func(n int) (mean []float32, weight float32) {
		const times = 4000
		mean = make([]float32, p.Dim)
		for range times {
			l.window.begin(l, make([]float32, p.Dim))
			l.recall(Past{Songs: songs[:n]})
			for i, w := range l.window.weights {
				axpy(w/times, l.window.rows[i*p.Dim:][:p.Dim], mean)
			}
		}
		return mean, l.window.total
	}
	for _, n := range []int{3, 6, 8, 17, 36} {
		all := make([]float32, p.Dim)
		q := make([]float32, p.Dim)
		for _, song := range songs[:n] {
			table.Effective(song, q)
			axpy(1, q, all)
		}
		got, weight := of(n)
		if weight != float32(n) {
			t.Errorf("what was drawn of %d songs weighs %v", n, weight)
		}
		for k := range all {
			if math.Abs(float64(got[k]-all[k])) > .3*math.Sqrt(float64(n))*float64(p.InitScale) {
				t.Errorf("of %d songs the sum is %v in the mean, want %v", n, got, all)
				break
			}
		}
	}
	if _, weight := of(200); weight != 4+4*drawnWeightMax { // where tastes drift, a long past must not drown the present
		t.Errorf("a long past weighs %v", weight)
	}
}

func BenchmarkFirstListen(b *testing.B) {
	for _, hurried := range []bool{false, true} {
		b.Run(fmt.Sprintf("hurried=%v", hurried), func(b *testing.B) {
			p := DefaultParams()
			table := NewTable(p)
			songs := catalogue(table, 100_000)
			for _, song := range songs {
				table.activate(song)
			}
			l := NewLearner(table, p, 0, 1)
			l.Hurry(hurried)
			rng := rand.New(rand.NewPCG(1, 1))
			user := make([]float32, p.Dim)
			past := make([]Index, 100)
			for i := range past {
				past[i] = songs[rng.IntN(len(songs))]
			}
			n := int64(0)
			b.ReportAllocs()
			for b.Loop() {
				past[n%100] = songs[rng.IntN(len(songs))]
				l.FirstListen(user, songs[rng.IntN(len(songs))], 1, Past{Songs: past})
				if n++; n%1000 == 0 {
					l.Flush(n, func(Delta) {})
					l.Abandon() // as no song task is there to acknowledge
				}
			}
		})
	}
}
