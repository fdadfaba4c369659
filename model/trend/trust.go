package trend

import (
	"encoding/binary"
	"math"
	"math/bits"

	"earworm/model/decay"
)

// TrustPlay is one play of a listener as Trust sees it.
type TrustPlay struct {
	// At is the event time in Unix ms.
	At int64
	// Song and Artist are hashes; 0 is unknown.
	Song, Artist uint64
	// PlayedMs is the time heard, negative if unknown.
	PlayedMs int64
}

// A play that ends at 30 to 36 s ends just after it is paid for.
const (
	shortFromMs = 30_000
	shortToMs   = 36_000
)

const (
	dayMs     = 24 * 60 * minuteMs
	hourMs    = 60 * minuteMs
	artistBin = 8
)

// Trust holds what tells a listener from a bot (models.md C.4): the account's age, plays a day, plays that end just after 30
// s, days without sleep, one song above all others, no variety of artists. The zero value knows nothing. It is not safe for
// concurrent use.
type Trust struct {
	firstAt, at int64
	// Decayed to at: plays, those of 30–36 s, the majority vote for the top song (Boyer, Moore 1981, with decayed votes)
	// and the plays of the song that leads it, since it leads.
	plays, short, votes, top float32
	song                     uint64
	day, busyDay             uint16 // days of Unix time
	hours                    uint32 // active hours of day, as bits
	busy                     uint8  // busy days, the last of them busyDay
	artists                  [artistBin]uint8
}

// Since tells when the account was made, if that is before its first play.
func (t *Trust) Since(at int64) {
	if at = max(saneTime(at), 1); t.firstAt == 0 || at < t.firstAt {
		t.firstAt = at
	}
}

// Observe counts one play. Plays may come in any order; the hours of days gone by are not counted late.
func (t *Trust) Observe(p Params, play TrustPlay) {
	at := saneTime(play.At)
	t.Since(at)
	if t.at == 0 {
		t.at = at
	}
	if at > t.at {
		for _, v := range [...]*float32{&t.plays, &t.short, &t.votes, &t.top} {
			*v = shrink(*v, p.Trust.HalfLife, t.at, at)
		}
		t.at = at
	}
	weight := float32(decay.HalfLife(p.Trust.HalfLife).Factor(at, t.at)) // < 1 when late
	t.plays += weight
	if play.PlayedMs >= shortFromMs && play.PlayedMs <= shortToMs {
		t.short += weight
	}
	t.vote(play.Song, weight)
	t.active(p, at)
	if play.Artist != 0 {
		bin := &t.artists[play.Artist*0x9e3779b97f4a7c15>>61]
		if *bin++; *bin == math.MaxUint8 {
			for i := range t.artists {
				t.artists[i] /= 2
			}
		}
	}
}

func (t *Trust) vote(song uint64, weight float32) {
	switch {
	case song == 0:
	case song == t.song:
		t.votes += weight
		t.top += weight
	case t.votes >= weight:
		t.votes -= weight
	default:
		t.song, t.votes, t.top = song, weight-t.votes, weight
	}
}

func (t *Trust) active(p Params, at int64) {
	day := uint16(min(at/dayMs, math.MaxUint16)) //nolint:gosec // bounded.
	if day > t.day {
		t.busy, t.busyDay = t.busyDays(p, t.day)
		t.day, t.hours = day, 0
	}
	if day == t.day {
		t.hours |= 1 << (at % dayMs / hourMs)
	}
}

// busyDays returns the count of busy days as it stands on a day not before the newest one, and the last of them.
func (t *Trust) busyDays(p Params, day uint16) (busy uint8, last uint16) {
	busy, last = t.busy, t.busyDay
	if bits.OnesCount32(t.hours) >= p.Trust.BusyHours {
		busy, last = min(busy+1, 200), t.day
	}
	if int64(day)-int64(last) > p.Trust.BusyMemory.Milliseconds()/dayMs {
		busy = 0
	}
	return busy, last
}

// New reports whether the account is younger than YoungAge at an event time; a listener of whom nothing is known is.
func (t *Trust) New(p Params, at int64) bool {
	return t.firstAt == 0 || at-t.firstAt < p.Trust.YoungAge.Milliseconds()
}

