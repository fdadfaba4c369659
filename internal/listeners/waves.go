package listeners

import (
	"math"
	"slices"
	"time"
)

// Viral is a song that spreads: its share of what a region starts to play grows as a logistic curve, holds, and
// halves every day or two.
type Viral struct {
	Song int
	// Region is where it spreads; "" is everywhere.
	Region string
	// Start is when the wave reaches a quarter of the song's usual plays, DoubledAt when it equals them (so that the
	// song is played twice as much as usual), Peak when it stops growing, End when it has fallen to half of them.
	Start, DoubledAt, Peak, End time.Time
	// Share is the wave's share of all starts at its peak, Multiplier the same in the song's usual plays.
	Share, Multiplier float64

	region             int // -1 = everywhere
	middle, peak       int64
	doubling, halfLife float64 // ms
}

// Campaign is a song pushed by bots that play it for 31 to 35 seconds around the clock.
type Campaign struct {
	Song       int
	Region     string
	Start, End time.Time
	// Accounts are listener indices.
	Accounts []int
}

// share is the wave's share of the region's starts at a time.
func (v *Viral) share(at int64) float64 {
	if at < v.Start.UnixMilli() || at > v.End.UnixMilli() {
		return 0
	}
	s := v.Share / (1 + math.Exp2(-float64(at-v.middle)/v.doubling))
	if at > v.peak {
		s *= math.Exp2(-float64(at-v.peak) / v.halfLife)
	}
	return s
}

// Virals is the truth about viral songs, in order of their start.
func (w *World) Virals() []Viral { return slices.Clone(w.virals) }

// Bots is the truth about bot campaigns, in order of their start.
func (w *World) Bots() []Campaign { return slices.Clone(w.campaigns) }

// usualShare is each song's expected share of all starts outside of waves, in one region (-1: everywhere). It
// leaves aside who accepts what: the base of a wave has to be right within a factor, not in the digits.
func (w *World) usualShare(home int) []float64 {
	mass, total := make([]float64, len(w.scenes)), 0.
	for i := range w.people {
		p := &w.people[i]
		if p.campaign >= 0 || home >= 0 && int(p.region) != home {
			continue
		}
		for k := range p.count {
			mass[p.interests[k].scene] += p.rate * float64(p.interests[k].weight)
		}
		total += p.rate
	}
	share := make([]float64, len(w.songs))
	for z := range w.scenes {
		for j, s := range w.scenes[z].songs {
			share[s] += (1 - chartShare) * mass[z] / max(total, 1e-9) * w.scenes[z].chance[j]
		}
	}
	for s := range share {
		share[s] += chartShare * w.songs[s].weight / w.mass
	}
	return share
}

func (w *World) newVirals() {
	cfg := w.cfg
	first := 0
	if cfg.Weeks > 4 {
		first = 2
	}
	taken := map[int]bool{}
	usual := map[int][]float64{}
	for n := range cfg.Virals {
		d := roll(cfg.Seed, forVirals, n)
		home := -1
		if d.chance(.6) {
			home = d.below(cfg.Regions)
		}
		if usual[home] == nil {
			usual[home] = w.usualShare(home)
		}
		low := float64(first) + .3
		high := max(float64(cfg.Weeks)-1.2, low+.1) // what starts in the last week cannot be seen in time
		start := cfg.Start.UnixMilli() + int64(d.within(low, high)*float64(week))
		v := Viral{Song: w.wavable(&d, usual[home], start, taken), region: home}
		if v.Song < 0 {
			continue
		}
		taken[v.Song] = true
		if home >= 0 {
			v.Region = regionTable[home].code
		}
		base := usual[home][v.Song]
		v.Share = min(max(d.within(.015, .03), 5*base), 200*base)
		v.Multiplier = v.Share / base
		v.doubling = d.logWithin(2, 16) * float64(hour)
		v.halfLife = d.within(1, 2.5) * float64(day)
		v.middle = start + int64(v.doubling*math.Log2(4*v.Multiplier-1))
		v.peak = v.middle + int64(4*v.doubling) + int64(d.within(.5, 2)*float64(day))
		v.Start, v.Peak = time.UnixMilli(start).UTC(), time.UnixMilli(v.peak).UTC()
		v.DoubledAt = time.UnixMilli(v.middle - int64(v.doubling*math.Log2(v.Multiplier-1))).UTC()
		v.End = time.UnixMilli(v.peak + int64(v.halfLife*math.Log2(2*v.Multiplier))).UTC()
		w.virals = append(w.virals, v)
	}
	slices.SortStableFunc(w.virals, func(a, b Viral) int { return a.Start.Compare(b.Start) })
}

// wavable draws a song whose usual share is in the upper quarter but not at the top, out for three weeks, and not
// taken: big enough to have a level to rise from, small enough that rising is news. -1 when there is none.
func (w *World) wavable(d *dice, usual []float64, start int64, taken map[int]bool) int {
	sorted := slices.Clone(usual)
	slices.Sort(sorted)
	low, high := sorted[len(sorted)*75/100], sorted[len(sorted)*98/100]
	for range 2000 {
		s := d.below(len(usual))
		if usual[s] >= low && usual[s] <= high && !taken[s] && w.songs[s].released < start-3*week {
			return s
		}
	}
	return -1
}

func (w *World) newCampaigns() {
	cfg := w.cfg
	for n := range cfg.BotCampaigns {
		d := roll(cfg.Seed, forBots, n)
		home := d.below(cfg.Regions)
		start := cfg.Start.UnixMilli() + int64(d.within(min(1, .3*float64(cfg.Weeks)), float64(cfg.Weeks)-.6)*float64(week))
		c := Campaign{
			Song: w.obscure(&d, start), Region: regionTable[home].code,
			Start: time.UnixMilli(start).UTC(), End: time.UnixMilli(start + int64(d.within(2, 4)*float64(day))).UTC(),
		}
		for range cfg.BotAccounts {
			c.Accounts = append(c.Accounts, len(w.people))
			w.people = append(w.people, listener{
				joined: start - int64(d.within(.1, 5)*float64(day)), region: uint8(home), campaign: int16(n), //nolint:gosec // small
				languages: 1 << regionTable[home].language, device: uint8(d.below(2)), rate: d.within(80, 160), //nolint:gosec // small
			})
		}
		w.campaigns = append(w.campaigns, c)
	}
}

// obscure draws a released song nobody plays much: the kind that buys plays.
func (w *World) obscure(d *dice, start int64) int {
	best := 0
	for range 40 {
		s := d.below(len(w.songs))
		if w.songs[s].released < start && (w.songs[best].released >= start || w.songs[s].weight < w.songs[best].weight) {
			best = s
		}
	}
	return best
}

// surf is a wave as a listener of one region meets it in one hour.
type surf struct {
	song  int32
	share float64
}

// tide fills w.surf for the 24 hours from dayStart.
func (w *World) tide(dayStart int64) {
	for r := range w.surf {
		for h := range w.surf[r] {
			w.surf[r][h] = w.surf[r][h][:0]
			at := dayStart + int64(h)*hour + hour/2
			for i := range w.virals {
				v := &w.virals[i]
				if v.region >= 0 && v.region != r {
					continue
				}
				if s := v.share(at); s > 0 {
					w.surf[r][h] = append(w.surf[r][h], surf{int32(v.Song), s}) //nolint:gosec // at most 10 M songs
				}
			}
		}
	}
}
