package als

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"earworm/model/factor"
)

// Part is a row that a song is the sum of, or a song that a row is part of, and its share.
type Part struct {
	Of    int32
	Share float32
}

// Pair is a song that a listener came to, or a listener who came to a song, and its weight.
type Pair struct {
	Of     int32
	Weight float32
}

// Problem is what is to be fitted. Fit changes Rows and nothing else of it.
type Problem struct {
	// Params hold the constants of the loss and the width of the rows.
	Params factor.Params
	// Rows are the vectors, one after the other; they are where the fit begins.
	Rows []float32
	// Levels hold the numbers of the rows that are solved, in the order in which a sweep solves them; the others stay as they are.
	// Rows of one level that share no song are solved side by side.
	Levels [][]int32
	// Songs says of which rows each song is the sum. All of them are there to be ignored, also those that nobody came to.
	Songs [][]Part
	// Past has the songs that each listener came to.
	Past [][]Pair
	// Steps is the number of steps of conjugate gradients for each row and sweep.
	Steps int
	// Done, if set, is told of work as it is done, in the units of Work; it is called concurrently.
	Done func(units int)
}

// Fit is a Problem being solved:
//
//	Σ_heard c·(1 − ⟨p, q̂⟩)² + α₀·Σ_all ⟨p, q̂⟩² + λ·Σ (c + α₀N)·‖row‖²          α₀ = Negatives·c/N
//
// as factor.Learner has it. It must not be used concurrently.
type Fit struct {
	*Problem
	dim       int
	listeners [][]Pair  // by song
	songsOf   [][]Part  // by row
	weights   []float32 // by listener: of all their songs
	evidence  []float32 // by row, its share in the weights of its songs
	songs     []float32 // effective vectors
	people    []float32
	mean      float32 // evidence of an average song
}

// New prepares a fit, with all listeners solved.
func New(ctx context.Context, p *Problem) (*Fit, error) {
	f := &Fit{Problem: p, dim: p.Params.Dim}
	f.turn()
	f.songs = make([]float32, len(p.Songs)*f.dim)
	f.people = make([]float32, len(p.Past)*f.dim)
	for s, parts := range p.Songs {
		for _, part := range parts {
			axpy(part.Share, f.row(part.Of), f.Song(int32(s)))
		}
	}
	return f, f.solvePeople(ctx)
}

// turn finds the listeners of each song and the songs of each row.
func (f *Fit) turn() {
	rows := len(f.Rows) / f.dim
	f.weights, f.evidence = make([]float32, len(f.Past)), make([]float32, rows)
	counts := make([]int, len(f.Songs))
	for _, past := range f.Past {
		for _, pair := range past {
			counts[pair.Of]++
		}
	}
	f.listeners = carve[Pair](counts)
	for l, past := range f.Past {
		for _, pair := range past {
			f.listeners[pair.Of] = append(f.listeners[pair.Of], Pair{Of: int32(l), Weight: pair.Weight})
			f.weights[l] += pair.Weight
		}
	}
	counts = make([]int, rows)
	for _, parts := range f.Songs {
		for _, part := range parts {
			counts[part.Of]++
		}
	}
	f.songsOf = carve[Part](counts)
	total := 0.
	for s, parts := range f.Songs {
		heard := f.Evidence(s)
		total += float64(heard)
		for _, part := range parts {
			f.songsOf[part.Of] = append(f.songsOf[part.Of], Part{Of: int32(s), Share: part.Share})
			f.evidence[part.Of] += part.Share * heard
		}
	}
	f.mean = float32(max(total, 1) / float64(max(len(f.Songs), 1)))
}

// carve returns empty lists that have room for so many elements each, in one piece of memory.
func carve[T any](counts []int) [][]T {
	total := 0
	for _, n := range counts {
		total += n
	}
	room, lists := make([]T, total), make([][]T, len(counts))
	for i, n := range counts {
		lists[i], room = room[:0:n], room[n:]
	}
	return lists
}

