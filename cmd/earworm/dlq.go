package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"earworm/consumers/feed"
	"earworm/consumers/letters"
	"earworm/internal/run"
	"earworm/internal/service"
	"earworm/schemas"
)

// newDLQCommand groups what concerns dead letters.
func newDLQCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dlq",
		Short: "List dead letters, show one, send them again",
		Long: "Reads the dead letters in the styles of Kafka Streams, Kafka Connect and Spring Kafka. What was sent again is remembered\n" +
			"in a topic of its own, so nothing is sent twice, whatever happens to a command.",
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(fmt.Errorf("unknown command \"dlq %s\": use dlq list, dlq show or dlq replay", args[0]))
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(newDLQListCommand(a), newDLQShowCommand(a), newDLQReplayCommand(a))
	return cmd
}

// filterFlags are the flags that choose letters.
type filterFlags struct {
	codes, topics []string
	since, until  string
}

func (f *filterFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&f.codes, "code", nil, "only letters with one of these codes")
	cmd.Flags().StringSliceVar(&f.topics, "topic", nil, "only letters of records that were read from one of these topics")
	cmd.Flags().StringVar(&f.since, "since", "", "only letters from then on: 2026-11-23T06:00:00Z, 2026-11-23, or a time ago such as 36h")
	cmd.Flags().StringVar(&f.until, "until", "", "only letters before then")
}

// filter reads the flags.
func (f *filterFlags) filter(now time.Time) (letters.Filter, error) {
	filter := letters.Filter{Topics: f.topics}
	var errs []error
	for _, name := range f.codes {
		code, ok := schemas.ParseCode(name)
		if !ok || code == schemas.CodeNone {
			errs = append(errs, fmt.Errorf("--code is %q, want one of %v", name, schemas.Codes()))
		}
		filter.Codes = append(filter.Codes, code)
	}
	for _, side := range []struct {
		name, text string
		dst        *time.Time
	}{{"since", f.since, &filter.Since}, {"until", f.until, &filter.Until}} {
		at, ok := parseInstant(side.text, now)
		if !ok {
			errs = append(errs, fmt.Errorf("--%s is %q, want a time such as 2026-11-23T06:00:00Z or 2026-11-23, or a time ago such as 36h", side.name, side.text))
		}
		*side.dst = at
	}
	if len(errs) > 0 {
		return letters.Filter{}, usage(errs[0])
	}
	return filter, nil
}

// parseInstant reads an instant, a day in UTC, or how long ago; empty is the zero time.
func parseInstant(text string, now time.Time) (time.Time, bool) {
	if text == "" {
		return time.Time{}, true
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, true
		}
	}
	ago, err := time.ParseDuration(text)
	return now.Add(-ago), err == nil && ago >= 0
}

// withLetters gives the dead letters of the configuration's application to fn.
func (a *app) withLetters(ctx context.Context, fn func(*letters.Client) error) error {
	return a.withPlace(ctx, func(_ *feed.Client, place service.Place) error { return a.withLettersOf(place, fn) })
}

// withLettersOf is withLetters for who has located the application.
func (a *app) withLettersOf(place service.Place, fn func(*letters.Client) error) error {
	cfg, err := service.LettersConfig(a.config, place)
	if err != nil {
		return run.WithCode(run.CodeConfig, err)
	}
	c, err := letters.New(cfg)
	if err != nil {
		return run.WithCode(run.CodeConfig, err)
	}
	defer c.Close()
	return fn(c)
}

func newDLQListCommand(a *app) *cobra.Command {
	var flags filterFlags
	var format string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Count dead letters by source and code, or write one line of JSON each; ids and payload are not shown",
		Args:  exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "table" && format != "ndjson" {
				return usage(fmt.Errorf("--format is %q, want table or ndjson", format))
			}
			filter, err := flags.filter(time.Now())
			if err != nil {
				return err
			}
			return a.withLetters(cmd.Context(), func(c *letters.Client) error {
				if format == "ndjson" {
					lines := json.NewEncoder(a.out)
					err := c.Read(cmd.Context(), filter, func(l *letters.Letter) error { return lines.Encode(lineOf(l)) })
					return run.WithCode(run.CodeTemporary, err)
				}
				counts := letterCounts{}
				if err := c.Read(cmd.Context(), filter, counts.add); err != nil {
					return run.WithCode(run.CodeTemporary, err)
				}
				return run.WithCode(run.CodeIO, counts.print(a.out))
			})
		},
	}
	flags.register(cmd)
	cmd.Flags().StringVar(&format, "format", "table", "table counts by source and code; ndjson writes every letter")
	return cmd
}

