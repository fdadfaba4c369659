package trend_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"earworm/model/trend"
)

// ordinary is what a hundred listeners do in a region where all is well.
func ordinary(at int64) trend.Bucket {
	return trend.Bucket{At: at, Unique: 100, Trusted: 90, NewAccounts: 5, Plays: 140, ShortPlays: 2, TopPlays: 3, Likes: 8}
}

func TestJudge(t *testing.T) {
	p := trend.DefaultParams()
	region := func(change func(*trend.Bucket)) *trend.Season {
		var s trend.Season
		for hour := range int64(7 * 24) {
			b := ordinary(worldFrom + hour*hourMs)
			change(&b)
			s.Observe(p, b)
		}
		return &s
	}
	usual := region(func(*trend.Bucket) {})
	for name, row := range map[string]struct {
		season *trend.Season
		song   func(*trend.Bucket)
		want   trend.Judgement
	}{
		"ordinary":       {usual, func(*trend.Bucket) {}, trend.Judgement{Enough: true}},
		"ordinary, bare": {nil, func(*trend.Bucket) {}, trend.Judgement{Enough: true}},
		"little is known": {
			usual,
			func(b *trend.Bucket) { *b = trend.Bucket{At: b.At, Unique: 2, Trusted: 0.1, Plays: 30, ShortPlays: 30} },
			trend.Judgement{},
		},
		"untrusted":   {usual, func(b *trend.Bucket) { b.Trusted = 30 }, trend.Judgement{trend.ReasonUntrusted, true}},
		"short plays": {usual, func(b *trend.Bucket) { b.ShortPlays = 80 }, trend.Judgement{trend.ReasonShortPlays, true}},
		"repeats": {
			usual, func(b *trend.Bucket) { b.Plays, b.Likes = 900, 60 }, trend.Judgement{trend.ReasonRepeats, true},
		},
		"one listener": {usual, func(b *trend.Bucket) { b.Plays, b.TopPlays = 300, 200 }, trend.Judgement{trend.ReasonTopShare, true}},
		"new accounts": {usual, func(b *trend.Bucket) { b.NewAccounts = 60 }, trend.Judgement{trend.ReasonNewAccounts, true}},
		"nobody likes it": {
			usual, func(b *trend.Bucket) { b.Unique, b.Trusted, b.Plays, b.Likes = 300, 270, 400, 0 },
			trend.Judgement{trend.ReasonNoLikes, true},
		},
		"a fan base likes it more": {usual, func(b *trend.Bucket) { b.Plays, b.Likes = 500, 90 }, trend.Judgement{Enough: true}},
		// What everybody does is no reason.
		"all accounts are new": {
			region(func(b *trend.Bucket) { b.NewAccounts, b.Trusted = 100, 20 }),
			func(b *trend.Bucket) { b.NewAccounts, b.Trusted = 100, 20 },
			trend.Judgement{Enough: true},
		},
		"all songs are short": {
			region(func(b *trend.Bucket) { b.ShortPlays = 100 }),
			func(b *trend.Bucket) { b.ShortPlays = 110 },
			trend.Judgement{Enough: true},
		},
		"nobody ever likes": {
			region(func(b *trend.Bucket) { b.Likes = 0 }),
			func(b *trend.Bucket) { b.Unique, b.Trusted, b.Plays, b.Likes = 300, 270, 400, 0 },
			trend.Judgement{Enough: true},
		},
	} {
		var c trend.Concentration
		b := ordinary(worldFrom + 7*dayMs)
		row.song(&b)
		c.Observe(p, b)
		if got := c.Judge(p, row.season); got != row.want {
			t.Errorf("%s: %s, enough %t; want %s", name, got.Reason, got.Enough, row.want.Reason)
		}
	}
}

func TestConcentrationIsOrderFreeAndForgets(t *testing.T) {
	p := trend.DefaultParams()
	var early, late trend.Concentration
	a, b := ordinary(worldFrom), ordinary(worldFrom+5*hourMs)
	a.Trusted = 10
	early.Observe(p, a)
	early.Observe(p, b)
	late.Observe(p, b)
	late.Observe(p, a)
	if math.Abs(early.Trust()-late.Trust()) > 1e-6 {
		t.Errorf("trust %g in order, %g out of order", early.Trust(), late.Trust())
	}
	early.Observe(p, ordinary(worldFrom+20*dayMs))
	if math.Abs(early.Trust()-0.9) > 1e-6 {
		t.Errorf("twenty days later the past still counts: %g", early.Trust())
	}
}

func TestReasonsAndStatusesHaveCodes(t *testing.T) {
	seen := map[string]bool{}
	for r := trend.ReasonNone; r.String() != "unknown"; r++ {
		if seen[r.String()] || (r.String() == "") != (r == trend.ReasonNone) {
			t.Errorf("reason %d has code %q", r, r)
		}
		seen[r.String()] = true
	}
	if len(seen) != 7 {
		t.Errorf("%d codes", len(seen))
	}
	if trend.StatusEnded.String() != "ended" || trend.Status(99).String() != "unknown" {
		t.Error("statuses are misnamed")
	}
}

