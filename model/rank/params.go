package rank

import (
	"errors"
	"fmt"
	"time"

	"earworm/model/decay"
)

// Source is one origin of a song's score.
type Source uint8

// The sources of a candidate's score.
const (
	SourceTaste Source = iota
	SourceArtist
	SourcePopularity
	SourceRegion
	SourceTrend
	sources
)

// Sources is the number of sources: the width of a candidate's features.
const Sources = int(sources)

// String names the source.
func (s Source) String() string {
	switch s {
	case SourceTaste:
		return "taste"
	case SourceArtist:
		return "artist"
	case SourcePopularity:
		return "popularity"
	case SourceRegion:
		return "region"
	case SourceTrend:
		return "trend"
	default:
		return "unknown"
	}
}

// Weights are the parts of the sources in the mixture. A learnt blend replaces them and nothing else.
type Weights [Sources]float64

// Params are the settings of a Ranker.
type Params struct {
	Candidates int // length of the list
	ArtistMax  int // of one artist, as long as there are others among twice as many songs
	Trending   int // of which songs on trend that would not have made it otherwise, at most
	Cold       int // likewise songs that nobody or hardly anybody has heard, matched by their description
	SeedsMax   int // heard songs that explain a candidate

	Weights    Weights
	TastePower float64 // exponent of the taste's chance beside the mixture

	// TasteEvidence is the first listens at which the factors of a song count half.
	TasteEvidence float64

	ArtistHalfLife decay.HalfLife // of the engagement that makes up the listener's share of an artist
	ColdListens    float64        // a song with fewer first listens than this is cold
	ViewAge        time.Duration  // event time after which what all listeners share is computed anew

	// Negatives per positive of the learner: what turns a factor score into a probability.
	Negatives float64
	// PopularityPrior is the listens that an unheard song is counted as having within its artist.
	PopularityPrior float64
}

// DefaultParams returns the settings in use.
func DefaultParams() Params {
	return Params{
		Candidates: 300, ArtistMax: 8, Trending: 20, Cold: 30, SeedsMax: 3,
		Weights:        Weights{SourceTaste: .5, SourceArtist: .4, SourcePopularity: .1, SourceRegion: .05, SourceTrend: .05},
		TastePower:     .2,
		TasteEvidence:  20,
		ArtistHalfLife: decay.HalfLife(28 * 24 * time.Hour),
		ColdListens:    5, ViewAge: 15 * time.Minute, Negatives: 15, PopularityPrior: .5,
	}
}

// Validate reports every setting that is out of range.
func (p Params) Validate() error {
	var errs []error
	check := func(ok bool, name string, v any) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s is out of range: %v", name, v))
		}
	}
	check(p.Candidates > 0 && p.Candidates <= 1<<20, "candidates", p.Candidates)
	check(p.ArtistMax > 0, "artist max", p.ArtistMax)
	check(p.TasteEvidence > 0, "taste evidence", p.TasteEvidence)
	check(p.TastePower >= 0 && p.TastePower <= 10, "taste power", p.TastePower)
	check(p.Trending >= 0 && p.Trending <= p.Candidates, "trending", p.Trending)
	check(p.Cold >= 0 && p.Cold <= p.Candidates, "cold", p.Cold)
	check(p.SeedsMax >= 0 && p.SeedsMax <= 10, "seeds max", p.SeedsMax)
	check(p.ArtistHalfLife > 0, "artist half-life", p.ArtistHalfLife)
	check(p.ColdListens >= 0, "cold listens", p.ColdListens)
	check(p.ViewAge > 0, "view age", p.ViewAge)
	check(p.Negatives > 0, "negatives", p.Negatives)
	check(p.PopularityPrior > 0, "popularity prior", p.PopularityPrior)
	for s, w := range p.Weights {
		check(w >= 0 && w <= 1e6, "weight of "+Source(s).String(), w)
	}
	return errors.Join(errs...)
}
