package trend

import (
	"math"
	"slices"
)

// Status is what a Step says about one state.
type Status uint8

// The statuses. Started, Quarantined and Ended are said once per episode.
const (
	StatusNone        Status = iota // no episode
	StatusStarted                   // the song began to trend
	StatusOngoing                   // it still does
	StatusQuarantined               // an alarm, or an episode until now, whose plays look bought: not to be recommended
	StatusEnded                     // the episode is over
)

// String returns the status in lower case.
func (s Status) String() string {
	names := [...]string{"none", "started", "ongoing", "quarantined", "ended"}
	if int(s) >= len(names) {
		return "unknown"
	}
	return names[s]
}

// Verdict is what a Step says about one state.
type Verdict struct {
	State  *State
	Status Status
	Reading
	// StartedAt is the alarm of the episode, Unix ms to the minute; 0 without one. Reason is why the episode is
	// quarantined. Both are those of the episode that ends when Status is StatusEnded; Reason is none then if StatusQuarantined was not said.
	StartedAt int64
	Reason    Reason
}

// Detector evaluates the active states of a region together. It keeps no state but its buffers; it is not safe for
// concurrent use.
type Detector struct {
	params   Params
	verdicts []Verdict
	scores   []float64
}

// NewDetector returns a detector.
func NewDetector(p Params) *Detector { return &Detector{params: p} }

// Step is NewDetector(p).Step for callers that do not mind the allocation.
func Step(p Params, season *Season, at int64, active []*State) []Verdict {
	return NewDetector(p).Step(season, at, active)
}

// Step evaluates the states of one region at an event time, normally every five minutes, and moves their episodes on. Pass
// every state of which Active is true, in one call: alarms are decided among them. There is one verdict per state, in the order
// given, valid until the next Step. A Step at or before the season's last one reads and changes nothing: a tick that
// arrives twice counts once.
func (d *Detector) Step(season *Season, at int64, active []*State) []Verdict {
	at = saneTime(at)
	moved := true
	if season != nil {
		moved = at > season.stepped
		season.stepped = max(season.stepped, at)
	}
	d.verdicts, d.scores = d.verdicts[:0], d.scores[:0]
	c := season.climate(d.params, at)
	for _, s := range active {
		v := Verdict{State: s, Reading: s.read(d.params, c, at)}
		d.verdicts = append(d.verdicts, v)
		d.scores = append(d.scores, v.Z)
	}
	threshold := math.Inf(1)
	if season == nil || at-season.start >= d.params.WarmUp.Milliseconds() {
		threshold = max(d.params.MinZ, significant(d.scores, d.params.FalseDiscovery))
	}
	for i := range d.verdicts {
		v := &d.verdicts[i]
		if moved {
			v.move(d.params, at, d.alarm(v, threshold))
		} else {
			v.keep()
		}
	}
	return d.verdicts
}

func (d *Detector) alarm(v *Verdict, threshold float64) bool {
	ratio := d.params.MinRatio
	if v.New {
		ratio = max(ratio, d.params.MinRatioNew)
	}
	return v.Z >= threshold && v.Ratio >= ratio && v.Listeners >= d.params.MinListeners
}

// significant returns the least z that the Benjamini–Hochberg procedure rejects at level q, +Inf if none: the k-th
// largest z for the largest k whose one-sided p is at most q·k/m. It reorders z.
func significant(z []float64, q float64) float64 {
	m := float64(len(z))
	// Nothing with p > q can be rejected, whatever its rank: sort the few that are left, and what rounding hides.
	floor := math.Sqrt2*math.Erfinv(1-2*q) - 1e-9
	candidates := z[:0]
	for _, v := range z {
		if v >= floor {
			candidates = append(candidates, v)
		}
	}
	slices.Sort(candidates)
	for i, v := range candidates { // ascending: the first hit has the largest k
		k := float64(len(candidates) - i)
		if 0.5*math.Erfc(v/math.Sqrt2) <= q*k/m {
			return v
		}
	}
	return math.Inf(1)
}

// keep states the episode without moving it.
func (v *Verdict) keep() {
	v.Status, v.StartedAt, v.Reason = StatusNone, v.State.startedAt(), v.State.Quarantined()
	if v.State.Trending() {
		v.Status = StatusOngoing
	}
}

// move advances the episode by one tick.
func (v *Verdict) move(p Params, at int64, alarm bool) {
	s := v.State
	s.over = s.over << 1 & 7
	if alarm {
		s.over |= 1
	}
	if s.started == 0 {
		v.begin(p, at)
		return
	}
	s.peak = max(s.peak, fixed(v.Z))
	v.StartedAt, v.Reason = s.startedAt(), s.Quarantined()
	switch {
	case v.Z >= p.ClearZ:
		s.since = 0
	case s.since == 0:
		s.since = max(minute(at), 1)
	case at-int64(s.since)*minuteMs >= p.ClearAfter.Milliseconds():
		if !s.told {
			v.Reason = ReasonNone // found on this very tick: the episode ends as one that was never quarantined
		}
		s.started, s.since, s.peak, s.over = 0, 0, 0, 0
		s.guard, s.reason, s.told = guardSilent, ReasonNone, false
		v.Status = StatusEnded
		return
	}
	switch {
	case v.Reason == ReasonNone:
		v.Status = StatusOngoing
	case !s.told:
		s.told, v.Status = true, StatusQuarantined
	}
}

// begin starts an episode when two of the last three ticks were over and the guard has spoken or had its time.
func (v *Verdict) begin(p Params, at int64) {
	s := v.State
	if s.over&(s.over-1) == 0 { // fewer than two bits
		if s.over == 0 {
			s.since = 0
		}
		return
	}
	if s.since == 0 {
		s.since = max(minute(at), 1)
	}
	if s.guard == guardSilent && at-int64(s.since)*minuteMs < p.Guard.Wait.Milliseconds() {
		return
	}
	s.started, s.since, s.peak = max(minute(at), 1), 0, fixed(v.Z)
	v.StartedAt, v.Reason, v.Status = s.startedAt(), s.Quarantined(), StatusStarted
	if v.Reason != ReasonNone {
		s.told, v.Status = true, StatusQuarantined
	}
}

// fixed returns z as states keep it, in 1/256.
func fixed(z float64) uint16 { return uint16(bound(z*256, 0, math.MaxUint16)) }
