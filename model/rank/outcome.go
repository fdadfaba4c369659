package rank

import "math"

// Outcome is what became of one track of a playlist, as far as it is known. Outcomes are stored: bits may be added, and none may change
// its meaning. The zero Outcome is a track that nobody touched.
type Outcome uint8

// What an Outcome is made of. The lowest two bits are the best that was heard of the track; the others were said.
const (
	outcomeRejected  Outcome = 1 // given up at once
	outcomeUndecided Outcome = 2 // heard for a while
	outcomeHeard     Outcome = 3
	outcomeListen    Outcome = 3 // the bits of the three

	outcomeLiked   Outcome = 1 << 2
	outcomeSaved   Outcome = 1 << 3 // added to a playlist, or shared
	outcomeRefused Outcome = 1 << 4 // disliked or banned
	outcomeOther   Outcome = 1 << 5 // the listener came to the song elsewhere
	outcomeTouched         = outcomeListen | outcomeLiked | outcomeSaved | outcomeRefused
)

// Rejected returns o after the track was given up at once, when it came up in the list. Of several listens the best counts.
func (o Outcome) Rejected() Outcome { return o.listened(outcomeRejected) }

// Undecided returns o after the track was heard for a while and not for half. Of several listens the best counts.
func (o Outcome) Undecided() Outcome { return o.listened(outcomeUndecided) }

// Heard returns o after at least half of the track was heard. Of several listens the best counts.
func (o Outcome) Heard() Outcome { return o.listened(outcomeHeard) }

func (o Outcome) listened(as Outcome) Outcome {
	return o&^outcomeListen | max(o&outcomeListen, as)
}

// Liked returns o after the listener liked the track. The latest of contrary words counts.
func (o Outcome) Liked() Outcome { return o&^outcomeRefused | outcomeLiked }

// Saved returns o after the listener added the track to a playlist or shared it. The latest of contrary words counts.
func (o Outcome) Saved() Outcome { return o&^outcomeRefused | outcomeSaved }

// Refused returns o after the listener disliked or banned the track. The latest of contrary words counts.
func (o Outcome) Refused() Outcome { return o&^(outcomeLiked|outcomeSaved) | outcomeRefused }

// Unliked returns o after a like was taken back.
func (o Outcome) Unliked() Outcome { return o &^ outcomeLiked }

// Elsewhere returns o for a song that the listener came to by themselves, so that to pass it over says nothing.
func (o Outcome) Elsewhere() Outcome { return o | outcomeOther }

// Touched says whether the listener did anything with the track in the list.
func (o Outcome) Touched() bool { return o&outcomeTouched != 0 }

// Names of outcomes in figures.
const (
	nameRefused   = "refused"
	nameSaved     = "saved" // or liked
	nameHeard     = "heard"
	nameUndecided = "undecided"
	nameRejected  = "rejected"
	namePassed    = "passed" // reached and not touched
)

// OutcomeNames lists what String returns.
func OutcomeNames() []string {
	return []string{nameSaved, nameHeard, nameUndecided, nameRejected, nameRefused, namePassed}
}

// String names the outcome of a track that was reached, by what counts most.
func (o Outcome) String() string {
	switch {
	case o&outcomeRefused != 0:
		return nameRefused
	case o&(outcomeLiked|outcomeSaved) != 0:
		return nameSaved
	case o&outcomeListen == outcomeHeard:
		return nameHeard
	case o&outcomeListen == outcomeUndecided:
		return nameUndecided
	case o&outcomeListen == outcomeRejected:
		return nameRejected
	default:
		return namePassed
	}
}

// Weights of examples (shared/models.md §B.2).
const (
	explicitWeight = 3
	// passedWeight is that of a track that was passed over. That one touched a later track and not this one is weak evidence: they may know
	// the song from elsewhere, or shuffle.
	passedWeight = .25
)

