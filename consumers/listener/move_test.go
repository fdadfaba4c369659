package listener_test

import (
	"fmt"
	"testing"
	"time"

	"earworm/schemas"
)

// TestMovingLosesNoPlaylist: somebody leaves a zone before its morning for one where the morning has passed.
func TestMovingLosesNoPlaylist(t *testing.T) {
	t.Parallel()
	east, west := "Asia/Tokyo", "America/New_York"
	toEast := profile("mover", hours(-1), schemas.Profile{TimeZone: east})
	inJapan := event("mover", "s009", hours(-1))
	copy(inJapan.Region[:], "JP")
	for _, step := range []struct {
		name         string
		first, moves schemas.Event
		want         int
	}{
		{"a profile moves", event("mover", "s001", hours(-90)), toEast, 1},
		{"the first region moves", event("mover", "s001", hours(-90)), inJapan, 1},
		{"joined after the morning in the east", event("mover", "s001", delivered(t, east, 0).Add(time.Hour)), toEast, 0},
	} {
		t.Run(step.name, func(t *testing.T) {
			t.Parallel()
			c := exact()
			c.Zone = west
			r := newRig(t, c)
			r.songs(100)
			r.people(1, east, west)
			r.tick(at(delivered(t, east, 0)))
			if got := len(r.playlists()); got != 1 {
				t.Fatalf("%d playlists in the east", got)
			}
			r.apply(step.first)
			r.apply(step.moves)
			if got := len(r.playlists()); got != step.want {
				t.Errorf("%d playlists after the move, want %d", got, step.want)
			}
			r.tick(at(delivered(t, west, 0)))
			if got := owners(r.playlists()); fmt.Sprint(got) != "map[user 1 00 2026-W10 ready:1]" {
				t.Errorf("in the west: %v", got)
			}
			r.tick(at(delivered(t, east, 1)))
			if got := owners(r.playlists()); got["mover 2026-W11 ready"] != 1 {
				t.Errorf("a week later: %v", got)
			}
		})
	}
}
