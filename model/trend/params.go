package trend

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Params are the settings of the detector. Rates are per hour.
type Params struct {
	// FastHalfLife is the memory of the recent count, SlowHalfLife that of the usual rate.
	FastHalfLife, SlowHalfLife time.Duration
	// ShortHalfLife and LongHalfLife are the two memories whose quotient is the velocity.
	ShortHalfLife, LongHalfLife time.Duration

	// Psi is the relative variance of rates that is no news: the knob between early and false alarms.
	Psi float64
	// PriorListeners and PriorHours are the gamma prior of a song's rate: a listener in four hours.
	PriorListeners, PriorHours float64
	// PriorTraffic is the rate of imagined steady traffic that steadies the season of small regions.
	PriorTraffic float64
	// Winsor bounds how fast the usual rate follows the recent one: at most this many times itself.
	Winsor float64
	// Hold is how long an episode keeps the usual rate as it was; after it the new level becomes usual.
	Hold time.Duration

	// MinListeners, MinRatio and MinZ must all be reached for an alarm; MinRatioNew for songs younger than NewAge.
	MinListeners, MinRatio, MinRatioNew, MinZ float64
	NewAge                                    time.Duration
	// FalseDiscovery is the share of false alarms that the Benjamini–Hochberg step admits among active songs.
	FalseDiscovery float64
	// ActiveListeners is the recent count from which a song takes part.
	ActiveListeners float64
	// WarmUp is the age of a region's data before which nothing is alarmed.
	WarmUp time.Duration
	// ClearZ and ClearAfter end an episode: z below the one for as long as the other.
	ClearZ     float64
	ClearAfter time.Duration
	// VelocityUnit is the velocity from which a trend's score is not discounted.
	VelocityUnit float64

	Guard GuardParams
	Trust TrustParams
}

// GuardParams are the settings of Concentration. A share counts only beyond both a bound and a multiple of what is usual
// in the region.
type GuardParams struct {
	HalfLife time.Duration
	// Wait is how long an alarm waits for enough evidence of where its plays come from. 0: no wait, for callers
	// that do not judge.
	Wait time.Duration
	// MinUnique listeners or MinPlays plays are enough evidence.
	MinUnique, MinPlays float64
	// TrustShare is the least mean trust, of the region's.
	TrustShare float64
	// Repeats is the most plays per unique listener; ShortShare of plays that end at 30–36 s; NewShare of listeners
	// with new accounts; TopShare of plays that repeat a song for one listener.
	Repeats, ShortShare, NewShare, TopShare float64
	// Excess is the multiple of the region's usual share.
	Excess float64
	// Significance is the z that a share must exceed its usual value by.
	Significance float64
	// ExpectedLikes is the number of likes, at the region's usual rate, whose near absence is suspicious.
	ExpectedLikes float64
}

// TrustParams are the settings of Trust: each pair is where a ramp starts and ends.
type TrustParams struct {
	HalfLife                   time.Duration
	YoungAge, GrownAge         time.Duration // weight YoungWeight to 1
	YoungWeight                float64
	ManyPlays, TooManyPlays    float64 // per day: weight 1 to 0
	ShortPlays, TooShortPlays  float64 // share of 30–36 s: weight 1 to SuspectWeight
	TopShare, TooTopShare      float64 // share of the top song: weight 1 to SuspectWeight
	MinPlays                   float64 // plays before a share counts
	BusyHours, BusyDays        int     // a day with BusyHours active hours is busy; BusyDays of them are suspect
	BusyMemory                 time.Duration
	NarrowEntropy, FairEntropy float64 // bits of artists' entropy: weight NarrowWeight to 1
	NarrowWeight               float64
	SuspectWeight              float64
}

