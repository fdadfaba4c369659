package backtest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"earworm/model/factor"
	"earworm/schemas"
)

// The fast ways of the baselines against the long ones.

const (
	twinListeners = 15
	twinItems     = 25
	twinStart     = int64(1_767_571_200_000) // Monday 2026-01-05
)

// twinData is a random history of three weeks with repeats.
func twinData(seed uint64) *Dataset {
	dice := rand.New(rand.NewPCG(seed, 3))
	var records []record
	for range 500 {
		records = append(records, record{
			at: twinStart + dice.Int64N(3*weekMs), listener: int32(dice.IntN(twinListeners)), item: int32(dice.IntN(twinItems)),
			kind: schemas.KindPlay, played: -1, duration: -1, position: -1,
		})
	}
	slices.SortStableFunc(records, func(a, b record) int { return int(a.at - b.at) })
	b := &builder{}
	for _, r := range records {
		b.add(r)
	}
	return b.dataset("twins", source{
		listeners: twinListeners, items: twinItems,
		listener: func(n int32) (string, schemas.Profile, bool) { return fmt.Sprint("u", n), schemas.Profile{}, false },
		item:     func(n int32) (string, factor.Meta) { return fmt.Sprint("i", n), factor.Meta{} },
	})
}

// learnt lets a model learn everything and freezes it at the end.
func learnt(t *testing.T, d *Dataset, spec string) Model {
	t.Helper()
	s, err := Parse(spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.model(d, Options{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	for e := range d.Events {
		if err := m.Learn(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Freeze(time.UnixMilli(twinStart + 3*weekMs)); err != nil {
		t.Fatal(err)
	}
	return m
}

// same compares the neighbours of every item with similarities computed the long way.
func same(t *testing.T, got neighbours, want func(i, j int32) float64) {
	t.Helper()
	compared := 0
	for i := range int32(twinItems) {
		last, seen := math.Inf(1), 0
		for k := int(i) * got.width; k < int(i+1)*got.width && got.items[k] >= 0; k++ {
			v, w := float64(got.values[k]), want(i, got.items[k])
			if math.Abs(v-w) > 1e-4*math.Max(w, 1e-3) || v > last || got.items[k] == i {
				t.Fatalf("items %d and %d: %v, want %v; the one before %v", i, got.items[k], v, w, last)
			}
			last = v
			seen++
		}
		positive := 0
		for j := range int32(twinItems) {
			if j != i && want(i, j) > 1e-9 {
				positive++
			}
		}
		if seen < min(positive, got.width) {
			t.Fatalf("item %d has %d neighbours, want %d", i, seen, min(positive, got.width))
		}
		compared += seen
	}
	if compared < 100 {
		t.Errorf("%d similarities compared", compared)
	}
}

// TestCooccurrenceEqualsTheStream: what is computed at the freeze is what a stream would have summed up, event by event.
func TestCooccurrenceEqualsTheStream(t *testing.T) {
	t.Parallel()
	d := twinData(1)
	m, ok := learnt(t, d, "cooccurrence:window=4:half_life=7:gamma=0.8:shrink=2").(*cooccurrence)
	if !ok {
		t.Fatal("another model")
	}
	now, seen := twinStart+3*weekMs, map[int32][]int32{}
	edges, counts := map[[2]int32]float64{}, map[int32]float64{}
	for e := range d.Events {
		if !e.First {
			continue
		}
		weight := math.Exp2(-float64(now-e.At) / (7 * dayMs))
		before := seen[e.Listener]
		for gap := 1; gap <= min(4, len(before)); gap++ {
			other := before[len(before)-gap]
			edges[[2]int32{e.Item, other}] += weight * math.Pow(.8, float64(gap-1))
			edges[[2]int32{other, e.Item}] += weight * math.Pow(.8, float64(gap-1))
		}
		counts[e.Item] += weight
		seen[e.Listener] = append(before, e.Item)
	}
	same(t, m.near, func(i, j int32) float64 {
		return edges[[2]int32{i, j}] / math.Sqrt((counts[i]+2)*(counts[j]+2))
	})
}

func TestCosineEqualsTheDefinition(t *testing.T) {
	t.Parallel()
	d := twinData(2)
	m, ok := learnt(t, d, "knn-cosine:half_life=7:neighbours=10").(*knn)
	if !ok {
		t.Fatal("another model")
	}
	var x [twinItems][twinListeners]float64
	for e := range d.Events {
		x[e.Item][e.Listener] += math.Exp2(float64(e.At-twinStart) / (7 * dayMs))
	}
	product := func(i, j int32) float64 {
		sum := 0.
		for l := range twinListeners {
			sum += x[i][l] * x[j][l]
		}
		return sum
	}
	same(t, m.near, func(i, j int32) float64 { return product(i, j) / math.Sqrt(product(i, i)*product(j, j)) })
}

// TestLateEventsStandWhereTheyHappened: however late they come.
func TestLateEventsStandWhereTheyHappened(t *testing.T) {
	t.Parallel()
	dice := rand.New(rand.NewPCG(9, 9))
	b := &builder{}
	var want []int64
	for n := range int64(1000) {
		at := n * 10
		if dice.IntN(5) == 0 {
			at -= dice.Int64N(5000)
		}
		want = append(want, at)
		b.add(record{at: at})
	}
	slices.Sort(want)
	var got []int64
	for _, r := range b.merge() {
		got = append(got, r.at)
	}
	if !slices.Equal(got, want) {
		t.Error("the events are out of order")
	}
}

// TestRecency against a slice.
func TestRecency(t *testing.T) {
	t.Parallel()
	dice := rand.New(rand.NewPCG(4, 4))
	q, naive := newRecency(20), []int32{}
	if _, ok := q.oldest(); ok {
		t.Error("an empty queue has an oldest")
	}
	for range 2000 {
		item := int32(dice.IntN(20))
		naive = append(slices.DeleteFunc(naive, func(other int32) bool { return other == item }), item)
		q.touch(item)
		if got, ok := q.oldest(); !ok || got != naive[0] {
			t.Fatalf("the oldest is %d, want %d", got, naive[0])
		}
	}
}

// TestPopularityOverTenYears: weights stay in range, and are those of the definition.
func TestPopularityOverTenYears(t *testing.T) {
	t.Parallel()
	counts := newDecayed(2, 3)
	want := [2]float64{}
	end := twinStart + 520*weekMs
	for n := range int64(520) {
		at := twinStart + n*weekMs
		counts.add(int32(n%2), at)
		want[n%2] += math.Exp2(-float64(end-at) / (3 * dayMs))
	}
	for i, v := range counts.values {
		if got := v * counts.ageing.scale(end); math.Abs(got-want[i]) > 1e-12*want[i] {
			t.Errorf("count %d is %v, want %v", i, got, want[i])
		}
	}
}
