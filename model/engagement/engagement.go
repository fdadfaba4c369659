package engagement

import "math"

// Signal is what a listener did. It mirrors the event kinds on the model's side.
type Signal uint8

// The signals. The zero Signal is not one, and is worth nothing.
const (
	Play Signal = iota + 1
	Skip
	Like
	Unlike
	Dislike
	Ban
	PlaylistAdd
	Share
)

// The value table. Sources: models.md §E for the figures; the 50 % threshold is Yambda's Listen+; the share of
// early skips it is calibrated against (24 % before 5 s, a third before 30 s) is Lamere's, 2014.
const (
	LikeValue        = 2.0
	PlaylistAddValue = 2.5
	ShareValue       = 2.5
	DislikeValue     = -4.0 // the caller also filters the song
	BanValue         = -4.0

	SearchBonus = 0.7 // a full listen the listener searched for
	ReplayBonus = 0.3 // a full listen within 24 h of the last

	rejected     = -0.6 // given up at once
	sampled      = -0.2 // the same while the listener was scanning songs of their own choice
	passiveScale = 0.6  // nobody touched the player for 45 minutes: it may be playing to an empty room
	skipUnknown  = -0.3 // a skip that does not say where: half-way between rejected and indifferent
	playUnknown  = 0.75 // a play that does not say how long: the middle of the values of full listens

	instantMs      = 5_000
	earlyMs        = 10_000
	fullUnknownMs  = 30_000  // the industry's threshold of a counted stream
	typicalMs      = 200_000 // stands for a duration nobody told
	indifferent    = 0.3     // fraction heard below which a listen is a no
	full           = 0.5     // fraction heard from which it is a yes
	rejectedShare  = 0.1     // fraction heard below which a song that was put before the listener is a no
	almostFull     = 0.4     // value just below full
	minHurry       = 0.5
	maxHurry       = 2.0
	confidenceUnit = 0.5 // ε
	maxConfidence  = 5.0
)

// Min and Max bound every Value.
const (
	Min = -4.0
	Max = 2.5
)

// Listen is one event as the value table sees it. Lengths are milliseconds; 0 or less than 0 is unknown for
// DurationMs, less than 0 for the others.
type Listen struct {
	Signal Signal
	// PlayedMs is the time heard. Where it is unknown, PositionMs, where in the song a skip happened, stands in.
	PlayedMs, DurationMs, PositionMs int64
	// Autoplay: the song was chosen for the listener (autoplay, radio, recommendation).
	Autoplay bool
	// Searched: the listener looked for it, or scans a playlist of their own.
	Searched bool
	// Passive: no interaction with the player for 45 minutes or more.
	Passive bool
	// Replay: the listener had heard the song within the 24 hours before.
	Replay bool
	// SkipRatio scales the negative part for hurried listeners: see Hurry. 0 and NaN mean 1.
	SkipRatio float64
}

// Hurry returns Listen.SkipRatio for a listener who skips the given share of plays among listeners who skip
// mean: (1−own)/(1−mean) within [0.5, 2]. The skips of someone who skips everything say little. A share outside
// [0, 1] gives 1.
func Hurry(own, mean float64) float64 {
	if !(own >= 0 && own <= 1) || !(mean >= 0 && mean < 1) {
		return 1
	}
	return min(max((1-own)/(1-mean), minHurry), maxHurry)
}

// Value returns the engagement value of one event, within [Min, Max].
//
// For plays and skips, with f the fraction heard: −0.6 for less than 5 s of a song chosen for the listener;
// −0.6 rising to 0 for f < 0.3; 0 to 0.4 below one half; 0.5 to 1 from there. models.md prints the first slope
// as 1.2/0.3, which would be +0.6 at f = 0.3 and fall back to 0; we keep it monotone. Negative values are a
// third for searched songs and scale with SkipRatio; passive listening counts 0.6.
func Value(l Listen) float64 {
	switch l.Signal {
	case Play, Skip:
		return heardValue(l)
	case Like:
		return LikeValue
	case Unlike:
		return -LikeValue // takes the like back
	case Dislike:
		return DislikeValue
	case Ban:
		return BanValue
	case PlaylistAdd:
		return PlaylistAddValue
	case Share:
		return ShareValue
	default:
		return 0
	}
}

