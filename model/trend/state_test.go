package trend_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"earworm/model/trend"
)

type weighted struct {
	at     int64
	weight float64
}

func drawWeights(t *rapid.T) []weighted {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) weighted {
		return weighted{
			at:     worldFrom + rapid.Int64Range(0, 10*24*3600*1000).Draw(t, "at"),
			weight: rapid.Float64Range(0.001, 0.05).Draw(t, "weight"), // too few at once for the winsor
		}
	}), 1, 40).Draw(t, "observations")
}

func naiveSum(observations []weighted, at int64, h time.Duration) float64 {
	sum := 0.0
	for _, o := range observations {
		sum += o.weight * math.Pow(2, -float64(at-o.at)/float64(h.Milliseconds()))
	}
	return sum
}

func TestObserveInAnyOrderEqualsNaive(t *testing.T) {
	p := trend.DefaultParams()
	rapid.Check(t, func(t *rapid.T) {
		observations := drawWeights(t)
		var last int64
		for _, o := range observations {
			last = max(last, o.at)
		}
		var s trend.State
		for _, o := range rapid.Permutation(observations).Draw(t, "order") {
			before := s.At
			s.Observe(p, nil, o.at, o.weight)
			if s.At < before {
				t.Fatalf("the clock ran back from %d to %d", before, s.At)
			}
		}
		if s.At != last {
			t.Fatalf("clock %d, newest observation %d", s.At, last)
		}
		for name, pair := range map[string][2]float64{
			"fast":  {float64(s.Fast), naiveSum(observations, last, p.FastHalfLife)},
			"slow":  {float64(s.Slow), naiveSum(observations, last, p.SlowHalfLife)},
			"short": {float64(s.Short), naiveSum(observations, last, p.ShortHalfLife)},
			"long":  {float64(s.Long), naiveSum(observations, last, p.LongHalfLife)},
		} {
			if math.Abs(pair[0]-pair[1]) > 1e-5*(1+pair[1]) {
				t.Fatalf("%s = %g, want %g", name, pair[0], pair[1])
			}
		}
	})
}

func TestSeasonIsOrderFreeAndSeesTheDay(t *testing.T) {
	p := trend.DefaultParams()
	rapid.Check(t, func(t *rapid.T) {
		observations := drawWeights(t)
		var ordered, shuffled trend.Season
		for _, o := range observations {
			ordered.Observe(p, trend.Bucket{At: o.at, Trusted: o.weight * 1000})
		}
		for _, o := range rapid.Permutation(observations).Draw(t, "order") {
			shuffled.Observe(p, trend.Bucket{At: o.at, Trusted: o.weight * 1000})
		}
		at := worldFrom + 11*24*3600*1000
		if a, b := ordered.Index(p, at), shuffled.Index(p, at); math.Abs(a-b) > 1e-9 || ordered.Start() != shuffled.Start() {
			t.Fatalf("index %g in order, %g shuffled", a, b)
		}
	})
	var s trend.Season
	var low, high float64
	for tick := range int64(14 * 288) {
		hour := float64(tick) / 12
		s.Observe(p, trend.Bucket{At: worldFrom + tick*tickMs, Trusted: 100 * traffic(hour)})
		if hour > 12*24 {
			index := s.Index(p, worldFrom+tick*tickMs)
			low, high = min(low, index-1), max(high, index-1)
		}
	}
	if low > -0.5 || high < 0.5 {
		t.Errorf("the index of a day that swings by ±70 %% runs from %.2f to %.2f", 1+low, 1+high)
	}
}

