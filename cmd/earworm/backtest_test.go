package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"earworm/internal/run"
)

// listenFile writes a small history: thirty listeners of five weeks, three songs a week of forty.
func listenFile(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	text.WriteString("when,who,what\n")
	for week := range 5 {
		for listener := range 30 {
			for n := range 3 {
				at := 1767571200 + 7*24*3600*week + 3600*listener + n // from Monday 2026-01-05 on
				fmt.Fprintf(&text, "%d,u%d,s%d\n", at, listener, (listener*7+week*3+n)%40)
			}
		}
	}
	name := filepath.Join(t.TempDir(), "listens.csv")
	if err := os.WriteFile(name, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestBacktestCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	report, lists, charts := filepath.Join(dir, "report.json"), filepath.Join(dir, "lists.csv"), filepath.Join(dir, "charts")
	code, out, problems := command(t, nil, "backtest", "--events", listenFile(t), "--columns", "timestamp=when,user=who,item=what",
		"--models", "random,popularity:half_life=3", "--list-model", "popularity:half_life=3",
		"--report", report, "--lists", lists, "--plot", charts)
	if code != 0 || !strings.Contains(out, "popularity:half_life=3") || !strings.Contains(problems, "backtesting: ") {
		t.Fatalf("code %d\n%s\n%s", code, out, problems)
	}
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var figures struct {
		Weeks  int                       `json:"weeks"`
		People int                       `json:"user_weeks"`
		Models map[string]map[string]any `json:"models"`
	}
	if err := json.Unmarshal(text, &figures); err != nil || figures.Weeks != 2 || figures.People != 60 || len(figures.Models) != 2 {
		t.Errorf("%v, %+v", err, figures)
	}
	for _, field := range []string{
		"recall_at_30", "recall_at_30_se", "ndcg_at_30", "hit_rate", "coverage", "popularity_percentile", "artist_gini",
		"by_song_age", "by_history", "by_mainstream", "seconds_per_week",
	} {
		if _, ok := figures.Models["random"][field]; !ok {
			t.Errorf("the report has no %s", field)
		}
	}
	for _, part := range []string{`"protocol"`, `"ceiling"`} {
		if !strings.Contains(string(text), part) {
			t.Errorf("the report has no %s", part)
		}
	}
	file, err := os.Open(lists)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil || !slices.Equal(rows[0], []string{"freeze", "user", "rank", "item"}) {
		t.Fatal(err, rows)
	}
	// Forty songs less nine or twelve heard: a list for each of 60.
	if first := rows[1]; len(rows) < 60*28 || first[0] != "1768780800" || first[2] != "1" || !strings.HasPrefix(first[3], "s") {
		t.Errorf("%d rows; the first is %v", len(rows), first)
	}
	if _, err := os.Stat(filepath.Join(charts, "recall.svg")); err != nil {
		t.Error(err)
	}
}

func TestBacktestOfAWorld(t *testing.T) {
	t.Parallel()
	code, out, problems := command(t, nil, "backtest", "--world", "eclectic", "--listeners", "150", "--songs", "900", "--weeks", "4", "--models", "popularity")
	if code != 0 || !strings.Contains(out, "world eclectic, seed 1") || !strings.Contains(out, "(the truth)") || !strings.Contains(problems, "living: ") {
		t.Errorf("code %d\n%s\n%s", code, out, problems)
	}
}

func TestBacktestMistakes(t *testing.T) {
	t.Parallel()
	events := listenFile(t)
	for name, test := range map[string]struct {
		args []string
		code int
		err  string
	}{
		"nothing":   {nil, run.CodeUsage, "either --events or --world"},
		"both":      {[]string{"--events", events, "--world", "base"}, run.CodeUsage, "either --events or --world"},
		"no world":  {[]string{"--world", "x"}, run.CodeUsage, `no world "x"`},
		"no model":  {[]string{"--events", events, "--models", "x"}, run.CodeUsage, `no model "x"`},
		"warm":      {[]string{"--events", events, "--warm", "2"}, run.CodeUsage, "warm 2"},
		"no file":   {[]string{"--events", events + "x"}, run.CodeIO, "no such file"},
		"columns":   {[]string{"--events", events}, run.CodeUsage, `no column "item"`},
		"too short": {[]string{"--events", events, "--columns", "timestamp=when,user=who,item=what", "--min-users", "31"}, run.CodeUsage, "no week"},
		"lists":     {[]string{"--events", events, "--columns", "timestamp=when,user=who,item=what", "--lists", "/missing/lists"}, run.CodeIO, "/missing/lists"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, _, problems := command(t, nil, append([]string{"backtest"}, test.args...)...)
			if code != test.code || !strings.Contains(problems, test.err) {
				t.Errorf("code %d, %q; want %d, %q", code, problems, test.code, test.err)
			}
		})
	}
}