// Weight returns how much the listener counts, in [0, 1]: the product of one ramp per suspicion. It is a smoothed step and
// not a threshold, so nobody flips from one to nothing by one play.
func (t *Trust) Weight(p Params, at int64) float64 {
	r := p.Trust
	at = max(saneTime(at), t.at)
	if t.firstAt == 0 {
		return r.YoungWeight
	}
	age := at - t.firstAt
	weight := ramp(float64(age), float64(r.YoungAge.Milliseconds()), float64(r.GrownAge.Milliseconds()), r.YoungWeight, 1)

	plays := float64(shrink(t.plays, r.HalfLife, t.at, at))
	perDay := plays / max(exposure(r.HalfLife, age)/24, 1)
	weight *= ramp(perDay, r.ManyPlays, r.TooManyPlays, 1, 0)
	if t.plays >= float32(r.MinPlays) {
		weight *= ramp(float64(t.short/t.plays), r.ShortPlays, r.TooShortPlays, 1, r.SuspectWeight)
	}
	if t.plays >= float32(5*r.MinPlays) {
		weight *= ramp(float64(t.top/t.plays), r.TopShare, r.TooTopShare, 1, r.SuspectWeight)
	}
	busy, _ := t.busyDays(p, uint16(min(at/dayMs, math.MaxUint16))) //nolint:gosec // bounded.
	weight *= ramp(float64(busy), 0, float64(r.BusyDays), 1, r.SuspectWeight)
	if entropy, n := t.variety(); n >= 3*r.MinPlays {
		weight *= ramp(entropy, r.NarrowEntropy, r.FairEntropy, r.NarrowWeight, 1)
	}
	return bound(weight, 0, 1)
}

// variety returns the entropy in bits of the artists heard, hashed to eight bins, and the number of plays it rests on.
func (t *Trust) variety() (entropy, n float64) {
	for _, c := range t.artists {
		n += float64(c)
	}
	for _, c := range t.artists {
		if c > 0 {
			share := float64(c) / n
			entropy -= share * math.Log2(share)
		}
	}
	return entropy, n
}

// ramp goes from `before` at low to `after` at high along 3u²−2u³: a logistic curve that reaches both ends.
func ramp(x, low, high, before, after float64) float64 {
	if x >= high {
		return after
	}
	u := max((x-low)/(high-low), 0)
	return before + (after-before)*u*u*(3-2*u)
}

const (
	trustVersion = 1
	// TrustBytes is the encoded size of a Trust.
	TrustBytes = 1 + 6 + 6 + 4*4 + 8 + 2 + 2 + 3 + 1 + artistBin
)

// AppendBinary appends the listener's record in TrustBytes bytes, exactly.
func (t *Trust) AppendBinary(dst []byte) []byte {
	dst = appendTime(appendTime(append(dst, trustVersion), t.firstAt), t.at)
	for _, v := range [...]float32{t.plays, t.short, t.votes, t.top} {
		dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(v))
	}
	dst = binary.LittleEndian.AppendUint64(dst, t.song)
	dst = binary.LittleEndian.AppendUint16(dst, t.day)
	dst = binary.LittleEndian.AppendUint16(dst, t.busyDay)
	// hours has 24 bits: the fourth byte has room for the busy days.
	dst = binary.LittleEndian.AppendUint32(dst, t.hours|uint32(t.busy)<<24)
	return append(dst, t.artists[:]...)
}

// UnmarshalBinary replaces the record by the one in b, which must hold nothing else. On ErrEncoding it is unchanged.
func (t *Trust) UnmarshalBinary(b []byte) error {
	if len(b) != TrustBytes || b[0] != trustVersion {
		return ErrEncoding
	}
	var read Trust
	read.firstAt, b = readTime(b[1:])
	read.at, b = readTime(b)
	for _, v := range [...]*float32{&read.plays, &read.short, &read.votes, &read.top} {
		*v, b = math.Float32frombits(binary.LittleEndian.Uint32(b)), b[4:]
		if !(*v >= 0) || math.IsInf(float64(*v), 0) {
			return ErrEncoding
		}
	}
	read.song = binary.LittleEndian.Uint64(b)
	read.day, read.busyDay = binary.LittleEndian.Uint16(b[8:]), binary.LittleEndian.Uint16(b[10:])
	read.hours, read.busy = binary.LittleEndian.Uint32(b[12:])&(1<<24-1), b[15]
	copy(read.artists[:], b[16:])
	*t = read
	return nil
}
