package refit

import (
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"earworm/model/calendar"
	"earworm/model/decay"
	"earworm/model/factor"
	"earworm/model/trend"
	"earworm/state"
)

var seed = flag.Uint64("seed", 1, "seed of the random histories")

func dice(tb testing.TB) *rand.Rand {
	tb.Helper()
	tb.Logf("-seed %d", *seed)
	return rand.New(rand.NewPCG(*seed, 3))
}

const day = 24 * time.Hour

// start is when all histories begin.
func start() time.Time { return time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC) }

// core returns a core row of a listener.
func core(user string, optOut bool, vector []float32) (key, value []byte) {
	var weeks calendar.WeekSet
	var trust trend.Trust
	c := state.ListenerCore{Vector: vector, OptOut: optOut, Discovery: -1, Weeks: weeks.AppendBinary(nil), Trust: trust.AppendBinary(nil)}
	return state.AppendCoreKey(nil, []byte(user)), c.AppendBinary(nil)
}

// played returns a row of a history: so many plays of a song, the last at a time.
func played(user string, song factor.Key, plays uint32, at time.Time, flags uint8) (key, value []byte) {
	e := state.HistoryEntry{
		Plays: plays, FirstAt: start().UnixMilli(), LastAt: at.UnixMilli(), Flags: flags,
		Engagement: decay.Counter{Value: float64(plays), At: at.UnixMilli()},
	}
	return state.AppendHistoryKey(nil, []byte(user), uint64(song)), e.AppendBinary(nil)
}

func (h *Histories) take(tb testing.TB, key, value []byte) {
	tb.Helper()
	if err := h.Row(key, value); err != nil {
		tb.Fatal(err)
	}
}

// held is what histories hold: plays by song and listener.
func held(h *Histories) map[string]map[factor.Key]uint32 {
	out := map[string]map[factor.Key]uint32{}
	for _, user := range h.users() {
		out[user] = map[factor.Key]uint32{}
		for _, e := range h.listeners[user].heard {
			out[user][e.song] = e.plays
		}
	}
	return out
}

// TestHistoriesAreTheLastWord against maps: rows come again and again, are deleted, and come back, as in a changelog.
func TestHistoriesAreTheLastWord(t *testing.T) {
	t.Parallel()
	dice := dice(t)
	h := NewHistories(0)
	naive, optOut := map[string]map[factor.Key]uint32{}, map[string]bool{}
	for n := range 20_000 {
		user, song := fmt.Sprintf("u%d", dice.IntN(12)), factor.Key(dice.IntN(40))
		if naive[user] == nil {
			naive[user] = map[factor.Key]uint32{}
		}
		switch p := dice.IntN(1000); {
		case p < 2: // erased
			for song := range naive[user] {
				h.take(t, state.AppendHistoryKey(nil, []byte(user), uint64(song)), nil)
			}
			h.take(t, state.AppendCoreKey(nil, []byte(user)), nil)
			naive[user], optOut[user] = map[factor.Key]uint32{}, false
		case p < 5:
			optOut[user] = dice.IntN(2) == 0
			key, value := core(user, optOut[user], nil)
			h.take(t, key, value)
		case p < 60:
			h.take(t, state.AppendHistoryKey(nil, []byte(user), uint64(song)), nil)
			delete(naive[user], song)
		case p < 120: // heard, and not come to
			key, value := played("stranger", song, 1, start(), 0)
			h.take(t, key, value)
		default:
			key, value := played(user, song, uint32(n+1), start().Add(time.Duration(n)*time.Minute), state.FlagTrained)
			h.take(t, key, value)
			naive[user][song] = uint32(n + 1)
		}
	}
	for _, key := range [][]byte{state.AppendZoneKey(nil, "UTC", []byte("u1")), state.AppendPlaylistKey(nil, []byte("u1"), 7), {1, 2}} {
		h.take(t, key, []byte{1}) // says nothing of a history
	}
	maps.DeleteFunc(naive, func(user string, songs map[factor.Key]uint32) bool { return optOut[user] || len(songs) == 0 })
	if got := held(h); !maps.EqualFunc(got, naive, maps.Equal) {
		t.Errorf("held %v\nwant %v", got, naive)
	}
	if err := h.Row(state.AppendHistoryKey(nil, []byte("u"), 1), []byte{99}); err == nil {
		t.Error("a damaged row is taken")
	}
}

