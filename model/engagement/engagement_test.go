package engagement_test

import (
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"

	"earworm/model/engagement"
)

const song = 200_000 // ms

func TestValueTable(t *testing.T) {
	type l = engagement.Listen
	play := func(playedMs int64) l {
		return l{Signal: engagement.Play, PlayedMs: playedMs, DurationMs: song, PositionMs: -1}
	}
	with := func(base l, change func(*l)) l { change(&base); return base }
	autoplay := func(x *l) { x.Autoplay = true }
	searched := func(x *l) { x.Searched = true }
	unknown := l{Signal: engagement.Play, PlayedMs: -1, DurationMs: -1, PositionMs: -1}
	for name, row := range map[string]struct {
		listen      l
		value       float64
		full, early bool
	}{
		"whole":                    {play(song), 1, true, false},
		"three quarters":           {play(150_000), 0.75, true, false},
		"half":                     {play(100_000), 0.5, true, false},
		"just under half":          {play(99_999), 0.4, false, false},
		"two fifths":               {play(80_000), 0.2, false, false},
		"three tenths":             {play(60_000), 0, false, false},
		"under a third":            {play(30_000), -0.3, false, false},
		"nothing":                  {play(0), -0.6, false, true},
		"4 s of autoplay":          {with(play(4_000), autoplay), -0.6, false, true},
		"4 s of own choice":        {play(4_000), -0.56, false, true},
		"4 s while searching":      {with(play(4_000), searched), -0.56 / 3, false, true},
		"10 s are not early":       {play(10_000), -0.5, false, false},
		"searched and whole":       {with(play(song), searched), 1.7, true, false},
		"again within the day":     {with(play(song), func(x *l) { x.Replay = true }), 1.3, true, false},
		"passive":                  {with(play(song), func(x *l) { x.Passive = true }), 0.6, true, false},
		"hurried listener":         {with(play(0), func(x *l) { x.SkipRatio = 0.5 }), -0.3, false, true},
		"patient listener":         {with(play(0), func(x *l) { x.SkipRatio = 2 }), -1.2, false, true},
		"absurd ratio":             {with(play(0), func(x *l) { x.SkipRatio = 1e300 }), -1.2, false, true},
		"ratio spares positives":   {with(play(song), func(x *l) { x.SkipRatio = 2 }), 1, true, false},
		"played longer than it is": {play(10 * song), 1, true, false},
		"a 4 s interlude, whole": {
			l{Signal: engagement.Play, PlayedMs: 4_000, DurationMs: 4_000, Autoplay: true}, 1, true, false,
		},
		"skip at the half":     {l{Signal: engagement.Skip, PlayedMs: -1, DurationMs: song, PositionMs: 100_000}, 0.5, true, false},
		"skip at 3 s":          {l{Signal: engagement.Skip, PlayedMs: -1, DurationMs: song, PositionMs: 3_000}, -0.57, false, true},
		"skip after a seek":    {l{Signal: engagement.Skip, PlayedMs: 3_000, DurationMs: song, PositionMs: 199_000}, -0.57, false, true},
		"skip, nowhere":        {l{Signal: engagement.Skip, PlayedMs: -1, DurationMs: song, PositionMs: -1}, -0.3, false, false},
		"play, no lengths":     {unknown, 0.75, true, false},
		"30 s of unknown":      {l{Signal: engagement.Play, PlayedMs: 30_000}, 0.5, true, false},
		"29 s of unknown":      {l{Signal: engagement.Play, PlayedMs: 29_999}, 0.4, false, false},
		"like":                 {l{Signal: engagement.Like}, 2, false, false},
		"unlike takes it back": {l{Signal: engagement.Unlike}, -2, false, false},
		"dislike":              {l{Signal: engagement.Dislike}, -4, false, false},
		"ban":                  {l{Signal: engagement.Ban}, -4, false, false},
		"playlist add":         {l{Signal: engagement.PlaylistAdd}, 2.5, false, false},
		"share":                {l{Signal: engagement.Share}, 2.5, false, false},
		"no signal":            {l{PlayedMs: song, DurationMs: song}, 0, false, false},
		"unknown signal":       {l{Signal: 99, PlayedMs: song, DurationMs: song}, 0, false, false},
	} {
		if got := engagement.Value(row.listen); math.Abs(got-row.value) > 1e-4 {
			t.Errorf("%s: value %.4f, want %.4f", name, got, row.value)
		}
		if got := engagement.FullListen(row.listen); got != row.full {
			t.Errorf("%s: full listen %t", name, got)
		}
		if got := engagement.EarlySkip(row.listen); got != row.early {
			t.Errorf("%s: early skip %t", name, got)
		}
	}
}

