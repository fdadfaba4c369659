package trend

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"earworm/model/decay"
)

// ErrEncoding is returned, wrapped or not, for bytes that AppendBinary cannot have written.
var ErrEncoding = errors.New("not an encoded trend record")

// Season is the traffic of one region: how much more is heard now than on average, and what is usual among its plays. It
// cancels the hour, the weekday and days on which everybody listens. The zero value is empty and ready. It is not
// safe for concurrent use.
type Season struct {
	at, start, stepped int64 // newest observation, first observation, last Step
	// Decayed trusted listeners at `at`, by half-life.
	short, fast, long, slow float64
	// Decayed at the slow half-life: what Concentration compares with.
	unique, newAccounts, plays, shortPlays, repeats, likes float64
}

// Observe counts a bucket of any song of the region. Buckets may come in any order.
func (s *Season) Observe(p Params, b Bucket) {
	at := saneTime(b.At)
	if s.start == 0 {
		s.start, s.at = at, at
	}
	s.start = min(s.start, at)
	s.advance(p, at)
	weight := func(h time.Duration) float64 { return decay.HalfLife(h).Factor(at, s.at) } // < 1 when late
	trusted, slow := sane(b.Trusted), weight(p.SlowHalfLife)
	s.short += trusted * weight(p.ShortHalfLife)
	s.fast += trusted * weight(p.FastHalfLife)
	s.long += trusted * weight(p.LongHalfLife)
	s.slow += trusted * slow
	s.unique += sane(b.Unique) * slow
	s.newAccounts += sane(b.NewAccounts) * slow
	s.plays += sane(b.Plays) * slow
	s.shortPlays += sane(b.ShortPlays) * slow
	s.repeats += sane(b.TopPlays-1) * slow
	s.likes += sane(b.Likes) * slow
}

// Start returns the time of the first observation, 0 before any.
func (s *Season) Start() int64 { return s.start }

// advance decays every sum to at; an earlier time changes nothing.
func (s *Season) advance(p Params, at int64) {
	if at <= s.at {
		return
	}
	s.short *= decay.HalfLife(p.ShortHalfLife).Factor(s.at, at)
	s.fast *= decay.HalfLife(p.FastHalfLife).Factor(s.at, at)
	s.long *= decay.HalfLife(p.LongHalfLife).Factor(s.at, at)
	slow := decay.HalfLife(p.SlowHalfLife).Factor(s.at, at)
	for _, v := range [...]*float64{&s.slow, &s.unique, &s.newAccounts, &s.plays, &s.shortPlays, &s.repeats, &s.likes} {
		*v *= slow
	}
	s.at = at
}

// Index returns the traffic of the last hour as a multiple of the mean of the last week, σ, within [0.1, 10].
// At the time of a bucket it is the bucket's own width too fresh: 3 % high for five minutes, a tenth of what Psi forgives.
func (s *Season) Index(p Params, at int64) float64 {
	if s == nil || s.start == 0 {
		return 1
	}
	at = max(at, s.at)
	short := s.short * decay.HalfLife(p.ShortHalfLife).Factor(s.at, at)
	hours := exposure(p.ShortHalfLife, at-s.start)
	return bound((short+p.PriorTraffic*hours)/((s.rate(p, at)+p.PriorTraffic)*hours), 0.1, 10)
}

// rate is the mean trusted listeners per hour over the slow memory, or over the region's life if that is shorter.
func (s *Season) rate(p Params, at int64) float64 {
	return s.slow * decay.HalfLife(p.SlowHalfLife).Factor(s.at, at) / exposure(p.SlowHalfLife, at-s.start)
}

// climate is the season at one instant: what every song of a Step shares.
type climate struct {
	start    int64   // when the region's data began, 0 without a season
	hours    float64 // exposure of the fast memory
	fast     float64 // the region's recent listeners per hour of that exposure
	rate     float64 // its mean rate
	velocity float64 // its own growth
}

