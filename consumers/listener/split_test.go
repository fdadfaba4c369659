package listener_test

import (
	"slices"
	"testing"

	"earworm/consumers/listener"
	"earworm/consumers/stream"
	"earworm/state"
)

// TestSplitOfAListenerTask: all rows of a listener stay together, and a week that is done is done for each part.
func TestSplitOfAListenerTask(t *testing.T) {
	t.Parallel()
	among := stream.Split{From: 4, To: 16}
	s := listener.NewSplitter(among)
	user := []byte("u-1842")
	from, to := stream.PartitionOf(user, 4), stream.PartitionOf(user, 16)
	value := []byte("opaque")
	for name, test := range map[string]struct {
		key    []byte
		family string
		want   []int32
	}{
		"core":     {state.AppendCoreKey(nil, user), "listeners", []int32{to}},
		"history":  {state.AppendHistoryKey(nil, user, 7), "history entries", []int32{to}},
		"playlist": {state.AppendPlaylistKey(nil, user, 2900), "remembered playlists", []int32{to}},
		"frozen":   {state.AppendFrozenKey(nil, user), "frozen candidates", []int32{to}},
		"given":    {state.AppendGivenKey(nil, user), "tracks that wait for outcomes", []int32{to}},
		"index":    {state.AppendZoneKey(nil, "Europe/Berlin", user), "index by zone", []int32{to}},
		"weeks":    {state.AppendDoneKey(nil, "Europe/Berlin"), "weeks done", slices.Collect(among.Parts(from))},
	} {
		var got []int32
		if err := s.Split(from, test.key, value, func(to int32, key, v []byte) {
			got = append(got, to)
			if string(key) != string(test.key) || string(v) != string(value) {
				t.Errorf("%s: became %q = %q", name, key, v)
			}
		}); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: goes to %v, %v, want %v", name, got, err, test.want)
		}
		if err := s.Facts(test.key, value, func(f stream.Fact) {
			if f.Family != test.family || (f.Home == nil) != (name == "weeks") {
				t.Errorf("%s: %+v", name, f)
			}
		}); err != nil {
			t.Error(err)
		}
	}
	for _, key := range []string{"x", "", "u", "w", "z"} {
		if err := s.Split(from, []byte(key), value, func(int32, []byte, []byte) {}); err == nil {
			t.Errorf("split a row %q", key)
		}
	}
}
