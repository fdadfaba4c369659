package rank_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"earworm/model/factor"
	"earworm/model/rank"
)

// Outcomes of a single deed.
const (
	rejected  = "rejected"
	undecided = "undecided"
	heard     = "heard"
	liked     = "liked"
	saved     = "saved"
	refused   = "refused"
	unliked   = "unliked"
	elsewhere = "elsewhere"
)

// after returns what became of a track after some deeds.
func after(deeds ...string) rank.Outcome {
	var o rank.Outcome
	for _, deed := range deeds {
		o = map[string]func(rank.Outcome) rank.Outcome{
			rejected: rank.Outcome.Rejected, undecided: rank.Outcome.Undecided, heard: rank.Outcome.Heard, liked: rank.Outcome.Liked,
			saved: rank.Outcome.Saved, refused: rank.Outcome.Refused, unliked: rank.Outcome.Unliked, elsewhere: rank.Outcome.Elsewhere,
		}[deed](o)
	}
	return o
}

func outcomes(deeds ...string) []rank.Outcome {
	list := make([]rank.Outcome, len(deeds))
	for i, deed := range deeds {
		if deed != "" {
			list[i] = after(deed)
		}
	}
	return list
}

// rowsOf returns random features of n tracks.
func rowsOf(rng *rand.Rand, n int) []float32 {
	rows := make([]float32, n*rank.Features)
	for i := range rows {
		rows[i] = float32(rng.NormFloat64())
	}
	return rows
}

func TestWhatBecomesOfATrack(t *testing.T) {
	for _, tt := range []struct {
		deeds   []string
		want    string
		touched bool
	}{
		{nil, "passed", false},
		{[]string{elsewhere}, "passed", false},
		{[]string{rejected}, "rejected", true},
		{[]string{undecided}, "undecided", true},
		{[]string{heard, rejected, undecided}, "heard", true},
		{[]string{rejected, heard}, "heard", true},
		{[]string{rejected, undecided}, "undecided", true},
		{[]string{liked, rejected}, "saved", true},
		{[]string{heard, liked, refused}, "refused", true},
		{[]string{refused, heard}, "refused", true},
		{[]string{refused, liked}, "saved", true},
		{[]string{saved, liked, unliked}, "saved", true},
		{[]string{heard, liked, unliked}, "heard", true},
		{[]string{unliked}, "passed", false},
		{[]string{refused, unliked}, "refused", true},
	} {
		o := after(tt.deeds...)
		if o.String() != tt.want || o.Touched() != tt.touched || !slices.Contains(rank.OutcomeNames(), o.String()) {
			t.Errorf("%v: %s, touched %v, want %s", tt.deeds, o, o.Touched(), tt.want)
		}
	}
}

func TestReachedIsUpToTheLastTouched(t *testing.T) {
	for want, list := range map[int][]rank.Outcome{
		0: outcomes("", elsewhere, ""), 1: outcomes(rejected, "", ""), 3: outcomes("", "", undecided), 2: outcomes(heard, refused, elsewhere, ""),
	} {
		if got := rank.Reached(list); got != want {
			t.Errorf("%d of %v are reached, want %d", got, list, want)
		}
	}
}

// cascade is a listener who goes through a list from the top until they have had enough.
func cascade(rng *rand.Rand, rows []float32, truth map[int]float32) []rank.Outcome {
	list := make([]rank.Outcome, len(rows)/rank.Features)
	easy := 2 * rng.NormFloat64() // some like nearly everything
	for i := range list {
		s := easy
		for f, w := range truth {
			s += float64(w * rows[i*rank.Features+f])
		}
		if list[i] = after(rejected); rng.Float64() < 1/(1+math.Exp(-s)) {
			list[i] = after(heard)
		}
		if rng.Float64() < .05 {
			break
		}
	}
	return list
}

// TestOutcomesFindWhatASourceIsWorth: those who say yes and no by the logistic function of some weights are found out, whatever else each of
// them likes or dislikes, and however far they go.
func TestOutcomesFindWhatASourceIsWorth(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 3))
	truth := map[int]float32{0: -.8, 5: 1.2}
	p := rank.DefaultLearnParams()
	var b rank.Blend
	for range 6000 {
		rows := rowsOf(rng, 30)
		b.LearnOutcomes(p, rows, cascade(rng, rows, truth))
	}
	for f, w := range b.Weights(p) {
		if d := math.Abs(float64(w - truth[f])); d > .15 {
			t.Errorf("the weight of %s is %.2f, the truth %.2f", rank.FeatureName(f), w, truth[f])
		}
	}
}