// example returns whether the track is a positive or a negative one, and its weight; none has weight 0. A track that nobody touched is
// passed over if a later one was touched.
func (o Outcome) example() (positive bool, weight float64) {
	switch {
	case o&outcomeRefused != 0:
		return false, 1
	case o&(outcomeLiked|outcomeSaved) != 0:
		return true, explicitWeight
	case o&outcomeListen == outcomeHeard:
		return true, 1
	case o&outcomeListen == outcomeRejected:
		return false, 1
	case !o.Touched() && o&outcomeOther == 0:
		return false, passedWeight
	default:
		return false, 0
	}
}

// Reached returns how many of the tracks the listener came to, from the first: up to the last that they touched. This is the cascade
// model (Craswell, Zoeter, Taylor, Ramsey, "An experimental comparison of click position-bias models", WSDM 2008).
func Reached(outcomes []Outcome) int {
	for n := len(outcomes); n > 0; n-- {
		if outcomes[n-1].Touched() {
			return n
		}
	}
	return 0
}

// LearnOutcomes takes one step on what became of the tracks of a playlist: rows holds Features values for each. Of two tracks that were
// reached, one that was liked and one that was not, the model says which is which by the logistic function of the difference of their
// scores. So how far a listener listens and how easily they like says nothing, nor does what was not reached; where all or none were
// liked there is nothing to learn.
//
//	L = κ · √(PN/(P + N)) · Σ w·log(1 + exp(−(s₊ − s₋))) / Σ w
//
// κ is the weight of a playlist (LearnParams.Outcomes); w is the product of the weights of both; P and N are the weights of all liked tracks and of all others, and the root is to the mean
// over pairs what the root of their number is to the mean over those chosen in Learn: a long list weighs more than a short one, and not
// by its number of pairs, which share their tracks. A track that was passed over is compared with liked ones below it only
// (Joachims et al., "Accurately interpreting clickthrough data as implicit feedback", SIGIR 2005: click > skip above).
//
// It reports whether there was anything to learn.
func (b *Blend) LearnOutcomes(p LearnParams, rows []float32, outcomes []Outcome) bool {
	reached := Reached(outcomes)
	if len(rows) < reached*Features {
		return false
	}
	tracks := make([]track, reached)
	w := b.Weights(p)
	for i := range tracks {
		t := &tracks[i]
		t.positive, t.weight = outcomes[i].example()
		t.passed = !outcomes[i].Touched()
		t.score = float64(score(&w, rows[i*Features:]))
	}
	pulls, pairs, liked, others := compare(tracks)
	if pairs == 0 || p.Outcomes == 0 {
		return false
	}
	var g [Features]float64
	for i, pull := range pulls {
		if pull == 0 {
			continue
		}
		for f, x := range rows[i*Features : (i+1)*Features] {
			g[f] += pull * float64(x)
		}
	}
	return b.step(p, &g, pairs/(p.Outcomes*math.Sqrt(liked*others/(liked+others))))
}

// track is one that was reached.
type track struct {
	positive, passed bool
	weight, score    float64
}

// compare returns the derivative of Σ w·log(1 + exp(−(s₊ − s₋))) by the score of each track, Σ w, and the weights of all tracks on both
// sides of a pair.
func compare(tracks []track) (pulls []float64, pairs, liked, others float64) {
	pulls = make([]float64, len(tracks))
	paired := make([]bool, len(tracks))
	for i, up := range tracks {
		if !up.positive || up.weight == 0 {
			continue
		}
		for j, down := range tracks {
			if down.positive || down.weight == 0 || (down.passed && j > i) {
				continue
			}
			w := up.weight * down.weight
			pull := w / (1 + math.Exp(up.score-down.score))
			pulls[i] -= pull
			pulls[j] += pull
			pairs += w
			paired[i], paired[j] = true, true
		}
	}
	for i, t := range tracks {
		switch {
		case !paired[i]:
		case t.positive:
			liked += t.weight
		default:
			others += t.weight
		}
	}
	return pulls, pairs, liked, others
}
