package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"earworm/consumers/feed"
	"earworm/internal/run"
	"earworm/schemas"
)

// lineBytesMax bounds a line of NDJSON: larger events would be dead letters anyway, and brokers take a record of at most a megabyte.
const lineBytesMax = 900 << 10

// newProduceCommand sends events, one JSON object a line.
func newProduceCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "produce [FILE]",
		Short: "Send listening events from a file of JSON lines, or from standard input",
		Long: "Each line is one event as docs/events.md describes it. Lines are keyed by listener and sent as they are: what\n" +
			"cannot be decoded becomes a dead letter with the reason. A file ending in .gz is unpacked.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, closeFile, err := a.open(args)
			if err != nil {
				return err
			}
			defer closeFile()
			return a.withOutputs(cmd.Context(), func(c *feed.Client) error { return a.produce(cmd.Context(), c, in) })
		},
	}
	return cmd
}

// open returns the named file, unpacked, or standard input.
func (a *app) open(args []string) (io.Reader, func(), error) {
	if len(args) == 0 || args[0] == "-" {
		return a.in, func() {}, nil
	}
	return openFile(args[0])
}

func openFile(name string) (io.Reader, func(), error) {
	file, err := os.Open(name) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, nil, run.WithCode(run.CodeIO, err)
	}
	closeFile := func() { _ = file.Close() } // it was only read
	if !strings.HasSuffix(name, ".gz") {
		return file, closeFile, nil
	}
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		closeFile()
		return nil, nil, run.WithCode(run.CodeIO, fmt.Errorf("unpacking %s: %w", name, err))
	}
	return unpacked, closeFile, nil
}

func (a *app) produce(ctx context.Context, c *feed.Client, in io.Reader) error {
	decoder, err := schemas.NewDecoder(schemas.DecoderConfig{Aliases: a.config.Ingest.Aliases})
	if err != nil {
		return run.WithCode(run.CodeConfig, err)
	}
	progress := newProgress(a.err, "producing", "events", 0)
	defer progress.Done()
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), lineBytesMax+1) // and its end
	var event schemas.Event
	number := 1
	for ; lines.Scan(); number++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		value := append([]byte(nil), lines.Bytes()...)
		var key []byte
		if decoder.Decode(&event, value, nil) == nil {
			key = append(key, event.User...)
		} else {
			key = userOf(value)
		}
		c.Event(ctx, key, value)
		progress.Add(1)
		if ctx.Err() != nil {
			break
		}
	}
	if err := c.Flush(context.WithoutCancel(ctx)); err != nil {
		return run.WithCode(run.CodeIO, err)
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return run.WithCode(run.CodeUsage, fmt.Errorf("line %d is longer than %d bytes: it and what follows was not sent", number, lineBytesMax))
	}
	if err := lines.Err(); err != nil {
		return run.WithCode(run.CodeIO, fmt.Errorf("reading line %d: %w", number, err))
	}
	return nil
}

// userOf keys a line that is no valid event by its user, if it names one: its dead letter then lies near the listener's others.
func userOf(value []byte) []byte {
	var named struct {
		User string `json:"user_id"`
	}
	if json.Unmarshal(value, &named) != nil || named.User == "" {
		return nil
	}
	return []byte(named.User)
}
