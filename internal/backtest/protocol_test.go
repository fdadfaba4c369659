package backtest_test

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"earworm/internal/backtest"
)

// script is a model that a test writes: it lists by name.
type script struct {
	data  *backtest.Dataset
	lists map[string][]string // by listener
	ready map[string]int32
	learn func(e *backtest.Event)
	at    func(at time.Time)
}

func (*script) Name() string { return backtest.ProductionName }

func (s *script) Learn(e *backtest.Event) error {
	if s.learn != nil {
		s.learn(e)
	}
	return nil
}

func (s *script) Freeze(at time.Time) error {
	if s.at != nil {
		s.at(at)
	}
	return nil
}

func (s *script) Rank(listener int32, dst []int32) []int32 {
	for _, name := range s.lists[s.data.Listeners[listener]] {
		dst = append(dst, s.ready[name])
	}
	return dst
}

// run measures a script.
func (s *script) run(t *testing.T, o backtest.Options) (*backtest.ModelReport, *backtest.Report) {
	t.Helper()
	s.ready = map[string]int32{}
	for i, name := range s.data.Items {
		s.ready[name] = int32(i)
	}
	o.Models = []string{backtest.ProductionName}
	o.Production = always(s)
	report, err := backtest.Run(t.Context(), s.data, o)
	if err != nil {
		t.Fatal(err)
	}
	return report.Models[backtest.ProductionName], report
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if !(math.Abs(got-want) < 1e-12) {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

// TestByHand is the case that the independent scorer tests itself with: three to be found, hits at ranks 1 and 3, one slot with what
// is known and one with a repetition.
func TestByHand(t *testing.T) {
	t.Parallel()
	monday := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	var text strings.Builder
	text.WriteString("timestamp,user,item,artist\n")
	row := func(after time.Duration, user, item, artist string) {
		fmt.Fprintf(&text, "%d,%s,%s,%s\n", monday.Add(after).Unix(), user, item, artist)
	}
	for k := range 5 {
		row(time.Duration(k)*time.Second, "u", fmt.Sprint("i", k), "A")
		row(time.Duration(9+k)*time.Second, "v", fmt.Sprint("n", k), "B")
	}
	row(time.Minute, "w", "i0", "A")
	for k, item := range []string{"n0", "n1", "n2", "i1"} {
		row(7*24*time.Hour+time.Duration(k)*time.Second, "u", item, "")
	}
	row(8*24*time.Hour, "w", "n0", "") // one item of history: in the segments alone
	row(13*24*time.Hour, "v", "n0", "")
	s := &script{data: dataset(t, text.String(), 0), lists: map[string][]string{"u": {"n0", "n4", "n1", "i1", "n0"}, "w": {"n0"}}}
	m, r := s.run(t, backtest.Options{Warm: .3, MinUsers: 1})
	if r.Weeks != 1 || r.People != 1 || !r.Protocol.First.Equal(monday.AddDate(0, 0, 7)) {
		t.Fatalf("%d weeks from %v with %d people", r.Weeks, r.Protocol.First, r.People)
	}
	gain := func(rank float64) float64 { return 1 / math.Log2(rank+1) }
	near(t, "recall", m.Recall, 2./3)
	near(t, "NDCG", m.NDCG, 1.5/(1+gain(2)+gain(3)))
	near(t, "hit rate", m.HitRate, 1)
	near(t, "coverage", m.Coverage, 4./10)
	// Of ten items i0 has two listeners, the others one: (1+9)/2/10 each.
	near(t, "popularity percentile", m.Percentile, .5)
	near(t, "artist Gini", *m.Gini, .3) // slots 1 and 4 of two artists: 2·(1·1+2·4)/(2·5) − 3/2
	near(t, "recall of young songs", m.ByAge["under_7_days"].Recall, 2./3)
	near(t, "recall of the one with one item", m.ByHistory["0-3"].Recall, 1)
	near(t, "recall of the one with five", m.ByHistory["4-20"].Recall, 2./3)
	week := m.ByWeek[0] // the only one
	if week.Recall != m.Recall || week.NDCG != m.NDCG || week.HitRate != m.HitRate || *week.Gini != *m.Gini ||
		!reflect.DeepEqual(week.ByAge, m.ByAge) || !reflect.DeepEqual(week.ByHistory, m.ByHistory) || !reflect.DeepEqual(week.ByMainstream, m.ByMainstream) {
		t.Errorf("the only week is %+v, all of them %+v", week, m)
	}
	if m.Wasted != 2 || len(m.ByAge) != 1 || len(m.ByHistory) != 2 || m.ByHistory["0-3"].People != 1 {
		t.Errorf("%d slots wasted, %v, %v", m.Wasted, m.ByAge, m.ByHistory)
	}
}

// TestAgainstANaiveTwin computes recall and NDCG of random lists over random histories the long way.
func TestAgainstANaiveTwin(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		dice := rand.New(rand.NewPCG(seed, 1))
		monday := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
		type event struct {
			at         int64
			user, item string
			rating     int
		}
		var events []event
		for n := range 400 {
			events = append(events, event{
				monday.Unix() + dice.Int64N(5*7*24*3600), fmt.Sprint("u", dice.IntN(12)), fmt.Sprint("i", n%60), dice.IntN(4),
			})
		}
		slices.SortStableFunc(events, func(a, b event) int { return int(a.at - b.at) })
		var text strings.Builder
		text.WriteString("timestamp,user,item,rating\n")
		for _, e := range events {
			fmt.Fprintf(&text, "%d,%s,%s,%d\n", e.at, e.user, e.item, e.rating)
		}
		s := &script{data: dataset(t, text.String(), 1), lists: map[string][]string{}}
		for u := range 12 {
			for _, i := range dice.Perm(60)[:30] {
				s.lists[fmt.Sprint("u", u)] = append(s.lists[fmt.Sprint("u", u)], fmt.Sprint("i", i))
			}
		}
		m, _ := s.run(t, backtest.Options{MinUsers: 1, MinHistory: 3})
		var recalls, gains []float64
		for week := range 5 {
			from := monday.AddDate(0, 0, 7*week).Unix()
			first, last := events[0].at, events[len(events)-1].at
			if float64(from) < float64(first)+.4*float64(last-first) || from+7*24*3600 > last+24*3600 {
				continue
			}
			known, found := map[string]map[string]bool{}, map[string]map[string]bool{}
			for _, e := range events {
				if known[e.user] == nil {
					known[e.user], found[e.user] = map[string]bool{}, map[string]bool{}
				}
				switch {
				case e.at < from:
					known[e.user][e.item] = true
				case e.at < from+7*24*3600 && !known[e.user][e.item]:
					if _, again := found[e.user][e.item]; !again {
						found[e.user][e.item] = e.rating >= 1
					}
				}
			}
			var recall, gain []float64
			for _, user := range slices.Sorted(maps.Keys(known)) {
				maps.DeleteFunc(found[user], func(_ string, good bool) bool { return !good })
				if len(known[user]) < 3 || len(found[user]) == 0 {
					continue
				}
				hits, sum, best := 0, 0., 0.
				for k, item := range s.lists[user] {
					if found[user][item] {
						hits++
						sum += 1 / math.Log2(float64(k)+2)
					}
				}
				for k := range min(30, len(found[user])) {
					best += 1 / math.Log2(float64(k)+2)
				}
				recall, gain = append(recall, float64(hits)/float64(min(30, len(found[user])))), append(gain, sum/best)
			}
			if len(recall) > 0 {
				recalls, gains = append(recalls, average(recall)), append(gains, average(gain))
			}
		}
		if math.Abs(m.Recall-average(recalls)) > 1e-12 || math.Abs(m.NDCG-average(gains)) > 1e-12 {
			t.Errorf("seed %d: recall %v, NDCG %v; want %v, %v", seed, m.Recall, m.NDCG, average(recalls), average(gains))
		}
	}
}

func average(values []float64) float64 {
	sum := 0.
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// TestNobodySeesTheFuture: at a freeze a model has learnt every event before it and none after.
func TestNobodySeesTheFuture(t *testing.T) {
	t.Parallel()
	d := checkerboard(t)
	s := &script{data: d}
	learnt, last, freezes := 0, int64(0), 0
	s.learn = func(e *backtest.Event) {
		if e.At < last {
			t.Fatal("time goes back")
		}
		learnt, last = learnt+1, e.At
	}
	s.at = func(at time.Time) {
		freezes++
		before := 0
		for e := range d.Events {
			if e.At < at.UnixMilli() {
				before++
			}
		}
		if learnt != before || last >= at.UnixMilli() || at.Weekday() != time.Monday {
			t.Errorf("at %v %d events are learnt, %d lie before it", at, learnt, before)
		}
	}
	_, r := s.run(t, backtest.Options{})
	if learnt != d.Len() || freezes != r.Weeks || freezes < 4 {
		t.Errorf("%d of %d events learnt, %d freezes in %d weeks", learnt, d.Len(), freezes, r.Weeks)
	}
	_, rest := (&script{data: d}).run(t, backtest.Options{TuneWeeks: 2})
	_, tune := (&script{data: d}).run(t, backtest.Options{TuneWeeks: 2, OnTuneWeeks: true})
	if rest.Weeks != r.Weeks-2 || tune.Weeks != 2 || !tune.Protocol.Last.Before(rest.Protocol.First) {
		t.Errorf("%d weeks are %d to tune on and %d to report", r.Weeks, tune.Weeks, rest.Weeks)
	}
}

// TestSample: a sample has as many as asked for, and the mean of many samples is that of everybody.
func TestSample(t *testing.T) {
	t.Parallel()
	d := checkerboard(t)
	run := func(sample int) *backtest.Report {
		r, err := backtest.Run(t.Context(), d, backtest.Options{Models: []string{"popularity"}, Sample: sample})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	all, some := run(0), run(40)
	if some.People != 40*some.Weeks || all.People <= some.People || all.Weeks != some.Weeks {
		t.Errorf("%d of %d people in %d weeks", some.People, all.People, some.Weeks)
	}
	a, b := all.Models["popularity"], some.Models["popularity"]
	if math.Abs(a.Recall-b.Recall) > 4*b.RecallSE || b.RecallSE <= a.RecallSE {
		t.Errorf("%.4f ± %.4f, of everybody %.4f ± %.4f", b.Recall, b.RecallSE, a.Recall, a.RecallSE)
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	d := checkerboard(t)
	for want, o := range map[string]backtest.Options{
		"warm 1":                       {Warm: 1},
		"no tune weeks":                {OnTuneWeeks: true},
		`no model "nonsense"`:          {Models: []string{"nonsense"}},
		`no parameter "x"`:             {Models: []string{"ials:x=1"}},
		`factors is "many"`:            {Models: []string{"ials:factors=many"}},
		"this program has no earworm":  {Models: []string{"earworm"}},
		`earworm has no parameter "x"`: {Models: []string{"earworm:x=1"}, Production: always(nil)},
		backtest.ErrNoWeeks.Error():    {MinUsers: 1000},
	} {
		want = strings.Replace(want, "no tune weeks", "there are no tune weeks", 1)
		if _, err := backtest.Run(t.Context(), d, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	wrong := errors.New("full")
	_, err := backtest.Run(t.Context(), d, backtest.Options{
		Models: []string{"random"}, List: func(string, time.Time, int32, []int32) error { return wrong },
	})
	if !errors.Is(err, wrong) {
		t.Errorf("%v, want %v", err, wrong)
	}
}

// TestFirstIsTheFirstPositive: a skip makes an item known, and the play after it is the first time it counts.
func TestFirstIsTheFirstPositive(t *testing.T) {
	t.Parallel()
	d := dataset(t, "timestamp,user,item,ms_played,duration_ms\n1772618340,u,a,1000,200000\n1772618341,u,a,150000,200000\n1772618342,u,a,200000,200000\n", 0)
	var got []string
	for e := range d.Events {
		got = append(got, fmt.Sprintf("%s %v %v %s %s", e.Kind, e.Positive, e.First, e.User, e.Song))
	}
	want := []string{"play false false u a", "play true true u a", "play true false u a"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if found := d.Found(0, time.Unix(0, 0), time.Unix(1772618350, 0)); len(found) != 0 {
		t.Errorf("what was skipped first is found: %v", found)
	}
}

// foresight lists what will be found on some day after the one it is asked on.
type foresight struct {
	*script
	after, today time.Time
	ahead        int
	refreshed    int
	asked        func(listener int32)
}

func (f *foresight) Learn(e *backtest.Event) error {
	f.after = time.UnixMilli(e.At)
	return nil
}

func (f *foresight) Refresh(at time.Time) error {
	if !f.after.Before(at) {
		return errors.New("an event of the day has been learnt")
	}
	f.today = at
	f.refreshed++
	return nil
}

func (f *foresight) Rank(listener int32, dst []int32) []int32 {
	if f.asked != nil && !f.today.IsZero() {
		f.asked(listener)
	}
	day := f.today.AddDate(0, 0, f.ahead)
	return append(dst, f.data.Found(listener, day, day.AddDate(0, 0, 1))...)
}

// TestPrequentialSample: the days of a week are measured on as many people as its Monday.
func TestPrequentialSample(t *testing.T) {
	t.Parallel()
	d := checkerboard(t)
	asked := func(sample int) (weekly, daily int) {
		f := &foresight{script: &script{data: d}}
		var people sync.Map
		f.asked = func(listener int32) { people.Store([2]int64{f.today.Unix(), int64(listener)}, f.refreshed) }
		report, err := backtest.Run(t.Context(), d, backtest.Options{
			Models: []string{backtest.ProductionName}, Sample: sample,
			Production: always(f),
		})
		if err != nil {
			t.Fatal(err)
		}
		people.Range(func(_, _ any) bool {
			daily++
			return true
		})
		return report.People / report.Weeks, daily / f.refreshed
	}
	if weekly, daily := asked(14); weekly != 14 || daily < 1 || daily > 4 {
		t.Errorf("%d people a week and %d a day, want 14 and about 2", weekly, daily)
	}
	if _, daily := asked(0); daily < 10 {
		t.Errorf("%d people a day without a sample", daily)
	}
}

// TestPrequential: every find of a day is tested against the list made at its beginning.
func TestPrequential(t *testing.T) {
	t.Parallel()
	d := checkerboard(t)
	for ahead, want := range []float64{1, 0} {
		f := &foresight{script: &script{data: d}, ahead: ahead}
		report, err := backtest.Run(t.Context(), d, backtest.Options{
			Models:     []string{backtest.ProductionName, "ials:sweeps=1"},
			Production: always(f),
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := report.Models[backtest.ProductionName].Prequential; got == nil || *got != want || f.refreshed < 28 {
			t.Errorf("%d days ahead: %v after %d days, want %v", ahead, got, f.refreshed, want)
		}
		if report.Models["ials:sweeps=1"].Prequential != nil {
			t.Error("a model that learns in batches is measured by the day")
		}
	}
}

// always is a production model that is the same for every history.
func always(m backtest.Model) *backtest.Production {
	return &backtest.Production{New: func(*backtest.Dataset, backtest.Options, string, map[string]float64) (backtest.Model, error) {
		return m, nil
	}}
}
