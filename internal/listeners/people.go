package listeners

import (
	"fmt"
	"iter"
	"math"
	"time"
	_ "time/tzdata" // the rhythm of a day must not depend on the machine's zone files
)

// ListenerInfo is what a profile says about a listener, and whether it is a bot.
type ListenerInfo struct {
	Index            int
	ID, Region, Zone string
	Languages        []string
	Joined           time.Time
	Bot              bool
}

type region struct {
	code, zone string
	language   int
	share      float64
}

var regionTable = [...]region{
	{"US", "America/New_York", english, .34},
	{"BR", "America/Sao_Paulo", portuguese, .25},
	{"DE", "Europe/Berlin", german, .22},
	{"JP", "Asia/Tokyo", japanese, .19},
	{"FR", "Europe/Paris", french, .15},
	{"IN", "Asia/Kolkata", hindi, .15},
	{"MX", "America/Mexico_City", spanish, .15},
	{"GB", "Europe/London", english, .15},
}

// interestsMax is how many interests anybody can have.
const interestsMax = 8

// interest is one direction of a listener's taste.
type interest struct {
	scene  int32
	weight float32
	vec    vector
}

// drift replaces an interest from a week on.
type drift struct {
	week     int32
	slot     int32
	interest interest
}

// listener holds the traits of a person; they do not change except by the drifts laid down here.
type listener struct {
	interests [interestsMax]interest
	count     int // interests in use
	drifts    []drift
	joined    int64 // ms; the start of the run or before for those who were there from the beginning
	rate      float64
	newShare  float32
	hurry     float32 // factor on the chance to skip, mean about 1
	viral     float32 // factor on the chance to follow a viral song, mean about 1
	region    uint8
	device    uint8
	languages uint8 // bit set
	campaign  int16 // -1 for people
}

// habit is what a listener has done so far: the part that weeks change.
type habit struct {
	dice    dice
	heard   songSet
	library []int32 // songs worth playing again, most recent last, favourites several times
	firsts  []first
	events  uint32
	bornAt  int64 // time of the first event, ms; 0 = none yet
	// busyUntil is the end of the last session (ms): the next one waits for it.
	busyUntil int64
	turn      uint32 // where the next favourite overwrites the library once it is full
}

// first is the first time a listener heard a song.
type first struct {
	song  int32
	at    int32 // seconds since the start of the run
	flags uint8
}

const (
	listened   = 1 << iota // at least half of it, found by the listener
	fromWeekly             // played from a weekly playlist, not found by the listener
)

func (w *World) newListeners() {
	cfg := w.cfg
	mass := make([]float64, cfg.Regions)
	for r := range mass {
		mass[r] = regionTable[r].share
	}
	homes := newAlias(mass)
	w.people = make([]listener, cfg.Listeners, cfg.Listeners+cfg.BotCampaigns*cfg.BotAccounts)
	start := cfg.Start.UnixMilli()
	for i := range w.people {
		d := roll(cfg.Seed, forListeners, i)
		p := &w.people[i]
		p.region, p.campaign, p.device = uint8(homes.draw(&d)), -1, uint8(d.below(6)) //nolint:gosec // small
		p.languages = 1<<instrumental | 1<<regionTable[p.region].language
		if d.chance(.6) {
			p.languages |= 1 << english
		}
		if d.chance(.1) {
			p.languages |= 1 << regionTable[d.below(cfg.Regions)].language
		}
		p.joined = start - int64(d.exponential()*300)*day - 30*day
		if d.chance(cfg.JoinShare) {
			p.joined = start + int64(d.float()*float64(cfg.Weeks)*float64(week))
		}
		// Log-normal activity with mean 1: exp(σn - σ²/2).
		p.rate = cfg.EventsPerListenerWeek * math.Exp(.7*d.normal()-.245)
		p.newShare = float32(min(max(cfg.NewShare*math.Exp(.25*d.normal()-.03), 0), .95))
		p.hurry = float32(math.Exp(.3*d.normal() - .045))
		p.viral = float32(math.Exp(.6*d.normal() - .18))
		p.count = cfg.InterestsMin + d.below(cfg.InterestsMax-cfg.InterestsMin+1)
		total := float32(0)
		for k := range p.count {
			p.interests[k] = w.newInterest(&d, p.languages)
			total += p.interests[k].weight
		}
		for k := range p.count {
			p.interests[k].weight /= total
		}
		w.layDrifts(p, i)
	}
}

