package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"earworm/consumers/feed"
	"earworm/internal/run"
	"earworm/model/calendar"
	"earworm/schemas"
)

// newPlaylistCommand prints one listener's playlist.
func newPlaylistCommand(a *app) *cobra.Command {
	var week string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "playlist USER",
		Short: "Print a listener's latest weekly playlist, with the reason for each track",
		Args:  exactArgs("USER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withOutputs(cmd.Context(), func(c *feed.Client) error {
				list, titles, err := findPlaylist(cmd.Context(), c, args[0], week)
				if err != nil {
					return err
				}
				if asJSON {
					return json.NewEncoder(a.out).Encode(list)
				}
				return printPlaylist(a.out, list, titles)
			})
		},
	}
	cmd.Flags().StringVar(&week, "week", "", "ISO week, such as 2026-W48; the latest if empty")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the record as it is in the topic")
	return cmd
}

// errNoPlaylist means that the listener has none.
var errNoPlaylist = errors.New("no playlist for this listener")

// findPlaylist reads the topic for a listener's playlist, and the catalogue for the names of its seeds.
func findPlaylist(ctx context.Context, c *feed.Client, user, week string) (*schemas.Playlist, map[schemas.SongID]string, error) {
	var found *schemas.Playlist
	err := c.Playlists(ctx, func(owner string, list *schemas.Playlist) error {
		if owner != user || (list != nil && week != "" && list.Week != week) {
			return nil
		}
		if list == nil || found == nil || list.Week >= found.Week {
			found = list // nil: withdrawn, with everything before it
		}
		return nil
	})
	if err != nil {
		return nil, nil, run.WithCode(run.CodeTemporary, err)
	}
	if found == nil {
		return nil, nil, run.WithCode(run.CodeUsage, errNoPlaylist)
	}
	wanted := map[schemas.SongID]string{}
	for _, track := range found.Tracks {
		for _, seed := range track.Seeds {
			wanted[seed] = string(seed)
		}
	}
	err = c.Songs(ctx, func(song schemas.Song) error {
		if _, ok := wanted[song.ID]; ok && song.Title != "" {
			wanted[song.ID] = song.Title
		}
		return nil
	})
	return found, wanted, err
}

// newPlaylistsCommand groups what concerns all playlists.
func newPlaylistsCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "playlists", Short: "Work with the playlists of all listeners"}
	var format string
	export := &cobra.Command{
		Use:   "export",
		Short: "Write every playlist in the topic, from its beginning, as CSV or JSON lines",
		Args:  exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "csv" && format != "ndjson" {
				return usage(fmt.Errorf("--format is %q, want csv or ndjson", format))
			}
			return a.withOutputs(cmd.Context(), func(c *feed.Client) error {
				return exportPlaylists(cmd.Context(), c, a.out, format)
			})
		},
	}
	export.Flags().StringVar(&format, "format", "csv", "csv or ndjson; ndjson adds score, slot and reason")
	cmd.AddCommand(export)
	return cmd
}

// exportedTrack is one line of an export.
type exportedTrack struct {
	Freeze string  `json:"freeze"` // the Monday of the week
	User   string  `json:"user"`
	Rank   int     `json:"rank"`
	Item   string  `json:"item"`
	Score  float64 `json:"score"`
	Slot   string  `json:"slot"`
	Reason string  `json:"reason"`
}

// exportPlaylists writes the last record of each listener and week, sorted.
func exportPlaylists(ctx context.Context, c *feed.Client, w io.Writer, format string) error {
	type owner struct{ user, week string }
	lists := map[owner]*schemas.Playlist{}
	err := c.Playlists(ctx, func(user string, list *schemas.Playlist) error {
		if list == nil {
			maps.DeleteFunc(lists, func(o owner, _ *schemas.Playlist) bool { return o.user == user })
			return nil
		}
		lists[owner{user, list.Week}] = list
		return nil
	})
	if err != nil {
		return run.WithCode(run.CodeTemporary, err)
	}
	owners := slices.SortedFunc(maps.Keys(lists), func(a, b owner) int {
		if a.week != b.week {
			return compareText(a.week, b.week)
		}
		return compareText(a.user, b.user)
	})
	write, flush := trackWriter(w, format)
	for _, o := range owners {
		week, err := calendar.ParseWeek(o.week)
		if err != nil {
			return err
		}
		for _, track := range lists[o].Tracks {
			err := write(exportedTrack{
				Freeze: week.Monday().Format("2006-01-02"), User: o.user, Rank: track.Rank, Item: string(track.Song),
				Score: track.Score, Slot: track.Slot, Reason: track.Reason,
			})
			if err != nil {
				return run.WithCode(run.CodeIO, err)
			}
		}
	}
	return run.WithCode(run.CodeIO, flush())
}

func compareText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	default:
		return 0
	}
}

// trackWriter returns how to write a line, and how to end.
func trackWriter(w io.Writer, format string) (write func(exportedTrack) error, flush func() error) {
	if format == "ndjson" {
		encoder := json.NewEncoder(w)
		return func(t exportedTrack) error { return encoder.Encode(t) }, func() error { return nil }
	}
	table := csv.NewWriter(w)
	header := []string{"freeze", "user", "rank", "item"}
	begun := false
	write = func(t exportedTrack) error {
		if !begun {
			begun = true
			if err := table.Write(header); err != nil {
				return err
			}
		}
		return table.Write([]string{t.Freeze, t.User, strconv.Itoa(t.Rank), t.Item})
	}
	flush = func() error {
		if !begun {
			if err := table.Write(header); err != nil {
				return err
			}
		}
		table.Flush()
		return table.Error()
	}
	return write, flush
}
