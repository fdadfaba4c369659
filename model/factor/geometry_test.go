package factor

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

// gauss solves A·x = b by elimination with pivoting.
func gauss(a [][]float64, b []float64) []float64 {
	n := len(b)
	for c := range n {
		pivot := c
		for r := c; r < n; r++ {
			if math.Abs(a[r][c]) > math.Abs(a[pivot][c]) {
				pivot = r
			}
		}
		a[c], a[pivot], b[c], b[pivot] = a[pivot], a[c], b[pivot], b[c]
		for r := c + 1; r < n; r++ {
			f := a[r][c] / a[c][c]
			for k := c; k < n; k++ {
				a[r][k] -= f * a[c][k]
			}
			b[r] -= f * b[c]
		}
	}
	x := make([]float64, n)
	for r := n - 1; r >= 0; r-- {
		x[r] = b[r]
		for k := r + 1; k < n; k++ {
			x[r] -= a[r][k] * x[k]
		}
		x[r] /= a[r][r]
	}
	return x
}

func loaded(t *testing.T, n int) (*Table, []Index, Params) {
	t.Helper()
	p := small()
	table := NewTable(p)
	songs := catalogue(table, n)
	rng := rand.New(rand.NewPCG(3, 3))
	for i := Index(1); int(i) <= table.Rows(); i++ {
		v, _ := vectors(rng, p.Dim)
		scale(.5, v)
		table.Load(Published{Kind: table.KindAt(i), ID: table.ID(i), Vector: v, Evidence: float32(1 + rng.IntN(9)), FirstAt: 1})
	}
	return table, songs, p
}

func TestGeometryEqualsNaiveTwin(t *testing.T) {
	table, songs, p := loaded(t, 50)
	d := p.Dim
	g := table.Geometry()
	var evidence float64
	q := make([]float32, d)
	for _, song := range songs {
		evidence += float64(table.Vector(song, q))
	}
	mean := evidence / float64(len(songs))
	if math.Abs(float64(g.mean)-mean) > 1e-5 || g.Songs != len(songs) {
		t.Fatalf("the evidence of %d songs is %v on average, want %v of %d", g.Songs, g.mean, mean, len(songs))
	}
	gram, shape := make([]float64, d*d), make([][]float64, d)
	for x := range shape {
		shape[x] = make([]float64, d)
		shape[x][x] = min(float64(p.RidgeMax), float64(p.Ridge)+float64(p.SongSparse)/mean)
	}
	parts := map[Index]float32{}
	for _, song := range songs {
		n := float64(table.Vector(song, q)) + float64(p.Negatives)*mean
		table.Effective(song, q)
		for x := range d {
			for y := range d {
				xy := float64(q[x]) * float64(q[y])
				gram[x*d+y] += xy
				shape[x][y] += n * xy / ((1 + float64(p.Negatives)) * evidence)
			}
		}
		rows, _ := (&twin{p: p, table: table}).parts(song)
		for _, row := range rows {
			parts[row]++
		}
	}
	for i := range gram {
		if math.Abs(g.gram[i]-gram[i]) > 1e-6*math.Abs(gram[i])+1e-6 {
			t.Fatalf("G is %v, want %v", g.gram, gram)
		}
	}
	for row, n := range parts {
		if g.songsOf[row] != n {
			t.Fatalf("%s is part of %v songs, want %v", table.ID(row), g.songsOf[row], n)
		}
	}
	for x := range d { // M times its inverse
		for y := range d {
			var sum float64
			for k := range d {
				sum += float64(g.curvature[x*d+k]) * shape[k][y]
			}
			if want := map[bool]float64{true: 1}[x == y]; math.Abs(sum-want) > 1e-4 {
				t.Fatalf("M is not the inverse: %v at %d, %d", sum, x, y)
			}
		}
	}
}

// The geometry is measured anew when evidence has grown enough, whichever way it came, and not before.
func TestGeometryFollowsTheEvidence(t *testing.T) {
	table, songs, p := loaded(t, 50)
	g := table.Geometry()
	l := NewLearner(table, p, 0, 1)
	user := make([]float32, p.Dim)
	l.FirstListen(user, songs[0], 1, Past{})
	if table.Geometry() != g {
		t.Error("one first listen has the geometry measured anew")
	}
	for n := range 40 {
		l.FirstListen(user, songs[n], 1, Past{Songs: songs[:3]})
	}
	l.Flush(1, func(Delta) {})
	after := table.Geometry()
	if after == g || after.mean <= g.mean {
		t.Error("forty-one first listens have not been noticed")
	}
	l.Abandon()
	if back := table.Geometry(); back.positives != g.positives {
		t.Errorf("evidence that was taken back still counts: %v, want %v", back.positives, g.positives)
	}
	table.Load(Published{Kind: KindSong, ID: table.ID(songs[1]), Vector: make([]float32, p.Dim), Evidence: 1000, FirstAt: 1})
	if loaded := table.Geometry(); loaded.mean <= after.mean {
		t.Error("evidence that was published elsewhere has not been noticed")
	}
}

