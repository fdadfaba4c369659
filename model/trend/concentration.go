package trend

import (
	"encoding/binary"
	"math"

	"earworm/model/decay"
)

// Reason is why a song is quarantined.
type Reason uint8

// The reasons, in the order in which they are looked for.
const (
	ReasonNone        Reason = iota
	ReasonUntrusted          // its listeners are trusted far less than others
	ReasonShortPlays         // its plays end just after they are paid for
	ReasonRepeats            // few listeners play it again and again
	ReasonTopShare           // one listener's repeats are most of its plays
	ReasonNewAccounts        // its listeners' accounts are new
	ReasonNoLikes            // nobody likes or saves it
	reasonCount
)

// String returns the code of the reason, "" for ReasonNone.
func (r Reason) String() string {
	codes := [...]string{"", "untrusted", "short_plays", "repeats", "top_share", "new_accounts", "no_likes"}
	if int(r) >= len(codes) {
		return "unknown"
	}
	return codes[r]
}

// Judgement is what a Concentration says.
type Judgement struct {
	// Reason is why the song is to be quarantined; ReasonNone: it is not.
	Reason Reason
	// Enough: there is evidence enough to say so.
	Enough bool
}

// Concentration sums where the plays of one active song come from. Keep one per song and region while State.Active, or one
// per song for all regions. The zero value is empty and ready. It is not safe for concurrent use.
type Concentration struct {
	at                                                              int64
	unique, trusted, newAccounts, plays, shortPlays, repeats, likes float32
}

// Observe counts a bucket of the song. Buckets may come in any order.
func (c *Concentration) Observe(p Params, b Bucket) {
	at := saneTime(b.At)
	if c.at == 0 {
		c.at = at
	}
	if at > c.at {
		for _, v := range c.sums() {
			*v = shrink(*v, p.Guard.HalfLife, c.at, at)
		}
		c.at = at
	}
	weight := decay.HalfLife(p.Guard.HalfLife).Factor(at, c.at) // < 1 when late
	for _, add := range [...]struct {
		to *float32
		v  float64
	}{
		{&c.unique, b.Unique},
		{&c.trusted, b.Trusted},
		{&c.newAccounts, b.NewAccounts},
		{&c.plays, b.Plays},
		{&c.shortPlays, b.ShortPlays},
		{&c.repeats, b.TopPlays - 1},
		{&c.likes, b.Likes},
	} {
		*add.to += float32(sane(add.v) * weight)
	}
}

// Judge weighs the evidence against what is usual in the region; season may be nil, then nothing is known to be usual.
//
// Each rule asks for an absolute bound, a multiple of the region's usual value and, for shares, a binomial z: a region
// in which everybody is new, or a catalogue of thirty-second songs, is not fraud.
func (c *Concentration) Judge(p Params, season *Season) Judgement {
	g := p.Guard
	unique, plays := float64(c.unique), float64(c.plays)
	enough := unique >= g.MinUnique || plays >= g.MinPlays
	if !enough {
		return Judgement{}
	}
	usual := season.habits()
	reason := ReasonNone
	switch {
	case unique >= g.MinUnique && float64(c.trusted) < g.TrustShare*usual.trust*unique:
		reason = ReasonUntrusted
	case g.excessive(float64(c.shortPlays), plays, g.ShortShare, usual.shortPlays):
		reason = ReasonShortPlays
	case plays >= g.MinPlays && plays > max(g.Repeats, g.Excess*usual.repeats)*max(unique, 1):
		reason = ReasonRepeats
	case plays >= g.MinPlays && g.excessive(float64(c.repeats), plays, g.TopShare, usual.topShare):
		reason = ReasonTopShare
	case g.excessive(float64(c.newAccounts), unique, g.NewShare, usual.newAccounts):
		reason = ReasonNewAccounts
	case plays*usual.likes >= g.ExpectedLikes && float64(c.likes) < plays*usual.likes/20:
		reason = ReasonNoLikes
	}
	return Judgement{Reason: reason, Enough: true}
}

// excessive reports whether hits of n exceed a bound, a multiple of the usual share, and chance. The usual share is at least
// one in fifty, so that a first oddity in a spotless region is not a miracle.
func (g GuardParams) excessive(hits, n, bound, usual float64) bool {
	usual = max(usual, 0.02)
	if n <= 0 || usual >= 1 || hits <= bound*n || hits <= g.Excess*usual*n {
		return false
	}
	return hits-usual*n > g.Significance*math.Sqrt(n*usual*(1-usual))
}

// Trust returns the mean trust of the song's listeners, 1 before any.
func (c *Concentration) Trust() float64 {
	if !(c.unique > 0) {
		return 1
	}
	return bound(float64(c.trusted/c.unique), 0, 1)
}

// habits are the usual values of a region.
type habits struct {
	trust, newAccounts, shortPlays, topShare, likes float64
	repeats                                         float64 // plays per unique listener
}

// habits weighs what was seen against an imagined hundred ordinary listeners, so that a region's first hours, which may be
// all fraud, do not define what is ordinary.
func (s *Season) habits() habits {
	const listeners, plays = 100, 150
	if s == nil {
		s = &Season{}
	}
	return habits{
		trust:       min((s.slow+listeners)/(s.unique+listeners), 1),
		newAccounts: bound((s.newAccounts+0.1*listeners)/(s.unique+listeners), 0, 1),
		shortPlays:  bound((s.shortPlays+0.02*plays)/(s.plays+plays), 0, 1),
		topShare:    bound((s.repeats+0.02*plays)/(s.plays+plays), 0, 1),
		likes:       s.likes / (s.plays + plays),
		repeats:     (s.plays + plays) / (s.unique + listeners),
	}
}

func (c *Concentration) sums() [7]*float32 {
	return [...]*float32{
		&c.unique, &c.trusted, &c.newAccounts, &c.plays, &c.shortPlays, &c.repeats, &c.likes,
	}
}

// concentrationBytes is the encoded size of a Concentration.
const concentrationBytes = 6 + 7*4

// AppendBinary appends the sums, exactly. The version byte is the container's.
func (c *Concentration) AppendBinary(dst []byte) []byte {
	dst = appendTime(dst, c.at)
	for _, v := range c.sums() {
		dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(*v))
	}
	return dst
}

// UnmarshalBinary replaces the sums by those at the front of b and returns what follows. On ErrEncoding they are
// unchanged.
func (c *Concentration) UnmarshalBinary(b []byte) (rest []byte, err error) {
	if len(b) < concentrationBytes {
		return nil, ErrEncoding
	}
	var read Concentration
	read.at, b = readTime(b)
	for _, v := range read.sums() {
		*v, b = math.Float32frombits(binary.LittleEndian.Uint32(b)), b[4:]
		if !(*v >= 0) || math.IsInf(float64(*v), 0) {
			return nil, ErrEncoding
		}
	}
	*c = read
	return b, nil
}
