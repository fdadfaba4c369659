package rank

import (
	"errors"
	"fmt"
	"time"

	"earworm/model/decay"
	"earworm/model/interest"
)

// Params are the settings of a Ranker.
type Params struct {
	Candidates int // length of the list
	PerSource  int // songs that each source proposes
	ArtistMax  int // of one artist, as long as there are others among twice as many songs
	Trending   int // songs on trend that are candidates beside those that the sources propose, at most
	Cold       int // likewise songs that nobody or hardly anybody has heard, matched by their description
	SeedsMax   int // heard songs that explain a candidate

	// History is the number of songs that the listener came to last whose neighbours are looked at, and FoldHistory that of those
	// from which their vector is solved.
	History, FoldHistory int
	FoldHalfLife         decay.HalfLife // of the weight of a heard song in the solved vector

	// ArtistHalfLife is the decay of the engagement that makes up the listener's lasting share of an artist, ArtistRecent that of
	// their recent one, GenreHalfLife that of genres.
	ArtistHalfLife, ArtistRecent, GenreHalfLife decay.HalfLife
	ValueMax                                    float64       // engagement of one song that counts at most
	ColdListens                                 float64       // a song with fewer first listens than this is cold
	ViewAge                                     time.Duration // event time after which what all listeners share is computed anew

	// Interests says how the last songs are divided into interests, each of which has a vector by which candidates are judged.
	Interests interest.Params

	// PopularityPrior is the listens that an unheard song is counted as having within its artist.
	PopularityPrior float64

	Learn LearnParams
}

// DefaultParams returns the settings in use.
func DefaultParams() Params {
	const day = 24 * time.Hour
	return Params{
		Candidates: 300, PerSource: 150, ArtistMax: 8, Trending: 20, Cold: 30, SeedsMax: 3,
		History: 100, FoldHistory: 300, FoldHalfLife: decay.HalfLife(180 * day),
		ArtistHalfLife: decay.HalfLife(90 * day), ArtistRecent: decay.HalfLife(7 * day), GenreHalfLife: decay.HalfLife(60 * day),
		ValueMax: 3, ColdListens: 5, ViewAge: 15 * time.Minute, PopularityPrior: .5,
		Interests: interest.DefaultParams(), Learn: DefaultLearnParams(),
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
	check(p.PerSource > 0 && p.PerSource <= 1<<16, "per source", p.PerSource)
	check(p.ArtistMax > 0, "artist max", p.ArtistMax)
	check(p.Trending >= 0 && p.Trending <= p.Candidates, "trending", p.Trending)
	check(p.Cold >= 0 && p.Cold <= p.Candidates, "cold", p.Cold)
	check(p.SeedsMax >= 0 && p.SeedsMax <= 10, "seeds max", p.SeedsMax)
	check(p.History >= 0 && p.History <= 1<<16, "history", p.History)
	check(p.FoldHistory >= 0 && p.FoldHistory <= 1<<16, "fold history", p.FoldHistory)
	check(p.FoldHalfLife > 0, "fold half-life", p.FoldHalfLife)
	check(p.ArtistHalfLife > 0 && p.ArtistRecent > 0 && p.GenreHalfLife > 0, "half-lives", p.ArtistHalfLife)
	check(p.ValueMax > 0, "value max", p.ValueMax)
	check(p.ColdListens >= 0, "cold listens", p.ColdListens)
	check(p.ViewAge > 0, "view age", p.ViewAge)
	check(p.PopularityPrior > 0, "popularity prior", p.PopularityPrior)
	return errors.Join(append(errs, p.Interests.Validate(), p.Learn.validate())...)
}
