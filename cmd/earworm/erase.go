package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"earworm/consumers/feed"
	"earworm/consumers/letters"
	"earworm/internal/erasure"
	"earworm/internal/run"
	"earworm/internal/service"
)

// newEraseCommand forgets a listener.
func newEraseCommand(a *app) *cobra.Command {
	var file string
	var dryRun bool
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "erase USER",
		Short: "Forget a listener, wait until it has taken effect, and print a receipt",
		Long: "Writes the null that erases, waits until every role has done it, reads the topics to see whether it is so, and prints a\n" +
			"receipt: what was removed where, what remains and until when. The receipt names nobody. It cannot be undone.\n" +
			"Ends with 75 if something is left, or a role does not answer: run it again.",
		Args: exactArgs("USER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withPlace(cmd.Context(), func(c *feed.Client, place service.Place) error {
				cfg, err := service.ErasureConfig(a.config, place)
				if err != nil {
					return run.WithCode(run.CodeConfig, err)
				}
				cfg.Wait = wait
				return a.withLettersOf(place, func(dead *letters.Client) error {
					receipt, err := a.erase(cmd.Context(), cfg, c, dead, args[0], dryRun)
					if receipt != nil {
						if err := writeReceipt(a.out, file, receipt); err != nil {
							return run.WithCode(run.CodeIO, err)
						}
					}
					return run.WithCode(run.CodeTemporary, err)
				})
			})
		},
	}
	cmd.Flags().StringVar(&file, "receipt", "", "write the receipt to this file too, which must not exist")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what there is, and erase nothing")
	cmd.Flags().DurationVar(&wait, "wait", 2*time.Minute, "how long to wait for each role")
	return cmd
}

func (a *app) erase(ctx context.Context, cfg erasure.Config, c *feed.Client, dead *letters.Client, user string, dryRun bool) (*erasure.Receipt, error) {
	bar := newProgress(a.err, "reading", "records", 0)
	defer bar.Done()
	cfg.Progress, cfg.Now = bar.Add, time.Now
	if dryRun {
		return erasure.Look(ctx, cfg, c, dead, user)
	}
	return erasure.Erase(ctx, cfg, c, dead, user)
}

// writeReceipt prints a receipt, and writes it to a file if one is named. One that is there is not overwritten: it may be another's.
func writeReceipt(w io.Writer, name string, receipt any) error {
	text, err := json.MarshalIndent(receipt, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the receipt: %w", err)
	}
	text = append(text, '\n')
	_, err = w.Write(text)
	if err != nil || name == "" {
		return err
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the operator names the file
	if err != nil {
		return fmt.Errorf("writing the receipt: %w", err)
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Close())
}
