package factor

import (
	"fmt"
	"math"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// fleet is what a row goes through: learners of several partitions on one table, and the single writer of every row.
type fleet struct {
	params   Params
	table    *Table
	learners []*Learner
	songs    []Index
	users    [][]float32
	rows     map[Key]*Row
	ids      map[Key]Delta
	acks     map[Key][]Origin
	seq      int64
}

// newFleet draws settings within what Validate takes, and a catalogue whose songs share few artists and genres.
func newFleet(rt *rapid.T) *fleet {
	p := DefaultParams()
	p.Dim = rapid.SampledFrom([]int{1, 6, 16}).Draw(rt, "dim")
	if rapid.Bool().Draw(rt, "wild settings") {
		p.Negatives = rapid.Float32Range(0, 1000).Draw(rt, "negatives")
		p.Window, p.HurriedWindow = rapid.IntRange(0, 40).Draw(rt, "window"), rapid.IntRange(0, 4).Draw(rt, "hurried window")
		p.Steps, p.Replays = rapid.IntRange(1, 40).Draw(rt, "steps"), rapid.IntRange(0, 40).Draw(rt, "replays")
		p.Ridge, p.RidgeMax = rapid.Float32Range(1e-6, 1).Draw(rt, "ridge"), 1
		p.SongSparse, p.ListenerSparse = rapid.Float32Range(0, 100).Draw(rt, "song sparse"), rapid.Float32Range(0, 100).Draw(rt, "listener sparse")
		p.WeightMax, p.NormMax = rapid.Float32Range(.1, 100).Draw(rt, "weight max"), rapid.Float32Range(1, 1e3).Draw(rt, "norm max")
		p.ChangeMax = rapid.Float32Range(1e-3, 1e3).Draw(rt, "change max")
		p.SyncEvery, p.PendingMax = rapid.IntRange(1, 200).Draw(rt, "sync every"), rapid.IntRange(1, 4).Draw(rt, "pending max")
	}
	if err := p.Validate(); err != nil {
		rt.Fatal(err)
	}
	f := &fleet{params: p, table: NewTable(p), rows: map[Key]*Row{}, ids: map[Key]Delta{}, acks: map[Key][]Origin{}}
	for n := range rapid.IntRange(1, 12).Draw(rt, "songs") {
		song := f.table.Song(fmt.Sprint("s", n))
		f.table.Describe(song, Meta{Artist: fmt.Sprint("a", n%3), Language: "de", Genres: []string{"g", fmt.Sprint("g", n%2)}})
		f.songs = append(f.songs, song)
	}
	for n := range rapid.IntRange(1, 4).Draw(rt, "listeners") {
		user := make([]float32, p.Dim)
		InitRow(p, KeyOf(KindListener, strconv.Itoa(n)), user)
		f.users = append(f.users, user)
	}
	for n := range rapid.IntRange(1, 3).Draw(rt, "learners") {
		f.learners = append(f.learners, NewLearner(f.table, p, int32(n), uint64(n)))
	}
	return f
}

// weights are what data could make of one, and what only a fault could.
func weights() *rapid.Generator[float32] {
	return rapid.SampledFrom([]float32{
		1, 5, 0, -1, .5, 1e-38, 1e30, -1e30, math.MaxFloat32, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)),
	})
}

// act does one thing of a stream. Few things are drawn for it, so that streams are long and the same things come again.
func (f *fleet) act(rt *rapid.T) {
	l := f.learners[rapid.IntRange(0, len(f.learners)-1).Draw(rt, "learner")]
	user := f.users[rapid.IntRange(0, len(f.users)-1).Draw(rt, "listener")]
	song := rapid.SampledFrom(f.songs).Draw(rt, "song")
	times := rapid.SampledFrom([]int{1, 1, 3, 100}).Draw(rt, "times")
	var step Step
	switch what := rapid.IntRange(0, 7).Draw(rt, "what"); what {
	case 0, 1:
		songs := rapid.SliceOfN(rapid.SampledFrom(append(f.songs, None)), 0, 6)
		past := Past{Songs: songs.Draw(rt, "history"), Refused: songs.Draw(rt, "refused"), Chosen: songs.Draw(rt, "chosen")}
		l.Hurry(rapid.Bool().Draw(rt, "hurried"))
		weight := weights().Draw(rt, "weight")
		for range times {
			step = l.FirstListen(user, song, weight, past)
		}
	case 2, 3: // likes and dislikes, in turn or again and again
		weight, targets := weights().Draw(rt, "weight"), rapid.SampledFrom([][]float32{{1}, {0}, {0, 1}, {float32(math.NaN())}, {1e30, -1e30}}).Draw(rt, "targets")
		for n := range times {
			step = l.Feedback(user, song, targets[n%len(targets)], weight)
		}
	case 4, 5:
		f.commit(rt, l)
	case 6:
		l.Abandon()
	default:
		user[0] = weights().Draw(rt, "poison")
		step = l.Feedback(user, song, 1, 1)
	}
	if !finite(step.Score) || !finite(step.Error) || !finite(step.Loss) {
		rt.Fatalf("a step is not finite: %+v", step)
	}
}

