package demo

import (
	"context"
	"fmt"
	"time"

	"earworm/consumers/feed"
	"earworm/internal/listeners"
	"earworm/model/calendar"
	"earworm/schemas"
)

// arenaBytes is the size of the pieces of memory that hold events until they are sent.
const arenaBytes = 1 << 20

// settle is how long the instances get to read the last published rows after everything is committed.
const settle = 200 * time.Millisecond

// driver sends a world through a system, week by week.
type driver struct {
	options Options
	world   *listeners.World
	system  *system
	client  *feed.Client
	sent    int64
	// seen holds the first event time of each listener of whom a good event was sent, expected the playlists due to them.
	seen     map[int]int64
	expected int
}

func (d *driver) run(ctx context.Context) (*Result, error) {
	if err := d.describe(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	weeks := d.world.Config().Weeks
	for n := range weeks {
		if n > 0 {
			if err := d.deliver(ctx, n); err != nil {
				return nil, err
			}
		}
		if err := d.send(ctx, n); err != nil {
			return nil, err
		}
	}
	if err := d.client.Drain(ctx); err != nil {
		return nil, err
	}
	seconds := time.Since(began).Seconds()
	return d.measure(ctx, seconds)
}

// describe sends the catalogue and the profiles.
func (d *driver) describe(ctx context.Context) error {
	for song := range d.world.Songs() {
		err := d.client.Song(ctx, schemas.Song{
			ID: schemas.SongID(song.ID), Title: song.Title, Artist: song.Artist, Album: song.Album, Genres: song.Genres,
			Moods: song.Moods, Language: song.Language, Tempo: song.Tempo, Energy: song.Energy,
			DurationMs: song.Duration.Milliseconds(), ReleasedAt: song.Released.UnixMilli(),
		})
		if err != nil {
			return err
		}
	}
	return d.client.Flush(ctx)
}

// profiles sends the profiles of those who join in a week.
func (d *driver) profiles(ctx context.Context, n int) error {
	from, to := d.world.WeekStart(n), d.world.WeekStart(n+1)
	for l := range d.world.Listeners() {
		if l.Joined.Before(to) && (n == 0 || !l.Joined.Before(from)) {
			err := d.client.Profile(ctx, schemas.Profile{
				User: schemas.UserID(l.ID), Region: l.Region, TimeZone: l.Zone, Languages: l.Languages,
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// send produces a week of events.
func (d *driver) send(ctx context.Context, n int) error {
	if err := d.profiles(ctx, n); err != nil {
		return err
	}
	arena := make([]byte, 0, arenaBytes)
	for event := range d.world.Week(n) {
		if len(arena)+1024 > cap(arena) {
			arena = make([]byte, 0, arenaBytes) // the old one lives until its events are sent
		}
		start := len(arena)
		arena = append(arena, event.User...)
		middle := len(arena)
		arena = event.AppendJSON(arena)
		d.client.Event(ctx, arena[start:middle:middle], arena[middle:len(arena):len(arena)])
		d.sent++
		if event.Bad == listeners.BadNone {
			if first, ok := d.seen[event.Listener]; !ok || event.At < first {
				d.seen[event.Listener] = event.At
			}
		}
		if d.sent%1024 == 0 {
			d.options.Progress(d.sent)
			if ctx.Err() != nil {
				break
			}
		}
	}
	d.options.Progress(d.sent)
	return ctx.Err()
}

// deliver waits until everything sent is learnt, and lets Monday morning come in every zone.
func (d *driver) deliver(ctx context.Context, n int) error {
	if err := d.client.Drain(ctx); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(settle):
	}
	week := calendar.WeekOf(d.world.WeekStart(n))
	latest := week.Monday()
	for l := range d.world.Listeners() {
		loc, err := time.LoadLocation(l.Zone)
		if err != nil {
			return fmt.Errorf("zone of a simulated listener: %w", err)
		}
		delivery := week.Delivery(loc, d.options.Config.Emit.Hour)
		if delivery.After(latest) {
			latest = delivery
		}
		if first, ok := d.seen[l.Index]; ok && first <= delivery.UnixMilli() {
			d.expected++
		}
	}
	if err := d.client.Tick(ctx, schemas.Tick{At: latest.UnixMilli()}); err != nil {
		return err
	}
	return d.client.Drain(ctx)
}

// measure reads what the system wrote and holds it against the truth.
func (d *driver) measure(ctx context.Context, seconds float64) (*Result, error) {
	r := &Result{World: d.world, Titles: map[schemas.SongID]string{}}
	e := listeners.NewEvaluator(d.world)
	if err := d.readPlaylists(ctx, e, r); err != nil {
		return nil, err
	}
	err := d.client.Trends(ctx, func(t schemas.Trend) error {
		r.Trends = append(r.Trends, t)
		if t.Status != schemas.TrendStarted {
			return nil
		}
		return e.Trend(string(t.Song), t.Region, time.UnixMilli(t.At).UTC())
	})
	if err != nil {
		return nil, err
	}
	for song := range d.world.Songs() {
		r.Titles[schemas.SongID(song.ID)] = song.Title
	}
	r.Report = e.Report(ceilingSample)
	r.Report.Events, r.Report.Seconds, r.Report.PlaylistsExpected = d.sent, seconds, d.expected
	r.Report.EventsPerSecond = float64(d.sent) / seconds
	r.Report.Accounting = d.accounting()
	return r, nil
}

// ceilingSample is how many listeners of a week the ceiling is measured on: it costs half a millisecond each.
const ceilingSample = 100

// readPlaylists hands every playlist to the evaluator and keeps the one that is shown.
func (d *driver) readPlaylists(ctx context.Context, e *listeners.Evaluator, r *Result) error {
	return d.client.Playlists(ctx, func(user string, list *schemas.Playlist) error {
		if list == nil {
			return nil
		}
		week, err := calendar.ParseWeek(list.Week)
		if err != nil {
			return fmt.Errorf("reading playlists: %w", err)
		}
		n, ok := d.world.WeekIndex(week.Monday())
		if !ok || list.Status != schemas.PlaylistReady {
			return nil
		}
		songs := make([]string, len(list.Tracks))
		for i, track := range list.Tracks {
			songs[i] = string(track.Song)
		}
		if index, ok := d.world.ListenerIndex(user); ok && index == min(shown, d.world.Config().Listeners-1) && (r.Playlist == nil || r.Playlist.Week < list.Week) {
			r.Playlist = list
		}
		return e.Playlist(n, user, songs)
	})
}

// shown is the listener whose playlist is printed; in a smaller world it is the last.
const shown = 42

// accounting adds the outcomes of everything that was consumed: dead letters of ingest, and what became of the rest in the
// listener tasks. Ticks are no events.
func (d *driver) accounting() listeners.Accounting {
	var a listeners.Accounting
	topics := d.system.service.Topics()
	for _, counts := range d.system.service.Accounting() {
		for from, c := range counts {
			switch from.Topic {
			case topics.Events, topics.Users:
				a.Consumed += c.Consumed
				a.DeadLettered += c.DeadLettered
			case topics.Listens:
				a.Applied += c.Applied
				a.Duplicate += c.Duplicate
				a.TooLate += c.TooLate
				a.DeadLettered += c.DeadLettered
			}
		}
	}
	return a
}
