package interest_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"earworm/model/interest"
)

// songs are vectors of length 1, one behind the other.
type songs struct {
	vectors []float32
	dim     int
}

func (s *songs) len() int { return len(s.vectors) / s.dim }

// add appends n songs around a direction.
func (s *songs) add(rng *rand.Rand, axis, n int, noise float64) {
	for range n {
		v := make([]float64, s.dim)
		var square float64
		for i := range v {
			v[i] = noise * rng.NormFloat64()
			if i == axis {
				v[i]++
			}
			square += v[i] * v[i]
		}
		for _, x := range v {
			s.vectors = append(s.vectors, float32(x/math.Sqrt(square)))
		}
	}
}

func settings(most int) interest.Params { return interest.Params{Max: most, Songs: 4, Gain: .2} }

func TestInterestsAreTheCamps(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	s := songs{dim: 16}
	s.add(rng, 3, 6, .05)
	s.add(rng, 7, 20, .05)
	s.add(rng, 1, 9, .05)
	s.add(rng, 12, 1, .05) // like nothing else
	var d interest.Divider
	labels, n := d.Divide(interest.Params{Max: 4, Songs: 4, Gain: .05}, s.vectors, s.dim)
	want := slices.Concat(slices.Repeat([]int32{2}, 6), slices.Repeat([]int32{0}, 20), slices.Repeat([]int32{1}, 9), []int32{interest.None})
	if n != 3 || !slices.Equal(labels, want) {
		t.Errorf("%d interests %v, want 3 of 20, 9 and 6 songs and one song of none", n, labels)
	}
}

// TestNoMoreThanAskedFor: five camps are not divided into more than two.
func TestNoMoreThanAskedFor(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	s := songs{dim: 16}
	for axis := range 5 {
		s.add(rng, axis, 10, .05)
	}
	var d interest.Divider
	if _, n := d.Divide(interest.Params{Max: 2, Songs: 4, Gain: .05}, s.vectors, s.dim); n != 2 {
		t.Errorf("%d interests, want 2", n)
	}
	if _, n := d.Divide(interest.Params{Max: 8, Songs: 4, Gain: .05}, s.vectors, s.dim); n < 5 {
		t.Errorf("%d interests, want the 5 that there are", n)
	}
}

func TestWhatIsAlikeIsNotDivided(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	one := songs{dim: 16}
	one.add(rng, 2, 30, .02)
	same := songs{dim: 4}
	same.add(rng, 2, 30, 0)
	few := songs{dim: 4}
	few.add(rng, 0, 3, .01)
	few.add(rng, 1, 4, .01)
	for name, s := range map[string]songs{"one camp": one, "one song again and again": same, "too few": few, "nothing": {dim: 4}, "no width": {}} {
		var d interest.Divider
		if labels, n := d.Divide(settings(4), s.vectors, s.dim); n != 1 {
			t.Errorf("%s: %d interests %v, want 1", name, n, labels)
		}
	}
	var d interest.Divider
	two := songs{dim: 4}
	two.add(rng, 0, 20, .01)
	two.add(rng, 1, 20, .01)
	if _, n := d.Divide(settings(1), two.vectors, two.dim); n != 1 {
		t.Errorf("%d interests where one is allowed", n)
	}
}

// TestAsWardSays compares with a clustering that tries all pairs and computes the scatter of each union from its songs.
func TestAsWardSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		s := songs{dim: rapid.IntRange(2, 6).Draw(t, "dim")}
		for camp := range rapid.IntRange(1, 4).Draw(t, "camps") {
			s.add(rng, camp%s.dim, rapid.IntRange(1, 12).Draw(t, "songs"), .4)
		}
		p := interest.Params{
			Max: rapid.IntRange(2, 5).Draw(t, "max"), Songs: rapid.IntRange(1, 4).Draw(t, "least"), Gain: rapid.Float64Range(.05, .5).Draw(t, "gain"),
		}
		var d interest.Divider
		labels, n := d.Divide(p, s.vectors, s.dim)
		want, wantN, near := naive(p, s)
		if near {
			t.Skip("too near to a tie")
		}
		if n != wantN || (n > 1 && !slices.Equal(labels, want)) {
			t.Fatalf("%d interests %v, want %d: %v", n, labels, wantN, want)
		}
	})
}