// TestEpisodes drives one song with random bursts and checks what the verdicts may say, against a twin that is written and
// read again before every step. Each song begins in every way that an episode can go, so that none is left to chance.
func TestEpisodes(t *testing.T) {
	clean, bad := trend.Judgement{Enough: true}, trend.Judgement{Enough: true, Reason: trend.ReasonRepeats}
	openings := []struct {
		bursts []trend.Judgement
		told   []bool // of the episode after each burst
	}{
		{}, {[]trend.Judgement{clean}, []bool{false}}, {[]trend.Judgement{bad}, []bool{true}}, {[]trend.Judgement{clean, bad}, []bool{false, true}},
	}
	rapid.Check(t, func(t *rapid.T) {
		for _, opening := range openings {
			d := &episodes{p: trend.DefaultParams(), at: worldFrom}
			for range 48 {
				d.at += hourMs
				d.hear(t, rapid.Float64Range(0, 2).Draw(t, "usual"))
			}
			for i, judgement := range opening.bursts {
				for range 6 {
					d.tick(t, tickMs, 30, judgement)
				}
				if !d.open || d.told != opening.told[i] {
					t.Fatalf("after burst %d of %+v: episode %t, quarantine %t", i, opening.bursts, d.open, d.told)
				}
			}
			for range rapid.IntRange(1, 12).Draw(t, "phases") {
				weight := rapid.SampledFrom([]float64{0, 0.1, 2, 30}).Draw(t, "weight")
				judgement := trend.Judgement{Enough: rapid.Bool().Draw(t, "enough")}
				if rapid.IntRange(0, 3).Draw(t, "bad") == 0 {
					judgement = bad
				}
				for range rapid.IntRange(1, 60).Draw(t, "ticks") {
					d.tick(t, rapid.SampledFrom([]int64{tickMs, hourMs}).Draw(t, "gap"), weight, judgement)
				}
			}
		}
	})
}

// episodes is a song and its twin, and what was said of its episode.
type episodes struct {
	p                  trend.Params
	season, seasonTwin trend.Season
	s, twin            trend.State
	at                 int64
	open, told         bool
}

func (d *episodes) hear(t *rapid.T, weight float64) {
	b := trend.Bucket{At: d.at - rapid.Int64Range(0, 3*hourMs).Draw(t, "late"), Unique: weight, Trusted: weight, Plays: weight}
	d.season.Observe(d.p, b)
	d.seasonTwin.Observe(d.p, b)
	d.s.Observe(d.p, &d.season, b.At, weight)
	d.twin.Observe(d.p, &d.seasonTwin, b.At, weight)
}

// tick lets some time pass in which so many listen.
func (d *episodes) tick(t *rapid.T, gap int64, weight float64, judgement trend.Judgement) {
	d.at += gap
	d.hear(t, weight)
	roundTrip(t, &d.twin)
	d.s.Judged(judgement)
	d.twin.Judged(judgement)
	v := trend.Step(d.p, &d.season, d.at, []*trend.State{&d.s})[0]
	w := trend.Step(d.p, &d.seasonTwin, d.at, []*trend.State{&d.twin})[0]
	if w.State = v.State; v != w || d.s != d.twin {
		t.Fatalf("a state that was stored says\n%+v %+v, the other\n%+v %+v", w, d.twin, v, d.s)
	}
	again := trend.Step(d.p, &d.season, d.at, []*trend.State{&d.s})[0]
	if d.s != d.twin || again.Status != trend.StatusNone && again.Status != trend.StatusOngoing {
		t.Fatalf("the same tick again: %v", again.Status)
	}
	d.check(t, v)
	if d.s.StartedAt() != 0 && !d.s.Active(d.p, d.at) {
		t.Fatal("an episode whose state is not active would never end")
	}
}

// check follows what is said of the episode.
func (d *episodes) check(t *rapid.T, v trend.Verdict) {
	s := &d.s
	switch v.Status {
	case trend.StatusStarted:
		if d.open || s.StartedAt() == 0 || !s.Trending() || v.Reason != trend.ReasonNone {
			t.Fatalf("started in an episode: %+v", s)
		}
		d.open, d.told = true, false
	case trend.StatusQuarantined:
		if d.told || s.Trending() || s.Quarantined() != trend.ReasonRepeats || v.Reason != s.Quarantined() {
			t.Fatalf("quarantined twice, or still trending: %+v", s)
		}
		d.open, d.told = true, true
	case trend.StatusOngoing:
		if !d.open || d.told || !s.Trending() {
			t.Fatalf("ongoing outside an episode: %+v", s)
		}
	case trend.StatusEnded:
		if !d.open || s.StartedAt() != 0 || v.StartedAt == 0 || d.told != (v.Reason != trend.ReasonNone) {
			t.Fatalf("ended outside an episode: %+v", s)
		}
		d.open, d.told = false, false
	case trend.StatusNone:
		if d.open && !d.told {
			t.Fatalf("an episode fell silent: %+v", s)
		}
	}
}

