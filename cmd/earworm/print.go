package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/charmbracelet/lipgloss"
	"github.com/charmbracelet/lipgloss/table"

	"earworm/consumers/feed"
	"earworm/internal/demo"
	"earworm/schemas"
)

// reasonTexts say the reasons of playlist tracks in words; %s are the seeds.
func reasonText(track schemas.Track, titles map[schemas.SongID]string) string {
	var names []string
	for _, seed := range track.Seeds {
		name := titles[seed]
		if name == "" {
			name = string(seed)
		}
		names = append(names, "“"+name+"”")
	}
	seeds := strings.Join(names, ", ")
	switch track.Reason {
	case "similar_to_seeds":
		return "similar to " + seeds
	case "artist_you_play":
		return "you play " + track.Artist
	case "fits_taste":
		return "fits your taste"
	case "popular":
		return "many listen to it now"
	case "popular_in_region":
		return "many listen to it near you"
	case "trending":
		return "going viral"
	case "hardly_heard_yet":
		return "new, and sounds like you"
	case "artist_new_to_you":
		return "an artist that is new to you"
	default:
		return track.Reason
	}
}

// printPlaylist writes a playlist for people.
func printPlaylist(w io.Writer, list *schemas.Playlist, titles map[schemas.SongID]string) error {
	if list.Status != schemas.PlaylistReady {
		_, err := fmt.Fprintf(w, "%s: no playlist, because: %s\n", list.Week, list.Reason)
		return err
	}
	renderer := lipgloss.NewRenderer(w)
	head := renderer.NewStyle().Bold(true)
	rows := table.New().Border(lipgloss.HiddenBorder()).BorderTop(false).BorderBottom(false).
		StyleFunc(func(row, _ int) lipgloss.Style {
			if row == table.HeaderRow {
				return head
			}
			return renderer.NewStyle()
		}).Headers("#", "title", "artist", "slot", "why")
	for _, track := range list.Tracks {
		title := track.Title
		if title == "" {
			title = string(track.Song)
		}
		rows.Row(strconv.Itoa(track.Rank), title, track.Artist, track.Slot, reasonText(track, titles))
	}
	_, err := fmt.Fprintf(w, "%s\n%s\n", head.Render("Week "+list.Week+", "+strconv.Itoa(len(list.Tracks))+" tracks"), rows.Render())
	return err
}

// nameSongs fills in the titles of the songs whose ids are in the map.
func nameSongs(ctx context.Context, c *feed.Client, titles map[schemas.SongID]string) error {
	return c.Songs(ctx, func(song schemas.Song) error {
		if _, ok := titles[song.ID]; ok && song.Title != "" {
			titles[song.ID] = song.Title
			if song.Artist != "" {
				titles[song.ID] += " – " + song.Artist
			}
		}
		return nil
	})
}

// printDemo writes what a demo run shows.
func printDemo(w io.Writer, r *demo.Result) error {
	p := &printer{w: w}
	if r.Playlist != nil {
		p.linef("\nPlaylist of listener %s\n", r.Playlist.User)
		if p.err == nil {
			p.err = printPlaylist(w, r.Playlist, r.Titles)
		}
	}
	t := r.Report.Trends
	p.linef("\nTrends: %d of %d viral songs detected, %d false alarms, median %.1f h after the rate had doubled", t.Detected, t.Truth, t.FalseAlarms, t.MedianHoursToDetect)
	p.linef("        %d bot campaigns, %d of them announced as trends", t.BotCampaigns, t.BotCampaignsEmitted)
	for _, v := range r.World.Virals() {
		song := r.World.Song(v.Song)
		at := "not detected"
		for _, trend := range r.Trends {
			if string(trend.Song) == song.ID && trend.Status == schemas.TrendStarted {
				at = fmt.Sprintf("detected %+.1f h", time.UnixMilli(trend.At).Sub(v.DoubledAt).Hours())
				break
			}
		}
		region := v.Region
		if region == "" {
			region = "world"
		}
		p.linef("        %-32.32s %-5s doubled %s, peak ×%-5.0f %s", song.Title+" – "+song.Artist, region, v.DoubledAt.Format("2006-01-02 15:04"), v.Multiplier, at)
	}
	f := r.Report
	p.linef("\nrecall@30 of %s playlists over %d weeks: %.4f   decayed popularity: %.4f (×%.1f)   ceiling: %.4f",
		thousands(int64(f.Playlists)), len(f.ByWeek), f.RecallAt30, f.RecallAt30Popularity,
		f.RecallAt30/max(f.RecallAt30Popularity, 1e-9), f.RecallAt30Ceiling)
	p.linef("%s events in %.1f s: %s events/s, exactly once; playlists expected %s, emitted %s, duplicated %d", thousands(f.Events), f.Seconds,
		thousands(int64(f.EventsPerSecond)), thousands(int64(f.PlaylistsExpected)), thousands(int64(f.Playlists)), f.PlaylistsDuplicated)
	a := f.Accounting
	p.linef("consumed %s = applied %s + duplicate %s + too late %s + dead letters %s", thousands(a.Consumed), thousands(a.Applied),
		thousands(a.Duplicate), thousands(a.TooLate), thousands(a.DeadLettered))
	return p.err
}

// printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) linef(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}
