package refit

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"earworm/consumers/stream"
	"earworm/model/als"
	"earworm/model/factor"
	"earworm/schemas"
	"earworm/state"
)

const (
	worldSongs, worldPeople = 120, 150
	worldDim                = 16
)

// world is a table of songs of three camps whose rows are half learnt, and the histories of listeners who each keep to one camp. Song s
// is of artist s%30, who is of one camp; genres are everybody's. The last ten songs were heard once and by nobody of the histories.
func world(t *testing.T) (*factor.Table, *Histories) {
	t.Helper()
	dice := rand.New(rand.NewPCG(*seed, 5))
	params := factor.DefaultParams()
	params.Dim = worldDim
	table, histories := factor.NewTable(params), NewHistories(0)
	for s := range worldSongs + 10 {
		row := factor.Published{Kind: factor.KindSong, ID: fmt.Sprintf("s%d", s), Evidence: 5, FirstAt: start().UnixMilli(), Vector: make([]float32, worldDim)}
		for k := range row.Vector {
			row.Vector[k] = float32(dice.NormFloat64() * .1)
			if k%3 == s%3 {
				row.Vector[k] += .2
			}
		}
		table.Load(row)
		table.Describe(table.Song(row.ID), factor.Meta{
			Artist: fmt.Sprintf("a%d", s%30), Language: "de", Genres: []string{fmt.Sprintf("g%d", s%4), fmt.Sprintf("g%d", s%4), "pop"},
		})
	}
	table.Load(factor.Published{Kind: factor.KindSong, ID: "unheard", Vector: make([]float32, worldDim)})
	for u := range worldPeople {
		for s := u % 3; s < worldSongs; s += 3 {
			if dice.IntN(3) == 0 {
				key, value := played(fmt.Sprintf("u%d", u), factor.KeyOf(factor.KindSong, fmt.Sprintf("s%d", s)), uint32(1+dice.IntN(3)), start(), state.FlagTrained)
				histories.take(t, key, value)
			}
		}
	}
	// Songs that the table does not have yet.
	key, value := played("u1", factor.KeyOf(factor.KindSong, "later"), 1, start(), state.FlagTrained)
	histories.take(t, key, value)
	return table, histories
}

