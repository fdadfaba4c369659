package backtest_test

import (
	"slices"
	"testing"

	"earworm/internal/backtest"
	"earworm/internal/listeners"
)

// TestAWorldsTruth: what the harness says was found is what the world says, and nobody ranks better than the truth.
func TestAWorldsTruth(t *testing.T) {
	t.Parallel()
	cfg := listeners.SmallTest()
	d, err := backtest.FromWorld("small", cfg, func(int64, int64) {})
	if err != nil {
		t.Fatal(err)
	}
	w, err := listeners.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for n := range cfg.Weeks {
		for range w.Week(n) {
		}
	}
	compared, bots := 0, 0
	for l, name := range d.Listeners {
		index, ok := w.ListenerIndex(name)
		if !ok {
			t.Fatalf("no listener %s", name)
		}
		info := w.Listener(index)
		if d.Bots[l] != info.Bot || d.Profiles[l].Region != info.Region || d.Profiles[l].TimeZone != info.Zone {
			t.Fatalf("%+v, %v; want %+v", d.Profiles[l], d.Bots[l], info)
		}
		if info.Bot {
			bots++
			continue
		}
		for n := range cfg.Weeks {
			var got, want []string
			for _, item := range d.Found(int32(l), w.WeekStart(n), w.WeekStart(n+1)) {
				got = append(got, d.Items[item])
			}
			for _, s := range w.Relevant(index, n) {
				want = append(want, w.Song(s).ID)
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Fatalf("%s found %v in week %d, want %v", name, got, n, want)
			}
			compared += len(got)
		}
	}
	if compared < 5000 || bots == 0 || len(d.Items) != cfg.Songs {
		t.Errorf("%d finds compared, %d bots, %d items", compared, bots, len(d.Items))
	}
	report, err := backtest.Run(t.Context(), d, backtest.Options{Models: []string{"popularity", "ials:factors=16:sweeps=4"}, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	popular, als, truth := report.Models["popularity"].Recall, report.Models["ials:factors=16:sweeps=4"].Recall, report.Ceiling.Recall
	if !(popular > 0 && als > 2*popular && truth > 1.2*als) {
		t.Errorf("popularity %.3f, iALS %.3f, the truth %.3f", popular, als, truth)
	}
}

// TestPresets: each is a world, and no two are the same.
func TestPresets(t *testing.T) {
	t.Parallel()
	seen := map[int64]string{}
	for _, p := range listeners.Presets() {
		found, err := listeners.FindPreset(p.Name)
		if err != nil || found.About != p.About {
			t.Errorf("%s: %v", p.Name, err)
		}
		cfg := p.World()
		cfg.Weeks, cfg.Listeners, cfg.Songs, cfg.Artists, cfg.BotAccounts = 2, 200, 800, 150, cfg.BotAccounts/10
		w, err := listeners.New(cfg)
		if err != nil {
			t.Fatalf("%s: %v", p.Name, err)
		}
		sum := int64(0)
		for n := range cfg.Weeks {
			for e := range w.Week(n) {
				sum = sum*31 + int64(e.SongIndex) + e.At
			}
		}
		if other, twice := seen[sum]; twice {
			t.Errorf("%s and %s are the same world", p.Name, other)
		}
		seen[sum] = p.Name
	}
	if _, err := listeners.FindPreset("nowhere"); err == nil {
		t.Error("a world that does not exist is found")
	}
	if len(seen) < 7 {
		t.Errorf("%d worlds", len(seen))
	}
}
