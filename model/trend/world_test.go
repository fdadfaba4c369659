package trend_test

import (
	"flag"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"earworm/model/trend"
)

var seed = flag.Uint64("seed", 20261123, "seed of the synthetic world")

// The world: songs with Zipf rates from 118 down to 0.07 trusted listeners an hour, as models.md C.3; an hour of the day and
// weekends; rates that wander; one day on which everybody hears twice as much; songs that spread logistically to 5…200 times
// their rate, doubling in 2 to 16 hours; and new releases.
const (
	tickMs    = 5 * 60 * 1000
	hourMs    = 60 * 60 * 1000
	dayMs     = 24 * hourMs
	worldFrom = int64(1_795_392_000_000) // 2026-11-23T00:00Z, a Monday
	warmDays  = 10
	days      = 22
	surgeDay  = 14
)

type wave struct {
	song           int
	peak, doubling float64 // multiple of the usual rate; hours
	centre, end    float64 // hours: half-way up; half-way down
}

// factor is what the wave makes of the song's rate at an hour.
func (w *wave) factor(hour float64) float64 {
	k := math.Ln2 / w.doubling
	up := 1 / (1 + math.Exp(-k*(hour-w.centre)))
	down := 1 / (1 + math.Exp(k/3*(hour-w.end)))
	return 1 + (w.peak-1)*up*down
}

// onset is the hour at which the rate has doubled.
func (w *wave) onset() float64 {
	return w.centre - math.Log(math.Max(w.peak-2, 1e-3))*w.doubling/math.Ln2
}

type world struct {
	rng    *rand.Rand
	rates  []float64
	waves  map[int]*wave
	births map[int]float64 // hour of release
	noise  []float64
	sigma  float64
}

func newWorld(seed uint64, songs, waves int, sigma float64) *world {
	w := &world{
		rng:   rand.New(rand.NewPCG(seed, 1)),
		rates: make([]float64, songs), noise: make([]float64, songs), sigma: sigma,
		waves: map[int]*wave{}, births: map[int]float64{},
	}
	exponent := math.Log(118/0.07) / math.Log(float64(songs))
	for i := range w.rates {
		w.rates[i] = 118 / math.Pow(float64(i+1), exponent)
		w.noise[i] = w.rng.NormFloat64() * sigma
	}
	for len(w.waves) < waves {
		v := &wave{song: w.rng.IntN(songs), peak: 5 * math.Pow(40, w.rng.Float64()), doubling: 2 * math.Pow(8, w.rng.Float64())}
		v.centre = (warmDays+1)*24 + v.doubling*6 + w.rng.Float64()*5*24
		v.end = v.centre + 36 + 60*w.rng.Float64()
		if w.waves[v.song] == nil {
			w.waves[v.song] = v
		}
	}
	for len(w.births) < songs/50 {
		if song := w.rng.IntN(songs); w.waves[song] == nil {
			w.births[song] = (warmDays + 8*w.rng.Float64()) * 24
		}
	}
	return w
}

// traffic is the season: nights, evenings, weekends and the surge day.
func traffic(hour float64) float64 {
	v := 1 + 0.7*math.Sin(2*math.Pi*(hour-14)/24)
	day := int(hour / 24)
	if day%7 >= 5 {
		v *= 1.25
	}
	if day == surgeDay {
		v *= 2
	}
	return v
}

// poisson draws from a Poisson distribution; none is the chance of 0.
func (w *world) poisson(mean, none float64) int {
	if mean > 30 {
		return max(0, int(math.Round(mean+math.Sqrt(mean)*w.rng.NormFloat64())))
	}
	p, n := w.rng.Float64(), 0
	for p > none {
		p *= w.rng.Float64()
		n++
	}
	return n
}

// run feeds the world to the detector and returns the alarms by song, in hours, and how long they lasted.
func (w *world) run(p trend.Params) (alarms map[int][]float64, ended int) {
	alarms = map[int][]float64{}
	var season trend.Season
	states := make([]trend.State, len(w.rates))
	detector := trend.NewDetector(p)
	index := map[*trend.State]int{}
	for i := range states {
		index[&states[i]] = i
	}
	means, none := make([]float64, len(w.rates)), make([]float64, len(w.rates))
	heard := make([]int, 0, len(w.rates))
	counts := make([]float64, len(w.rates))
	var active []*trend.State
	for tick := range days * 288 {
		at, hour := worldFrom+int64(tick)*tickMs, float64(tick)/12
		if tick%12 == 0 {
			w.hour(means, hour)
			for i, mean := range means {
				none[i] = math.Exp(-mean)
			}
		}
		heard = heard[:0]
		total := 0.0
		for i, mean := range means {
			if n := w.poisson(mean, none[i]); n > 0 {
				heard, counts[i] = append(heard, i), float64(n)
				total += float64(n)
			}
		}
		season.Observe(p, trend.Bucket{At: at, Unique: total, Trusted: total, Plays: total})
		for _, i := range heard {
			states[i].Observe(p, &season, at, counts[i])
		}
		active = active[:0]
		for i := range states {
			if states[i].Fast > 0 && states[i].Active(p, at) {
				active = append(active, &states[i])
			}
		}
		for _, v := range detector.Step(&season, at+tickMs, active) {
			switch v.Status {
			case trend.StatusStarted:
				alarms[index[v.State]] = append(alarms[index[v.State]], hour)
			case trend.StatusEnded:
				ended++
			default:
			}
		}
	}
	return alarms, ended
}

