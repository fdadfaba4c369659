package listeners

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"hash"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// seed moves every random test of this package to another world: go test ./internal/listeners -seed 7.
var seed = flag.Uint64("seed", 1, "seed of the simulated worlds")

func smallWorld(tb testing.TB, change func(*Config)) *World {
	tb.Helper()
	cfg := SmallTest()
	cfg.Seed = *seed
	if change != nil {
		change(&cfg)
	}
	w, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Logf("seed %d", cfg.Seed)
	return w
}

func digest(tb testing.TB, w *World, weeks ...int) string {
	tb.Helper()
	h := sha256.New()
	for _, n := range weeks {
		digestWeek(h, w, n)
	}
	return string(h.Sum(nil))
}

func digestWeek(h hash.Hash, w *World, n int) {
	var buf []byte
	for e := range w.Week(n) {
		buf = e.AppendJSON(buf[:0])
		h.Write(buf)
	}
}

func TestSameConfigSameStream(t *testing.T) {
	w := smallWorld(t, nil)
	want := digest(t, w, 0, 1, 2, 3)
	if digest(t, w, 0, 1, 2, 3) != want {
		t.Error("the second run of one world differs")
	}
	if digest(t, smallWorld(t, nil), 0, 1, 2, 3) != want {
		t.Error("a second world of the same config differs")
	}
	third := digest(t, smallWorld(t, nil), 2)
	if digest(t, w, 2) != third {
		t.Error("week 2 depends on which weeks were asked for before")
	}
	for e := range w.Week(2) {
		if e.At > 0 {
			break // broken off: the next week must start over, not go on
		}
	}
	if digest(t, w, 2) != third {
		t.Error("week 2 differs after it was broken off")
	}
	if digest(t, smallWorld(t, func(c *Config) { c.Seed++ }), 0, 1, 2, 3) == want {
		t.Error("another seed gives the same stream")
	}
}