func prepare(t *testing.T, table *factor.Table, histories *Histories) *Plan {
	t.Helper()
	cfg := DefaultFit()
	cfg.At = histories.Newest()
	plan, err := Prepare(t.Context(), table, histories, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// vectors are the effective vectors of all songs that were heard.
func vectors(table *factor.Table) []float32 {
	out := make([]float32, (worldSongs+10)*worldDim)
	for s := range worldSongs + 10 {
		table.Effective(table.Song(fmt.Sprintf("s%d", s)), out[s*worldDim:(s+1)*worldDim])
	}
	return out
}

func TestPlan(t *testing.T) {
	t.Parallel()
	table, histories := world(t)
	plan := prepare(t, table, histories)
	if plan.Epoch != 1 || plan.Listeners != worldPeople || plan.Songs != worldSongs+10 || plan.Pairs < worldPeople*10 {
		t.Errorf("plan of epoch %d: %d listeners, %d songs, %d pairs", plan.Epoch, plan.Listeners, plan.Songs, plan.Pairs)
	}
	if !(plan.LossAfter < .99*plan.LossBefore) {
		t.Errorf("the loss goes from %v to %v", plan.LossBefore, plan.LossAfter)
	}
	kinds := map[factor.Kind]int{}
	for _, m := range plan.Moves {
		kinds[m.Kind]++
		if m.Base != 0 || m.ID != table.ID(m.Row) || m.Kind != table.KindAt(m.Row) || len(m.Vector) != worldDim {
			t.Fatalf("move %+v", m)
		}
	}
	if kinds[factor.KindSong] != worldSongs || kinds[factor.KindArtist] != 30 || kinds[factor.KindGenre] != 5 || kinds[factor.KindLanguage] != 1 {
		t.Errorf("moves of %v", kinds)
	}

	before := vectors(table)
	type whole struct {
		evidence float32
		stats    string
	}
	look := func() (out []whole) {
		v := make([]float32, worldDim)
		for _, i := range table.SongList() {
			out = append(out, whole{table.Vector(i, v), fmt.Sprint(table.Stats(i))})
		}
		return out
	}
	rest := look()
	plan.Apply(table)
	if !slices.Equal(rest, look()) {
		t.Error("more than vectors changed")
	}
	if got := als.Cosine(before, vectors(table), worldDim); math.Abs(got-plan.Cosine) > 1e-4 || got > .9999 {
		t.Errorf("the cosine is %v, was said to be %v", got, plan.Cosine)
	}
	next := prepare(t, table, histories)
	if math.Abs(next.LossBefore-plan.LossAfter) > 1e-3*plan.LossAfter {
		t.Errorf("the next refit begins at the loss %v, this one ended at %v", next.LossBefore, plan.LossAfter)
	}
	if next.Epoch != 2 || next.Moves[0].Base != 1 {
		t.Errorf("the next refit is %d on %d", next.Epoch, next.Moves[0].Base)
	}
}

// TestPlanTurnsBack: no rotation brings the songs nearer to where they were.
func TestPlanTurnsBack(t *testing.T) {
	t.Parallel()
	table, histories := world(t)
	before := vectors(table)
	cfg := DefaultFit()
	cfg.At, cfg.Sweeps = histories.Newest(), 30
	plan, err := Prepare(t.Context(), table, histories, cfg)
	if err != nil {
		t.Fatal(err)
	}
	evidence := make([]float32, worldSongs+10)
	for _, user := range histories.users() {
		for _, e := range histories.listeners[user].heard {
			for s := range worldSongs {
				if factor.KeyOf(factor.KindSong, fmt.Sprintf("s%d", s)) == e.song {
					evidence[s] += e.weight(cfg.At, cfg.HalfLife)
				}
			}
		}
	}
	plan.Apply(table)
	after := vectors(table)
	distance := func() (sum float64) {
		for i, v := range after {
			sum += float64(evidence[i/worldDim]) * float64(v-before[i]) * float64(v-before[i])
		}
		return sum
	}
	got := distance()
	als.Rotate(after, als.Rotation(after, before, worldDim, func(s int) float32 { return evidence[s] }), worldDim)
	if nearest := distance(); nearest < got*(1-1e-4) {
		t.Errorf("the songs are at %v, and could be turned to %v", got, nearest)
	}
}

// tops are the ten best songs of every tenth listener whose vector is solved from the rows of people, by the rows of a table.
func tops(people, table *factor.Table, histories *Histories) [][]factor.Index {
	var solver factor.Solver
	var scores factor.Scores
	var out [][]factor.Index
	vector := make([]float32, worldDim)
	for n, user := range histories.users() {
		if n%10 != 0 {
			continue
		}
		var songs []factor.Index
		var weights []float32
		for _, e := range histories.listeners[user].heard {
			if i, ok := people.Lookup(e.song); ok {
				songs, weights = append(songs, i), append(weights, 1)
			}
		}
		solver.Solve(vector, people, people.Geometry(), songs, weights)
		table.Score(vector, &scores)
		order := make([]int, len(scores.Songs))
		for n := range order {
			order[n] = n
		}
		slices.SortFunc(order, func(a, b int) int { return cmp.Compare(scores.Taste[b], scores.Taste[a]) })
		best := make([]factor.Index, 10)
		for n := range best {
			best[n] = scores.Songs[order[n]]
		}
		out = append(out, best)
	}
	return out
}

// TestRowsOfTwoEpochsStandTogether: with every second row moved, listeners with vectors from before get lists as near to those of before
// and of after as these are to each other. Had the fit been turned, they would not.
func TestRowsOfTwoEpochsStandTogether(t *testing.T) {
	t.Parallel()
	learnt := func() (*factor.Table, *Histories) {
		table, histories := world(t)
		for range 3 {
			prepare(t, table, histories).Apply(table)
		}
		return table, histories
	}
	old, histories := learnt()
	before := tops(old, old, histories)
	half := func(turn []float64) (nearBefore, nearAfter, whole float64) {
		mixed, _ := learnt()
		plan := prepare(t, mixed, histories)
		if turn != nil { // every row turned, as a fit from nothing would have them
			v := make([]float32, worldDim)
			for _, m := range plan.Moves {
				mixed.Vector(m.Row, v)
				for k := range v {
					m.Vector[k] += v[k]
				}
				als.Rotate(m.Vector, turn, worldDim)
				for k := range v {
					m.Vector[k] -= v[k]
				}
			}
		}
		all, _ := learnt()
		plan.Apply(all)
		after := tops(all, all, histories)
		part := *plan
		part.Moves = nil
		for i, m := range plan.Moves {
			if i%2 == 0 {
				part.Moves = append(part.Moves, m)
			}
		}
		part.Apply(mixed)
		lists := tops(old, mixed, histories)
		return kept(before, lists), kept(after, lists), kept(before, after)
	}
	nearBefore, nearAfter, whole := half(nil)
	if whole < .6 {
		t.Fatalf("only %.2f of the lists stay", whole)
	}
	if nearBefore < whole-.05 || nearAfter < whole-.05 {
		t.Errorf("halfway %.2f of the lists are as before and %.2f as after; all the way %.2f stay", nearBefore, nearAfter, whole)
	}
	shift := make([]float64, worldDim*worldDim) // each axis becomes the next
	for i := range worldDim {
		shift[i*worldDim+(i+1)%worldDim] = 1
	}
	nearBefore, nearAfter, _ = half(shift)
	if nearBefore > whole-.1 && nearAfter > whole-.1 {
		t.Errorf("turned, halfway %.2f are as before and %.2f as after: this test shows nothing", nearBefore, nearAfter)
	}
}

// TestSend: every move is in exactly one record, in the partition of its row, and no record is large or speaks for a listens partition.
func TestSend(t *testing.T) {
	t.Parallel()
	table, histories := world(t)
	plan := prepare(t, table, histories)
	for range 6 { // more than fits into a record
		plan.Moves = append(plan.Moves, plan.Moves...)
	}
	const partitions = 3
	sent, records := map[string]int{}, 0
	plan.Send(partitions, func(partition int32, rows int, value []byte) {
		records++
		var u schemas.SongUpdates
		if err := u.UnmarshalBinary(value); err != nil || u.Mark.Partition != schemas.NoPartition || len(u.Updates) != rows || len(value) > recordBytes+1024 {
			t.Fatalf("a record of %d bytes: %v, %+v, %d updates and %d rows", len(value), err, u.Mark, len(u.Updates), rows)
		}
		for i := range u.Updates {
			one := &u.Updates[i]
			if stream.PartitionOf(append([]byte{one.Kind}, one.ID...), partitions) != partition || one.Epoch != plan.Epoch || one.Evidence != 0 {
				t.Fatalf("in partition %d: %+v", partition, one)
			}
			sent[string(one.Kind)+string(one.ID)]++
		}
	})
	if records <= partitions || len(sent) != len(plan.Moves)/64 {
		t.Errorf("%d records, %d of %d rows", records, len(sent), len(plan.Moves)/64)
	}
	for row, n := range sent {
		if n != 64 {
			t.Errorf("%q was sent %d times, want 64", row, n)
		}
	}
}

func TestNothingToFitTo(t *testing.T) {
	t.Parallel()
	table, histories := world(t)
	if _, err := Prepare(t.Context(), table, NewHistories(0), DefaultFit()); !errors.Is(err, ErrNothing) {
		t.Errorf("without histories: %v", err)
	}
	empty := factor.NewTable(table.Params())
	if _, err := Prepare(t.Context(), empty, histories, DefaultFit()); !errors.Is(err, ErrNothing) {
		t.Errorf("without songs: %v", err)
	}
}