func roundTrip(tb rapid.TB, s *trend.State) {
	tb.Helper()
	b := s.AppendBinary(nil)
	if len(b) != trend.StateBytes || trend.StateBytes > 40 {
		tb.Fatalf("%d bytes", len(b))
	}
	var back trend.State
	rest, err := back.UnmarshalBinary(append(b, 1, 2))
	if err != nil || len(rest) != 2 || back != *s {
		tb.Fatalf("%+v became %+v, %v", *s, back, err)
	}
	*s = back
}

func TestClearTakesSixHoursOfQuiet(t *testing.T) {
	p := trend.DefaultParams()
	p.Guard.Wait = 0
	var season trend.Season
	var s trend.State
	at, burstEnds := worldFrom, worldFrom+5*dayMs+6*hourMs
	var startedAt, endedAt, quietAt int64
	for at < worldFrom+8*dayMs {
		at += tickMs
		season.Observe(p, trend.Bucket{At: at, Trusted: 200})
		switch {
		case at > worldFrom+5*dayMs && at < burstEnds:
			s.Observe(p, &season, at, 5)
		case at%hourMs == 0:
			s.Observe(p, &season, at, 1)
		}
		v := trend.Step(p, &season, at, []*trend.State{&s})[0]
		switch {
		case v.Status == trend.StatusStarted:
			startedAt = at
		case v.Status == trend.StatusEnded:
			endedAt = at
		case startedAt != 0 && v.Z >= p.ClearZ:
			quietAt = at + tickMs
		}
	}
	if startedAt < worldFrom+5*dayMs || startedAt > worldFrom+5*dayMs+hourMs {
		t.Errorf("alarm %s after the burst began", time.Duration(startedAt-worldFrom-5*dayMs)*time.Millisecond)
	}
	if quiet := endedAt - quietAt; quiet != p.ClearAfter.Milliseconds() {
		t.Errorf("ended after %s of quiet, want %s", time.Duration(quiet)*time.Millisecond, p.ClearAfter)
	}
}

// TestTheEndNamesTheQuarantineThatWasSaid: one that is found on the very tick that ends the episode was never said.
func TestTheEndNamesTheQuarantineThatWasSaid(t *testing.T) {
	p := trend.DefaultParams()
	p.Guard.Wait = 0
	drive := func(badFrom int64) (reason trend.Reason, ended, quarantined int64) {
		var season trend.Season
		var s trend.State
		for at := worldFrom + tickMs; at < worldFrom+8*dayMs; at += tickMs {
			season.Observe(p, trend.Bucket{At: at, Trusted: 200})
			switch {
			case at > worldFrom+5*dayMs && at < worldFrom+5*dayMs+6*hourMs:
				s.Observe(p, &season, at, 5)
			case at%hourMs == 0:
				s.Observe(p, &season, at, 1)
			}
			if at >= badFrom {
				s.Judged(trend.Judgement{Enough: true, Reason: trend.ReasonRepeats})
			}
			switch v := trend.Step(p, &season, at, []*trend.State{&s})[0]; v.Status {
			case trend.StatusQuarantined:
				quarantined = at
			case trend.StatusEnded:
				return v.Reason, at, quarantined
			default:
			}
		}
		t.Fatal("the episode does not end")
		return trend.ReasonNone, 0, 0
	}
	_, end, _ := drive(math.MaxInt64)
	for badFrom, want := range map[int64]trend.Reason{end: trend.ReasonNone, end - tickMs: trend.ReasonRepeats} {
		reason, ended, quarantined := drive(badFrom)
		if ended != end || reason != want || (quarantined != 0) != (want != trend.ReasonNone) {
			t.Errorf("found %d ms before the end, said at %d: ended at %d because of %v, want %v", end-badFrom, quarantined, ended, reason, want)
		}
	}
}