func TestRejected(t *testing.T) {
	type l = engagement.Listen
	for name, row := range map[string]struct {
		listen   l
		rejected bool
	}{
		"nothing":                  {l{Signal: engagement.Play, DurationMs: song}, true},
		"9 s of a short song":      {l{Signal: engagement.Play, PlayedMs: 9_999, DurationMs: 60_000}, true},
		"a short song, whole":      {l{Signal: engagement.Play, PlayedMs: 9_000, DurationMs: 9_000}, false},
		"just under a tenth":       {l{Signal: engagement.Play, PlayedMs: song/10 - 1, DurationMs: song}, true},
		"a tenth":                  {l{Signal: engagement.Play, PlayedMs: song / 10, DurationMs: song}, false},
		"skip at a tenth":          {l{Signal: engagement.Skip, PlayedMs: -1, PositionMs: song/10 - 1, DurationMs: song}, true},
		"9 s of unknown":           {l{Signal: engagement.Skip, PlayedMs: 9_999, DurationMs: -1}, true},
		"10 s of unknown":          {l{Signal: engagement.Skip, PlayedMs: 10_000, DurationMs: -1}, false},
		"skip, nowhere":            {l{Signal: engagement.Skip, PlayedMs: -1, DurationMs: song, PositionMs: -1}, false},
		"whole":                    {l{Signal: engagement.Play, PlayedMs: song, DurationMs: song}, false},
		"no play":                  {l{Signal: engagement.Dislike, DurationMs: song}, false},
		"ten minutes of two hours": {l{Signal: engagement.Play, PlayedMs: 600_000, DurationMs: 7_200_000}, true},
	} {
		if got := engagement.Rejected(row.listen); got != row.rejected {
			t.Errorf("%s: rejected %t", name, got)
		}
	}
}

func drawListen(t *rapid.T) engagement.Listen {
	length := rapid.OneOf(rapid.Int64Range(-2, 600_000), rapid.Int64())
	return engagement.Listen{
		Signal:     engagement.Signal(rapid.Uint8Range(0, 12).Draw(t, "signal")),
		PlayedMs:   length.Draw(t, "played"),
		DurationMs: length.Draw(t, "duration"),
		PositionMs: length.Draw(t, "position"),
		Autoplay:   rapid.Bool().Draw(t, "autoplay"),
		Searched:   rapid.Bool().Draw(t, "searched"),
		Passive:    rapid.Bool().Draw(t, "passive"),
		Replay:     rapid.Bool().Draw(t, "replay"),
		SkipRatio: rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{
			0, 1, math.NaN(), math.Inf(1), math.Inf(-1),
		})).Draw(t, "ratio"),
	}
}

func TestBoundedForAnyInput(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawListen(t)
		v := engagement.Value(l)
		if !(v >= engagement.Min && v <= engagement.Max) {
			t.Fatalf("%+v is worth %g", l, v)
		}
		if engagement.FullListen(l) && !(v >= 0.3) { // half a song, passively
			t.Fatalf("full listen %+v is worth %g", l, v)
		}
		if engagement.EarlySkip(l) && !(v < 0.4) {
			t.Fatalf("early skip %+v is worth %g", l, v)
		}
		if engagement.FullListen(l) && engagement.EarlySkip(l) {
			t.Fatalf("%+v is a full listen that was skipped early", l)
		}
		if engagement.Rejected(l) && engagement.FullListen(l) || engagement.EarlySkip(l) && !engagement.Rejected(l) {
			t.Fatalf("%+v is rejected: %t", l, engagement.Rejected(l))
		}
	})
}

func TestMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		less := drawListen(t)
		less.Signal = rapid.SampledFrom([]engagement.Signal{engagement.Play, engagement.Skip}).Draw(t, "signal")
		less.PlayedMs = rapid.Int64Range(0, 400_000).Draw(t, "playedMs")
		less.DurationMs = rapid.Int64Range(-1, 400_000).Draw(t, "durationMs")
		more := less
		more.PlayedMs += rapid.Int64Range(0, 400_000).Draw(t, "further")
		if a, b := engagement.Value(less), engagement.Value(more); a > b+1e-12 {
			t.Fatalf("%d ms are worth %g, %d ms only %g: %+v", less.PlayedMs, a, more.PlayedMs, b, less)
		}
		if engagement.FullListen(less) && !engagement.FullListen(more) {
			t.Fatalf("hearing more of %+v undoes the full listen", less)
		}
		if !engagement.EarlySkip(less) && engagement.EarlySkip(more) {
			t.Fatalf("hearing more of %+v makes an early skip", less)
		}
		if !engagement.Rejected(less) && engagement.Rejected(more) {
			t.Fatalf("hearing more of %+v makes a rejection", less)
		}
	})
}

func TestNoPlayOutweighsAnExplicitSignal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawListen(t)
		l.Signal = rapid.SampledFrom([]engagement.Signal{engagement.Play, engagement.Skip}).Draw(t, "signal")
		if v := engagement.Value(l); v > engagement.LikeValue || v < -engagement.LikeValue {
			t.Fatalf("%+v is worth %g, more than a like", l, v)
		}
	})
}

func TestUndo(t *testing.T) {
	like, unlike := engagement.Listen{Signal: engagement.Like}, engagement.Listen{Signal: engagement.Unlike}
	if sum := engagement.Value(like) + engagement.Value(unlike); sum != 0 {
		t.Errorf("a like taken back leaves %g", sum)
	}
	for signal := range engagement.Share + 2 {
		undone, ok := engagement.Undoes(signal)
		want := map[engagement.Signal]engagement.Signal{
			engagement.Unlike: engagement.Like, engagement.Like: engagement.Dislike,
		}[signal]
		if undone != want || ok != (want != 0) {
			t.Errorf("signal %d undoes %d (%t), want %d", signal, undone, ok, want)
		}
	}
}

func TestHurry(t *testing.T) {
	for _, row := range []struct{ own, mean, want float64 }{
		{0.5, 0.5, 1},
		{0.75, 0.5, 0.5},
		{1, 0.5, 0.5},
		{0, 0.2, 1.25},
		{0, 0.9, 2},
		{math.NaN(), 0.5, 1},
		{0.5, math.NaN(), 1},
		{-1, 0.5, 1},
		{2, 0.5, 1},
		{0.5, 1, 1},
	} {
		if got := engagement.Hurry(row.own, row.mean); math.Abs(got-row.want) > 1e-12 {
			t.Errorf("Hurry(%g, %g) = %g, want %g", row.own, row.mean, got, row.want)
		}
	}
}

func TestConfidence(t *testing.T) {
	for _, row := range []struct{ positive, want float64 }{
		{0, 1}, {-3, 1}, {math.NaN(), 1}, {0.5, 1 + math.Ln2}, {1, 1 + math.Log(3)}, {1e9, 5}, {math.Inf(1), 5},
	} {
		if got := engagement.Confidence(row.positive); math.Abs(got-row.want) > 1e-12 {
			t.Errorf("Confidence(%g) = %g, want %g", row.positive, got, row.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.Float64Range(0, 100).Draw(t, "a")
		b := a + rapid.Float64Range(0, 100).Draw(t, "more")
		if engagement.Confidence(a) > engagement.Confidence(b) {
			t.Fatalf("Confidence falls from %g to %g", a, b)
		}
	})
}

func ExampleValue() {
	whole := engagement.Listen{Signal: engagement.Play, PlayedMs: 180_000, DurationMs: 180_000}
	dropped := engagement.Listen{Signal: engagement.Skip, PlayedMs: 3_000, DurationMs: 180_000, Autoplay: true}
	fmt.Println(engagement.Value(whole), engagement.Value(dropped))
	// Output: 1 -0.6
}

func BenchmarkValue(b *testing.B) {
	l := engagement.Listen{Signal: engagement.Play, PlayedMs: 100_000, DurationMs: song, SkipRatio: 1.2}
	b.ReportAllocs()
	for b.Loop() {
		_ = engagement.Value(l)
	}
}
