package factor

import (
	"math"
	"math/rand/v2"
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
		table.Load(Published{Kind: table.KindAt(i), ID: table.ID(i), Vector: v, Bias: float32(.1 * rng.Float64()), FirstAt: 1})
	}
	return table, songs, p
}

func TestFoldInEqualsNaiveTwin(t *testing.T) {
	table, songs, p := loaded(t, 50)
	heard, weights := songs[:7], []float32{1, 2, .5, 1, 3, 1, 0}
	const ratio, lambda = 15, .01
	d := p.Dim
	a, b := make([][]float64, d), make([]float64, d)
	for i := range a {
		a[i] = make([]float64, d)
	}
	add := func(song Index, weight, target float64) {
		q := make([]float32, d)
		bias := float64(table.Effective(song, q))
		for i := range q {
			for j := range q {
				a[i][j] += weight * float64(q[i]) * float64(q[j])
			}
			b[i] += weight * (target - bias) * float64(q[i])
		}
	}
	var total float64
	for n, song := range heard {
		add(song, float64(weights[n]), 1)
		total += float64(weights[n])
	}
	for _, song := range songs {
		add(song, ratio*total/float64(len(songs)), 0)
	}
	for i := range a {
		a[i][i] += lambda * total
	}
	want := gauss(a, b)
	got := make([]float32, d)
	var s Solver
	for range 2 { // the second time on used memory
		if !s.FoldIn(got, table, table.Gram(), heard, weights, ratio, lambda) {
			t.Fatal("no solution")
		}
		for k := range got {
			if math.Abs(float64(got[k])-want[k]) > 1e-5 {
				t.Fatalf("the vector is %v, want %v", got, want)
			}
		}
	}
}

func TestFoldInRefusesWhatHasNoSolution(t *testing.T) {
	table, songs, p := loaded(t, 20)
	g := table.Gram()
	got := make([]float32, p.Dim)
	var s Solver
	tests := []struct {
		name    string
		dst     []float32
		gram    *Gram
		weights []float32
		lambda  float64
	}{
		{"no weight", got, g, []float32{0, 0}, .1},
		{"weights that are not numbers", got, g, []float32{float32(math.NaN()), -1}, .1},
		{"an empty catalogue", got, NewTable(p).Gram(), []float32{1, 1}, .1},
		{"not positive definite", got, g, []float32{1, 1}, -1e6},
		{"a vector of the wrong width", got[:2], g, []float32{1, 1}, .1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if s.FoldIn(tt.dst, table, tt.gram, songs[:2], tt.weights, 15, tt.lambda) {
				t.Errorf("solved as %v", tt.dst)
			}
		})
	}
}

// The learner's own steps for a listener must tend to where FoldIn jumps: the two agree on what a listener likes.
func TestLearnerTendsToFoldIn(t *testing.T) {
	table, songs, p := loaded(t, 40)
	p.SongStep, p.BiasStep, p.UserStep, p.Negatives, p.Regularisation, p.Replays = 0, 0, .002, 15, 0, 0
	p.PoolSize = len(songs)
	l := NewLearner(table, p, 0, 1)
	heard := songs[:6]
	user, mean := make([]float32, p.Dim), make([]float32, p.Dim)
	const rounds = 6000
	for n := range rounds {
		l.FirstListen(user, heard[n%len(heard)], 1, nil)
		if n >= rounds/2 {
			axpy(2./rounds, user, mean)
		}
	}
	weights := []float32{1, 1, 1, 1, 1, 1}
	folded := make([]float32, p.Dim)
	var s Solver
	if !s.FoldIn(folded, table, table.Gram(), heard, weights, float64(p.Negatives), 1e-6) {
		t.Fatal("no solution")
	}
	cosine := float64(dot(mean, folded)) / math.Sqrt(float64(dot(mean, mean))*float64(dot(folded, folded)))
	if cosine < .95 {
		t.Errorf("the learner tends to %v, the solution is %v: cosine %.3f", mean, folded, cosine)
	}
}

func BenchmarkFoldIn(b *testing.B) {
	p := DefaultParams()
	table := NewTable(p)
	songs := catalogue(table, 1000)
	for _, song := range songs {
		table.activate(song)
	}
	g := table.Gram()
	weights := make([]float32, 300)
	for n := range weights {
		weights[n] = 1
	}
	dst := make([]float32, p.Dim)
	var s Solver
	b.ReportAllocs()
	for b.Loop() {
		s.FoldIn(dst, table, g, songs[:300], weights, 15, .01)
	}
}