// naive does as Divide says in the plainest way. near says that two choices were too alike to be told apart in float32.
func naive(p interest.Params, s songs) (labels []int32, n int, near bool) {
	if s.len() < 2*p.Songs {
		return nil, 1, false
	}
	clusters := make([][]int, s.len())
	for i := range clusters {
		clusters[i] = []int{i}
	}
	history := [][][]int{slices.Clone(clusters)}
	var growths []float64
	for len(clusters) > 1 {
		bestA, bestB, least, second := 0, 0, math.Inf(1), math.Inf(1)
		for a := range clusters {
			for b := range a {
				growth := s.scatter(slices.Concat(clusters[a], clusters[b])) - s.scatter(clusters[a]) - s.scatter(clusters[b])
				if growth < least {
					bestA, bestB, least, second = a, b, growth, least
				} else {
					second = min(second, growth)
				}
			}
		}
		near = near || second-least < 1e-4
		clusters[bestB] = slices.Concat(clusters[bestB], clusters[bestA])
		clusters = slices.Delete(slices.Clone(clusters), bestA, bestA+1)
		growths = append(growths, least)
		history = append(history, slices.Clone(clusters))
	}
	scatter, cut, most := s.scatter(clusters[0]), len(history)-1, 0
	for step := len(history) - 2; step >= 0; step-- {
		found := len(big(history[step], p.Songs))
		near = near || math.Abs(growths[step]-p.Gain*scatter) < 1e-4
		if growths[step] < p.Gain*scatter || found > p.Max {
			break
		}
		if found >= most {
			cut, most = step, found
		}
	}
	found := big(history[cut], p.Songs)
	if len(found) < 2 {
		return nil, 1, near
	}
	labels = slices.Repeat([]int32{interest.None}, s.len())
	for k, cluster := range found {
		near = near || k > 0 && len(cluster) == len(found[k-1]) // which of them is the first is anybody's choice
		for _, i := range cluster {
			labels[i] = int32(k)
		}
	}
	return labels, len(found), near
}

func big(clusters [][]int, songs int) [][]int {
	var found [][]int
	for _, c := range clusters {
		if len(c) >= songs {
			found = append(found, c)
		}
	}
	slices.SortStableFunc(found, func(a, b []int) int { return len(b) - len(a) })
	return found
}

// scatter is the sum of the squared distances to the centre.
func (s *songs) scatter(cluster []int) float64 {
	var sum float64
	for i := range s.dim {
		var mean float64
		for _, n := range cluster {
			mean += float64(s.vectors[n*s.dim+i]) / float64(len(cluster))
		}
		for _, n := range cluster {
			d := float64(s.vectors[n*s.dim+i]) - mean
			sum += d * d
		}
	}
	return sum
}

// TestDividesAnything: whatever the vectors are, it ends, and labels are in range.
func TestDividesAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dim := rapid.IntRange(1, 5).Draw(t, "dim")
		vectors := rapid.SliceOfN(rapid.Float32(), 0, 40*dim).Draw(t, "vectors")
		for i := range vectors {
			switch rapid.IntRange(0, 20).Draw(t, "odd") {
			case 0:
				vectors[i] = float32(math.NaN())
			case 1:
				vectors[i] = float32(math.Inf(1))
			case 2:
				vectors[i] = 0
			}
		}
		var d interest.Divider
		labels, n := d.Divide(interest.Params{Max: 4, Songs: 2, Gain: .05}, vectors, dim)
		if n < 1 || n > 4 || (n > 1 && len(labels) != len(vectors)/dim) {
			t.Fatalf("%d interests, %d labels", n, len(labels))
		}
		if n == 1 {
			return
		}
		for _, l := range labels {
			if l < interest.None || int(l) >= n {
				t.Fatalf("interest %d of %d", l, n)
			}
		}
	})
}

func TestValidate(t *testing.T) {
	if err := interest.DefaultParams().Validate(); err != nil {
		t.Error(err)
	}
	for _, p := range []interest.Params{{Max: -1, Songs: 1}, {Max: 65, Songs: 1}, {Max: 4}, {Max: 4, Songs: 1, Gain: 1.1}, {Max: 4, Songs: 1, Gain: math.NaN()}} {
		if p.Validate() == nil {
			t.Errorf("%+v is valid", p)
		}
	}
}

func BenchmarkDivide(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	s := songs{dim: 32}
	for axis := range 5 {
		s.add(rng, axis, 20, .2)
	}
	var d interest.Divider
	b.ReportAllocs()
	for b.Loop() {
		d.Divide(interest.DefaultParams(), s.vectors, s.dim)
	}
}