// Work is how much New and so many sweeps do, in pairs that are looked at.
func (p *Problem) Work(sweeps int) int {
	solved := make([]bool, len(p.Rows)/p.Params.Dim)
	for _, level := range p.Levels {
		for _, row := range level {
			solved[row] = true
		}
	}
	work := 0
	for _, past := range p.Past {
		work += len(past) * (1 + sweeps)
		for _, pair := range past {
			for _, part := range p.Songs[pair.Of] {
				if solved[part.Of] {
					work += sweeps
				}
			}
		}
	}
	return work
}

// Song is the effective vector of a song. It changes with each sweep; the caller must not change it.
func (f *Fit) Song(song int32) []float32 { return f.songs[int(song)*f.dim:][:f.dim:f.dim] }

// Evidence is the weight of all who came to a song.
func (f *Fit) Evidence(song int) float32 {
	sum := float32(0)
	for _, pair := range f.listeners[song] {
		sum += pair.Weight
	}
	return sum
}

// People are the vectors of the listeners, one after the other. They change with each sweep; the caller must not change them.
func (f *Fit) People() []float32 { return f.people }

func (f *Fit) row(i int32) []float32    { return f.Rows[int(i)*f.dim:][:f.dim:f.dim] }
func (f *Fit) person(i int32) []float32 { return f.people[int(i)*f.dim:][:f.dim:f.dim] }

// Sweep solves the rows level by level, then the listeners.
func (f *Fit) Sweep(ctx context.Context) error {
	absent := gram(f.people, f.dim, func(l int) float32 { return f.absence(f.weights[l]) })
	for _, level := range f.Levels {
		workers := runtime.GOMAXPROCS(0)
		if !f.apart(level) {
			workers = 1
		}
		err := parallel(ctx, len(level), workers, func() *scratch { return newScratch(f.dim) }, func(s *scratch, i int) {
			f.solveRow(s, level[i], absent)
		})
		if err != nil {
			return err
		}
	}
	return f.solvePeople(ctx)
}

// apart reports whether no song has two rows of a level.
func (f *Fit) apart(level []int32) bool {
	taken := make([]bool, len(f.Songs))
	for _, row := range level {
		for _, part := range f.songsOf[row] {
			if taken[part.Of] {
				return false
			}
			taken[part.Of] = true
		}
	}
	return true
}

// absence is α₀ of a listener whose songs weigh so much.
func (f *Fit) absence(weight float32) float32 {
	return f.Params.Negatives * weight / float32(max(len(f.Songs), 1))
}

// ridge is the pull of a row to zero: of its evidence, and of the absence of everybody else from each of its songs.
func (f *Fit) ridge(row int32) float32 {
	prior := f.Params.Negatives * f.mean * float32(len(f.songsOf[row]))
	return f.Params.SongRidge(f.mean) * (f.evidence[row] + prior)
}

// scratch is what solving one row needs.
type scratch struct {
	solver             *Solver
	rest, offset, from []float32
}

func newScratch(dim int) *scratch {
	return &scratch{solver: NewSolver(dim), rest: make([]float32, dim), offset: make([]float32, dim), from: make([]float32, dim)}
}

// solveRow solves one row beside the others of its songs, which hold fast. With s its share and r the rest of a song's vector, the row x
// makes ⟨p, s·x⟩ what ⟨p, r⟩ lacks of 1 for its listeners, and of 0 for all others.
func (f *Fit) solveRow(s *scratch, row int32, absent []float32) {
	x := f.row(row)
	copy(s.from, x)
	clear(s.offset)
	s.solver.Begin()
	squares := float32(0)
	for _, part := range f.songsOf[row] {
		copy(s.rest, f.Song(part.Of))
		axpy(-part.Share, x, s.rest)
		for i := range s.offset {
			s.offset[i] -= part.Share * dot(absent[i*f.dim:(i+1)*f.dim], s.rest)
		}
		squares += part.Share * part.Share
		for _, pair := range f.listeners[part.Of] {
			s.solver.Add(pair.Of, pair.Weight*part.Share*part.Share, (1-dot(f.person(pair.Of), s.rest))/part.Share)
		}
		f.done(len(f.listeners[part.Of]))
	}
	s.solver.Solve(x, f.people, System{Gram: absent, Share: squares, Ridge: f.ridge(row)}, s.offset, f.Steps)
	axpy(-1, x, s.from)
	for _, part := range f.songsOf[row] {
		axpy(-part.Share, s.from, f.Song(part.Of))
	}
}