// Undoes returns the signal that s takes back, and false when it takes none back. The caller uses it to take
// back exactly what was counted, and to lift filters.
func Undoes(s Signal) (Signal, bool) {
	switch s {
	case Unlike:
		return Like, true
	case Like: // a like after a dislike is a change of mind
		return Dislike, true
	default:
		return 0, false
	}
}

// FullListen reports whether the event is a listen the model learns from as a positive: at least half of the
// song; at least 30 s when its duration is unknown; and any play that tells no length at all.
func FullListen(l Listen) bool {
	if l.Signal != Play && l.Signal != Skip {
		return false
	}
	fraction, _, known := heard(l)
	if !known {
		return l.Signal == Play
	}
	return fraction >= full
}

// EarlySkip reports whether the listener gave the song up within 10 s: known to have heard less than that, and
// less than half of it.
func EarlySkip(l Listen) bool {
	if l.Signal != Play && l.Signal != Skip {
		return false
	}
	fraction, playedMs, known := heard(l)
	return known && playedMs < earlyMs && fraction < full
}

// Rejected reports whether the listener gave up a song that was put before them: an EarlySkip, or known to have heard less than a tenth.
func Rejected(l Listen) bool {
	if l.Signal != Play && l.Signal != Skip {
		return false
	}
	fraction, _, known := heard(l)
	return EarlySkip(l) || known && fraction < rejectedShare
}

// Confidence returns the weight of a positive example from the decayed sum of the positive values of a listener
// and song: 1 + ln(1 + positive/0.5), at most 5. Saturation is essential: repeats are not monotone evidence of
// liking (models.md §E). Less than 0 and NaN count as 0.
func Confidence(positive float64) float64 {
	if !(positive > 0) {
		return 1
	}
	return min(1+math.Log1p(positive/confidenceUnit), maxConfidence)
}

func heardValue(l Listen) float64 {
	fraction, playedMs, known := heard(l)
	var v float64
	switch {
	case !known && l.Signal == Play:
		v = playUnknown
	case !known:
		v = skipUnknown
	case fraction >= full:
		v = fraction // 0.5 + 0.5·(f − 0.5)/0.5
	case playedMs < instantMs && l.Autoplay:
		v = rejected
	case fraction < indifferent:
		v = rejected - rejected*fraction/indifferent
	default:
		v = almostFull * (fraction - indifferent) / (full - indifferent)
	}
	if v < 0 {
		if l.Searched && !l.Autoplay {
			v *= sampled / rejected
		}
		v *= hurry(l.SkipRatio)
	}
	if l.Passive {
		v *= passiveScale
	}
	if FullListen(l) {
		if l.Searched {
			v += SearchBonus
		}
		if l.Replay {
			v += ReplayBonus
		}
	}
	return min(max(v, Min), Max)
}

func hurry(ratio float64) float64 {
	if ratio == 0 || math.IsNaN(ratio) {
		return 1
	}
	return min(max(ratio, minHurry), maxHurry)
}

// heard returns the fraction of the song heard in [0, 1], the time heard, and whether the event tells either.
// With an unknown duration the fraction is chosen so that 30 s are one half and a typical song is whole.
func heard(l Listen) (fraction float64, playedMs int64, known bool) {
	playedMs = l.PlayedMs
	if playedMs < 0 {
		playedMs = l.PositionMs
	}
	if playedMs < 0 {
		return 0, 0, false
	}
	if l.DurationMs > 0 {
		return min(float64(playedMs)/float64(l.DurationMs), 1), playedMs, true
	}
	if playedMs < fullUnknownMs {
		return full * float64(playedMs) / fullUnknownMs, playedMs, true
	}
	beyond := float64(playedMs-fullUnknownMs) / (typicalMs - fullUnknownMs)
	return min(full+(1-full)*beyond, 1), playedMs, true
}
