package trend

import (
	"encoding/binary"
	"math"
	"time"

	"earworm/model/decay"
)

// State counts the trusted listeners of one song in one region and remembers its episode. The zero value is empty and
// ready. It is not safe for concurrent use. Its fields have the precision in which they are stored, so a state
// that was written and read again behaves like one that never left.
type State struct {
	// Fast, Slow, Short and Long are decayed counts of trusted listeners at At; Slow is without season, winsorised.
	Fast, Slow, Short, Long float32
	// At is the time of the newest observation, Unix ms.
	At int64

	born    uint32 // first observation or release, minutes; 0 = none yet
	started uint32 // alarm of the present episode, minutes; 0 = none
	since   uint32 // in an episode: since when z is low; else: since when an alarm waits for its guard; minutes
	peak    uint16 // highest z of the episode, in 1/256
	over    uint8  // lowest three bits: were the last ticks over the threshold
	guard   guard
	told    bool // the quarantine of the present episode was announced
	reason  Reason
}

// guard is what Concentration said of the song.
type guard uint8

const (
	guardSilent guard = iota
	guardClean
	guardQuarantined
)

// Observe counts trusted listeners of the song at an event time (Unix ms). season may be nil. Observe the bucket in
// the season first. A late weight is decayed to the state's clock, which it does not move. NaN, infinite and
// non-positive weights are refused.
func (s *State) Observe(p Params, season *Season, at int64, weight float64) {
	if math.IsInf(weight, 0) || !(weight > 0) {
		return
	}
	weight, at = sane(weight), saneTime(at)
	if s.At == 0 {
		s.At = at
	}
	if m := max(minute(at), 1); s.born == 0 || m < s.born {
		s.born = m
	}
	if at > s.At {
		s.Fast = shrink(s.Fast, p.FastHalfLife, s.At, at)
		s.Slow = shrink(s.Slow, p.SlowHalfLife, s.At, at)
		s.Short = shrink(s.Short, p.ShortHalfLife, s.At, at)
		s.Long = shrink(s.Long, p.LongHalfLife, s.At, at)
		s.At = at
	}
	v := float32(weight)
	s.Fast += shrink(v, p.FastHalfLife, at, s.At)
	s.Short += shrink(v, p.ShortHalfLife, at, s.At)
	s.Long += shrink(v, p.LongHalfLife, at, s.At)
	s.Slow += shrink(float32(weight*s.adoption(p, season)/season.Index(p, at)), p.SlowHalfLife, at, s.At)
}

func shrink(v float32, h time.Duration, from, to int64) float32 {
	if v == 0 || to <= from {
		return v
	}
	return float32(float64(v) * decay.HalfLife(h).Factor(from, to))
}

// adoption is the share of a listener that counts for the usual rate. Where more come than Winsor times the usual, the
// excess does not count, so a burst hardly raises what is expected after it. During an episode the rate stays as it was: it
// takes in as much as it forgets. After Hold the new level is adopted, or a song that stays popular would trend for ever.
func (s *State) adoption(p Params, season *Season) float64 {
	limit := p.Winsor
	if s.started != 0 && s.At-s.startedAt() < p.Hold.Milliseconds() {
		limit = 1
	}
	// Below this many recent listeners nothing is a burst.
	const few = 2
	fast := float64(s.Fast)
	if fast <= limit*few {
		return 1
	}
	c := season.climate(p, s.At)
	rate, _ := s.usual(p, c, s.At, float64(s.Slow))
	expected := rate * c.recent(p, fast, rate)
	return min(limit*max(expected, few)/fast, 1)
}

// usual returns the posterior rate λ = a/b of trusted listeners per hour of mean traffic, and its shape a.
//
// With the gamma prior (a0, b0) and an exponential kernel, which has mean λτ and variance λτ/2, twice the count is
// nearly Poisson(2λτ): a = a0 + 2S, b = b0 + 2τ (models.md C.2). τ is the exposure since the song or the region
// began, not the full window: else all songs of a young region and all new songs would look as if they had just risen.
func (s *State) usual(p Params, c climate, at int64, slow float64) (rate, shape float64) {
	began := max(int64(s.born)*minuteMs, c.start)
	shape = p.PriorListeners + 2*slow
	return shape / (p.PriorHours + 2*exposure(p.SlowHalfLife, at-began)), shape
}

// Released tells when the song came out, so that a song which is old but was never heard is not taken for a new one. The
// region's own beginning bounds it.
func (s *State) Released(at int64) {
	if m := max(minute(at), 1); s.born == 0 || m < s.born {
		s.born = m
	}
}