// habit plays a listener's days: plays at hours from a to b, and what each play is.
type habit struct {
	perHour, from, to int
	playedMs          int64
	songs, artists    uint64
}

func live(p trend.Params, h habit, days int) *trend.Trust {
	var trust trend.Trust
	rng := rand.New(rand.NewPCG(3, 3))
	for day := range days {
		for hour := h.from; hour < h.to; hour++ {
			for n := range h.perHour {
				trust.Observe(p, trend.TrustPlay{
					At:   worldFrom + int64(day)*dayMs + int64(hour)*hourMs + int64(n)*1000,
					Song: 1 + rng.Uint64N(h.songs), Artist: 1 + rng.Uint64N(h.artists), PlayedMs: h.playedMs,
				})
			}
		}
	}
	return &trust
}

func TestTrustTellsListenersFromBots(t *testing.T) {
	p := trend.DefaultParams()
	person := habit{perHour: 6, from: 8, to: 22, playedMs: 200_000, songs: 200, artists: 60}
	with := func(change func(*habit)) habit { h := person; change(&h); return h }
	for name, row := range map[string]struct {
		habit     habit
		days      int
		low, high float64
	}{
		"a listener for two months":   {person, 60, 1, 1},
		"a listener for two weeks":    {person, 14, 0.3, 0.7},
		"a listener since yesterday":  {person, 1, 0.2, 0.2},
		"a casual listener":           {with(func(h *habit) { h.perHour, h.from = 1, 19 }), 60, 1, 1},
		"a fan of one song, one hour": {with(func(h *habit) { h.songs, h.from = 1, 21 }), 60, 0.9, 1},
		"just after 30 s":             {with(func(h *habit) { h.playedMs = 32_000 }), 60, 0.05, 0.1},
		"around the clock":            {with(func(h *habit) { h.from, h.to = 0, 24 }), 60, 0.05, 0.1},
		"one song for ever":           {with(func(h *habit) { h.songs = 1 }), 60, 0.05, 0.1},
		"one artist":                  {with(func(h *habit) { h.artists = 1 }), 60, 0.25, 0.35},
		"a thousand plays a day":      {with(func(h *habit) { h.perHour = 80 }), 60, 0, 0},
		"a bot farm's account":        {habit{perHour: 20, from: 0, to: 24, playedMs: 31_000, songs: 1, artists: 1}, 60, 0, 0.001},
	} {
		trust := live(p, row.habit, row.days)
		got := trust.Weight(p, worldFrom+int64(row.days)*dayMs)
		if got < row.low-1e-9 || got > row.high+1e-9 {
			t.Errorf("%s: weight %.4f, want %.2f…%.2f", name, got, row.low, row.high)
		}
	}
}

func TestTrustRecoversAndKnowsAge(t *testing.T) {
	p := trend.DefaultParams()
	var trust trend.Trust
	if got := trust.Weight(p, worldFrom); got != p.Trust.YoungWeight || !trust.New(p, worldFrom) {
		t.Errorf("a stranger has weight %g", got)
	}
	trust.Observe(p, trend.TrustPlay{At: worldFrom, Song: 1, Artist: 1})
	if !trust.New(p, worldFrom+2*dayMs) || trust.New(p, worldFrom+4*dayMs) {
		t.Error("an account is new for three days")
	}
	trust.Since(worldFrom - 400*dayMs)
	if got := trust.Weight(p, worldFrom); got != 1 || trust.New(p, worldFrom) {
		t.Errorf("an account of 400 days has weight %g", got)
	}
	// A week of nights and days, and then a month of quiet.
	sleepless := live(p, habit{perHour: 4, from: 0, to: 24, playedMs: 200_000, songs: 99, artists: 99}, 7)
	sleepless.Since(worldFrom - 400*dayMs)
	during, after := sleepless.Weight(p, worldFrom+7*dayMs), sleepless.Weight(p, worldFrom+40*dayMs)
	if during > 0.11 || after != 1 {
		t.Errorf("weight %.2f during the week without sleep, %.2f a month later", during, after)
	}
}

func TestTrustSumsAreOrderFree(t *testing.T) {
	p := trend.DefaultParams()
	rapid.Check(t, func(t *rapid.T) {
		plays := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) trend.TrustPlay {
			return trend.TrustPlay{
				At:       worldFrom + rapid.Int64Range(0, hourMs).Draw(t, "at"), // within an hour: no day can pass late
				PlayedMs: rapid.SampledFrom([]int64{-1, 31_000, 200_000}).Draw(t, "played"),
			}
		}), 1, 60).Draw(t, "plays")
		var a, b trend.Trust
		for _, play := range plays {
			a.Observe(p, play)
		}
		for _, play := range rapid.Permutation(plays).Draw(t, "order") {
			b.Observe(p, play)
		}
		at := worldFrom + 31*dayMs
		if x, y := a.Weight(p, at), b.Weight(p, at); math.Abs(x-y) > 1e-4 {
			t.Fatalf("%g in order, %g shuffled", x, y)
		}
	})
}

