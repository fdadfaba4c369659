package rank

import (
	"math"
	"strings"
)

// Source is one origin of candidates.
type Source uint8

// The sources of candidates.
const (
	SourceTaste        Source = iota // the listener's vector as the learner keeps it
	SourceFold                       // the listener's vector as solved from their history
	SourceNeighbours                 // songs that listeners of the same songs came to
	SourceArtist                     // artists of the listener
	SourceArtistRecent               // artists of the listener's last days
	SourceGenre                      // genres of the listener, by popularity
	SourceDay                        // popularity with a half-life of a day
	SourceWeek                       // of a week
	SourceMonth                      // of 28 days
	SourceRegion                     // popularity in the listener's region
	SourceInterests                  // vectors of single interests, where the listener has several
	sources
)

// Sources is the number of sources.
const Sources = int(sources)

// String names the source.
func (s Source) String() string {
	names := [...]string{
		"taste", "fold", "neighbours", "artist", "artist_recent", "genre", "popular_day", "popular_week", "popular_month", "region", "interests",
	}
	if int(s) < len(names) {
		return names[s]
	}
	return "unknown"
}

// The features of a candidate: two of each source, and those that follow.
//
// The strength of a source is the logarithm of its value relative to its greatest among the candidates, standardised among them,
// so that it means the same for every listener and every catalogue. The place is 3/√(place + 5) among what the
// source proposes, 0 behind it.
const (
	featureEvidence        = 2*Sources + iota // first listens ever, logarithm, standardised
	featureAge                                // of the song since its first listen, logarithm, standardised
	featureNew                                // 1 in its first week
	featurePlays                              // logarithm of the listener's songs by the artist
	featureKnown                              // 1 if there are any
	featureGenre                              // the listener's share of its genres, root, standardised
	featureTrend                              // strength of a trend that the listener can see, 0 to 1, by their affinity for trends
	featureKnownTaste                         // the strengths of three sources again, of songs by artists of whom the listener knows any: what
	featureKnownFold                          // they say of those is worth less or more than what they say of strangers, since the artist says
	featureKnownNeighbours                    // much of it already
	features
)

// Features is the number of features of a candidate.
const Features = features

// strength and place are the features of a source.
func strength(s Source) int { return 2 * int(s) }
func place(s Source) int    { return 2*int(s) + 1 }

// knownSources are the sources whose strengths are features again among the artists that the listener knows.
var knownSources = [...]Source{SourceTaste, SourceFold, SourceNeighbours}

// FeatureName names a feature.
func FeatureName(f int) string {
	if f < 2*Sources {
		kind := ".strength"
		if f%2 == 1 {
			kind = ".place"
		}
		return Source(f/2).String() + kind //nolint:gosec // a few
	}
	return strings.Fields("evidence age new plays known genre trend known.taste known.fold known.neighbours")[f-2*Sources]
}

// prior returns the weights of a blend that has learnt nothing: what a source is worth where nobody knows better. They are about a
// third to a half of what was learnt on three real streams, rounded: enough for a first week, little to unlearn.
func prior() [Features]float32 {
	var w [Features]float32
	for s, v := range [Sources][2]float32{
		SourceTaste: {.2, .05}, SourceFold: {.15, .05}, SourceNeighbours: {.2, .3}, SourceArtist: {.15, .1},
		SourceArtistRecent: {.1, .1}, SourceGenre: {.05, 0}, SourceDay: {.05, .1}, SourceWeek: {.1, .1},
		SourceMonth: {.05, 0}, SourceRegion: {.05, .1},
	} {
		w[2*s], w[2*s+1] = v[0], v[1]
	}
	w[featurePlays], w[featureKnown], w[featureTrend] = .15, .15, .5
	return w
}

// owner is the source to which a feature's contribution is counted when a reason is given; ok is false for those of no source.
func owner(f int) (s Source, ok bool) {
	switch {
	case f < 2*Sources:
		return Source(f / 2), true //nolint:gosec // a few
	case f == featurePlays, f == featureKnown:
		return SourceArtist, true
	case f == featureGenre:
		return SourceGenre, true
	case f >= featureKnownTaste && f < features:
		return knownSources[f-featureKnownTaste], true
	default:
		return 0, false
	}
}

// strengthFloor is the logarithm below which a source's value counts as none.
const strengthFloor = -6

// relative turns values into logarithms relative to the greatest.
func relative(dst, values []float32) {
	greatest := float32(0)
	for _, v := range values {
		greatest = max(greatest, v)
	}
	for i, v := range values {
		dst[i] = strengthFloor
		if v > 0 && greatest > 0 {
			dst[i] = max(strengthFloor, float32(math.Log(float64(v/greatest))))
		}
	}
}

// standardise scales values to mean 0 and deviation 1; those that are all alike become 0.
func standardise(values []float32) {
	if len(values) == 0 {
		return
	}
	var sum, square float64
	for _, v := range values {
		sum += float64(v)
	}
	mean := sum / float64(len(values))
	for _, v := range values {
		d := float64(v) - mean
		square += d * d
	}
	scale := 1 / max(math.Sqrt(square/float64(len(values))), 1e-3)
	for i, v := range values {
		values[i] = float32((float64(v) - mean) * scale)
	}
}

// placeOf is the feature of a place from 1; 0 is none.
func placeOf(n int32) float32 {
	if n == 0 {
		return 0
	}
	return float32(3 / math.Sqrt(float64(n)+5))
}