// Active reports whether the state must take part in Step at a time: enough recent listeners, or an episode or alarm in
// progress. States that are not active need not be visited.
func (s *State) Active(p Params, at int64) bool {
	if s.started != 0 || s.over != 0 {
		return true
	}
	return float64(s.Fast) >= p.ActiveListeners && float64(shrink(s.Fast, p.FastHalfLife, s.At, at)) >= p.ActiveListeners
}

// Idle reports whether the state may be forgotten: no episode, and next to nothing heard within its memories. A new state
// would read the same, if it is told when the song was released.
func (s *State) Idle(p Params, at int64) bool {
	const nothing = 0.01
	return s.started == 0 && s.over == 0 && float64(shrink(s.Slow, p.SlowHalfLife, s.At, at)) < nothing &&
		float64(shrink(s.Long, p.LongHalfLife, s.At, at)) < nothing
}

// Trending reports whether the song is in an episode that is not quarantined.
func (s *State) Trending() bool { return s.started != 0 && s.guard != guardQuarantined }

// Quarantined returns why the present episode is quarantined, ReasonNone if it is not or there is none.
func (s *State) Quarantined() Reason {
	if s.started == 0 || s.guard != guardQuarantined {
		return ReasonNone
	}
	return s.reason
}

// StartedAt returns the time of the alarm of the present episode, in Unix ms to the minute; 0 = no episode.
func (s *State) StartedAt() int64 { return s.startedAt() }

func (s *State) startedAt() int64 { return int64(s.started) * minuteMs }

// Peak returns the highest z of the present episode.
func (s *State) Peak() float64 { return float64(s.peak) / 256 }

// Judged tells the state what its Concentration says; call it before Step while the state is active. A quarantine is kept
// until the episode ends.
func (s *State) Judged(j Judgement) {
	switch {
	case s.started != 0 && s.guard == guardQuarantined:
	case j.Reason != ReasonNone:
		s.guard, s.reason = guardQuarantined, j.Reason
	case j.Enough:
		s.guard, s.reason = guardClean, ReasonNone
	default:
		s.guard, s.reason = guardSilent, ReasonNone
	}
}

// StateBytes is the encoded size of a State.
const StateBytes = 4*4 + 6 + 3*4 + 2 + 2

// AppendBinary appends the state in StateBytes bytes, exactly. The version byte is the container's.
func (s *State) AppendBinary(dst []byte) []byte {
	for _, v := range [...]float32{s.Fast, s.Slow, s.Short, s.Long} {
		dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(v))
	}
	dst = appendTime(dst, s.At)
	for _, m := range [...]uint32{s.born, s.started, s.since} {
		dst = binary.LittleEndian.AppendUint32(dst, m)
	}
	dst = binary.LittleEndian.AppendUint16(dst, s.peak)
	flags := s.over | byte(s.guard)<<3
	if s.told {
		flags |= 1 << 5
	}
	return append(dst, flags, byte(s.reason))
}

// UnmarshalBinary replaces the state by the one at the front of b and returns what follows. On ErrEncoding the state is
// unchanged.
func (s *State) UnmarshalBinary(b []byte) (rest []byte, err error) {
	if len(b) < StateBytes {
		return nil, ErrEncoding
	}
	var read State
	for _, v := range [...]*float32{&read.Fast, &read.Slow, &read.Short, &read.Long} {
		*v, b = math.Float32frombits(binary.LittleEndian.Uint32(b)), b[4:]
		if !(*v >= 0) || math.IsInf(float64(*v), 0) {
			return nil, ErrEncoding
		}
	}
	read.At, b = readTime(b)
	for _, m := range [...]*uint32{&read.born, &read.started, &read.since} {
		*m, b = binary.LittleEndian.Uint32(b), b[4:]
	}
	read.peak, b = binary.LittleEndian.Uint16(b), b[2:]
	read.over, read.guard, read.told, read.reason = b[0]&7, guard(b[0]>>3&3), b[0]>>5&1 == 1, Reason(b[1])
	if b[0]>>6 != 0 || read.guard > guardQuarantined || read.reason >= reasonCount {
		return nil, ErrEncoding
	}
	*s = read
	return b[2:], nil
}

func appendTime(dst []byte, at int64) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(at))      //nolint:gosec // low half.
	return binary.LittleEndian.AppendUint16(dst, uint16(at>>32)) //nolint:gosec // clamped to 48 bits.
}

func readTime(b []byte) (int64, []byte) {
	return int64(binary.LittleEndian.Uint32(b)) | int64(binary.LittleEndian.Uint16(b[4:]))<<32, b[6:]
}