// TestHistoriesAreBounded: where there is no room for all, some listeners are left, each with all that they heard.
func TestHistoriesAreBounded(t *testing.T) {
	t.Parallel()
	const users, songs, limit = 400, 30, 3000
	h := NewHistories(limit)
	for song := range songs {
		for u := range users {
			for range 3 { // what is replaced takes no room for long
				key, value := played(fmt.Sprintf("user %d", u), factor.Key(song), 1, start(), state.FlagTrained)
				h.take(t, key, value)
				if h.pairs > limit {
					t.Fatalf("%d pairs are held", h.pairs)
				}
			}
		}
	}
	got := held(h)
	for user, heard := range got {
		if len(heard) != songs {
			t.Errorf("%s is left with %d songs", user, len(heard))
		}
	}
	if n := len(got); n < limit/songs/4 || n > limit/songs || math.Abs(h.Share()-float64(n)/users) > .08 {
		t.Errorf("%d of %d listeners are left, their share is said to be %.3f", n, users, h.Share())
	}
	whole := NewHistories(users * songs)
	for u := range users {
		key, value := played(fmt.Sprintf("user %d", u), 1, 1, start(), state.FlagTrained)
		whole.take(t, key, value)
	}
	if whole.Share() != 1 || len(held(whole)) != users {
		t.Errorf("with room for all, %d are left", len(held(whole)))
	}
}

// TestWeights are those with which the ranker solves a listener's vector.
func TestWeights(t *testing.T) {
	t.Parallel()
	at := start().Add(200 * day).UnixMilli()
	for _, tt := range []struct {
		plays uint32
		age   time.Duration
		want  float64
	}{{0, 0, 1}, {1, 0, 1}, {1, 180 * day, .5}, {3, 90 * day, (1 + math.Log(3)) / math.Sqrt2}, {1, -day, 1}} {
		e := heard{plays: tt.plays, at: uint32(at/1000 - int64(tt.age/time.Second))}
		if got := e.weight(at, DefaultFit().HalfLife); math.Abs(float64(got)-tt.want) > 1e-5 {
			t.Errorf("%d plays, %s ago: %v, want %v", tt.plays, tt.age, got, tt.want)
		}
	}
}

// TestSampleHoldsTheSmallest: the rows of as many listeners as it was asked for, the same whatever the order, in the order of the keys.
func TestSampleHoldsTheSmallest(t *testing.T) {
	t.Parallel()
	dice := dice(t)
	var want []string
	for round := range 3 {
		s := newSample(20)
		for _, u := range dice.Perm(500) {
			user := fmt.Sprintf("user %d", u)
			for song := range 3 {
				key, value := played(user, factor.Key(song), 1, start(), state.FlagTrained)
				s.row(key, value)
			}
			key, _ := played(user, 1, 1, start(), 0)
			s.row(key, nil)
			s.row(state.AppendZoneKey(nil, "UTC", []byte(user)), []byte{1})
		}
		s.shrink()
		users := slices.Sorted(maps.Keys(s.people))
		if round == 0 {
			want = users
		}
		if len(users) != 20 || !slices.Equal(users, want) {
			t.Fatalf("holds %v, want %v", users, want)
		}
		var keys []string
		err := s.Scan(state.AppendHistoryPrefix(nil, []byte(users[3])), func(key, value []byte) error {
			if stored, err := s.Get(key); err != nil || !slices.Equal(stored, value) {
				t.Errorf("Get(%q) is %q, %v", key, stored, err)
			}
			keys = append(keys, string(key))
			return nil
		})
		if err != nil || len(keys) != 2 || !slices.IsSorted(keys) {
			t.Errorf("rows of a listener: %q, %v", keys, err)
		}
	}
}
