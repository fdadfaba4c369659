package als_test

import (
	"context"
	"errors"
	"flag"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"gonum.org/v1/gonum/mat"

	"earworm/model/als"
	"earworm/model/factor"
)

var seed = flag.Uint64("seed", 1, "seed of the random problems")

func dice(tb testing.TB) *rand.Rand {
	tb.Helper()
	tb.Logf("-seed %d", *seed)
	return rand.New(rand.NewPCG(*seed, 7))
}

// TestSolverEqualsTheSolution: the steps of conjugate gradients end where solving the equations of a row ends.
func TestSolverEqualsTheSolution(t *testing.T) {
	t.Parallel()
	const d, columns = 6, 40
	const alpha, ridge = .2, .7
	dice := dice(t)
	fixed, offset := make([]float32, columns*d), make([]float32, d)
	for i := range fixed {
		fixed[i] = float32(dice.NormFloat64())
	}
	a, b := mat.NewDense(d, d, nil), mat.NewVecDense(d, nil)
	for i := range d {
		a.Set(i, i, ridge)
		offset[i] = float32(dice.NormFloat64())
		b.SetVec(i, float64(offset[i]))
	}
	gram := make([]float32, d*d)
	add := func(weight float64, column int) {
		for i := range d {
			for j := range d {
				product := float64(fixed[column*d+i]) * float64(fixed[column*d+j])
				a.Set(i, j, a.At(i, j)+weight*product)
				if weight == alpha {
					gram[i*d+j] += float32(product)
				}
			}
		}
	}
	for column := range columns {
		add(alpha, column)
	}
	s := als.NewSolver(d)
	for range 2 { // what was entered before Begin is forgotten
		s.Begin()
		s.Add(3, 100, 5)
	}
	s.Begin()
	s.Add(0, 0, 100) // weighs nothing
	for k := range 9 {
		weight, target := 1+dice.Float64(), dice.Float64()
		s.Add(int32(4*k), float32(weight), float32(target))
		add(weight, 4*k)
		for i := range d {
			b.SetVec(i, b.AtVec(i)+weight*target*float64(fixed[4*k*d+i]))
		}
	}
	var want mat.VecDense
	if err := want.SolveVec(a, b); err != nil {
		t.Fatal(err)
	}
	x := make([]float32, d)
	for range 10 {
		s.Solve(x, fixed, als.System{Gram: gram, Share: alpha, Ridge: ridge}, offset, 3)
	}
	for i := range d {
		if math.Abs(float64(x[i])-want.AtVec(i)) > 1e-4 {
			t.Errorf("x[%d] is %v, want %v", i, x[i], want.AtVec(i))
		}
	}
}

// board is a checkerboard: listeners and songs of two colours, each listener has heard some songs of their own colour. Song s is the sum
// of a row of its own, of the row of its artist, of whom each colour has several, and of two genres that both colours share.
type board struct {
	*als.Problem
	colour []int // of songs
}

const (
	boardSongs, boardPeople, boardArtists, boardGenres = 40, 60, 8, 3
	boardRows                                          = boardSongs + boardArtists + boardGenres
)

func newBoard(dice *rand.Rand) board {
	params := factor.DefaultParams()
	params.Dim = 8
	b := board{Problem: &als.Problem{Params: params, Steps: 8, Rows: make([]float32, boardRows*params.Dim)}}
	for row := range boardRows {
		factor.InitRow(params, factor.Key(dice.Uint64()), b.Rows[row*params.Dim:][:params.Dim])
	}
	own, artists, genres := []int32{}, []int32{}, []int32{}
	for s := range int32(boardSongs) {
		b.colour = append(b.colour, int(s%2))
		g := boardSongs + boardArtists + s%boardGenres
		h := boardSongs + boardArtists + (s+1)%boardGenres
		b.Songs = append(b.Songs, []als.Part{{Of: s, Share: 1}, {Of: boardSongs + s%boardArtists, Share: 1}, {Of: g, Share: .5}, {Of: h, Share: .5}})
		own = append(own, s)
	}
	for i := range int32(boardArtists) {
		artists = append(artists, boardSongs+i)
	}
	for i := range int32(boardGenres) {
		genres = append(genres, boardSongs+boardArtists+i)
	}
	b.Levels = [][]int32{genres, artists, own}
	for l := range boardPeople {
		var past []als.Pair
		for s := range int32(boardSongs) {
			if b.colour[s] == l%2 && dice.IntN(3) > 0 {
				past = append(past, als.Pair{Of: s, Weight: float32(.5 + dice.Float64())})
			}
		}
		b.Past = append(b.Past, past)
	}
	return b
}

