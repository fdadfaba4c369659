package backtest_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"earworm/internal/backtest"
	"earworm/internal/history"
)

// The checkerboard: two groups of listeners, two groups of items. Everybody consumes items of their own group, one in twelve of the
// other, so a model that learns taste fills its lists from the listener's group; whoever ignores the listener gets half of it.
const (
	boardListeners = 40 // of each group
	boardItems     = 100
	boardWeeks     = 10
)

func checkerboard(t *testing.T) *backtest.Dataset {
	t.Helper()
	dice := rand.New(rand.NewPCG(7, 7))
	monday := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	var rows []string
	for l := range 2 * boardListeners {
		group := l % 2
		own, other := dice.Perm(boardItems), dice.Perm(boardItems)
		for n := range 60 {
			at := monday.Add(time.Duration(n) * boardWeeks * 7 * 24 * time.Hour / 60).Add(time.Duration(dice.IntN(3600*60)) * time.Second)
			item := group*boardItems + own[n]
			if n%12 == 11 {
				item = (1-group)*boardItems + other[n]
			}
			rows = append(rows, fmt.Sprintf("%d,u%d,i%d,artist %d,%s", at.Unix(), l, item, item/boardItems*20+item%20, []string{"DE", "FR"}[group]))
		}
	}
	slices.Sort(rows)
	return dataset(t, "timestamp,user,item,artist,region\n"+strings.Join(rows, "\n"), 0)
}

// dataset reads a CSV text.
func dataset(t *testing.T, text string, minRating float64) *backtest.Dataset {
	t.Helper()
	columns, err := history.ParseColumns(nil)
	if err != nil {
		t.Fatal(err)
	}
	h, err := history.Read(strings.NewReader(text), history.Options{Columns: columns, MinRating: minRating})
	if err != nil || len(h.Bad) > 0 {
		t.Fatal(err, h.Bad)
	}
	return backtest.FromHistory("test", h)
}

// groupOf is the group of a listener or item by its name.
func groupOf(name string, size int) int {
	n := 0
	if _, err := fmt.Sscanf(name[1:], "%d", &n); err != nil {
		return -1
	}
	return n / size
}

func TestBaselinesSolveTheCheckerboard(t *testing.T) {
	t.Parallel()
	d := checkerboard(t)
	solutions := map[string][2]float64{ // the share of slots from the listener's own group: at least, at most
		"affinity":                    {.9, 1},
		"bpr:epochs=5":                {.97, 1},
		"cooccurrence":                {.97, 1},
		"ials:factors=4":              {.97, 1},
		"ials:factors=4:half_life=28": {.97, 1},
		"isgd:factors=8:rate=0.2":     {.90, 1},
		"raisgd:factors=8:rate=0.2":   {.85, 1},
		"knn-bm25":                    {.97, 1},
		"knn-cosine":                  {.97, 1},
		"knn-tfidf":                   {.97, 1},
		"popularity-region":           {.97, 1},
		"popularity:half_life=7":      {.35, .55}, // what is left of the own group is less than what is left of the other
		"random":                      {.35, .55},
	}
	solved := map[string]bool{}
	for model := range solutions {
		name, _, _ := strings.Cut(model, ":")
		solved[name] = true
	}
	for _, model := range backtest.Names(nil) {
		if name, _, _ := strings.Cut(model, ":"); !solved[name] {
			t.Errorf("nobody knows what %s makes of the checkerboard", name)
		}
	}
	for model, want := range solutions {
		t.Run(model, func(t *testing.T) {
			t.Parallel()
			own, all := 0, 0
			report, err := backtest.Run(t.Context(), d, backtest.Options{
				Models: []string{model}, Seed: 1,
				List: func(_ string, _ time.Time, listener int32, items []int32) error {
					group := groupOf(d.Listeners[listener], 1) % 2
					for _, item := range items {
						all++
						if groupOf(d.Items[item], boardItems) == group {
							own++
						}
					}
					if len(items) != backtest.ListLength {
						t.Errorf("a list of %d items", len(items))
					}
					return nil
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := float64(own) / float64(all); got < want[0] || got > want[1] || all == 0 {
				t.Errorf("%.3f of the slots are of the listener's group, want %v", got, want)
			}
			if r := report.Models[model]; r.Wasted != 0 || r.Coverage <= 0 || r.SecondsPerWeek <= 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestSameSeedSameReport: whatever the order in which goroutines rank. Only the clock may differ.
func TestSameSeedSameReport(t *testing.T) {
	t.Parallel()
	d := checkerboard(t)
	models := backtest.DefaultModels(false)
	for i, model := range models {
		models[i] = strings.NewReplacer("bpr", "bpr:epochs=1:factors=8", "ials", "ials:factors=8:sweeps=1").Replace(model)
	}
	lists := func(seed uint64) string {
		var text strings.Builder
		_, err := backtest.Run(t.Context(), d, backtest.Options{Seed: seed, Models: models, List: func(model string, at time.Time, l int32, items []int32) error {
			_, err := fmt.Fprintln(&text, model, at, l, items)
			return err
		}})
		if err != nil {
			t.Fatal(err)
		}
		return text.String()
	}
	first := lists(1)
	if first != lists(1) {
		t.Error("the same seed gives other lists")
	}
	if first == lists(2) {
		t.Error("the seed decides nothing")
	}
}