// solvePeople solves every listener.
func (f *Fit) solvePeople(ctx context.Context) error {
	all := gram(f.songs, f.dim, func(int) float32 { return 1 })
	return parallel(ctx, len(f.Past), runtime.GOMAXPROCS(0), func() *Solver { return NewSolver(f.dim) }, func(s *Solver, l int) {
		s.Begin()
		for _, pair := range f.Past[l] {
			s.Add(pair.Of, pair.Weight, 1)
		}
		f.done(len(f.Past[l]))
		weight := f.weights[l]
		sys := System{Gram: all, Share: f.absence(weight), Ridge: f.Params.ListenerRidge(weight)}
		s.Solve(f.person(int32(l)), f.songs, sys, nil, f.Steps) //nolint:gosec // listeners are numbered so
	})
}

func (f *Fit) done(units int) {
	if f.Done != nil {
		f.Done(units)
	}
}

// Loss is the loss as it stands.
func (f *Fit) Loss() float64 {
	all := gram(f.songs, f.dim, func(int) float32 { return 1 })
	sum := 0.
	for l, past := range f.Past {
		p := f.person(int32(l))
		for _, pair := range past {
			e := 1 - dot(p, f.Song(pair.Of))
			sum += float64(pair.Weight * e * e)
		}
		weight := f.weights[l]
		sum += float64(f.Params.ListenerRidge(weight) * dot(p, p))
		for i, v := range p {
			sum += float64(f.absence(weight) * v * dot(all[i*f.dim:(i+1)*f.dim], p))
		}
	}
	for row := range f.songsOf {
		x := f.row(int32(row))
		sum += float64(f.ridge(int32(row))) * float64(dot(x, x))
	}
	return sum
}

// gram is Σ w·x·xᵀ over rows, summed up in double precision: there can be millions.
func gram(rows []float32, dim int, weight func(row int) float32) []float32 {
	sum := make([]float64, dim*dim)
	for n := range len(rows) / dim {
		w, x := float64(weight(n)), rows[n*dim:(n+1)*dim]
		if w == 0 {
			continue
		}
		for i, v := range x {
			wv, line := w*float64(v), sum[i*dim:i*dim+i+1]
			for j := range line {
				line[j] += wv * float64(x[j])
			}
		}
	}
	out := make([]float32, dim*dim)
	for i := range dim {
		for j := range i + 1 {
			out[i*dim+j], out[j*dim+i] = float32(sum[i*dim+j]), float32(sum[i*dim+j])
		}
	}
	return out
}

// chunk is how many rows a worker takes at a time.
const chunk = 64

// parallel calls do for 0..n-1, which must not depend on each other, until ctx ends. Each worker has one state.
func parallel[S any](ctx context.Context, n, workers int, state func() S, do func(s S, i int)) error {
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(workers, (n+chunk-1)/chunk) {
		group.Go(func() {
			for s := state(); ctx.Err() == nil; {
				to := int(next.Add(chunk))
				for i := to - chunk; i < min(to, n); i++ {
					do(s, i)
				}
				if to >= n {
					return
				}
			}
		})
	}
	group.Wait()
	return ctx.Err() //nolint:wrapcheck // the caller knows what it cancelled
}

// Vectors returns a copy of the effective vectors of all songs, one after the other.
func (f *Fit) Vectors() []float32 { return slices.Clone(f.songs) }
