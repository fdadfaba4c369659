package listeners_test

import (
	"testing"

	"earworm/internal/listeners"
	"earworm/schemas"
)

// TestEarwormReadsWhatTheWorldSends holds this package's own spelling of events against the decoder: every good event
// is read as it was meant, every bad one is refused.
func TestEarwormReadsWhatTheWorldSends(t *testing.T) {
	cfg := listeners.SmallTest()
	cfg.BadShare = .01
	w, err := listeners.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	decoder, err := schemas.NewDecoder(schemas.DecoderConfig{})
	if err != nil {
		t.Fatal(err)
	}
	var got schemas.Event
	var buf []byte
	kinds, refused := map[string]int{}, map[listeners.Bad]int{}
	for n := range cfg.Weeks {
		for e := range w.Week(n) {
			buf = e.AppendJSON(buf[:0])
			err := decoder.Decode(&got, buf, nil)
			if e.Bad != listeners.BadNone {
				if refused[e.Bad]++; err == nil {
					t.Fatalf("accepted: %s", buf)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%v: %s", err, buf)
			}
			kinds[e.Kind]++
			if got.Kind.String() != e.Kind || string(got.User) != e.User || string(got.Song) != e.Song || got.At != e.At ||
				got.ID != e.ID || got.DurationMs != e.DurationMs || got.Source.String() != e.Source ||
				got.Device.String() != e.Device || string(got.Region[:]) != e.Region ||
				len(got.Genres) != len(e.Genres) || len(got.Artists) != len(e.Artists) {
				t.Fatalf("sent %+v, read %+v", e, got)
			}
			if got.PlayedMs != e.PlayedMs || got.PositionMs != e.PositionMs {
				t.Fatalf("sent %d played at %d, read %d at %d", e.PlayedMs, e.PositionMs, got.PlayedMs, got.PositionMs)
			}
		}
	}
	for _, kind := range []string{"play", "skip", "like", "unlike", "dislike", "ban", "playlist_add", "share", "onboarding"} {
		if kinds[kind] == 0 {
			t.Errorf("no %s among %v", kind, kinds)
		}
	}
	if len(refused) != 4 {
		t.Errorf("not every way to be bad occurred: %v", refused)
	}
}