// TestOutcomesCorrectWhatStandsInTheWay: a source that says what people come to, and not what they like once they hear it, is worth less after
// they were asked.
func TestOutcomesCorrectWhatStandsInTheWay(t *testing.T) {
	const charts, taste = 3, 7
	weight := func(ask bool) float32 {
		rng := rand.New(rand.NewPCG(5, 6))
		p := rank.DefaultLearnParams()
		var b rank.Blend
		for range 1000 {
			rows, chosen := lists(rng, 50, map[int]float32{charts: 2, taste: 1})
			b.Learn(p, rows, chosen)
			if given := rowsOf(rng, 30); ask {
				b.LearnOutcomes(p, given, cascade(rng, given, map[int]float32{charts: -1, taste: 1}))
			}
		}
		w := b.Weights(p)
		return w[charts] / w[taste]
	}
	if without, with := weight(false), weight(true); without < 1.5 || with > .6*without {
		t.Errorf("charts are worth %.2f of taste without outcomes, %.2f with them", without, with)
	}
}

// naiveOutcomes is the loss that LearnOutcomes states, at some weights.
func naiveOutcomes(w []float64, rows []float32, list []rank.Outcome) float64 {
	positive := map[string]float64{"saved": 3, "heard": 1}
	negative := map[string]float64{"rejected": 1, "refused": 1, "passed": .25}
	score := func(i int) (s float64) {
		for f, x := range w {
			s += x * float64(rows[i*rank.Features+f])
		}
		return s
	}
	var sum, pairs float64
	up, down := map[int]float64{}, map[int]float64{}
	for i := range rank.Reached(list) {
		for j := range rank.Reached(list) {
			pos, neg := positive[list[i].String()], negative[list[j].String()]
			if list[j] == after(elsewhere) {
				neg = 0
			}
			if list[j].String() == "passed" && j > i || pos*neg == 0 {
				continue
			}
			sum += pos * neg * math.Log1p(math.Exp(score(j)-score(i)))
			pairs += pos * neg
			up[i], down[j] = pos, neg
		}
	}
	var liked, others float64
	for _, v := range up {
		liked += v
	}
	for _, v := range down {
		others += v
	}
	return rank.DefaultLearnParams().Outcomes * math.Sqrt(liked*others/(liked+others)) * sum / pairs
}

// TestOutcomesFollowTheStatedLoss compares the first step, which is the gradient, with differences of the loss.
func TestOutcomesFollowTheStatedLoss(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	p := rank.DefaultLearnParams()
	list := outcomes(heard, "", rejected, elsewhere, undecided, liked, refused, "", saved, heard, rejected, "", heard, "", "")
	rows := rowsOf(rng, len(list))
	var b rank.Blend
	prior := b.Weights(p)
	if !b.LearnOutcomes(p, rows, list) {
		t.Fatal("nothing was learnt")
	}
	w := make([]float64, rank.Features)
	for f := range w {
		w[f] = float64(prior[f])
	}
	for f := range w {
		const step = 1e-5
		w[f] += step
		more := naiveOutcomes(w, rows, list)
		w[f] -= 2 * step
		less := naiveOutcomes(w, rows, list)
		w[f] += step
		if want := (more - less) / (2 * step); math.Abs(want-float64(b.Z[f])) > 1e-4 {
			t.Errorf("the gradient of %s is %v, want %v", rank.FeatureName(f), b.Z[f], want)
		}
	}
}

func TestWhatSaysNothingTeachesNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	p := rank.DefaultLearnParams()
	for name, list := range map[string][]rank.Outcome{
		"nobody":                     outcomes("", "", ""),
		"all liked":                  outcomes(heard, saved, liked),
		"all rejected":               outcomes(rejected, refused, rejected, ""),
		"liked or undecided":         outcomes(undecided, heard, undecided),
		"rejected or undecided":      outcomes(undecided, rejected),
		"passed over below the last": outcomes(heard, "", ""),
		"known from elsewhere":       outcomes(elsewhere, heard),
		"passed over and rejected":   outcomes("", rejected),
		"no list":                    nil,
	} {
		var b rank.Blend
		if b.LearnOutcomes(p, rowsOf(rng, len(list)), list) || b != (rank.Blend{}) {
			t.Errorf("%s: something was learnt", name)
		}
	}
	var b rank.Blend
	if b.LearnOutcomes(p, rowsOf(rng, 1), outcomes(heard, rejected)) || b != (rank.Blend{}) {
		t.Error("something was learnt from tracks without features")
	}
}

func TestWhatWasNotReachedChangesNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	p := rank.DefaultLearnParams()
	list := outcomes(heard, rejected, "", heard, "", "", "")
	rows := rowsOf(rng, len(list))
	var whole, short, wild rank.Blend
	whole.LearnOutcomes(p, rows, list)
	short.LearnOutcomes(p, rows[:4*rank.Features], list[:4])
	for i := 4 * rank.Features; i < len(rows); i++ {
		rows[i] = float32(math.NaN())
	}
	wild.LearnOutcomes(p, rows, list)
	if whole == (rank.Blend{}) || whole != short || whole != wild {
		t.Error("what was not reached changed what was learnt")
	}
}

