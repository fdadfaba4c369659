package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"earworm/consumers/feed"
	"earworm/internal/reshard"
	"earworm/internal/run"
	"earworm/internal/service"
)

// reshardFlags are what earworm reshard can be told.
type reshardFlags struct {
	to          int32
	waitingOnly bool
	abort       bool
	dropOld     bool
	receipt     string
	chunk       int
}

// newReshardCommand moves the application to more partitions.
func newReshardCommand(a *app) *cobra.Command {
	var flags reshardFlags
	cmd := &cobra.Command{
		Use:   "reshard --to 64",
		Short: "Move the application to more partitions, offline, and print a receipt",
		Long: "Copies the internal topics into new ones with more partitions, compares both, and switches. Stop every instance first; what was\n" +
			"not processed yet moves, too. It may be killed and run again: it goes on where it was. Ends with 75 if instances are running, or\n" +
			"brokers are away: run it again. After it set topics.partitions, start the instances, and delete the old topics with --drop-old.",
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := flags.check(); err != nil {
				return usage(err)
			}
			// What it talks to must be there; what is in it is its own business.
			return a.withOutputs(cmd.Context(), func(*feed.Client) error { return reshardCode(a.reshard(cmd.Context(), flags)) })
		},
	}
	cmd.Flags().Int32Var(&flags.to, "to", 0, "number of partitions to move to: a power of two, more than now")
	cmd.Flags().BoolVar(&flags.waitingOnly, "waiting-only", false, "leave listens behind that were processed: faster, but earworm verify can prove nothing afterwards")
	cmd.Flags().BoolVar(&flags.abort, "abort", false, "give up a move that is under way")
	cmd.Flags().BoolVar(&flags.dropOld, "drop-old", false, "delete the topics from before the last moves")
	cmd.Flags().StringVar(&flags.receipt, "receipt", "", "write the receipt to this file as JSON, too, which must not exist")
	cmd.Flags().IntVar(&flags.chunk, "chunk", 0, "records in a transaction; 0 is 10,000")
	return cmd
}

func (f reshardFlags) check() error {
	asked := 0
	for _, what := range []bool{f.to != 0, f.abort, f.dropOld} {
		if what {
			asked++
		}
	}
	if asked != 1 || f.to < 0 || f.chunk < 0 {
		return errors.New("say one of --to N, --abort and --drop-old")
	}
	return nil
}

func (a *app) reshard(ctx context.Context, flags reshardFlags) error {
	cfg, err := service.ReshardConfig(a.config)
	if err != nil {
		return run.WithCode(run.CodeConfig, err)
	}
	cfg.WaitingOnly, cfg.ChunkRecords, cfg.Now = flags.waitingOnly, flags.chunk, time.Now
	switch {
	case flags.abort:
		if err := reshard.Abort(ctx, cfg); err != nil {
			return err
		}
		_, err := fmt.Fprintln(a.out, "the move was given up; its topics are deleted")
		return err
	case flags.dropOld:
		dropped, err := reshard.DropOld(ctx, cfg)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.out, "deleted %s\n", strings.Join(dropped, ", "))
		return err
	}
	cfg.Step = func(what string) { _, _ = fmt.Fprintln(a.err, what) }
	bar := newProgress(a.err, "reading", "records", 0)
	cfg.Progress = bar.Add
	receipt, err := reshard.Run(ctx, cfg, flags.to)
	bar.Done()
	if err != nil {
		return err
	}
	if flags.receipt != "" {
		if err := writeReceipt(io.Discard, flags.receipt, receipt); err != nil {
			return run.WithCode(run.CodeIO, err)
		}
	}
	return run.WithCode(run.CodeIO, printMove(a.out, receipt))
}

// printMove prints a receipt for people.
func printMove(w io.Writer, r *reshard.Receipt) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "family\trows before\trows after\tchecksum before\tchecksum after")
	for _, f := range r.Families {
		name := f.Family
		if f.EachPart {
			name += " (each part)"
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", name, thousands(f.Before.Rows), thousands(f.After.Rows), f.Before.Checksum, f.After.Checksum)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("printing the receipt: %w", err)
	}
	before, after := r.Rows()
	_, err := fmt.Fprintf(w, "waiting, and moved: %s listens, %s ticks, %s song updates\n"+
		"%d to %d partitions in %.1f s, runs: %d; %s of %s rows, %d orphans\n"+
		"now set topics.partitions to %d, start the instances, and later run earworm reshard --drop-old\n",
		thousands(r.Waiting.Listens), thousands(r.Waiting.Ticks), thousands(r.Waiting.Updates),
		r.From.Partitions, r.To.Partitions, r.Seconds, r.Runs, thousands(after), thousands(before), r.Orphans, r.To.Partitions)
	if err != nil {
		return fmt.Errorf("printing the receipt: %w", err)
	}
	return nil
}

// reshardCode classifies why there was no move.
func reshardCode(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, reshard.ErrTarget):
		return run.WithCode(run.CodeConfig, err)
	case errors.Is(err, reshard.ErrNothing):
		return run.WithCode(run.CodeUsage, err)
	case errors.Is(err, reshard.ErrDiffers):
		return run.WithCode(codeDiffers, err)
	case errors.Is(err, os.ErrExist):
		return run.WithCode(run.CodeIO, err)
	}
	return run.WithCode(run.CodeTemporary, err)
}