// climate reads the season; a nil or empty one is steady.
func (s *Season) climate(p Params, at int64) climate {
	if s == nil || s.start == 0 {
		return climate{hours: decay.HalfLife(p.FastHalfLife).Window()}
	}
	at = max(at, s.at)
	c := climate{start: s.start, hours: exposure(p.FastHalfLife, at-s.start), rate: s.rate(p, at)}
	c.fast = s.fast * decay.HalfLife(p.FastHalfLife).Factor(s.at, at) / c.hours
	short := s.short * decay.HalfLife(p.ShortHalfLife).Factor(s.at, at) / exposure(p.ShortHalfLife, at-s.start)
	long := s.long * decay.HalfLife(p.LongHalfLife).Factor(s.at, at) / exposure(p.LongHalfLife, at-s.start)
	c.velocity = math.Log((short + p.PriorTraffic) / (long + p.PriorTraffic))
	return c
}

// recent is X_f = ∫σ·2^(−age/h_f), in hours: the season seen through the fast memory. The mean rate hardly moves within
// hours, so the integral is a quotient of two decayed counts. The song's own listeners, fast of them recent at
// a usual rate, are left out: a song that makes up much of a small region must not hide behind itself.
func (c climate) recent(p Params, fast, rate float64) float64 {
	others, mean := max(c.fast-fast/c.hours, 0), max(c.rate-rate, 0)
	return c.hours * bound((others+p.PriorTraffic)/(mean+p.PriorTraffic), 0.1, 10)
}

// exposure is ∫2^(−age/h) over the last elapsed milliseconds, in hours; at least a minute's worth.
func exposure(h time.Duration, elapsed int64) float64 {
	half := decay.HalfLife(h)
	return half.Window() * (1 - half.Factor(0, max(elapsed, minuteMs)))
}

func bound(v, low, high float64) float64 { return min(max(v, low), high) }

// Divide makes the season that of one of n equal shares of the region's songs. The sums are sums over songs, the times stay.
func (s *Season) Divide(n float64) {
	for _, v := range s.sums() {
		*v /= n
	}
}

// SteppedAt returns the event time of the region's last Step, Unix ms; 0 before any.
func (s *Season) SteppedAt() int64 { return s.stepped }

// seasonBytes is the encoded size of a Season.
const seasonBytes = 13 * 8

func (s *Season) sums() [10]*float64 {
	return [...]*float64{
		&s.short, &s.fast, &s.long, &s.slow, &s.unique, &s.newAccounts, &s.plays, &s.shortPlays, &s.repeats, &s.likes,
	}
}

// AppendBinary appends the season, exactly. The version byte is the container's.
func (s *Season) AppendBinary(dst []byte) []byte {
	for _, at := range [...]int64{s.at, s.start, s.stepped} {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(at)) //nolint:gosec // times are clamped to 48 bits.
	}
	for _, v := range s.sums() {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(*v))
	}
	return dst
}

// UnmarshalBinary replaces the season by the one at the front of b and returns what follows. On ErrEncoding the
// season is unchanged.
func (s *Season) UnmarshalBinary(b []byte) (rest []byte, err error) {
	if len(b) < seasonBytes {
		return nil, ErrEncoding
	}
	var read Season
	for _, at := range [...]*int64{&read.at, &read.start, &read.stepped} {
		v := binary.LittleEndian.Uint64(b)
		if v > maxTime {
			return nil, ErrEncoding
		}
		*at, b = int64(v), b[8:]
	}
	for _, v := range read.sums() {
		*v, b = math.Float64frombits(binary.LittleEndian.Uint64(b)), b[8:]
		if !(*v >= 0) || math.IsInf(*v, 0) {
			return nil, ErrEncoding
		}
	}
	if read.start > read.at {
		return nil, ErrEncoding
	}
	*s = read
	return b, nil
}