// DefaultParams returns the settings of models.md §C but for the least recent count, which is 8 there. In the simulated worlds of the
// demo, told in event time, 5 listeners make 3 to 9 false alarms in ten weeks, by five or six who meet within two hours; 7 make 3 in six
// worlds, and find every wave too, 1 to 8 hours later in the median.
func DefaultParams() Params {
	const day = 24 * time.Hour
	return Params{
		FastHalfLife: 3 * time.Hour, SlowHalfLife: 7 * day,
		ShortHalfLife: time.Hour, LongHalfLife: 6 * time.Hour,
		Psi: 0.15, PriorListeners: 1, PriorHours: 4, PriorTraffic: 10, Winsor: 4, Hold: 7 * day,
		MinListeners: 7, MinRatio: 2.5, MinRatioNew: 4, MinZ: 3, NewAge: 14 * day,
		FalseDiscovery: 0.05, ActiveListeners: 3, WarmUp: day,
		ClearZ: 1.5, ClearAfter: 6 * time.Hour, VelocityUnit: math.Ln2,
		Guard: GuardParams{
			HalfLife: 12 * time.Hour, Wait: 2 * time.Hour, MinUnique: 6, MinPlays: 40,
			TrustShare: 0.5, Repeats: 6, ShortShare: 0.4, NewShare: 0.5, TopShare: 0.5,
			Excess: 2, Significance: 4, ExpectedLikes: 12,
		},
		Trust: TrustParams{
			HalfLife: 2 * day, YoungAge: 3 * day, GrownAge: 30 * day, YoungWeight: 0.2,
			ManyPlays: 300, TooManyPlays: 600, ShortPlays: 0.3, TooShortPlays: 0.6, TopShare: 0.3, TooTopShare: 0.5,
			MinPlays: 20, BusyHours: 22, BusyDays: 3, BusyMemory: 14 * day,
			NarrowEntropy: 0.2, FairEntropy: 0.8, NarrowWeight: 0.3, SuspectWeight: 0.1,
		},
	}
}

// Validate reports every setting with which the formulas have no meaning.
func (p Params) Validate() error {
	var errs []error
	positive := func(name string, v float64) {
		if !(v > 0) || math.IsInf(v, 0) {
			errs = append(errs, fmt.Errorf("trend: %s is %g, want a positive number", name, v))
		}
	}
	for _, d := range []struct {
		name string
		v    time.Duration
	}{
		{"fast half-life", p.FastHalfLife},
		{"slow half-life", p.SlowHalfLife},
		{"short half-life", p.ShortHalfLife},
		{"long half-life", p.LongHalfLife},
		{"guard half-life", p.Guard.HalfLife},
		{"trust half-life", p.Trust.HalfLife},
	} {
		positive(d.name, d.v.Hours())
	}
	positive("prior listeners", p.PriorListeners)
	positive("prior hours", p.PriorHours)
	positive("prior traffic", p.PriorTraffic)
	positive("minimum ratio", p.MinRatio)
	positive("active listeners", p.ActiveListeners)
	positive("velocity unit", p.VelocityUnit)
	if p.FastHalfLife >= p.SlowHalfLife {
		errs = append(errs, fmt.Errorf("trend: fast half-life %s must be shorter than the slow one, %s", p.FastHalfLife, p.SlowHalfLife))
	}
	if p.ShortHalfLife >= p.LongHalfLife {
		errs = append(errs, fmt.Errorf("trend: short half-life %s must be shorter than the long one, %s", p.ShortHalfLife, p.LongHalfLife))
	}
	if !(p.Psi >= 0 && p.Psi <= 10) {
		errs = append(errs, fmt.Errorf("trend: psi is %g, want 0 to 10", p.Psi))
	}
	if !(p.FalseDiscovery > 0 && p.FalseDiscovery <= 0.5) {
		errs = append(errs, fmt.Errorf("trend: false discovery share is %g, want up to 0.5", p.FalseDiscovery))
	}
	if !(p.Winsor >= 1) {
		errs = append(errs, fmt.Errorf("trend: winsor is %g, want at least 1", p.Winsor))
	}
	if !(p.ClearZ <= p.MinZ) {
		errs = append(errs, fmt.Errorf("trend: clear z %g must not exceed the minimum z %g", p.ClearZ, p.MinZ))
	}
	return errors.Join(errs...)
}
