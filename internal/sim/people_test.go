//go:build synctests

package sim_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"earworm/consumers/feed"
	"earworm/schemas"
)

// The zones, and their offsets from UTC written down from the almanac and not taken from the tz database: what the emitter uses
// is what must be checked. Daylight saving began in Europe on 2000-03-26 at 01:00Z and in New York on 2000-04-02 at 07:00Z; it ended
// in both on 2000-10-29, and did not begin again before 2001-03-25.
const (
	berlin    = "Europe/Berlin"
	newYork   = "America/New_York"
	kathmandu = "Asia/Kathmandu"
	utc       = "UTC"
)

// deliveryOf returns Monday 06:00 local of the week that begins on a Monday.
func deliveryOf(zone string, monday time.Time) time.Time {
	six := monday.Add(6 * time.Hour)
	winter := monday.After(time.Date(2000, 10, 29, 0, 0, 0, 0, time.UTC))
	switch zone {
	case berlin:
		if !winter && monday.After(time.Date(2000, 3, 26, 0, 0, 0, 0, time.UTC)) {
			return six.Add(-2 * time.Hour)
		}
		return six.Add(-1 * time.Hour)
	case newYork:
		if !winter && monday.After(time.Date(2000, 4, 2, 0, 0, 0, 0, time.UTC)) {
			return six.Add(4 * time.Hour)
		}
		return six.Add(5 * time.Hour)
	case kathmandu:
		return six.Add(-(5*time.Hour + 45*time.Minute))
	default:
		return six
	}
}

// person is one simulated listener.
type person struct {
	id string
	// region is sent with events; told says that a profile names the zone.
	region string
	told   bool
	// zone is where they live, and from moves on newZone, when that is set.
	zone, newZone string
	moves         time.Time
	// first is the time of the first event; zero for those who only have a profile.
	first time.Time
	// erased is when they are forgotten, for good; zero for those who stay. They fall silent the day before.
	erased time.Time
	heard  map[schemas.SongID]time.Time
	taste  int
}

// zoneAt returns where the person lives.
func (p *person) zoneAt(at time.Time) string {
	if p.newZone != "" && !at.Before(p.moves) {
		return p.newZone
	}
	return p.zone
}

// movesOn reports whether the person moves on a Monday, between the deliveries of the two zones.
func (p *person) movesOn(monday time.Time) bool {
	return p.newZone != "" && p.moves.Equal(monday.Add(mondayMove))
}

// owedSince returns when the playlist of a week falls due: whoever moves on the day gets it by the first of both clocks.
func (p *person) owedSince(monday time.Time) time.Time {
	delivery := deliveryOf(p.zoneAt(monday), monday)
	if p.movesOn(monday) {
		if other := deliveryOf(p.newZone, monday); other.Before(delivery) {
			return other
		}
	}
	return delivery
}

// knownBefore reports whether the delivery of a week is owed to the person.
func (p *person) knownBefore(delivery time.Time) bool {
	return !p.first.IsZero() && p.first.Before(delivery) && (p.erased.IsZero() || delivery.Before(p.erased))
}

// erasedOn reports whether the person is erased on a Monday, while playlists are written: they may get one, or not.
func (p *person) erasedOn(monday time.Time) bool {
	return !p.erased.Before(monday) && p.erased.Before(monday.Add(24*time.Hour))
}

// population makes people: half of them in Berlin, so that one zone's emission is long; every tenth zone is told by region only;
// some join later, some move, some never listen, some are erased.
func population(rng *rand.Rand, start time.Time, weeks int) []*person {
	var all []*person
	for n := range peopleCount {
		p := &person{
			id: fmt.Sprintf("listener-%03d", n), zone: berlin, region: "DE", told: n%10 != 0,
			heard: map[schemas.SongID]time.Time{}, taste: rng.IntN(tastes),
		}
		switch {
		case n%2 == 0:
		case n%8 == 1:
			p.zone, p.region, p.told = newYork, "US", true // a region of many zones
		case n%8 == 3:
			p.zone, p.region = kathmandu, "NP"
		case n%8 == 5:
			p.zone, p.region, p.told = newYork, "US", n%16 == 5
		default:
			p.zone, p.region, p.told = utc, "", n%16 == 7 // the configured zone when nothing tells one
		}
		switch {
		case n%25 == 24: // a profile and no event
			p.told = true
		case n%5 == 4: // joins on a Tuesday to Saturday of one of the weeks
			day := 7*(1+rng.IntN(weeks-2)) + rng.IntN(5)
			p.first = start.AddDate(0, 0, day-1).Add(time.Duration(rng.Int64N(int64(22 * time.Hour)))).Truncate(time.Millisecond)
		default:
			p.first = start.Add(time.Duration(rng.Int64N(int64(48 * time.Hour)))).Truncate(time.Millisecond)
		}
		if n%20 == 6 || n%20 == 11 { // moves on a Wednesday to Friday, from one side of the Atlantic to the other and on
			p.told = true
			p.newZone = []string{newYork, kathmandu, utc, berlin}[rng.IntN(4)]
			p.moves = start.AddDate(0, 0, 7*(1+rng.IntN(weeks-2))+rng.IntN(3)).Add(9 * time.Hour)
		}
		switch n % 40 { // on a Monday, from a zone that still waits to one that is done, and the other way
		case 1:
			p.newZone = kathmandu
		case 3:
			p.newZone = newYork
		}
		switch n % 24 { // is erased: on a Thursday, or on a Monday with everybody else's playlists under way
		case 10:
			p.erased = start.AddDate(0, 0, 8+7*(1+rng.IntN(weeks-2))).Add(9 * time.Hour)
		case 14:
			p.erased = start.AddDate(0, 0, 5+7*(1+rng.IntN(weeks-2))).Add(time.Duration(rng.IntN(12)) * time.Hour)
		}
		if n%40 == 1 || n%40 == 3 {
			p.told, p.moves = true, start.AddDate(0, 0, 5+7*(1+rng.IntN(weeks-2))).Add(mondayMove)
		}
		if !p.erased.IsZero() { // news of a move after that would be somebody new's
			p.newZone, p.moves = "", time.Time{}
		}
		all = append(all, p)
	}
	return all
}