func TestOneTickIsNoAlarmAndWarmUpHolds(t *testing.T) {
	p := trend.DefaultParams()
	p.Guard.Wait = 0
	for name, row := range map[string]struct {
		age   int64
		ticks int
		want  bool
	}{
		"one tick": {5 * dayMs, 1, false}, "two ticks": {5 * dayMs, 2, true}, "first day": {20 * hourMs, 10, false},
	} {
		var season trend.Season
		var s trend.State
		for at := worldFrom; at < worldFrom+row.age; at += tickMs {
			season.Observe(p, trend.Bucket{At: at, Trusted: 200})
		}
		s.Released(1)
		at, found := worldFrom+row.age, false
		for range row.ticks {
			s.Observe(p, &season, at, 30)
			found = found || trend.Step(p, &season, at, []*trend.State{&s})[0].Status == trend.StatusStarted
			at += tickMs
		}
		if found != row.want {
			t.Errorf("%s: alarm %t", name, found)
		}
	}
}

func TestAlarmWaitsForItsGuard(t *testing.T) {
	p := trend.DefaultParams()
	for name, row := range map[string]struct {
		judgement trend.Judgement
		after     time.Duration
		status    trend.Status
	}{
		"clean":  {trend.Judgement{Enough: true}, 10 * time.Minute, trend.StatusStarted},
		"bought": {trend.Judgement{Enough: true, Reason: trend.ReasonRepeats}, 10 * time.Minute, trend.StatusQuarantined},
		"silent": {trend.Judgement{}, p.Guard.Wait + 10*time.Minute, trend.StatusStarted},
	} {
		var season trend.Season
		var s trend.State
		at := worldFrom
		for ; at < worldFrom+5*dayMs; at += tickMs {
			season.Observe(p, trend.Bucket{At: at, Trusted: 200})
		}
		s.Released(1)
		status := trend.StatusNone
		for status == trend.StatusNone && at < worldFrom+6*dayMs {
			s.Observe(p, &season, at, 30)
			s.Judged(row.judgement)
			at += tickMs
			status = trend.Step(p, &season, at, []*trend.State{&s})[0].Status
		}
		if after := time.Duration(at-worldFrom-5*dayMs) * time.Millisecond; status != row.status || after != row.after {
			t.Errorf("%s: %s after %s, want %s after %s", name, status, after, row.status, row.after)
		}
	}
}

// TestLargeSongDoesNotHideBehindItself has one song make up most of a small region's traffic when it spreads.
func TestLargeSongDoesNotHideBehindItself(t *testing.T) {
	p := trend.DefaultParams()
	var season trend.Season
	var s trend.State
	at := worldFrom
	hear := func(song, others float64) {
		season.Observe(p, trend.Bucket{At: at, Trusted: song + others})
		s.Observe(p, &season, at, song)
		at += tickMs
	}
	for range 5 * 288 {
		hear(0.1, 5)
	}
	for range 8 * 12 {
		hear(30, 5)
	}
	r := s.Evaluate(p, &season, at)
	if r.Ratio < 50 || r.Z < 5 {
		t.Errorf("a song at 300 times its rate and six times the rest: ratio %.1f, z %.1f", r.Ratio, r.Z)
	}
}

