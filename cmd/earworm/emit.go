package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"earworm/consumers/feed"
	"earworm/model/calendar"
	"earworm/schemas"
)

// newEmitCommand forces the playlists of a week.
func newEmitCommand(a *app) *cobra.Command {
	var week string
	cmd := &cobra.Command{
		Use:   "emit --week 2026-W48",
		Short: "Write the playlists of a week now, for every listener who has none for it",
		Args:  exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			parsed, err := calendar.ParseWeek(week)
			if err != nil {
				return usage(err)
			}
			return a.withClient(cmd.Context(), func(c *feed.Client) error {
				tick := schemas.Tick{At: time.Now().UnixMilli(), Week: parsed.String(), Forced: true}
				if err := c.Tick(cmd.Context(), tick); err != nil {
					return err
				}
				_, err := fmt.Fprintf(a.out, "asked for the playlists of %s\n", parsed)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&week, "week", "", "ISO week, such as 2026-W48")
	return cmd
}
