package trend_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"earworm/model/trend"
)

// script is one song in one region under a text script. Rates are exact, not drawn, so the plots do not depend on luck.
//
//	region traffic=<per hour> [season]   begins anew
//	hear hours=<n> rate=<per hour> [to=<per hour>] [every=<hours>] [plays=<per listener>] [short=<share>] [trust=<mean>] [late=<hours>]
//	     lets time pass; prints a line every so often, and every change of the episode
//	store                                writes the state and reads it again
//	tick                                 repeats the last step
type script struct {
	params trend.Params
	season trend.Season
	state  trend.State
	guard  trend.Concentration
	start  int64
	at     int64
	rate   float64 // of the region
	swing  bool
}

func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		t.Helper()
		s := &script{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			t.Helper()
			switch d.Cmd {
			case "region":
				*s = script{params: trend.DefaultParams(), start: worldFrom, at: worldFrom, swing: d.HasArg("season")}
				s.rate = number(t, d, "traffic", 300)
				return "ok"
			case "hear":
				return s.hear(t, d)
			case "store":
				b := s.state.AppendBinary(nil)
				var back trend.State
				if _, err := back.UnmarshalBinary(b); err != nil {
					return err.Error()
				}
				s.state = back
				return fmt.Sprintf("%d bytes, trending %t", len(b), back.Trending())
			case "tick":
				before := s.state
				v := trend.Step(s.params, &s.season, s.at, []*trend.State{&s.state})[0]
				return fmt.Sprintf("%s, changed %t", v.Status, before != s.state)
			default:
				return "unknown command"
			}
		})
	})
}

func number(t *testing.T, d *datadriven.TestData, name string, usual float64) float64 {
	t.Helper()
	if !d.HasArg(name) {
		return usual
	}
	var text string
	d.ScanArgs(t, name, &text)
	var v float64
	if _, err := fmt.Sscan(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func (s *script) hear(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	hours, rate := number(t, d, "hours", 1), number(t, d, "rate", 1)
	to, every := number(t, d, "to", rate), number(t, d, "every", 6)
	plays, short := number(t, d, "plays", 1.3), number(t, d, "short", 0)
	trust, late := number(t, d, "trust", 1), number(t, d, "late", 0)
	var out strings.Builder
	fmt.Fprintf(&out, "%6s %7s %7s %6s %6s\n", "hour", "recent", "usual", "z", "speed")
	ticks := int(hours * 12)
	for tick := range ticks {
		now := rate
		if to != rate {
			now *= math.Pow(to/rate, float64(tick)/float64(ticks))
		}
		region := s.rate / 12
		if s.swing {
			hour := float64(s.at-s.start) / hourMs
			region *= traffic(hour)
			now *= traffic(hour)
		}
		unique := now / 12
		s.season.Observe(s.params, trend.Bucket{At: s.at, Unique: region, Trusted: region, Plays: 1.3 * region, Likes: 0.1 * region})
		b := trend.Bucket{
			At: s.at - int64(late*hourMs), Unique: unique, Trusted: trust * unique,
			Plays: plays * unique, ShortPlays: short * plays * unique, Likes: 0.1 * unique,
		}
		s.season.Observe(s.params, b)
		s.guard.Observe(s.params, b)
		s.state.Observe(s.params, &s.season, b.At, b.Trusted)
		s.at += tickMs
		s.step(&out, (tick+1)%int(every*12) == 0)
	}
	return out.String()
}

// step evaluates and prints.
func (s *script) step(out *strings.Builder, plot bool) {
	v := trend.Verdict{Reading: s.state.Evaluate(s.params, &s.season, s.at)}
	if s.state.Active(s.params, s.at) {
		s.state.Judged(s.guard.Judge(s.params, &s.season))
		v = trend.Step(s.params, &s.season, s.at, []*trend.State{&s.state})[0]
	}
	hour := float64(s.at-s.start) / hourMs
	switch v.Status {
	case trend.StatusStarted, trend.StatusQuarantined, trend.StatusEnded:
		fmt.Fprintf(out, "%6.1f  >>> %s %s(z %.1f, %.1f times the usual)\n", hour, v.Status, strings.TrimLeft(v.Reason.String()+" ", " "), v.Z, v.Ratio)
	default:
	}
	if plot {
		// One column is a factor of √2 of recent listeners; the mark is what is usual.
		column := func(v float64) int { return max(0, int(math.Round(2*math.Log2(max(v, 0.5))+2))) }
		bar := []byte(strings.Repeat("#", column(v.Listeners)) + strings.Repeat(" ", 30))
		bar[column(v.Expected)] = '|'
		line := fmt.Sprintf("%6.1f %7.1f %7.1f %6.1f %6.1f  %s", hour, v.Listeners, v.Expected, v.Z, v.Velocity, bar)
		fmt.Fprintln(out, strings.TrimRight(line, " "))
	}
}