func TestFiniteForAnyInput(t *testing.T) {
	p := trend.DefaultParams()
	anyTime := rapid.OneOf(rapid.Int64(), rapid.Int64Range(worldFrom, worldFrom+dayMs))
	anyWeight := rapid.OneOf(rapid.Float64(), rapid.Float64Range(0, 100), rapid.SampledFrom([]float64{
		math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64,
	}))
	rapid.Check(t, func(t *rapid.T) {
		var season trend.Season
		var s trend.State
		var c trend.Concentration
		var trust trend.Trust
		for range rapid.IntRange(1, 30).Draw(t, "n") {
			w := func() float64 { return anyWeight.Draw(t, "weight") }
			b := trend.Bucket{
				At: anyTime.Draw(t, "at"), Unique: w(), Trusted: w(), NewAccounts: w(), Plays: w(), ShortPlays: w(), TopPlays: w(), Likes: w(),
			}
			season.Observe(p, b)
			c.Observe(p, b)
			s.Observe(p, &season, b.At, b.Trusted)
			s.Released(anyTime.Draw(t, "release"))
			trust.Observe(p, trend.TrustPlay{At: b.At, Song: rapid.Uint64Range(0, 3).Draw(t, "song"), Artist: 1, PlayedMs: 31_000})
			if weight := trust.Weight(p, anyTime.Draw(t, "read")); !(weight >= 0 && weight <= 1) {
				t.Fatalf("trust %g", weight)
			}
			s.Judged(c.Judge(p, &season))
			at := anyTime.Draw(t, "step")
			v := trend.Step(p, &season, at, []*trend.State{&s})[0]
			for _, x := range []float64{
				v.Z, v.Ratio, v.Velocity, v.Listeners, v.Expected, v.Rate, v.Score(p, w()), season.Index(p, at), c.Trust(), s.Peak(),
			} {
				if math.IsNaN(x) || math.IsInf(x, 0) {
					t.Fatalf("%+v after %+v", v, b)
				}
			}
			roundTrip(t, &s)
			var s2 trend.Season
			if rest, err := s2.UnmarshalBinary(season.AppendBinary(nil)); err != nil || len(rest) != 0 || s2 != season {
				t.Fatalf("season: %v", err)
			}
			var c2 trend.Concentration
			if rest, err := c2.UnmarshalBinary(c.AppendBinary(nil)); err != nil || len(rest) != 0 || c2 != c {
				t.Fatalf("concentration: %v", err)
			}
			var t2 trend.Trust
			if err := t2.UnmarshalBinary(trust.AppendBinary(nil)); err != nil || t2 != trust {
				t.Fatalf("trust: %v", err)
			}
		}
	})
}

func TestIdleStateReadsLikeANewOne(t *testing.T) {
	p := trend.DefaultParams()
	var season trend.Season
	for at := worldFrom; at < worldFrom+100*dayMs; at += hourMs {
		season.Observe(p, trend.Bucket{At: at, Trusted: 100})
	}
	var old, renewed trend.State
	old.Observe(p, &season, worldFrom+dayMs, 20)
	if old.Idle(p, worldFrom+10*dayMs) {
		t.Error("20 listeners are forgotten after 10 days")
	}
	at := worldFrom + 100*dayMs
	if !old.Idle(p, at) {
		t.Error("20 listeners are not forgotten after 100 days")
	}
	renewed.Released(worldFrom)
	for range 20 {
		at += tickMs
		old.Observe(p, &season, at, 2)
		renewed.Observe(p, &season, at, 2)
	}
	if a, b := old.Evaluate(p, &season, at), renewed.Evaluate(p, &season, at); math.Abs(a.Z-b.Z) > 0.01 {
		t.Errorf("z %.3f kept, %.3f renewed", a.Z, b.Z)
	}
}

func TestRefusedWeightsChangeNothing(t *testing.T) {
	p := trend.DefaultParams()
	var s trend.State
	s.Observe(p, nil, worldFrom, 3)
	before := s
	for _, w := range []float64{0, -1, math.NaN(), math.Inf(1), math.Inf(-1)} {
		if s.Observe(p, nil, worldFrom+dayMs, w); s != before {
			t.Errorf("weight %g changed the state", w)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	p := trend.DefaultParams()
	var season trend.Season
	var s trend.State
	var c trend.Concentration
	var trust trend.Trust
	b := trend.Bucket{At: worldFrom, Unique: 9, Trusted: 8, Plays: 20, TopPlays: 3}
	season.Observe(p, b)
	s.Observe(p, &season, b.At, 8)
	c.Observe(p, b)
	trust.Observe(p, trend.TrustPlay{At: worldFrom, Song: 1, Artist: 2, PlayedMs: 3})
	f.Add(season.AppendBinary(nil))
	f.Add(s.AppendBinary(nil))
	f.Add(c.AppendBinary(nil))
	f.Add(trust.AppendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var season trend.Season
		var s trend.State
		var c trend.Concentration
		var trust trend.Trust
		check := func(err error, encoded []byte) {
			if err != nil && !errors.Is(err, trend.ErrEncoding) {
				t.Fatal(err)
			}
			if err == nil && string(encoded) != string(b[:len(encoded)]) {
				t.Fatalf("%x was read, %x written", b[:len(encoded)], encoded)
			}
		}
		_, err := season.UnmarshalBinary(b)
		check(err, season.AppendBinary(nil))
		_, err = s.UnmarshalBinary(b)
		check(err, s.AppendBinary(nil))
		_, err = c.UnmarshalBinary(b)
		check(err, c.AppendBinary(nil))
		check(trust.UnmarshalBinary(b), trust.AppendBinary(nil))
		// Whatever was accepted must be usable.
		s.Observe(p, &season, worldFrom, 1)
		r := s.Evaluate(p, &season, worldFrom)
		for _, v := range []float64{r.Z, r.Ratio, r.Velocity, trust.Weight(p, worldFrom), c.Trust()} {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				t.Fatalf("%+v", r)
			}
		}
		s.Judged(c.Judge(p, &season))
	})
}