// mondayMove is when people move who do so on a Monday: in Kathmandu it is past six, in New York not yet when the news is sent.
const mondayMove = 2 * time.Hour

// profile sends where the person lives now.
func (p *person) profile(ctx context.Context, client *feed.Client, now time.Time) error {
	return client.Profile(ctx, schemas.Profile{
		User: schemas.UserID(p.id), Region: p.region, TimeZone: p.zoneAt(now), Languages: []string{"en"},
	})
}

// listen sends what the person did between two instants, and returns the number of events.
func (p *person) listen(ctx context.Context, client *feed.Client, rng *rand.Rand, from, to time.Time) int {
	if p.first.IsZero() || !p.first.Before(to) || (!p.erased.IsZero() && to.After(p.erased.Add(-24*time.Hour))) {
		return 0
	}
	var times []time.Time
	if !p.first.Before(from) {
		times = append(times, p.first)
		from = p.first
	}
	if rng.Float64() < .4 {
		for range 1 + rng.IntN(2) {
			times = append(times, from.Add(time.Duration(rng.Int64N(int64(to.Sub(from))))).Truncate(time.Millisecond))
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	for _, at := range times {
		song := p.choose(rng)
		if _, again := p.heard[song]; !again {
			p.heard[song] = at
		}
		e := schemas.Event{
			Kind: schemas.KindPlay, User: []byte(p.id), Song: []byte(song), At: at.UnixMilli(),
			PlayedMs: 200_000, DurationMs: 210_000, PositionMs: schemas.Unknown, Slot: schemas.Unknown,
		}
		binary.BigEndian.PutUint64(e.ID[:8], rng.Uint64()|1)
		binary.BigEndian.PutUint64(e.ID[8:], rng.Uint64())
		copy(e.Region[:], p.region)
		switch rng.IntN(12) {
		case 0, 1:
			e.Kind, e.PlayedMs = schemas.KindSkip, 8_000
		case 2:
			e.Kind, e.PlayedMs, e.DurationMs = schemas.KindLike, schemas.Unknown, schemas.Unknown
		}
		client.Event(ctx, []byte(p.id), e.AppendJSON(nil))
	}
	return len(times)
}

// choose draws a song: mostly of the person's taste, and the lower its number the more popular it is.
func (p *person) choose(rng *rand.Rand) schemas.SongID {
	popular := int(float64(songsPerTaste) * rng.Float64() * rng.Float64())
	taste := p.taste
	if rng.IntN(5) == 0 {
		taste = rng.IntN(tastes)
	}
	return songID(taste, popular)
}

func songID(taste, n int) schemas.SongID {
	return schemas.SongID(fmt.Sprintf("song-%d-%03d", taste, n))
}

// catalogue sends every song.
func catalogue(ctx context.Context, client *feed.Client, released time.Time) error {
	for taste := range tastes {
		for n := range songsPerTaste {
			id := songID(taste, n)
			err := client.Song(ctx, schemas.Song{
				ID: id, Title: string(id), Artist: fmt.Sprintf("artist-%d-%02d", taste, n/3),
				Genres: []string{fmt.Sprintf("genre-%d", taste)}, Language: "en", DurationMs: 210_000,
				ReleasedAt: released.UnixMilli(),
			})
			if err != nil {
				return err
			}
		}
	}
	return client.Flush(ctx)
}
