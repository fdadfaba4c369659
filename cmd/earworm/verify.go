package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"earworm/consumers/feed"
	"earworm/internal/pseudonym"
	"earworm/internal/run"
	"earworm/internal/service"
	"earworm/internal/verify"
)

// codeDiffers is the exit code of a verification that found something.
const codeDiffers = 1

var errDiffers = errors.New("the state differs from a fold of the events")

// newVerifyCommand proves that the state is what the events make of it.
func newVerifyCommand(a *app) *cobra.Command {
	cfg := verify.Config{}
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove that the state equals a naive fold of the events: nothing lost, nothing twice",
		Long: "Reads the listens topic from its beginning, folds it naively and compares with what the changelogs hold.\n" +
			"No events may come in meanwhile. Ends with one line, \"0 lost, 0 duplicated, 0 wrong of N\", and with exit code 1 if\n" +
			"it is another one.",
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			options, err := service.KafkaOptions(a.config)
			if err != nil {
				return run.WithCode(run.CodeConfig, err)
			}
			keys, err := pseudonym.Parse([]byte(a.config.Ingest.PseudonymKey.Reveal()))
			if err == nil {
				cfg.Reveal = keys.Reveal
			} else if a.config.Ingest.PseudonymKey.IsSet() {
				return run.WithCode(run.CodeConfig, fmt.Errorf("ingest.pseudonym_key: %w", err))
			}
			cfg.App, cfg.Partitions = a.config.App, service.Partitions(a.config)
			cfg.ClientOptions, cfg.DedupeWindow = options, a.config.Listener.DedupeWindow
			bar := newProgress(a.err, "reading", "records", 0)
			cfg.Progress = bar.Add
			return a.withPlace(cmd.Context(), func(c *feed.Client, place service.Place) error {
				cfg.Topics = place.Topics
				report, err := verify.Run(cmd.Context(), cfg, c)
				bar.Done()
				if err != nil {
					return verifyCode(err)
				}
				if err := printVerdict(a.out, report); err != nil {
					return err
				}
				if !report.OK() {
					return run.WithCode(codeDiffers, errDiffers)
				}
				return nil
			})
		},
	}
	// Not --state.dir: that one belongs to a process, which may well be running.
	cmd.Flags().StringVar(&cfg.StateDir, "state", "", "also compare the local stores in this state directory of a stopped process")
	cmd.Flags().DurationVar(&cfg.Wait, "wait", 30*time.Second, "how long to wait until everything is consumed")
	return cmd
}

// verifyCode classifies why there is no verdict.
func verifyCode(err error) error {
	switch {
	case errors.Is(err, verify.ErrPartitions), errors.Is(err, verify.ErrExpired):
		return run.WithCode(run.CodeConfig, err)
	case errors.Is(err, verify.ErrBehind), errors.Is(err, verify.ErrBusy):
		return run.WithCode(run.CodeTemporary, err)
	}
	return run.WithCode(run.CodeIO, err)
}

// printVerdict ends with the line that scripts look for.
func printVerdict(w io.Writer, r *verify.Report) error {
	o := r.Outcomes
	text := fmt.Sprintf("%s listens = %s applied + %s duplicate + %s too late + %s dead-lettered\n",
		count(o.Consumed), count(o.Applied), count(o.Duplicate), count(o.TooLate), count(o.DeadLettered))
	text += fmt.Sprintf("%d listeners, %d songs, %d playlists compared\n", r.Listeners, r.Songs, r.Playlists)
	if r.Stores > 0 {
		text += fmt.Sprintf("%d local stores with %d rows compared, %d rows cannot be proved (compacted)\n", r.Stores, r.Rows, r.Unproved)
	}
	if r.First != "" {
		text += "first difference: " + r.First + "\n"
	}
	_, err := io.WriteString(w, text+r.String()+"\n")
	return err
}

func count(n uint64) string { return thousands(int64(n)) } //nolint:gosec // a number of records
