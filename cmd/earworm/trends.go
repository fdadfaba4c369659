package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"earworm/consumers/feed"
	"earworm/internal/run"
	"earworm/schemas"
)

// newTrendsCommand prints the songs that go viral.
func newTrendsCommand(a *app) *cobra.Command {
	var asJSON, all bool
	cmd := &cobra.Command{
		Use:   "trends",
		Short: "Print the songs that are going viral, strongest first",
		Args:  exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withOutputs(cmd.Context(), func(c *feed.Client) error {
				type place struct {
					song   schemas.SongID
					region string
				}
				latest := map[place]schemas.Trend{}
				titles := map[schemas.SongID]string{}
				err := c.Trends(cmd.Context(), func(t schemas.Trend) error {
					if asJSON && all {
						return json.NewEncoder(a.out).Encode(&t)
					}
					latest[place{t.Song, t.Region}] = t
					titles[t.Song] = string(t.Song)
					return nil
				})
				if err != nil || (asJSON && all) {
					return run.WithCode(run.CodeTemporary, err)
				}
				var list []schemas.Trend
				for _, t := range latest {
					if all || t.Status == schemas.TrendStarted || t.Status == schemas.TrendOngoing {
						list = append(list, t)
					}
				}
				slices.SortFunc(list, func(a, b schemas.Trend) int { return int(1e6 * (b.Score - a.Score)) })
				if asJSON {
					return encodeAll(a.out, list)
				}
				if err := nameSongs(cmd.Context(), c, titles); err != nil {
					return run.WithCode(run.CodeTemporary, err)
				}
				return printTrends(a.out, list, titles)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the records as they are in the topic")
	cmd.Flags().BoolVar(&all, "all", false, "also those that ended or are quarantined")
	return cmd
}

func encodeAll(w io.Writer, list []schemas.Trend) error {
	encoder := json.NewEncoder(w)
	for i := range list {
		if err := encoder.Encode(&list[i]); err != nil {
			return err
		}
	}
	return nil
}

// printTrends writes a table.
func printTrends(w io.Writer, list []schemas.Trend, titles map[schemas.SongID]string) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "no trends")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "song\tregion\tstatus\tsince\tscore\tratio\tlisteners\t") // errors surface at Flush
	for _, t := range list {
		region := t.Region
		if region == "" {
			region = "world"
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%.1f\t×%.1f\t%.0f\t%s\n", titles[t.Song], region, t.Status,
			time.UnixMilli(t.StartedAt).UTC().Format("2006-01-02 15:04"), t.Score, t.Ratio, t.Listeners, t.Reason)
	}
	return table.Flush()
}