// TestLongListsDoNotOutweigh: a list twice as long that says the same counts √2 times as much, as two of its length would by their noise, and
// not four times for its pairs.
func TestLongListsDoNotOutweigh(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	p := rank.DefaultLearnParams()
	list := outcomes(heard, rejected, liked, undecided, refused)
	rows := rowsOf(rng, len(list))
	var once, twice rank.Blend
	once.LearnOutcomes(p, rows, list)
	twice.LearnOutcomes(p, append(slices.Clone(rows), rows...), append(slices.Clone(list), list...))
	for f := range once.Z {
		if math.Abs(float64(twice.Z[f])-math.Sqrt2*float64(once.Z[f])) > 1e-4 {
			t.Errorf("%s: %v, twice as long %v", rank.FeatureName(f), once.Z[f], twice.Z[f])
		}
	}
}

func TestOutcomesSurviveAnything(t *testing.T) {
	p := rank.DefaultLearnParams()
	list := outcomes(heard, rejected, "", liked)
	for _, poison := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), 1e30, -1e30, math.MaxFloat32} {
		for at := range 4 {
			rows := rowsOf(rand.New(rand.NewPCG(15, 16)), 4)
			for f := range rank.Features {
				rows[at*rank.Features+f] = poison
			}
			var b rank.Blend
			for range 100 {
				b.LearnOutcomes(p, rows, list)
			}
			for f, w := range b.Weights(p) {
				if w-w != 0 || math.Abs(float64(w)) > 100 {
					t.Errorf("%v at %d: the weight of %s is %v", poison, at, rank.FeatureName(f), w)
				}
			}
		}
	}
	var b rank.Blend
	rows := rowsOf(rand.New(rand.NewPCG(17, 18)), 4)
	for o := range 256 { // any byte that a row may hold
		b.LearnOutcomes(p, rows, []rank.Outcome{rank.Outcome(o), after(heard), rank.Outcome(o), after(rejected)})
	}
	for range 10_000 {
		b.LearnOutcomes(p, rows, list)
	}
	for f, w := range b.Weights(p) {
		if w-w != 0 || math.Abs(float64(w)) > 100 {
			t.Errorf("the weight of %s is %v", rank.FeatureName(f), w)
		}
	}
}

// TestBothKindsOfLessonsAreOne: what a task learns from outcomes and from frozen candidates in a transaction is told together, and taken
// back together.
func TestBothKindsOfLessonsAreOne(t *testing.T) {
	s := newShelf(3)
	r := newRanker(s.table, rank.DefaultParams())
	rng := rand.New(rand.NewPCG(19, 20))
	var alone rank.Blend
	step := func(n int) {
		frozen, chosen := frozenList(n)
		rows, list := rowsOf(rng, 4), outcomes(heard, rejected, "", liked)
		if !r.LearnBlend(0, frozen, chosen) || !r.LearnOutcomes(0, rows, list) {
			t.Fatal("nothing was learnt")
		}
		alone.Learn(r.Params().Learn, frozen, chosen)
		alone.LearnOutcomes(r.Params().Learn, rows, list)
	}
	step(1)
	learnt, ok := r.CloseBlend(0, 7)
	if !ok {
		t.Fatal("nothing to tell")
	}
	near(t, "told", learnt, alone)
	kept := alone
	step(2)
	r.WithdrawBlend(0, 7)
	near(t, "taken back", r.Blend(), kept)
	r.SetBlend(learnt, []factor.Origin{{Partition: 0, Seq: 7}})
	near(t, "published", r.Blend(), kept)
	if r.LearnOutcomes(0, rowsOf(rng, 2), outcomes(heard, heard)) {
		t.Error("something was learnt from a list of which all was liked")
	}
	if _, ok := r.CloseBlend(0, 8); ok {
		t.Error("nothing is told")
	}
}

// TestCandidatesCarryTheirFeatures: the features that come with a candidate are those that are frozen.
func TestCandidatesCarryTheirFeatures(t *testing.T) {
	s := newShelf(60)
	r := newRanker(s.table, rank.DefaultParams())
	l := rank.Listener{Vector: make([]float32, s.table.Params().Dim)}
	frozen := r.Freeze(l, 0)
	candidates := r.Candidates(nil, l, 0)
	if len(candidates) == 0 {
		t.Fatal("no candidates")
	}
	for _, c := range candidates {
		n := slices.Index(frozen.Songs, s.table.KeyAt(c.Song))
		if n < 0 || !slices.Equal(c.Row, frozen.Rows[n*rank.Features:][:rank.Features]) {
			t.Fatalf("the features of song %d are %v", c.Song, c.Row)
		}
	}
}
