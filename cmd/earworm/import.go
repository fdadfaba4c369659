package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"earworm/consumers/feed"
	"earworm/internal/history"
	"earworm/internal/run"
	"earworm/model/calendar"
	"earworm/schemas"
)

// importOptions are the flags of import csv.
type importOptions struct {
	columns   []string
	minRating float64
	weekly    bool
	catalogue string
}

// What is said of the flags that every command with a history has.
const (
	columnsHelp   = "field=column pairs; fields are timestamp, user, item, title, artist, album, genres, language, region, duration_ms, ms_played, rating"
	catalogueHelp = "CSV file that describes the items: item, title, artist, genres ... under their own names"
)

// newImportCommand groups the ways to bring a history in.
func newImportCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "import", Short: "Bring a listening history in"}
	var o importOptions
	csv := &cobra.Command{
		Use:   "csv FILE",
		Short: "Import listens from a CSV or NDJSON file, with the catalogue it implies",
		Long: "The file has one listen a line, as CSV with a header or as NDJSON; a name that ends in .gz is unpacked. Rows are sorted by time and sent as\n" +
			"events whose ids come from their content: importing a file twice changes nothing.\n\n" +
			"With --weekly the import stops at every Monday 00:00 UTC, waits until all roles have drained, and asks for that week's\n" +
			"playlists, as if the history happened now.",
		Example: "  earworm import csv listens.csv.gz --columns timestamp=timestamp,user=user,item=artist+track,title=track,artist=artist --weekly",
		Args:    exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.importCSV(cmd.Context(), args[0], o)
		},
	}
	csv.Flags().StringSliceVar(&o.columns, "columns", nil, columnsHelp)
	csv.Flags().Float64Var(&o.minRating, "min-rating", 0, "rows with a lower rating are skips, not plays")
	csv.Flags().BoolVar(&o.weekly, "weekly", false, "ask for each week's playlists as its Monday comes")
	csv.Flags().StringVar(&o.catalogue, "catalogue", "", catalogueHelp)
	cmd.AddCommand(csv)
	return cmd
}

// importCSV reads the whole file first: bad rows are known, and told, before anything is sent.
func (a *app) importCSV(ctx context.Context, name string, o importOptions) error {
	h, err := a.readHistory(name, o.catalogue, o.columns, o.minRating)
	if err != nil {
		return err
	}
	return a.withClient(ctx, func(c *feed.Client) error { return a.send(ctx, c, h, o.weekly) })
}

// readHistory reads a file of listens, and perhaps one that describes the items; it tells what cannot be used.
func (a *app) readHistory(events, catalogue string, pairs []string, minRating float64) (*history.History, error) {
	columns, err := history.ParseColumns(pairs)
	if err != nil {
		return nil, usage(err)
	}
	in, closeFile, err := openFile(events)
	if err != nil {
		return nil, err
	}
	h, err := history.Read(in, history.Options{Columns: columns, MinRating: minRating})
	closeFile()
	if err != nil {
		return nil, run.WithCode(run.CodeUsage, fmt.Errorf("reading %s: %w", events, err))
	}
	if catalogue != "" {
		if err := describe(h, catalogue); err != nil {
			return nil, err
		}
	}
	if len(h.Bad) > 0 {
		_, _ = fmt.Fprintf(a.err, "%d rows cannot be used; the first: %v\n", len(h.Bad), h.Bad[0])
	}
	return h, nil
}

// describe reads what a second file says about the items.
func describe(h *history.History, name string) error {
	in, closeFile, err := openFile(name)
	if err != nil {
		return err
	}
	defer closeFile()
	if err := h.Describe(in); err != nil {
		return run.WithCode(run.CodeUsage, fmt.Errorf("reading %s: %w", name, err))
	}
	return nil
}

// send produces the events, week by week if asked to, and each song as it is heard for the first time. A catalogue sent
// ahead would tell which songs will be heard: playlists of the past must not know that.
func (a *app) send(ctx context.Context, c *feed.Client, h *history.History, weekly bool) error {
	songs := h.Catalogue()
	progress := newProgress(a.err, "importing", "events", int64(len(h.Events)))
	defer progress.Done()
	week := calendar.Week{}
	for i := range h.Events {
		if err := ctx.Err(); err != nil {
			return err
		}
		e := &h.Events[i]
		if of := calendar.WeekOf(time.UnixMilli(e.At).UTC()); weekly && of != week {
			if (week != calendar.Week{}) {
				if err := deliver(ctx, c, week.Next(), of); err != nil {
					return run.WithCode(run.CodeTemporary, err)
				}
			}
			week = of
		}
		if song, first := songs[string(e.Song)]; first {
			if err := c.Song(ctx, song); err != nil {
				return err
			}
			delete(songs, string(e.Song))
		}
		c.Event(ctx, e.User, e.AppendJSON(nil))
		progress.Add(1)
	}
	if err := c.Drain(ctx); err != nil {
		return run.WithCode(run.CodeTemporary, err)
	}
	if weekly && (week != calendar.Week{}) {
		return run.WithCode(run.CodeTemporary, deliver(ctx, c, week.Next(), week.Next()))
	}
	return nil
}

// settle is how long the instances get to read the last published rows after everything is committed.
const settle = 300 * time.Millisecond

// deliver asks for the playlists of the weeks from first to last. Every zone's Monday morning has come when the westernmost one has.
func deliver(ctx context.Context, c *feed.Client, first, last calendar.Week) error {
	if err := c.Drain(ctx); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(settle):
	}
	for week := first; !last.Before(week); week = week.Next() {
		if err := c.Tick(ctx, schemas.Tick{At: week.Monday().UnixMilli(), Week: week.String(), Forced: true}); err != nil {
			return err
		}
	}
	return c.Drain(ctx)
}