func TestValidate(t *testing.T) {
	if err := trend.DefaultParams().Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*trend.Params){
		"half-lives":  func(p *trend.Params) { p.FastHalfLife = p.SlowHalfLife },
		"zero":        func(p *trend.Params) { p.FastHalfLife = 0 },
		"velocity":    func(p *trend.Params) { p.ShortHalfLife = p.LongHalfLife },
		"psi":         func(p *trend.Params) { p.Psi = math.NaN() },
		"discoveries": func(p *trend.Params) { p.FalseDiscovery = 0 },
		"winsor":      func(p *trend.Params) { p.Winsor = 0.5 },
		"hysteresis":  func(p *trend.Params) { p.ClearZ = p.MinZ + 1 },
		"prior":       func(p *trend.Params) { p.PriorHours = math.Inf(1) },
	} {
		p := trend.DefaultParams()
		if change(&p); p.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func BenchmarkObserve(b *testing.B) {
	p := trend.DefaultParams()
	var season trend.Season
	var s trend.State
	at := worldFrom
	b.ReportAllocs()
	for b.Loop() {
		at += tickMs
		s.Observe(p, &season, at, 1)
	}
}

func BenchmarkSeasonObserve(b *testing.B) {
	p := trend.DefaultParams()
	var season trend.Season
	at := worldFrom
	b.ReportAllocs()
	for b.Loop() {
		at += tickMs
		season.Observe(p, trend.Bucket{At: at, Unique: 2, Trusted: 1, Plays: 3})
	}
}

func BenchmarkStep(b *testing.B) {
	p := trend.DefaultParams()
	season, active := busyRegion(p, 1000)
	detector := trend.NewDetector(p)
	at := worldFrom + 3*dayMs
	b.ReportAllocs()
	for b.Loop() {
		at += tickMs
		detector.Step(season, at, active)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(active)), "ns/song")
}

func busyRegion(p trend.Params, songs int) (*trend.Season, []*trend.State) {
	var season trend.Season
	states := make([]trend.State, songs)
	active := make([]*trend.State, songs)
	for tick := range int64(3 * 24) {
		season.Observe(p, trend.Bucket{At: worldFrom + tick*hourMs, Trusted: 1000})
		for i := range states {
			states[i].Observe(p, &season, worldFrom+tick*hourMs, float64(1+i%7))
		}
	}
	for i := range states {
		active[i] = &states[i]
	}
	return &season, active
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	p := trend.DefaultParams()
	season, active := busyRegion(p, 100)
	detector := trend.NewDetector(p)
	var c trend.Concentration
	var trust trend.Trust
	at := worldFrom + 3*dayMs
	if n := testing.AllocsPerRun(100, func() {
		at += tickMs
		b := trend.Bucket{At: at, Unique: 2, Trusted: 1, Plays: 3}
		season.Observe(p, b)
		c.Observe(p, b)
		trust.Observe(p, trend.TrustPlay{At: at, Song: 3, Artist: 4, PlayedMs: 5})
		active[0].Observe(p, season, at, 1)
		active[0].Judged(c.Judge(p, season))
		detector.Step(season, at, active)
	}); n != 0 {
		t.Errorf("%g allocations", n)
	}
}