func fit(t *testing.T, p *als.Problem, sweeps int) *als.Fit {
	t.Helper()
	f, err := als.New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	for range sweeps {
		if err := f.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// TestCheckerboard: songs that nobody of a colour has heard with those of the other end up apart, and together with their own.
func TestCheckerboard(t *testing.T) {
	t.Parallel()
	b := newBoard(dice(t))
	f := fit(t, b.Problem, 10)
	cosine := func(x, y int) float64 { return als.Cosine(f.Song(int32(x)), f.Song(int32(y)), b.Params.Dim) }
	for x := range boardSongs {
		for y := range x {
			if c := cosine(x, y); (b.colour[x] == b.colour[y]) != (c > .5) {
				t.Fatalf("songs %d and %d have the cosine %.3f", x, y, c)
			}
		}
	}
}

// TestSweepsLowerTheLoss: each is a step of block coordinate descent, so none may raise it, and from random rows the first must help.
func TestSweepsLowerTheLoss(t *testing.T) {
	t.Parallel()
	b := newBoard(dice(t))
	f := fit(t, b.Problem, 0)
	before := f.Loss()
	first := before
	for n := range 12 {
		if err := f.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		now := f.Loss()
		if now > before*(1+1e-6) {
			t.Fatalf("sweep %d raises the loss from %v to %v", n, before, now)
		}
		before = now
	}
	if before > .98*first {
		t.Errorf("the loss is %v after all sweeps, was %v", before, first)
	}
}

// naiveLoss is the loss by its definition.
func naiveLoss(b board, f *als.Fit) float64 {
	p, d, n := b.Params, b.Params.Dim, float64(len(b.Songs))
	people := f.People()
	total := 0.
	evidence, songsOf := make([]float64, boardRows), make([]float64, boardRows)
	for _, past := range b.Past {
		for _, pair := range past {
			total += float64(pair.Weight)
			for _, part := range b.Songs[pair.Of] {
				evidence[part.Of] += float64(pair.Weight * part.Share)
			}
		}
	}
	product := func(x, y []float32) (sum float64) {
		for i := range x {
			sum += float64(x[i]) * float64(y[i])
		}
		return sum
	}
	loss := 0.
	for l, past := range b.Past {
		person, c := people[l*d:(l+1)*d], 0.
		for _, pair := range past {
			c += float64(pair.Weight)
			e := 1 - product(person, f.Song(pair.Of))
			loss += float64(pair.Weight) * e * e
		}
		alpha := float64(p.Negatives) * c / n
		for s := range b.Songs {
			loss += alpha * math.Pow(product(person, f.Song(int32(s))), 2)
		}
		lambda := min(float64(p.RidgeMax), float64(p.Ridge)+float64(p.ListenerSparse)/max(c, 1))
		loss += lambda * (c + alpha*n) * product(person, person)
	}
	for _, parts := range b.Songs {
		for _, part := range parts {
			songsOf[part.Of]++
		}
	}
	mean := total / n
	lambda := min(float64(p.RidgeMax), float64(p.Ridge)+float64(p.SongSparse)/max(mean, 1))
	for row := range boardRows {
		x := b.Rows[row*d : (row+1)*d]
		loss += lambda * (evidence[row] + float64(p.Negatives)*mean*songsOf[row]) * product(x, x)
	}
	return loss
}

func TestLossEqualsTheDefinition(t *testing.T) {
	t.Parallel()
	b := newBoard(dice(t))
	for sweeps := range 3 {
		f := fit(t, b.Problem, sweeps)
		if got, want := f.Loss(), naiveLoss(b, f); math.Abs(got-want) > 1e-4*want {
			t.Errorf("after %d sweeps the loss is %v, want %v", sweeps, got, want)
		}
	}
}

// TestRowsEndAtTheMinimum: after enough sweeps no row can be moved without raising the loss.
func TestRowsEndAtTheMinimum(t *testing.T) {
	t.Parallel()
	b := newBoard(dice(t))
	fit(t, b.Problem, 300)
	f := fit(t, b.Problem, 0)
	at := naiveLoss(b, f)
	for row := range boardRows {
		for _, step := range []float32{-.02, .02} {
			x := &b.Rows[row*b.Params.Dim+row%b.Params.Dim]
			was := *x
			*x += step
			moved, err := als.New(t.Context(), b.Problem) // with the listeners solved again: the envelope of the loss
			if err != nil {
				t.Fatal(err)
			}
			if now := naiveLoss(b, moved); now < at-1e-5*at {
				t.Errorf("moving row %d by %v lowers the loss from %v to %v", row, step, at, now)
			}
			*x = was
		}
	}
}

// TestRowsOutsideLevelsStay: what is not to be solved is not touched.
func TestRowsOutsideLevelsStay(t *testing.T) {
	t.Parallel()
	b := newBoard(dice(t))
	before := slices.Clone(b.Rows)
	b.Levels = [][]int32{{3}}
	fit(t, b.Problem, 2)
	d := b.Params.Dim
	for row := range boardRows {
		same := slices.Equal(before[row*d:(row+1)*d], b.Rows[row*d:(row+1)*d])
		if same != (row != 3) {
			t.Errorf("row %d: unchanged is %v", row, same)
		}
	}
}

// TestWorkIsDone: what Done is told adds up to Work.
func TestWorkIsDone(t *testing.T) {
	t.Parallel()
	b := newBoard(dice(t))
	for _, levels := range [][][]int32{b.Levels, b.Levels[2:], nil} {
		b.Levels = levels
		var units atomic.Int64
		b.Done = func(n int) { units.Add(int64(n)) }
		fit(t, b.Problem, 2)
		if got, want := units.Load(), int64(b.Work(2)); got != want || got == 0 {
			t.Errorf("%d levels: %d units were done, want %d", len(levels), got, want)
		}
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	b := newBoard(dice(t))
	f := fit(t, b.Problem, 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Sweep(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a sweep in a cancelled context ends with %v", err)
	}
}

// rotation returns a random orthogonal matrix: of random vectors made orthogonal.
func rotation(dice *rand.Rand, d int) []float64 {
	m := mat.NewDense(d, d, nil)
	for i := range d {
		for j := range d {
			m.Set(i, j, dice.NormFloat64())
		}
	}
	var qr mat.QR
	qr.Factorize(m)
	var q mat.Dense
	qr.QTo(&q)
	return q.RawMatrix().Data
}

// TestRotationIsRecovered: vectors that were only turned come back exactly, however unequal their lengths and weights.
func TestRotationIsRecovered(t *testing.T) {
	t.Parallel()
	dice := dice(t)
	for _, d := range []int{1, 2, 8, 32} {
		from := make([]float32, 100*d)
		for i := range from {
			from[i] = float32(dice.NormFloat64() * math.Pow(10, float64(i%d)/float64(d)*2-1))
		}
		want := rotation(dice, d)
		to := slices.Clone(from)
		als.Rotate(to, want, d)
		got := als.Rotation(from, to, d, func(row int) float32 { return float32(1 + row%5) })
		for i := range want {
			if math.Abs(got[i]-want[i]) > 1e-4 {
				t.Fatalf("dim %d: R[%d] is %v, want %v", d, i, got[i], want[i])
			}
		}
		als.Rotate(from, got, d)
		if c := als.Cosine(from, to, d); c < 1-1e-6 {
			t.Errorf("dim %d: cosine %v after turning back", d, c)
		}
	}
}

// TestRotationIsTheNearest: no other rotation brings noisy vectors nearer, and the matrix is orthogonal.
func TestRotationIsTheNearest(t *testing.T) {
	t.Parallel()
	const d, n = 5, 60
	dice := dice(t)
	from, to := make([]float32, n*d), make([]float32, n*d)
	for i := range from {
		from[i], to[i] = float32(dice.NormFloat64()), float32(dice.NormFloat64())
	}
	one := func(int) float32 { return 1 }
	r := als.Rotation(from, to, d, one)
	for i := range d {
		for j := range d {
			sum := 0.
			for k := range d {
				sum += r[i*d+k] * r[j*d+k]
			}
			if want := map[bool]float64{true: 1}[i == j]; math.Abs(sum-want) > 1e-9 {
				t.Fatalf("RRᵀ[%d,%d] is %v", i, j, sum)
			}
		}
	}
	distance := func(r []float64) float64 {
		turned, sum := slices.Clone(from), 0.
		als.Rotate(turned, r, d)
		for i, v := range turned {
			sum += float64(v-to[i]) * float64(v-to[i])
		}
		return sum
	}
	best := distance(r)
	for range 200 {
		if other := distance(rotation(dice, d)); other < best {
			t.Fatalf("another rotation comes to %v, the one found to %v", other, best)
		}
	}
}

// TestRotationOfLittle: vectors that do not span all directions, or are zero, leave the other directions as they are.
func TestRotationOfLittle(t *testing.T) {
	t.Parallel()
	const d = 4
	one := func(int) float32 { return 1 }
	for name, from := range map[string][]float32{"none": {}, "zero": {0, 0, 0, 0}, "one": {0, 2, 0, 0}} {
		r := als.Rotation(from, from, d, one)
		for i := range d {
			for j := range d {
				if want := map[bool]float64{true: 1}[i == j]; math.Abs(r[i*d+j]-want) > 1e-6 {
					t.Errorf("%s: R[%d,%d] is %v", name, i, j, r[i*d+j])
				}
			}
		}
	}
}