// commit is a transaction of the learner, and that of the song tasks that follows, for some rows or for all.
func (f *fleet) commit(rt *rapid.T, l *Learner) {
	f.seq++
	l.Flush(f.seq, func(d Delta) {
		if !finite(dot(d.Vector, d.Vector)) || !(d.Evidence >= 0 && finite(d.Evidence)) {
			rt.Fatalf("the change of %s is %v, %v", d.ID, d.Vector, d.Evidence)
		}
		key := KeyOf(d.Kind, d.ID)
		if f.rows[key] == nil {
			row := NewRow(f.params, key)
			f.rows[key] = &row
		}
		f.rows[key].Apply(f.params, d)
		f.ids[key] = d
		f.acks[key] = append(f.acks[key], d.Origin)
	})
	if rapid.Bool().Draw(rt, "lost") {
		l.Abandon()
		return
	}
	l.Committed()
	if rapid.Bool().Draw(rt, "published") {
		for key, row := range f.rows {
			f.table.Load(Published{Kind: f.ids[key].Kind, ID: f.ids[key].ID, Vector: row.Vector, Evidence: row.Evidence, Acks: f.acks[key]})
		}
	}
}

// check wants every vector within NormMax and all evidence within evidenceMax, in the table and with the writers.
func (f *fleet) check(rt *rapid.T) {
	within := func(what string, vector []float32, evidence float32) {
		const rounding = 1.0001
		norm := math.Sqrt(float64(dot(vector, vector)))
		if !(norm <= float64(f.params.NormMax)*rounding) || !(evidence >= 0 && evidence <= evidenceMax) {
			rt.Fatalf("%s has the norm %v and the evidence %v, want at most %v and %v", what, norm, evidence, f.params.NormMax, evidenceMax)
		}
	}
	vector := make([]float32, f.params.Dim)
	for i := range Index(f.table.Rows() + 1) {
		evidence := f.table.Vector(i, vector)
		within(fmt.Sprintf("row %s of the table", f.table.ID(i)), vector, evidence)
	}
	for key, row := range f.rows {
		within("the writer's row of "+f.ids[key].ID, row.Vector, row.Evidence)
	}
	for _, user := range f.users {
		within("a listener", user, 0)
	}
	var solver Solver
	solved := make([]float32, f.params.Dim)
	songs := rapid.SliceOfN(rapid.SampledFrom(append(f.songs, None)), 1, 5).Draw(rt, "folded in")
	heard := rapid.SliceOfN(weights(), len(songs), len(songs)).Draw(rt, "by weight")
	if !solver.Solve(solved, f.table, f.table.Geometry(), songs, heard) && dot(solved, solved) != 0 {
		rt.Fatalf("no solution, and yet %v", solved)
	}
	within("a solved listener", solved, 0)
}

// TestLearningSurvivesAnyStream: whatever comes, in whatever order, from however many learners, every row is finite and within the bounds
// of Params.
func TestLearningSurvivesAnyStream(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newFleet(rt)
		for range rapid.IntRange(1, 40).Draw(rt, "length") {
			f.act(rt)
			f.check(rt)
		}
	})
}

// TestWhatAllMovedIsWithinBounds: each learner moves its own copy within bounds, and both move the shared row by as much.
func TestWhatAllMovedIsWithinBounds(t *testing.T) {
	p := small()
	p.NormMax = 1
	table := NewTable(p)
	song := table.Song("s")
	learners := []*Learner{NewLearner(table, p, 0, 1), NewLearner(table, p, 1, 1)}
	for _, l := range learners { // neither sees the other
		n := l.slotOf(song)
		l.value(n)[0] += p.NormMax
		l.slots[n].evidence += evidenceMax
		l.stepped(n)
	}
	for _, l := range learners {
		l.Flush(1, func(Delta) {})
	}
	vector := make([]float32, p.Dim)
	if evidence := table.Vector(song, vector); dot(vector, vector) > 1.001 || evidence > evidenceMax {
		t.Errorf("the row is %v with the evidence %v, want a norm of at most 1 and at most %v", vector, evidence, evidenceMax)
	}
}