// campaign is a source of plays of one song in the world of TestCampaigns, per five minutes.
type campaign struct {
	name   string
	bucket func(rng *rand.Rand) trend.Bucket
	want   trend.Status
}

// TestCampaigns lets ten songs be pushed by bots in several ways, and ten spread among people as fast: all of the people's are
// announced, once, and none of the bots'.
func TestCampaigns(t *testing.T) {
	t.Logf("-seed %d", *seed)
	p := trend.DefaultParams()
	people := func(rng *rand.Rand, n float64) trend.Bucket {
		// Repeats and likes as people do; a tenth of the accounts is young.
		b := trend.Bucket{Unique: math.Floor(n * 2 * rng.Float64())}
		for range int(b.Unique) {
			b.Plays += 1 + math.Floor(2*rng.Float64())
			b.Likes += math.Floor(1.1 * rng.Float64())
			b.NewAccounts += math.Floor(1.1 * rng.Float64())
		}
		b.Trusted, b.TopPlays = 0.9*b.Unique, min(b.Plays, 2)
		return b
	}
	campaigns := []campaign{
		{"fresh accounts", func(rng *rand.Rand) trend.Bucket {
			b := people(rng, 8)
			b.Trusted, b.NewAccounts = 0.2*b.Unique, b.Unique
			return b
		}, trend.StatusQuarantined},
		{"aged accounts, paid plays", func(rng *rand.Rand) trend.Bucket {
			b := people(rng, 4)
			b.Plays, b.Likes = 6*b.Unique, 0
			b.ShortPlays = math.Floor(0.9 * b.Plays)
			return b
		}, trend.StatusQuarantined},
		{"few stolen accounts on repeat", func(rng *rand.Rand) trend.Bucket {
			b := people(rng, 3)
			b.Plays, b.Likes = 12*b.Unique, 0
			return b
		}, trend.StatusQuarantined},
		{"a bot farm", func(rng *rand.Rand) trend.Bucket { // Trust gives its accounts next to nothing
			b := people(rng, 40)
			b.Trusted, b.ShortPlays = 0.001*b.Unique, b.Plays
			return b
		}, trend.StatusNone},
		{"people", func(rng *rand.Rand) trend.Bucket { return people(rng, 4) }, trend.StatusStarted},
		{"more people", func(rng *rand.Rand) trend.Bucket { return people(rng, 20) }, trend.StatusStarted},
	}
	const copies = 4
	rng := rand.New(rand.NewPCG(*seed, 9))
	var season trend.Season
	states := make([]trend.State, len(campaigns)*copies)
	guards := make([]trend.Concentration, len(states))
	said := make([][]trend.Status, len(states))
	detector := trend.NewDetector(p)
	var active []*trend.State
	for tick := range int64(7 * 288) {
		at := worldFrom + tick*tickMs
		rest := people(rng, 60)
		rest.At = at
		season.Observe(p, rest)
		active = active[:0]
		for i := range states {
			b := trend.Bucket{At: at}
			if day := 3 + float64(i%copies)/4; tick > int64(day*288) && tick < int64((day+1)*288) {
				b = campaigns[i/copies].bucket(rng)
				b.At = at
			} else if tick%24 == 0 {
				b.Unique, b.Trusted, b.Plays = 1, 1, 1
			}
			season.Observe(p, b)
			states[i].Observe(p, &season, at, b.Trusted)
			if guards[i].Observe(p, b); states[i].Active(p, at) {
				states[i].Judged(guards[i].Judge(p, &season))
				active = append(active, &states[i])
			}
		}
		for _, v := range detector.Step(&season, at+tickMs, active) {
			if v.Status != trend.StatusNone && v.Status != trend.StatusOngoing {
				i := 0
				for ; &states[i] != v.State; i++ {
				}
				said[i] = append(said[i], v.Status)
			}
		}
	}
	for i, statuses := range said {
		c := campaigns[i/copies]
		want := []trend.Status{c.want, trend.StatusEnded}
		if c.want == trend.StatusNone {
			want = nil
		}
		if len(statuses) != len(want) || len(want) > 0 && (statuses[0] != want[0] || statuses[1] != want[1]) {
			t.Errorf("%s %d: %v, want %v", c.name, i%copies, statuses, want)
		}
	}
}

func BenchmarkTrustObserve(b *testing.B) {
	p := trend.DefaultParams()
	var trust trend.Trust
	at := worldFrom
	b.ReportAllocs()
	for b.Loop() {
		at += (3 * time.Minute).Milliseconds()
		trust.Observe(p, trend.TrustPlay{At: at, Song: uint64(at), Artist: uint64(at) / 7, PlayedMs: 200_000})
	}
}

func BenchmarkTrustWeight(b *testing.B) {
	p := trend.DefaultParams()
	trust := live(p, habit{perHour: 6, from: 8, to: 22, playedMs: 200_000, songs: 200, artists: 60}, 40)
	b.ReportAllocs()
	for b.Loop() {
		_ = trust.Weight(p, worldFrom+40*dayMs)
	}
}