func TestSolveEqualsNaiveTwin(t *testing.T) {
	table, songs, p := loaded(t, 50)
	heard, weights := songs[:7], []float32{1, 2, .5, 1, 3, 1, 0}
	d := p.Dim
	g := table.Geometry()
	a, b := make([][]float64, d), make([]float64, d)
	for i := range a {
		a[i] = make([]float64, d)
	}
	var total float64
	q := make([]float32, d)
	for n, song := range heard {
		table.Effective(song, q)
		total += float64(weights[n])
		for i := range q {
			for j := range q {
				a[i][j] += float64(weights[n]) * float64(q[i]) * float64(q[j])
			}
			b[i] += float64(weights[n]) * float64(q[i])
		}
	}
	for _, song := range songs {
		table.Effective(song, q)
		for i := range q {
			for j := range q {
				a[i][j] += float64(p.Negatives) * total / float64(len(songs)) * float64(q[i]) * float64(q[j])
			}
		}
	}
	for i := range a {
		a[i][i] += min(float64(p.RidgeMax), float64(p.Ridge)+float64(p.ListenerSparse)/total) * total * (1 + float64(p.Negatives))
	}
	want := gauss(a, b)
	got := make([]float32, d)
	var s Solver
	for range 2 { // the second time on used memory
		if !s.Solve(got, table, g, heard, weights) {
			t.Fatal("no solution")
		}
		for k := range got {
			if math.Abs(float64(got[k])-want[k]) > 1e-5 {
				t.Fatalf("the vector is %v, want %v", got, want)
			}
		}
	}
}

func TestSolveRefusesWhatHasNoSolution(t *testing.T) {
	table, songs, p := loaded(t, 20)
	g := table.Geometry()
	got := make([]float32, p.Dim)
	var s Solver
	tests := []struct {
		name     string
		dst      []float32
		geometry *Geometry
		weights  []float32
	}{
		{"no weight", got, g, []float32{0, 0}},
		{"weights that are not numbers", got, g, []float32{float32(math.NaN()), -1}},
		{"weight without end", got, g, []float32{float32(math.Inf(1)), 1}},
		{"an empty catalogue", got, NewTable(p).Geometry(), []float32{1, 1}},
		{"a vector of the wrong width", got[:2], g, []float32{1, 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if s.Solve(tt.dst, table, tt.geometry, songs[:2], tt.weights) {
				t.Errorf("solved as %v", tt.dst)
			}
		})
	}
}

func BenchmarkSolve(b *testing.B) {
	p := DefaultParams()
	table := NewTable(p)
	songs := catalogue(table, 1000)
	for _, song := range songs {
		table.activate(song)
	}
	g := table.Geometry()
	weights := make([]float32, 300)
	for n := range weights {
		weights[n] = 1
	}
	dst := make([]float32, p.Dim)
	var s Solver
	b.ReportAllocs()
	for b.Loop() {
		s.Solve(dst, table, g, songs[:300], weights)
	}
}

func BenchmarkGeometry(b *testing.B) {
	table := NewTable(DefaultParams())
	for _, song := range catalogue(table, 50_000) {
		table.activate(song)
	}
	for b.Loop() {
		table.measure()
	}
}

// TestGeometryAfterARefit: evidence stays, rows move, so the sums over the catalogue are taken again; not for each row.
func TestGeometryAfterARefit(t *testing.T) {
	t.Parallel()
	p := DefaultParams()
	p.Dim = 2
	table := NewTable(p)
	load := func(song int, x float32, epoch uint32) {
		table.Load(Published{Kind: KindSong, ID: strconv.Itoa(song), Vector: []float32{x, 0}, Evidence: 100, FirstAt: 1, Epoch: epoch})
	}
	const songs = 80
	for song := range songs {
		load(song, 1, 0)
	}
	before := table.Geometry()
	measured := map[*Geometry]bool{}
	for song := range songs {
		load(song, 2, 1)
		measured[table.Geometry()] = true
	}
	if after := table.Geometry(); after == before || after.gram[0] != 4*songs {
		t.Errorf("the sum of squares is %v, want %v", after.gram[0], 4*songs)
	}
	if len(measured) > 10 {
		t.Errorf("measured %d times for %d rows", len(measured)-1, songs)
	}
}

// TestGeometryIsThatOfTheRows: two processes with the same rows have the same geometry, to the last bit, in whichever order the rows became
// known and however often they changed before.
func TestGeometryIsThatOfTheRows(t *testing.T) {
	t.Parallel()
	first, _, p := loaded(t, 300)
	rng := rand.New(rand.NewPCG(5, 5))
	order := rng.Perm(first.Rows())
	second := NewTable(p)
	publish := func(i Index, evidence float32) {
		v := make([]float32, p.Dim)
		if evidence == 0 {
			evidence = first.Vector(i, v)
		}
		second.Load(Published{Kind: first.KindAt(i), ID: first.ID(i), Vector: v, Evidence: evidence, FirstAt: 1})
	}
	for at, n := range order {
		publish(Index(n+1), rng.Float32())
		if at%50 == 0 {
			second.measure() // more songs come after
		}
	}
	for _, n := range order {
		publish(Index(n+1), 0)
		if first.KindAt(Index(n+1)) == KindSong {
			second.Describe(second.Song(first.ID(Index(n+1))), first.Meta(Index(n+1)))
		}
	}
	a, b := first.measure(), second.measure()
	if a.Songs != b.Songs || a.mean != b.mean || !slices.Equal(a.gram, b.gram) || !slices.Equal(a.curvature, b.curvature) {
		t.Errorf("%d songs, mean %v, G %v\nin another order %d, %v, %v", a.Songs, a.mean, a.gram[:p.Dim], b.Songs, b.mean, b.gram[:p.Dim])
	}
}
