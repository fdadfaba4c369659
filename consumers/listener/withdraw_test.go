package listener_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"earworm/model/cooccur"
	"earworm/model/factor"
	"earworm/schemas"
)

// ledger adds up what the song tasks are told, all of it faded to one instant.
type ledger struct {
	until     int64
	pairs     map[[2]string]float64
	listeners map[string]float64
	unique    map[string]float64 // by song and day of the listen
}

func newLedger(until time.Time) *ledger {
	return &ledger{until: until.UnixMilli(), pairs: map[[2]string]float64{}, listeners: map[string]float64{}, unique: map[string]float64{}}
}

func (l *ledger) add(updates []schemas.SongUpdate) {
	fade := func(at int64) float64 { return cooccur.DefaultParams().HalfLife.Factor(at, l.until) }
	for _, u := range updates {
		sign, came := 1.0, u.PairsAt
		if u.Withdraws {
			sign, came = -1, u.CameAt
		}
		l.listeners[string(u.ID)] += sign * float64(u.Listeners) * fade(came)
		for _, p := range u.Pairs {
			l.pairs[[2]string{string(u.ID), strconv.FormatUint(p.Song, 10)}] += sign * float64(p.Weight) * fade(u.PairsAt)
		}
		for _, b := range u.Listens {
			l.unique[fmt.Sprint(string(u.ID), b.At, b.Region)] += sign * float64(b.Unique)
		}
	}
}

// rest returns the largest amounts that are not zero.
func (l *ledger) rest() (pairs, listeners, unique float64) {
	for _, v := range l.pairs {
		pairs = max(pairs, math.Abs(v))
	}
	for _, v := range l.listeners {
		listeners = max(listeners, math.Abs(v))
	}
	for _, v := range l.unique {
		unique = max(unique, math.Abs(v))
	}
	return pairs, listeners, unique
}

// TestAnErasedListenerTakesBackWhatTheyBrought: all of it, where the songs are not so popular that pairs are drawn, and every song was
// heard on at most two days, each when the song was heard first or last.
func TestAnErasedListenerTakesBackWhatTheyBrought(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 3))
	for _, restart := range []bool{false, true} {
		for _, together := range []bool{false, true} { // everything in one transaction, or each event in its own
			r := newRig(t, exact())
			l := newLedger(monday())
			var events []schemas.Event
			for n := range 40 { // more than the window
				e := event("ann", fmt.Sprintf("s%d", n), monday().Add(time.Duration(n-2000)*time.Hour))
				e.Region = [2]byte{'D', 'E'}
				events = append(events, e)
			}
			for range 20 { // again, two days later or more, or within the hour
				e := events[rng.IntN(40)]
				when := time.UnixMilli(e.At).Add(time.Duration(rng.IntN(2))*1500*time.Hour + 7*time.Minute)
				again := event("ann", string(e.Song), when)
				again.Region = e.Region
				events = append(events, again)
			}
			if together {
				r.apply(append(events, erasure("ann", monday()))...)
			} else {
				for _, e := range events {
					r.apply(e)
				}
				l.add(r.updates())
				if pairs, listeners, unique := l.rest(); pairs < .1 || listeners < .1 || unique < 1 {
					t.Fatalf("nothing was brought: %v %v %v", pairs, listeners, unique)
				}
				if restart {
					r.open()
				}
				r.apply(erasure("ann", monday()))
			}
			l.add(r.updates())
			within := 1e-5
			if together { // a transaction dates all pairs of a song by the latest of them
				within = 5e-3
			}
			if pairs, listeners, unique := l.rest(); pairs > within || listeners > within || unique != 0 {
				t.Errorf("restart %v, together %v: left are %v of a pair, %v of a listener, %v listens", restart, together, pairs, listeners, unique)
			}
			r.apply(erasure("ann", monday()), erasure("nobody", monday()))
			if again := r.updates(); len(again) != 0 {
				t.Errorf("taken back twice: %+v", again)
			}
		}
	}
}

// TestPairsOfPopularSongsAreTakenBackOnAverage: some were drawn to stand for all.
func TestPairsOfPopularSongsAreTakenBackOnAverage(t *testing.T) {
	t.Parallel()
	r := newRig(t, exact())
	for n := range 60 {
		song := r.table.SongOf(fmt.Appendf(nil, "s%d", n))
		r.near.Load(song, cooccur.Row{At: monday().UnixMilli(), Listeners: 400})
	}
	l := newLedger(monday())
	const people = 300
	for p := range people {
		user := fmt.Sprint("p", p)
		for n := range 20 {
			r.apply(event(user, fmt.Sprintf("s%d", (7*p+n)%60), monday().Add(time.Duration(n-100)*time.Minute)))
		}
	}
	l.add(r.updates())
	brought := 0.0
	for _, v := range l.pairs {
		brought += v
	}
	for p := range people {
		r.apply(erasure(fmt.Sprint("p", p), monday()))
	}
	l.add(r.updates())
	left := 0.0
	for _, v := range l.pairs {
		left += v
	}
	if math.Abs(left) > 1e-3*brought {
		t.Errorf("of %.0f pairs %.1f are left", brought, left)
	}
	// One in eight is drawn, with a weight of eight: the variance of what a pair is off by is seven times what was brought.
	squares := 0.0
	for _, v := range l.pairs {
		squares += v * v
	}
	if got := squares / (7 * brought); got < .8 || got > 1.2 {
		t.Errorf("the variance is %.2f of what drawing explains", got)
	}
}

// TestAnAbandonedErasureTakesNothingBack: and the one that comes again does, once.
func TestAnAbandonedErasureTakesNothingBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, exact())
	r.apply(event("ann", "s1", monday()), event("ann", "s2", monday()))
	r.updates()
	r.process(r.record(erasure("ann", monday())))
	r.run.Abandon()
	r.apply(event("bob", "s3", monday()))
	for _, u := range r.updates() {
		if u.Withdraws {
			t.Errorf("an abandoned erasure took back %q", u.ID)
		}
	}
	r.apply(erasure("ann", monday()))
	taken := 0
	for _, u := range r.updates() {
		if u.Withdraws && factor.Kind(u.Kind) == factor.KindSong {
			taken++
		}
	}
	if taken != 2 {
		t.Errorf("%d songs were told of it, want 2", taken)
	}
}
