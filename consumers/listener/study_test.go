package listener_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"earworm/model/factor"
	"earworm/model/rank"
	"earworm/schemas"
	"earworm/state"
)

func TestFirstListensAreToldAsPairs(t *testing.T) {
	r := newRig(t, exact())
	r.songs(10)
	at := monday()
	r.apply(event("ann", "s001", at), event("ann", "s002", at.Add(time.Minute)), event("ann", "s001", at.Add(2*time.Minute)))
	r.apply(event("bob", "s003", at))
	pairs := map[string]map[uint64]float32{}
	listeners := map[string]uint32{}
	for _, u := range r.updates() {
		listeners[string(u.ID)] += u.Listeners
		for _, p := range u.Pairs {
			if pairs[string(u.ID)] == nil {
				pairs[string(u.ID)] = map[uint64]float32{}
			}
			pairs[string(u.ID)][p.Song] += p.Weight
		}
	}
	one, two := uint64(factor.KeyOf(factor.KindSong, "s001")), uint64(factor.KeyOf(factor.KindSong, "s002"))
	if pairs["s001"][two] != 1 || pairs["s002"][one] != 1 || len(pairs) != 2 {
		t.Errorf("the pairs are %v, want one of the two songs of one listener, told to both", pairs)
	}
	if listeners["s001"] != 1 || listeners["s002"] != 1 || listeners["s003"] != 1 {
		t.Errorf("the listeners are %v, want one each", listeners)
	}
}

// weekOf plays six songs for each listener, so that they are worth studying.
func (r *rig) weekOf(listeners int, before time.Time) {
	for n := range listeners {
		for s := range 6 {
			r.apply(event(fmt.Sprintf("ann%d", n), fmt.Sprintf("s%03d", (n*7+s)%40), before.Add(-time.Duration(s+1)*time.Hour)))
		}
	}
}

// frozen reads the candidates that wait to be learnt from; nil when there are none.
func (r *rig) frozen(user string) *state.Frozen {
	r.tb.Helper()
	return r.rowsAt(state.AppendFrozenKey(nil, []byte(user)))
}

// rowsAt reads the features under a key; nil when there are none.
func (r *rig) rowsAt(key []byte) *state.Frozen {
	r.tb.Helper()
	row := r.store.Rows()[string(key)]
	if row == nil {
		return nil
	}
	var f state.Frozen
	if err := f.UnmarshalBinary(row); err != nil {
		r.tb.Fatal(err)
	}
	return &f
}

func TestTheBlendLearnsFromFrozenCandidates(t *testing.T) {
	cfg := exact()
	r := newRig(t, cfg)
	r.songs(60)
	r.weekOf(1, monday())
	r.tick(at(monday()))
	frozen := r.frozen("ann0")
	if frozen == nil || frozen.Features != rank.Features || frozen.At != monday().UnixMilli() {
		t.Fatalf("frozen candidates are %+v", frozen)
	}
	r.updates()
	// They come to one of the candidates, and skip another.
	liked, skipped := "", ""
	for n := range 60 {
		id := fmt.Sprintf("s%03d", n)
		for _, song := range frozen.Songs {
			if uint64(factor.KeyOf(factor.KindSong, id)) != song {
				continue
			}
			if liked == "" {
				liked = id
			} else if skipped == "" {
				skipped = id
			}
		}
	}
	skip := event("ann0", skipped, monday().Add(25*time.Hour))
	skip.PlayedMs = 2000
	r.apply(event("ann0", liked, monday().Add(24*time.Hour)), skip)
	r.updates()
	r.open() // the candidates are stored
	r.tick(at(monday().Add(3 * 24 * time.Hour)))
	if len(r.updates()) != 0 || r.frozen("ann0").At != frozen.At {
		t.Error("something was learnt before the week was over")
	}
	r.tick(at(monday().Add(7 * 24 * time.Hour)))
	var blend *schemas.SongUpdate
	for _, u := range r.updates() {
		if u.Kind == byte(factor.KindBlend) {
			blend = &u
		}
	}
	if blend == nil {
		t.Fatal("nothing was learnt")
	}
	learnt, err := rank.ParseBlend(blend.Vector)
	if err != nil {
		t.Fatal(err)
	}
	// The one learner of these features, in the test.
	var want rank.Blend
	for i, song := range frozen.Songs {
		if song == uint64(factor.KeyOf(factor.KindSong, liked)) {
			want.Learn(cfg.Rank.Learn, frozen.Rows, []int{i})
		}
	}
	for f := range want.Z {
		if math.Abs(float64(learnt.Z[f]-want.Z[f])) > 1e-5 || math.Abs(float64(learnt.R[f]-want.R[f])) > 1e-5 {
			t.Fatalf("%s: learnt %v and %v, want %v and %v", rank.FeatureName(f), learnt.Z[f], learnt.R[f], want.Z[f], want.R[f])
		}
	}
	if again := r.frozen("ann0"); again == nil || again.At != monday().Add(7*24*time.Hour).UnixMilli() {
		t.Errorf("the candidates of the new week are %+v", again)
	}
}

func TestOnlyASampleIsStudied(t *testing.T) {
	cfg := exact()
	cfg.StudySample = 10
	r := newRig(t, cfg)
	r.songs(60)
	r.weekOf(60, monday())
	r.tick(at(monday()))
	studied := 0
	for n := range 60 {
		if r.frozen(fmt.Sprintf("ann%d", n)) != nil {
			studied++
		}
	}
	if studied < 2 || studied > 25 {
		t.Errorf("%d of 60 listeners are studied, want about 10", studied)
	}
}

func TestNobodyWhoOptedOutOrIsErasedIsStudied(t *testing.T) {
	r := newRig(t, exact())
	r.songs(60)
	r.weekOf(2, monday())
	r.apply(profile("ann0", monday().Add(-time.Minute), schemas.Profile{OptOut: true}))
	r.tick(at(monday()))
	if r.frozen("ann0") != nil || r.frozen("ann1") == nil {
		t.Error("the one who opted out is studied, or the other is not")
	}
	r.apply(erasure("ann1", monday().Add(time.Hour)))
	if r.frozen("ann1") != nil {
		t.Error("the candidates of an erased listener are kept")
	}
}
