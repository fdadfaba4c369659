package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"earworm/consumers/feed"
	"earworm/internal/refit"
	"earworm/internal/run"
	"earworm/internal/service"
	"earworm/model/decay"
)

// newRefitCommand fits the factors to all histories.
func newRefitCommand(a *app) *cobra.Command {
	var cfg refit.Config
	var halfLife, sweeps int
	cmd := &cobra.Command{
		Use:   "refit",
		Short: "Fit the factors to all histories at once, say what that changes, and have the song role take it in",
		Long: "Reads the published rows and all histories, fits the factors to them by alternating least squares from where they stand, and\n" +
			"prints what changes: the loss, and how much of the lists of a sample of listeners stays. Then it sends each row by how much it\n" +
			"moves; nothing has to be stopped, and what is learnt meanwhile stays. Whatever it is interrupted by, run it again.\n" +
			"Ends with 75 if the song role has not taken it in within --wait; it will when it runs.",
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if halfLife < 1 || sweeps < 1 || cfg.Sample < 0 || cfg.PairsMax < 1 || cfg.Wait < 0 {
				return usage(errors.New("half-life, sweeps and pairs must be at least 1, sample and wait not negative"))
			}
			return a.withPlace(cmd.Context(), func(c *feed.Client, place service.Place) error {
				full, err := service.RefitConfig(a.config, place)
				if err != nil {
					return run.WithCode(run.CodeConfig, err)
				}
				full.Fit.HalfLife, full.Fit.Sweeps = decay.HalfLife(time.Duration(halfLife)*24*time.Hour), sweeps
				full.Sample, full.PairsMax, full.DryRun, full.Wait = cfg.Sample, cfg.PairsMax, cfg.DryRun, cfg.Wait
				full.Ready = func(r refit.Report) error { return printPlan(a.out, r) }
				bar := newProgress(a.err, string(refit.StageRows), "rows", 0)
				full.Begin = func(stage refit.Stage, total int64) {
					switch stage {
					case refit.StageRows:
					case refit.StageWait:
						return // there is nothing to count
					default:
						bar.Done()
					}
					bar = newProgress(a.err, string(stage), unitOf(stage), total)
				}
				full.Done = func(n int64) { bar.Add(n) }
				report, err := refit.Run(cmd.Context(), full, c)
				bar.Done()
				if err != nil {
					return refitCode(err)
				}
				return printRefit(a.out, report, full)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&cfg.DryRun, "dry-run", false, "say what would change, and send nothing")
	f.IntVar(&halfLife, "half-life", int(time.Duration(refit.DefaultFit().HalfLife)/(24*time.Hour)), "days since the last play after which a song says half as much of a listener")
	f.IntVar(&sweeps, "sweeps", refit.DefaultFit().Sweeps, "how often listeners and rows are solved")
	f.IntVar(&cfg.PairsMax, "pairs-max", 20_000_000, "pairs of listener and song in memory, some 60 bytes each; where there are more, a share of the listeners is taken")
	f.IntVar(&cfg.Sample, "sample", 400, "listeners whose lists are compared")
	f.DurationVar(&cfg.Wait, "wait", 2*time.Minute, "how long to wait until the song role has taken it in; 0 does not wait")
	return cmd
}

// unitOf says what a stage counts.
func unitOf(stage refit.Stage) string {
	switch stage {
	case refit.StageFit:
		return "pairs"
	case refit.StageLists:
		return "lists"
	default:
		return "rows"
	}
}

// refitCode classifies why there is no refit in force.
func refitCode(err error) error {
	switch {
	case errors.Is(err, refit.ErrNotYet):
		return run.WithCode(run.CodeTemporary, err)
	case errors.Is(err, refit.ErrNothing):
		return run.WithCode(run.CodeTemporary, err)
	}
	return run.WithCode(run.CodeIO, err)
}

// printPlan says what a refit changes.
func printPlan(w io.Writer, r refit.Report) error {
	text := fmt.Sprintf("refit %d as of %s: %s listeners, %s songs, %s rows, %s pairs\n", r.Epoch, r.AsOf.Format(time.RFC3339),
		count(uint64(r.Listeners)), count(uint64(r.Songs)), count(uint64(r.Rows)), count(uint64(r.Pairs))) //nolint:gosec // not negative
	if r.Share < 1 {
		text += fmt.Sprintf("of the listeners %.1f %% were taken: there are more pairs than --pairs-max\n", 100*r.Share)
	}
	text += fmt.Sprintf("loss %.1f, was %.1f (%+.2f %%); cosine of songs before and after %.4f\n",
		r.LossAfter, r.LossBefore, 100*(r.LossAfter/r.LossBefore-1), r.Cosine)
	if r.Lists > 0 {
		text += fmt.Sprintf("of the top 30 of %d listeners %.1f %% stay\n", r.Lists, 100*r.Kept)
	}
	_, err := io.WriteString(w, text)
	return err
}

// printRefit says what became of it.
func printRefit(w io.Writer, r *refit.Report, cfg refit.Config) error {
	text := "nothing was sent\n"
	switch {
	case r.Sent && cfg.Wait == 0:
		text = fmt.Sprintf("sent %s rows\n", count(uint64(r.Rows))) //nolint:gosec // not negative
	case r.Sent:
		text = fmt.Sprintf("%s of %s rows are in force\n", count(uint64(r.InForce)), count(uint64(r.Rows))) //nolint:gosec // not negative
		if r.InForce < r.Rows {
			text += "the others had moved by another refit meanwhile; it does no harm to run this again\n"
		}
	}
	_, err := io.WriteString(w, text)
	return err
}