func (w *World) newInterest(d *dice, languages uint8) interest {
	scene := 0
	for range 50 { // scene 0 is English: a listener who understands none of 50 scenes gets that
		z := d.below(len(w.scenes))
		if len(w.scenes[z].songs) > 0 && languages>>w.scenes[z].language&1 == 1 {
			scene = z
			break
		}
	}
	return interest{scene: int32(scene), weight: float32(d.within(.3, 1)), vec: d.near(w.scenes[scene].centre, .5)}
}

func (w *World) layDrifts(p *listener, i int) {
	d := roll(w.cfg.Seed, forDrift, i)
	for n := 1; n < w.cfg.Weeks; n++ {
		if d.chance(w.cfg.DriftPerWeek) {
			slot := d.below(p.count)
			next := w.newInterest(&d, p.languages)
			next.weight = p.interests[slot].weight
			p.drifts = append(p.drifts, drift{int32(n), int32(slot), next}) //nolint:gosec // small
		}
	}
}

// interestsIn are the interests of a week.
func (p *listener) interestsIn(week int) [interestsMax]interest {
	now := p.interests
	for _, d := range p.drifts {
		if int(d.week) <= week {
			now[d.slot] = d.interest
		}
	}
	return now
}

// Listeners lists everybody with a profile, bots included, those who join during the run too.
func (w *World) Listeners() iter.Seq[ListenerInfo] {
	return func(yield func(ListenerInfo) bool) {
		for i := range w.people {
			if !yield(w.Listener(i)) {
				return
			}
		}
	}
}

// Listener is the profile of one listener.
func (w *World) Listener(i int) ListenerInfo {
	p := &w.people[i]
	home := regionTable[p.region]
	info := ListenerInfo{
		Index: i, ID: w.users[i], Region: home.code, Zone: home.zone, Joined: time.UnixMilli(p.joined).UTC(), Bot: p.campaign >= 0,
	}
	for l, code := range languageCodes {
		if l != instrumental && p.languages>>l&1 == 1 {
			info.Languages = append(info.Languages, code)
		}
	}
	return info
}

// ListenerIndex is the inverse of ListenerInfo.ID; false for an id that is not of this world.
func (w *World) ListenerIndex(id string) (int, bool) { return indexOf(w.users, id) }

func userIDs(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("u%05d", i)
	}
	return ids
}

// songSet is an open-addressing hash set; a bitmap would cost songs/8 bytes for each listener.
type songSet struct {
	slots []int32 // song + 1, 0 = free; length is a power of two
	used  int
}

func (s *songSet) has(song int32) bool {
	if len(s.slots) == 0 {
		return false
	}
	mask := len(s.slots) - 1
	for i := int(uint32(song)*2654435769>>8) & mask; s.slots[i] != 0; i = (i + 1) & mask { //nolint:gosec // hash
		if s.slots[i] == song+1 {
			return true
		}
	}
	return false
}

// add puts song in and tells whether it was new.
func (s *songSet) add(song int32) bool {
	if s.has(song) {
		return false
	}
	if 2*(s.used+1) > len(s.slots) {
		old := s.slots
		s.slots, s.used = make([]int32, max(2*len(old), 32)), 0
		for _, v := range old {
			if v != 0 {
				s.add(v - 1)
			}
		}
	}
	mask := len(s.slots) - 1
	i := int(uint32(song)*2654435769>>8) & mask //nolint:gosec // hash
	for s.slots[i] != 0 {
		i = (i + 1) & mask
	}
	s.slots[i] = song + 1
	s.used++
	return true
}