// hour sets the mean listeners per tick of the hour to come.
func (w *world) hour(means []float64, hour float64) {
	season := traffic(hour)
	for i := range means {
		// An AR(1) of the log rate with standard deviation sigma and a memory of a day.
		const keep = 0.96
		w.noise[i] = keep*w.noise[i] + math.Sqrt(1-keep*keep)*w.sigma*w.rng.NormFloat64()
		rate := w.rates[i] * season * math.Exp(w.noise[i]-w.sigma*w.sigma/2)
		if v := w.waves[i]; v != nil {
			rate *= v.factor(hour)
		}
		if hour < w.births[i] {
			rate = 0
		}
		means[i] = rate / 12
	}
}

type figures struct {
	waves, reachable, found, foundReachable, within24 int
	falseAlarms, newborn, repeated                    int
	falseAlarmsPerDay, medianHours                    float64
}

func (w *world) score(p trend.Params, alarms map[int][]float64) figures {
	f := figures{waves: len(w.waves)}
	var delays []float64
	for song, v := range w.waves {
		recent := w.rates[song] * v.peak * (p.FastHalfLife.Hours() / math.Ln2)
		reachable := recent >= 2*p.MinListeners
		if reachable {
			f.reachable++
		}
		hits := 0
		for _, hour := range alarms[song] {
			if hour < v.onset()-1 || hour > v.end+24 {
				f.falseAlarms++
				continue
			}
			if hits++; hits > 1 {
				continue
			}
			f.found++
			delays = append(delays, hour-v.onset())
			if hour-v.onset() <= 24 {
				f.within24++
			}
			if reachable {
				f.foundReachable++
			}
		}
		if hits > 1 {
			f.repeated++
		}
	}
	for song, hours := range alarms {
		if w.waves[song] == nil {
			f.falseAlarms += len(hours)
			if w.births[song] > 0 {
				f.newborn += len(hours)
			}
		}
	}
	f.falseAlarmsPerDay = float64(f.falseAlarms) / (days - warmDays)
	if slices.Sort(delays); len(delays) > 0 {
		f.medianHours = delays[len(delays)/2]
	}
	return f
}

// TestSyntheticWorld holds the detector to models.md C.3, which reports for NB ψ = 0.15, 3 h at 2 false alarms a day among 20 000
// songs: recall within 24 h of the rate's doubling 0.31 (noise 0.15) and 0.26 (0.35), in all 0.95 and 0.90, median 28–36 h.
// Measured here among 2000 songs with seeds 1–7: within 24 h 0.35–0.57, in all 0.77–0.95, median 20–28 h, false alarms a day
// 0–0.1 (noise 0.15) and 0.1–1.0 (0.35).
func TestSyntheticWorld(t *testing.T) {
	t.Logf("-seed %d", *seed)
	for _, band := range []struct{ sigma, falseAlarmsPerDay float64 }{{0.15, 0.5}, {0.35, 2}} {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			w := newWorld(*seed, 2000, 60, band.sigma)
			p := trend.DefaultParams()
			p.Guard.Wait = 0
			alarms, ended := w.run(p)
			f := w.score(p, alarms)
			t.Logf("noise %.2f: %+v, %d ended", band.sigma, f, ended)
			if recall := float64(f.found) / float64(f.waves); recall < 0.72 {
				t.Errorf("found %.2f of the waves, want 0.72", recall)
			}
			if recall := float64(f.foundReachable) / float64(f.reachable); recall < 0.88 {
				t.Errorf("found %.2f of the waves that reach twice the least count, want 0.88", recall)
			}
			if early := float64(f.within24) / float64(f.waves); early < 0.28 {
				t.Errorf("found %.2f within 24 h, want 0.28", early)
			}
			if f.medianHours > 34 {
				t.Errorf("median %.1f h after doubling, want at most 34", f.medianHours)
			}
			if f.falseAlarmsPerDay > band.falseAlarmsPerDay {
				t.Errorf("%.2f false alarms a day, want at most %.2f", f.falseAlarmsPerDay, band.falseAlarmsPerDay)
			}
			if f.newborn > 1 {
				t.Errorf("%d alarms for new songs at a steady rate", f.newborn)
			}
			if f.repeated > 3 {
				t.Errorf("%d waves were announced more than once", f.repeated)
			}
			if ended < f.found/3 {
				t.Errorf("only %d episodes ended", ended)
			}
		})
	}
}
