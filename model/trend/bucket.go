package trend

import "math"

// Bucket is what one interval of event time, usually five minutes, says about one song in one region.
type Bucket struct {
	// At is the event time in Unix ms.
	At int64
	// Unique counts the listeners who heard the song for the first time in 24 hours, Trusted sums their trust,
	// NewAccounts counts those of them with accounts younger than three days.
	Unique, Trusted, NewAccounts float64
	// Plays counts every play and skip; ShortPlays those that ended at 30 to 36 s; TopPlays those of the
	// listener with the most; Likes the likes, playlist additions and shares.
	Plays, ShortPlays, TopPlays, Likes float64
}

// maxWeight bounds what one bucket can say: nothing real reaches it, and float32 sums stay finite.
const maxWeight = 1e9

// sane returns a weight the sums can take: NaN and negatives count nothing.
func sane(v float64) float64 {
	if !(v > 0) {
		return 0
	}
	return min(v, maxWeight)
}

// maxTime bounds event times to what six bytes hold: the year 10889.
const maxTime = 1<<48 - 1

func saneTime(at int64) int64 { return min(max(at, 0), maxTime) }

const minuteMs = 60_000

// minute returns the time in whole minutes, as states keep the times that need no more.
func minute(at int64) uint32 {
	return uint32(min(saneTime(at)/minuteMs, math.MaxUint32)) //nolint:gosec // bounded.
}
