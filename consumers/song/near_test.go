package song_test

import (
	"math"
	"testing"

	"earworm/consumers/stream"
	"earworm/model/factor"
	"earworm/model/rank"
	"earworm/schemas"
	"earworm/state"
)

// neighbours reads what is published of the neighbours of a song.
func (r *rig) neighbours(id string) schemas.Neighbours {
	r.tb.Helper()
	var n schemas.Neighbours
	value := r.store.Rows()[string(state.AppendNeighboursKey(nil, []byte(id)))]
	if value == nil {
		return n
	}
	if err := n.UnmarshalBinary(value); err != nil {
		r.tb.Fatal(err)
	}
	return n
}

func paired(id string, pairs ...schemas.Pair) schemas.SongUpdate {
	return schemas.SongUpdate{Kind: byte(factor.KindSong), ID: []byte(id), Listeners: 1, Pairs: pairs, PairsAt: minute(1)}
}

func TestPairsAddUpAndSurviveARestart(t *testing.T) {
	r := newRig(t)
	r.apply(paired("a", schemas.Pair{Song: 7, Weight: 1}), paired("a", schemas.Pair{Song: 7, Weight: 1}, schemas.Pair{Song: 8, Weight: 2}))
	r.process(paired("a", schemas.Pair{Song: 9, Weight: 5}))
	r.open() // what was not committed is lost
	r.apply(paired("a", schemas.Pair{Song: 8, Weight: 1}), paired("b"))
	got := r.neighbours("a")
	if got.Listeners != 3 || len(got.Pairs) != 2 || got.Pairs[0] != (schemas.Pair{Song: 7, Weight: 2}) || got.Pairs[1] != (schemas.Pair{Song: 8, Weight: 3}) {
		t.Errorf("the neighbours are %+v, want three listeners, two pairs with 7 and three with 8", got)
	}
	if b := r.neighbours("b"); b.Listeners != 1 || len(b.Pairs) != 0 {
		t.Errorf("the neighbours of a song without any are %+v", b)
	}
	before := r.neighbours("a")
	r.process(paired("a", schemas.Pair{Song: 7, Weight: 100}))
	r.run.Abandon()
	r.apply(paired("b"))
	if after := r.neighbours("a"); after.Pairs[0] != before.Pairs[0] {
		t.Errorf("an abandoned pair was written: %+v", after)
	}
	// A change of the factors alone does not write the neighbours again.
	applied := r.store.Applied
	r.apply(schemas.SongUpdate{Kind: byte(factor.KindSong), ID: []byte("a"), Vector: []float32{1, 0, 0, 0}, Count: 1})
	if wrote := r.store.Applied - applied; wrote != 1 {
		t.Errorf("%d rows were written for a change of factors, want 1", wrote)
	}
	// Nor do pairs alone write the factors again; they wait for no acknowledgement.
	factors := string(r.store.Rows()[string(state.AppendFactorKey(nil, byte(factor.KindSong), []byte("a")))])
	applied = r.store.Applied
	r.apply(paired("a", schemas.Pair{Song: 7, Weight: 4}))
	if wrote := r.store.Applied - applied; wrote != 1 || r.neighbours("a").Pairs[0].Weight != before.Pairs[0].Weight+4 {
		t.Errorf("%d rows were written for a pair, want 1; the neighbours are %+v", wrote, r.neighbours("a"))
	}
	if string(r.store.Rows()[string(state.AppendFactorKey(nil, byte(factor.KindSong), []byte("a")))]) != factors {
		t.Error("a pair changed the record of the factors")
	}
}

// TestWhatIsWithdrawnIsTakenBack: pairs and first listens, also those of the same transaction, and not those of others.
func TestWhatIsWithdrawnIsTakenBack(t *testing.T) {
	listen := func(n int, region [2]byte) schemas.SongUpdate {
		u := paired("a", schemas.Pair{Song: 7, Weight: 1})
		u.PairsAt = minute(n)
		u.Listens = []schemas.ListenBucket{{Region: region, At: minute(n), Plays: 1, Unique: 1}}
		return u
	}
	back := func(u schemas.SongUpdate) schemas.SongUpdate {
		u.Withdraws, u.CameAt = true, u.PairsAt
		return u
	}
	de, fr := [2]byte{'D', 'E'}, [2]byte{'F', 'R'}
	want := newRig(t)
	want.apply(listen(10, fr), listen(30, de))
	for name, steps := range map[string][][]schemas.SongUpdate{
		"later":    {{listen(5, de), listen(10, fr)}, {listen(30, de)}, {back(listen(5, de))}},
		"together": {{listen(10, fr)}, {listen(5, de), listen(30, de), back(listen(5, de))}},
	} {
		r := newRig(t)
		for _, step := range steps {
			r.apply(step...)
		}
		r.open()
		r.apply(schemas.SongUpdate{Kind: byte(factor.KindSong), ID: []byte("a"), Vector: []float32{0, 0, 0, 0}, Count: 1})
		got, other := r.row(factor.KindSong, "a"), want.row(factor.KindSong, "a")
		near := func(a, b float64) bool { return math.Abs(a-b) < 1e-6 }
		if !near(got.Popularity.Value1d, other.Popularity.Value1d) || !near(got.Popularity.Value28d, other.Popularity.Value28d) || got.Plays != other.Plays+1 {
			t.Errorf("%s: popularity %+v, %d plays, want %+v", name, got.Popularity, got.Plays, other.Popularity)
		}
		regions := map[[2]byte]float64{}
		for _, l := range got.Listeners {
			regions[l.Region] += l.Value7d
		}
		for _, l := range other.Listeners {
			if !near(regions[l.Region], l.Value7d) {
				t.Errorf("%s: %s has %v, want %v", name, l.Region, regions[l.Region], l.Value7d)
			}
		}
		held, wanted := r.neighbours("a"), want.neighbours("a")
		if !near(float64(held.Listeners), float64(wanted.Listeners)) || len(held.Pairs) != 1 || !near(float64(held.Pairs[0].Weight), float64(wanted.Pairs[0].Weight)) {
			t.Errorf("%s: neighbours %+v, want %+v", name, held, wanted)
		}
	}
}

func blendUpdate(values []float32) schemas.SongUpdate {
	return schemas.SongUpdate{Kind: byte(factor.KindBlend), ID: []byte("playlist"), Vector: values}
}

func TestTheBlendAddsUpAndSurvivesARestart(t *testing.T) {
	r := newRig(t)
	var learnt rank.Blend
	learnt.Z[3], learnt.R[3] = -2, 4
	r.apply(blendUpdate(learnt.Append(nil)))
	r.open()
	r.apply(blendUpdate(learnt.Append(nil)))
	row := r.row(factor.KindBlend, "playlist")
	got, err := rank.ParseBlend(row.Vector)
	if err != nil || got.Z[3] != -4 || got.R[3] != 8 {
		t.Errorf("the blend is %+v, %v", got, err)
	}
	if w := got.Weights(rank.DefaultLearnParams()); math.IsNaN(float64(w[3])) || w[3] <= 0 {
		t.Errorf("the weight is %v", w[3])
	}
	if outcome := r.process(blendUpdate(make([]float32, rank.BlendWidth+2))); outcome != stream.OutcomeDeadLettered {
		t.Errorf("a blend of another width is %s", outcome)
	}
}