func TestStreamIsInOrderAndCounted(t *testing.T) {
	w := smallWorld(t, nil)
	var counts Counts
	ids := map[[16]byte]Event{}
	last, end := int64(0), w.WeekStart(w.Config().Weeks).UnixMilli()
	var buf []byte
	for n := range w.Config().Weeks {
		for e := range w.Week(n) {
			counts.Events++
			if e.SentAt < last || e.SentAt >= w.WeekStart(n+1).UnixMilli() || e.At > e.SentAt && e.SentAt != end-1 {
				t.Fatalf("week %d: sent %d after %d, happened %d", n, e.SentAt, last, e.At)
			}
			last = e.SentAt
			buf = e.AppendJSON(buf[:0])
			var decoded map[string]any
			err := json.Unmarshal(buf, &decoded)
			if e.Bad != BadNone {
				counts.Bad++
				id, isText := decoded["user_id"].(string)
				if err == nil && isText && id != "" && decoded["type"] != "teleport" {
					t.Errorf("a bad event can be read: %s", buf)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%v: %s", err, buf)
			}
			original, seen := ids[e.ID]
			ids[e.ID] = e
			if seen != e.Duplicate {
				t.Fatalf("duplicate %v, seen %v: %s", e.Duplicate, seen, buf)
			}
			if e.Duplicate {
				counts.Duplicates++
				if original.At != e.At || original.Song != e.Song || original.User != e.User || original.Kind != e.Kind {
					t.Fatalf("sent again as something else: %+v, %+v", original, e)
				}
				continue
			}
			if e.Late {
				counts.Late++
			}
			if e.Kind == "play" || e.Kind == "skip" {
				counts.Starts++
			}
		}
	}
	if counts != w.Counts() {
		t.Errorf("counted %+v, the world says %+v", counts, w.Counts())
	}
	for name, share := range map[string][3]float64{
		"duplicates": {float64(counts.Duplicates) / float64(counts.Events), .008, .012},
		"late":       {float64(counts.Late) / float64(counts.Events), .002, .012},
		"bad":        {float64(counts.Bad) / float64(counts.Events), .0002, .001},
	} {
		if share[0] < share[1] || share[0] > share[2] {
			t.Errorf("%s: %.5f of the events, want %.4f to %.4f", name, share[0], share[1], share[2])
		}
	}
}

// TestFiguresOfRealListening holds the world against ../../../shared/data/README.md.
func TestFiguresOfRealListening(t *testing.T) {
	w := smallWorld(t, func(c *Config) { c.BotCampaigns = 0; c.Listeners = 500 })
	var starts, within5, within10, within30, within60, skips, firsts, likes, dislikes float64
	heard := map[[2]int]bool{}
	hours := map[string][24]float64{}
	for n := range w.Config().Weeks {
		for e := range w.Week(n) {
			if e.Duplicate || e.Bad != BadNone {
				continue
			}
			switch e.Kind {
			case "like":
				likes++
			case "dislike":
				dislikes++
			case "play", "skip":
				starts++
				within5 += below(e.PlayedMs, 5000)
				within10 += below(e.PlayedMs, 10_000)
				within30 += below(e.PlayedMs, 30_000)
				within60 += below(e.PlayedMs, 60_000)
				if e.Kind == "skip" && e.PlayedMs < 60_000 {
					skips++
				}
				if key := [2]int{e.Listener, e.SongIndex}; !heard[key] {
					heard[key] = true
					firsts++
				}
				h := hours[e.Region]
				h[time.UnixMilli(e.At).UTC().Hour()]++
				hours[e.Region] = h
			}
		}
	}
	for _, figure := range []struct {
		name           string
		got, low, high float64
	}{
		{"starts that end within 5 s", within5 / starts, .20, .26},
		{"within 10 s", within10 / starts, .24, .30},
		{"within 30 s", within30 / starts, .29, .35},
		{"within 60 s", within60 / starts, .33, .39},
		{"deliberate skips of those", skips / within60, .90, .96},
		{"first listens", firsts / starts, .21, .45},
		{"likes", likes / starts, .016, .024},
		{"dislikes", dislikes / starts, .001, .003},
		{"starts a listener and week", starts / 500 / 4, 33, 50},
	} {
		t.Logf("%-30s %.4f", figure.name, figure.got)
		if figure.got < figure.low || figure.got > figure.high {
			t.Errorf("%s: %.4f, want %.3f to %.3f", figure.name, figure.got, figure.low, figure.high)
		}
	}
	// 18:00 in Tokyo is 9:00 UTC, 18:00 in New York 23:00 UTC; 4:00 is quiet in both.
	if jp, us := hours["JP"], hours["US"]; jp[9] < 3*jp[19] || us[23] < 3*us[9] {
		t.Errorf("no rhythm of the day: JP %v, US %v", jp, us)
	}
}

func below(played, limit int64) float64 {
	if played < limit {
		return 1
	}
	return 0
}

func TestPopularityFallsLikeZipf(t *testing.T) {
	w := smallWorld(t, nil)
	plays := make([]float64, len(w.songs))
	for n := range w.Config().Weeks {
		for e := range w.Week(n) {
			if e.Kind == "play" && !e.Duplicate && w.people[e.Listener].campaign < 0 {
				plays[e.SongIndex]++
			}
		}
	}
	slices.Sort(plays)
	slices.Reverse(plays)
	// The slope of log plays over log rank between rank 10 and a quarter of the catalogue.
	from, to := 10, len(plays)/4
	slope := math.Log(plays[to]/plays[from]) / math.Log(float64(to)/float64(from))
	t.Logf("top %v, slope %.2f", plays[:5], slope)
	if slope > -.3 || slope < -1.3 {
		t.Errorf("slope %.2f, want -1.3 to -0.3", slope)
	}
}

func TestWavesAndCampaignsShow(t *testing.T) {
	w := smallWorld(t, func(c *Config) { c.Weeks, c.Virals, c.BotCampaigns, c.Listeners = 6, 6, 2, 800 })
	type play struct {
		at     int64
		song   int
		region string
		bot    bool
		user   int
		ms     int64
	}
	var plays []play
	for n := range w.Config().Weeks {
		for e := range w.Week(n) {
			if (e.Kind == "play" || e.Kind == "skip") && !e.Duplicate && e.Bad == BadNone {
				plays = append(plays, play{e.At, e.SongIndex, e.Region, w.people[e.Listener].campaign >= 0, e.Listener, e.PlayedMs})
			}
		}
	}
	rate := func(song int, region string, from, to time.Time) float64 {
		n := 0.
		for _, p := range plays {
			if p.song == song && !p.bot && (region == "" || p.region == region) && p.at >= from.UnixMilli() && p.at < to.UnixMilli() {
				n++
			}
		}
		return n / to.Sub(from).Hours()
	}
	if len(w.Virals()) != 6 || len(w.Bots()) != 2 {
		t.Fatalf("%d virals and %d campaigns", len(w.Virals()), len(w.Bots()))
	}
	end := w.WeekStart(6)
	for _, v := range w.Virals() {
		if v.DoubledAt.Before(v.Start) || v.Peak.Before(v.DoubledAt) || v.End.Before(v.Peak) || v.Multiplier < 4.99 || v.Multiplier > 200.01 {
			t.Errorf("impossible wave %+v", v)
		}
		before := rate(v.Song, v.Region, v.Start.Add(-10*24*time.Hour), v.Start)
		if v.Peak.After(end) {
			continue
		}
		at := rate(v.Song, v.Region, v.Peak.Add(-12*time.Hour), v.Peak.Add(12*time.Hour))
		t.Logf("%s ×%.0f in %q: %.3f plays/h before, %.2f at the peak", w.ids[v.Song], v.Multiplier, v.Region, before, at)
		if at < 3*before {
			t.Errorf("%s does not rise: %.3f plays/h before, %.3f at the peak", w.ids[v.Song], before, at)
		}
	}
	for _, c := range w.Bots() {
		n, short := 0, 0
		for _, p := range plays {
			if p.bot && p.song == c.Song && slices.Contains(c.Accounts, p.user) {
				n++
				if p.ms >= 31_000 && p.ms <= 35_000 {
					short++
				}
			}
		}
		if n < 60*len(c.Accounts) || short != n {
			t.Errorf("campaign for %s: %d plays by %d accounts, %d of 31 to 35 s", w.ids[c.Song], n, len(c.Accounts), short)
		}
	}
}

func TestCatalogueReadsLikeOne(t *testing.T) {
	w := smallWorld(t, nil)
	type recording struct{ artist, title string }
	seen, artists, released := map[recording]bool{}, map[string]bool{}, 0
	for s := range w.Songs() {
		if i, ok := w.SongIndex(s.ID); !ok || i != s.Index {
			t.Fatalf("song %q is not found again", s.ID)
		}
		if s.Title == "" || s.Artist == "" || s.Album == "" || len(s.Genres) == 0 || s.Language == "" || s.Duration < time.Minute ||
			strings.ContainsAny(s.Title+s.Artist+s.Album, `"\`) {
			t.Fatalf("odd song %+v", s)
		}
		if r := (recording{s.Artist, s.Title}); seen[r] {
			t.Errorf("two recordings of %v", r)
		} else {
			seen[r] = true
		}
		artists[s.Artist] = true
		if !s.Released.Before(w.WeekStart(0)) {
			released++
		}
	}
	if len(artists) != w.cfg.Artists {
		t.Errorf("%d artists, want %d", len(artists), w.cfg.Artists)
	}
	if share := float64(released) / float64(w.cfg.Songs); share < .14 || share > .26 {
		t.Errorf("%.3f of the songs come out during the run, want .2", share)
	}
	for _, id := range []string{"", "s", "s99999", "s1", "x00001", "s-0001", "s0000000000000000000001"} {
		if _, ok := w.SongIndex(id); ok {
			t.Errorf("%q is taken for a song", id)
		}
	}
	joined := 0
	for l := range w.Listeners() {
		if i, ok := w.ListenerIndex(l.ID); !ok || i != l.Index {
			t.Fatalf("listener %q is not found again", l.ID)
		}
		if _, err := time.LoadLocation(l.Zone); err != nil || len(l.Languages) == 0 {
			t.Fatalf("odd listener %+v", l)
		}
		if !l.Bot && !l.Joined.Before(w.WeekStart(0)) {
			joined++
		}
	}
	if joined < 25 || joined > 70 {
		t.Errorf("%d of 300 listeners join during the run, want about 45", joined)
	}
}

func TestNothingIsPlayedBeforeItIsOut(t *testing.T) {
	w := smallWorld(t, nil)
	onboarded := map[int]bool{}
	for n := range w.Config().Weeks {
		for e := range w.Week(n) {
			if e.Bad != BadNone {
				continue
			}
			if e.SongIndex >= 0 && e.At < w.songs[e.SongIndex].released {
				t.Fatalf("%s is played at %d and comes out at %d", e.Song, e.At, w.songs[e.SongIndex].released)
			}
			if e.At < w.people[e.Listener].joined {
				t.Fatalf("%s listens before joining", e.User)
			}
			if e.Kind == "onboarding" {
				onboarded[e.Listener] = true
				if len(e.Genres) == 0 || len(e.Artists) == 0 {
					t.Fatalf("empty onboarding %+v", e)
				}
			}
		}
	}
	for i := range w.people {
		inRun := w.people[i].campaign < 0 && w.people[i].joined >= w.WeekStart(0).UnixMilli()
		if inRun != onboarded[i] {
			t.Errorf("listener %d: joined in the run %v, onboarded %v", i, inRun, onboarded[i])
		}
	}
}

func TestConfigReportsEveryProblem(t *testing.T) {
	cfg := SmallTest()
	cfg.Start, cfg.Weeks, cfg.NewShare, cfg.Regions = cfg.Start.Add(time.Hour), 0, math.NaN(), 99
	_, err := New(cfg)
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) || len(joined.Unwrap()) != 4 {
		t.Errorf("want four problems, got: %v", err)
	}
	if err := Demo().Validate(); err != nil {
		t.Error(err)
	}
}

func BenchmarkWeek(b *testing.B) {
	cfg := Demo()
	w, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	events, n := 0, 0
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		for e := range w.Week(n % cfg.Weeks) {
			buf = e.AppendJSON(buf[:0])
			events++
		}
		n++
	}
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
}
