package playlist

import (
	"errors"
	"fmt"
	"math"

	"earworm/model/factor"
	"earworm/model/rank"
)

// Slot is the kind of place that a track has in a playlist. Its names are part of the wire format.
type Slot uint8

// The kinds of slots.
const (
	Taste Slot = iota
	Artist
	Trend
	Explore
	Popular
)

// String names the slot.
func (s Slot) String() string {
	switch s {
	case Taste:
		return "taste"
	case Artist:
		return "artist"
	case Trend:
		return "trend"
	case Explore:
		return "explore"
	case Popular:
		return "popular"
	default:
		return "unknown"
	}
}

// Reason is a code for why a track was chosen, to be spoken in the listener's language together with the seeds.
type Reason string

// The reasons. Those with seeds name heard songs.
const (
	ReasonAlike         Reason = "similar_to_seeds"  // close in the factors to the seeds
	ReasonTaste         Reason = "fits_taste"        // fits the listener's vector; no single song explains it
	ReasonArtistKnown   Reason = "artist_you_play"   // by an artist of the seeds
	ReasonPopular       Reason = "popular"           // many listen to it now
	ReasonPopularRegion Reason = "popular_in_region" // many listen to it in the listener's region
	ReasonTrending      Reason = "trending"          // spreads faster than expected
	ReasonNew           Reason = "hardly_heard_yet"  // its description fits; hardly anybody has heard it
	ReasonNewArtist     Reason = "artist_new_to_you" // drawn to learn about an artist that the listener does not know
)

// Track is one place of a playlist.
type Track struct {
	Song   factor.Index
	Score  float64
	Slot   Slot
	Reason Reason
	Seeds  []factor.Index
	// Propensity is the probability with which the song got its place given the tracks chosen before: 1 unless it was drawn.
	Propensity float64
}

// Params are the settings of a playlist.
type Params struct {
	Length       int
	ArtistCap    int // tracks of one artist, as long as there are other candidates
	Spacing      int // places between two tracks of one artist, as long as there are other tracks
	TrendSlots   int // at most
	ExploreSlots int // at most
	ExplorePool  int // candidates among which an explore slot draws
	SafePlaces   int // places at the beginning that hold neither trend nor exploration
}

// DefaultParams returns the settings in use.
func DefaultParams() Params {
	return Params{
		Length: 30, ArtistCap: 2, Spacing: 3, TrendSlots: 3, ExploreSlots: 3, ExplorePool: 30, SafePlaces: 3,
	}
}

// Validate reports every setting that is out of range.
func (p Params) Validate() error {
	var errs []error
	check := func(name string, v, low, high int) {
		if v < low || v > high {
			errs = append(errs, fmt.Errorf("%s is %d, want %d to %d", name, v, low, high))
		}
	}
	check("length", p.Length, 1, 1000)
	check("artist cap", p.ArtistCap, 1, 1000)
	check("spacing", p.Spacing, 0, 1000)
	check("trend slots", p.TrendSlots, 0, p.Length)
	check("explore slots", p.ExploreSlots, 0, p.Length)
	check("explore pool", p.ExplorePool, 1, 10_000)
	check("safe places", p.SafePlaces, 0, p.Length)
	return errors.Join(errs...)
}

// viralSlots is the number of trend slots of a listener who loves every trend.
const viralSlots = 5

// For returns the settings for one listener. viralAffinity is the expected chance that the listener likes a trend: trend slots are
// five times that, rounded, and none below a tenth. discovery in [0, 1] moves the explore slots from none to twice as many; .5 is neutral.
func (p Params) For(viralAffinity, discovery float64) Params {
	p.TrendSlots = min(p.TrendSlots, int(math.Round(viralSlots*unit(viralAffinity, rank.NeutralViralAffinity))))
	p.ExploreSlots = min(p.Length, int(math.Round(2*float64(p.ExploreSlots)*unit(discovery, rank.NeutralDiscovery))))
	return p
}

// unit bounds x to [0, 1]; what is not a number becomes neutral.
func unit(x, neutral float64) float64 {
	if math.IsNaN(x) {
		return neutral
	}
	return min(max(x, 0), 1)
}