// letterLine is one line of a list. It holds no payload and no key: both may name somebody.
type letterLine struct {
	Letter     string    `json:"letter"`
	At         time.Time `json:"at"`
	Topic      string    `json:"topic,omitempty"`
	Partition  int32     `json:"partition"`
	Offset     int64     `json:"offset"`
	Code       string    `json:"code"`
	Exception  string    `json:"exception,omitempty"`
	Message    string    `json:"message,omitempty"`
	Attempt    int       `json:"attempt"`
	Truncated  bool      `json:"truncated,omitempty"`
	Mark       string    `json:"mark,omitempty"`
	ValueBytes int       `json:"value_bytes"`
}

func lineOf(l *letters.Letter) letterLine {
	return letterLine{
		Letter: l.Place.String(), At: l.At.UTC(), Topic: l.Topic, Partition: l.Partition, Offset: l.Offset, Code: l.Code.String(),
		Exception: l.Exception, Message: l.Message, Attempt: l.Attempt, Truncated: l.Truncated, Mark: l.Mark, ValueBytes: len(l.Value),
	}
}

// letterCounts counts by source and code.
type letterCounts map[letterKind]*letterCount

type letterKind struct {
	topic string
	code  schemas.Code
}

type letterCount struct {
	letters, replayed, erased int64
	first                     letters.Place
	firstAt, lastAt           time.Time
}

func (c letterCounts) add(l *letters.Letter) error {
	kind := letterKind{l.Topic, l.Code}
	n := c[kind]
	if n == nil {
		n = &letterCount{first: l.Place, firstAt: l.At, lastAt: l.At}
		c[kind] = n
	}
	n.letters++
	switch l.Mark {
	case schemas.MarkReplayed:
		n.replayed++
	case schemas.MarkErased:
		n.erased++
	}
	if l.At.Before(n.firstAt) {
		n.first, n.firstAt = l.Place, l.At
	}
	if l.At.After(n.lastAt) {
		n.lastAt = l.At
	}
	return nil
}

// print writes a table, most letters first.
func (c letterCounts) print(w io.Writer) error {
	if len(c) == 0 {
		_, err := fmt.Fprintln(w, "no dead letters")
		return err
	}
	kinds := slices.SortedFunc(maps.Keys(c), func(a, b letterKind) int {
		return cmp.Or(cmp.Compare(c[b].letters, c[a].letters), strings.Compare(a.topic, b.topic), cmp.Compare(a.code, b.code))
	})
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "source\tcode\tletters\tsent again\terased\tfirst\tsince\tuntil\t") // errors surface at Flush
	for _, kind := range kinds {
		n := c[kind]
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", cmp.Or(printable([]byte(kind.topic)), "unknown"), kind.code,
			thousands(n.letters), thousands(n.replayed), thousands(n.erased), n.first, minute(n.firstAt), minute(n.lastAt))
	}
	return table.Flush()
}

func minute(at time.Time) string { return at.UTC().Format("2006-01-02 15:04") }

// printable makes bytes that anybody could have sent safe for a terminal: what is not plain text is quoted.
func printable(b []byte) string {
	text := string(b)
	plain := utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool {
		return !unicode.IsPrint(r) && r != '\n' && r != '\t'
	})
	if plain {
		return text
	}
	return strconv.Quote(text)
}

// errNoLetter means that nothing lies at the place.
var errNoLetter = errors.New("no dead letter lies there")

func newDLQShowCommand(a *app) *cobra.Command {
	var raw bool
	cmd := &cobra.Command{
		Use:   "show PARTITION/OFFSET",
		Short: "Show one dead letter whole, with the headers and the value that were refused",
		Args:  exactArgs("PARTITION/OFFSET"),
		RunE: func(cmd *cobra.Command, args []string) error {
			place, ok := letters.ParsePlace(args[0])
			if !ok {
				return usage(fmt.Errorf("%q is not the place of a letter, such as 0/17", args[0]))
			}
			return a.withLetters(cmd.Context(), func(c *letters.Client) error {
				found := false
				err := c.Read(cmd.Context(), letters.Filter{Places: []letters.Place{place}}, func(l *letters.Letter) error {
					found = true
					if raw {
						_, err := a.out.Write(l.Value)
						return err
					}
					return printLetter(a.out, l)
				})
				if err == nil && !found {
					return run.WithCode(run.CodeUsage, errNoLetter)
				}
				return run.WithCode(run.CodeTemporary, err)
			})
		},
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "write the value alone, byte for byte")
	return cmd
}

