package listeners

import (
	"errors"
	"fmt"
	"time"
)

// Config describes a world. Start from Demo or SmallTest; Validate reports every problem at once.
type Config struct {
	// Seed decides everything that is left to chance.
	Seed uint64
	// Start is the Monday 00:00 UTC the first week begins.
	Start time.Time
	// Weeks is the length of the run.
	Weeks int
	// Listeners are the people; the accounts of bots come on top.
	Listeners int
	// Songs counts those released during the run too.
	Songs int
	// Artists and Genres share the songs out; each genre has scenes of about SceneSongs songs.
	Artists, Genres int
	// SceneSongs is the mean number of songs in a scene.
	SceneSongs int
	// Regions is 1 to 8, largest first.
	Regions int
	// EventsPerListenerWeek is the mean number of songs a person starts in a week.
	EventsPerListenerWeek float64
	// NewShare is the share of starts that look for a song never heard before.
	NewShare float64
	// ReleaseShare of the songs come out during the run.
	ReleaseShare float64
	// DriftPerWeek is the chance that a listener swaps one interest for another in a week.
	DriftPerWeek float64
	// InterestsMin and InterestsMax bound how many interests a listener has, each in a scene of its own; at most 8.
	InterestsMin, InterestsMax int
	// JoinShare of the listeners arrive during the run.
	JoinShare float64
	// Virals is the number of songs that go viral, none in the first two weeks of runs longer than four.
	Virals int
	// BotCampaigns is the number of songs pushed by bots, BotAccounts the accounts of each.
	BotCampaigns, BotAccounts int
	// DuplicateShare of the events are sent again with the same id.
	DuplicateShare float64
	// LateShare of the sessions are reported minutes to three days late.
	LateShare float64
	// BadShare of the events are followed by one that nothing can decode.
	BadShare float64
	// Playlists, when set, lets people listen to the weekly playlist they were given for a week, in sessions of
	// their own on top of all others. The stream stays deterministic if the same lists are given again.
	Playlists func(listener, week int) Playlist
}

// Playlist is a list of songs a listener was given.
type Playlist struct {
	ID    [16]byte
	Songs []int
}

// Demo is the world of `earworm demo`: 10 weeks, 4,600 listeners, 12,000 songs, 2.1 M events.
func Demo() Config {
	return Config{
		Seed: 1, Start: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC), Weeks: 10,
		Listeners: 4600, Songs: 12_000, Artists: 1800, Genres: 20, SceneSongs: 150, Regions: 4,
		EventsPerListenerWeek: 46, NewShare: .40, ReleaseShare: .2, DriftPerWeek: .08, JoinShare: .15,
		InterestsMin: 2, InterestsMax: 4,
		Virals: 12, BotCampaigns: 3, BotAccounts: 40,
		DuplicateShare: .01, LateShare: .005, BadShare: .0005,
	}
}

// SmallTest is a world for tests: 4 weeks, 300 listeners, 1,500 songs, about 55 k events.
func SmallTest() Config {
	c := Demo()
	c.Weeks, c.Listeners, c.Songs, c.Artists, c.Genres, c.SceneSongs = 4, 300, 1500, 250, 8, 60
	c.Virals, c.BotCampaigns, c.BotAccounts = 2, 1, 12
	return c
}

// Validate reports every setting that makes no world.
func (c Config) Validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	start := c.Start.UTC()
	bad(start.Weekday() != time.Monday || !start.Equal(start.Truncate(24*time.Hour)), "start %v is not a Monday 00:00 UTC", c.Start)
	bad(c.Weeks < 1 || c.Weeks > 520, "weeks %d not in 1..520", c.Weeks)
	bad(c.Listeners < 1 || c.Listeners > 50_000_000, "listeners %d not in 1..50000000", c.Listeners)
	bad(c.Artists < 1 || c.Artists > 1_000_000, "artists %d not in 1..1000000", c.Artists)
	bad(c.Songs < c.Artists || c.Songs > 10_000_000, "songs %d not in artists..10000000", c.Songs)
	bad(c.Genres < 1 || c.Genres > len(genreNames), "genres %d not in 1..%d", c.Genres, len(genreNames))
	bad(c.SceneSongs < 1, "scene songs %d below 1", c.SceneSongs)
	bad(c.Regions < 1 || c.Regions > len(regionTable), "regions %d not in 1..%d", c.Regions, len(regionTable))
	bad(!(c.EventsPerListenerWeek > 0 && c.EventsPerListenerWeek <= 5000), "events per listener and week %v not in (0, 5000]", c.EventsPerListenerWeek)
	bad(c.InterestsMin < 1 || c.InterestsMax < c.InterestsMin || c.InterestsMax > interestsMax, "interests %d to %d are not within 1 to %d", c.InterestsMin, c.InterestsMax, interestsMax)
	bad(c.Virals < 0 || c.BotCampaigns < 0 || c.BotAccounts < 0, "negative number of virals, campaigns or accounts")
	for _, share := range []struct {
		name  string
		value float64
	}{
		{"new share", c.NewShare},
		{"release share", c.ReleaseShare},
		{"drift", c.DriftPerWeek},
		{"join share", c.JoinShare},
		{"duplicate share", c.DuplicateShare},
		{"late share", c.LateShare},
		{"bad share", c.BadShare},
	} {
		bad(!(share.value >= 0 && share.value < 1), "%s %v not in [0, 1)", share.name, share.value)
	}
	return errors.Join(errs...)
}