// printLetter writes a letter for people.
func printLetter(w io.Writer, l *letters.Letter) error {
	p := &printer{w: w}
	p.linef("letter    %s, %s", l.Place, l.At.UTC().Format(time.RFC3339))
	if l.Topic != "" {
		p.linef("from      %s, partition %d, offset %d", printable([]byte(l.Topic)), l.Partition, l.Offset)
	}
	p.linef("code      %s, attempt %d", l.Code, l.Attempt)
	if l.Message != "" || l.Exception != "" {
		p.linef("error     %s: %s", printable([]byte(l.Exception)), printable([]byte(l.Message)))
	}
	switch l.Mark {
	case schemas.MarkErased:
		p.linef("erased    the listener was erased: nothing of the record is shown")
		return p.err
	case schemas.MarkReplayed:
		p.linef("sent      again already")
	}
	if l.Truncated {
		p.linef("truncated the record was too large to be kept whole")
	}
	for _, h := range l.Headers {
		p.linef("header    %s: %s", printable([]byte(h.Key)), printable(h.Value))
	}
	if l.Key != nil {
		p.linef("key       %s", printable(l.Key))
	}
	p.linef("%s", printable(l.Value))
	return p.err
}

func newDLQReplayCommand(a *app) *cobra.Command {
	var flags filterFlags
	var request letters.Request
	cmd := &cobra.Command{
		Use:   "replay [PARTITION/OFFSET...]",
		Short: "Send the records of dead letters again, each once",
		Long: "Key, value and headers go back to the partition that the record was read from, or to another topic. A transaction holds\n" +
			"the records and the marks that say so: a command that was killed is run again, goes on where it stopped, and nothing is sent\n" +
			"twice, as readers of committed records see it. Records that are refused again become new letters, for another replay.",
		RunE: func(cmd *cobra.Command, args []string) error {
			filter, err := flags.filter(time.Now())
			if err != nil {
				return err
			}
			for _, text := range args {
				place, ok := letters.ParsePlace(text)
				if !ok {
					return usage(fmt.Errorf("%q is not the place of a letter, such as 0/17", text))
				}
				filter.Places = append(filter.Places, place)
			}
			request.Filter = filter
			return a.withLetters(cmd.Context(), func(c *letters.Client) error {
				bar := newProgress(a.err, "replaying", "letters", 0)
				request.Progress = bar.Add
				result, err := c.Replay(cmd.Context(), request)
				bar.Done()
				if errors.Is(err, letters.ErrNoTarget) {
					return usage(err)
				}
				if err != nil {
					return run.WithCode(run.CodeTemporary, fmt.Errorf("%w; %d letters were sent, run it again for the rest", err, result.Sent))
				}
				return run.WithCode(run.CodeIO, printReplay(a.out, request, result))
			})
		},
	}
	flags.register(cmd)
	cmd.Flags().StringVar(&request.To, "to", "", "the topic to send to, instead of where each record came from")
	cmd.Flags().BoolVar(&request.DryRun, "dry-run", false, "say what would be sent, and send nothing")
	return cmd
}

// printReplay says what became of the letters, and of those that were not sent, why.
func printReplay(w io.Writer, request letters.Request, r letters.Result) error {
	p := &printer{w: w}
	verb := "sent again"
	if request.DryRun {
		verb = "would be sent again"
	}
	p.linef("%s of %s letters %s", thousands(r.Sent), thousands(r.Chosen), verb)
	for _, rest := range []struct {
		n   int64
		why string
	}{
		{r.Already, "were sent again earlier"},
		{r.Truncated, "are not whole"},
		{r.NoSource, "did not come from an input of earworm: --to sends them somewhere"},
		{r.Erased, "are of listeners who were erased"},
	} {
		if rest.n > 0 {
			p.linef("%s %s", thousands(rest.n), rest.why)
		}
	}
	return p.err
}
