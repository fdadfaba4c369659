package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"earworm/internal/backtest"
	"earworm/internal/listeners"
	"earworm/internal/run"
)

// backtestOptions are the flags of backtest.
type backtestOptions struct {
	events, catalogue string
	world             string
	size              listeners.Config // what differs from the world's own
	columns           []string
	minRating         float64
	report, lists     string
	plot              string
	listModel         string
	options           backtest.Options
}

// newBacktestCommand measures models on a history.
func newBacktestCommand(a *app) *cobra.Command {
	var o backtestOptions
	cmd := &cobra.Command{
		Use:   "backtest",
		Short: "Replay a history in event time and measure what each model would have recommended",
		Long: "At every Monday 00:00 UTC after warming up, each model ranks the whole catalogue for everybody who finds a new song in the\n" +
			"week after, without what they have consumed. The baselines are those of the literature; docs/benchmarks/quality.md says\n" +
			"what the figures mean.\n\nModels, with their parameters and defaults; all but earworm are baselines:\n  " + strings.Join(backtest.Names(production()), "\n  "),
		Example: "  earworm backtest --events listens.csv.gz --columns timestamp=timestamp,user=user,item=artist --tune-weeks 4\n" +
			"  earworm backtest --events ratings.csv.gz --catalogue items.csv.gz --min-rating 6 --models popularity:half_life=3,random",
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.backtest(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.events, "events", "", "history: CSV with a header, or NDJSON; a name that ends in .gz is unpacked")
	f.StringVar(&o.world, "world", "", "a simulated world instead: "+worldsHelp())
	f.IntVar(&o.size.Weeks, "weeks", 0, "weeks of the world; 0 is its own number, 10")
	f.IntVar(&o.size.Listeners, "listeners", 0, "listeners of the world; 0 is its own number, 4,600")
	f.IntVar(&o.size.Songs, "songs", 0, "songs of the world, with artists in proportion; 0 is its own number, 12,000")
	f.StringSliceVar(&o.columns, "columns", nil, columnsHelp)
	f.StringVar(&o.catalogue, "catalogue", "", catalogueHelp)
	f.Float64Var(&o.minRating, "min-rating", 0, "rows with a lower rating are no consumption")
	f.Float64Var(&o.options.Warm, "warm", .4, "share of the time span that is learnt before the first measured Monday")
	f.IntVar(&o.options.TuneWeeks, "tune-weeks", 0, "leave the first measured weeks out of the report: parameters were chosen on them")
	f.BoolVar(&o.options.OnTuneWeeks, "on-tune-weeks", false, "measure those weeks and none of the others")
	f.IntVar(&o.options.MinUsers, "min-users", 20, "leave out weeks with fewer measured listeners")
	f.IntVar(&o.options.Sample, "sample", 0, "measure so many people of a week; 0 is everybody, as the protocol has it")
	f.StringSliceVar(&o.options.Models, "models", nil, "models to measure, name[:parameter=value]...; default: all")
	f.Uint64Var(&o.options.Seed, "seed", 1, "seed of everything that is left to chance")
	f.IntVar(&o.options.Shards, "shards", 1, "listener shards, and song shards, of the production model")
	f.IntVar(&o.options.Late, "late", 0, "transactions by which rows of songs come late to the listener shards")
	f.StringVar(&o.report, "report", "", "write the figures to this file, as JSON")
	f.StringVar(&o.plot, "plot", "", "draw the figures into this folder, as SVG and PNG")
	f.StringVar(&o.lists, "lists", "", "write the lists of one model to this file, CSV: freeze,user,rank,item")
	f.StringVar(&o.listModel, "list-model", "", "the model of --lists; default: the production model, or else the first")
	return cmd
}

func (a *app) backtest(ctx context.Context, o backtestOptions) error {
	if err := o.options.Validate(); err != nil {
		return usage(err)
	}
	for _, spec := range o.options.Models {
		if _, err := backtest.Parse(spec, production()); err != nil {
			return usage(err)
		}
	}
	d, err := a.dataset(o)
	if err != nil {
		return err
	}
	o.options.Production = production()
	lists, err := newListWriter(o, d)
	if err != nil {
		return err
	}
	if lists != nil {
		o.options.List = lists.add
	}
	progress := newProgress(a.err, "backtesting", "events and lists", 0)
	o.options.Progress = func(done, total int64) {
		progress.Total(total)
		progress.Set(done)
	}
	report, err := backtest.Run(ctx, d, o.options)
	progress.Done()
	if closed := lists.close(); err == nil {
		err = closed
	}
	switch {
	case errors.Is(err, backtest.ErrNoWeeks):
		return usage(err)
	case err != nil:
		return err
	}
	if o.report != "" {
		if err := writeJSON(o.report, report); err != nil {
			return err
		}
	}
	if o.plot != "" {
		if err := backtest.Plot(o.plot, report); err != nil {
			return run.WithCode(run.CodeIO, err)
		}
	}
	return run.WithCode(run.CodeIO, backtest.Print(a.out, report))
}

// dataset reads what is to be replayed.
func (a *app) dataset(o backtestOptions) (*backtest.Dataset, error) {
	if (o.events == "") == (o.world == "") {
		return nil, usage(errors.New("give either --events or --world"))
	}
	if o.world != "" {
		return a.simulated(o)
	}
	h, err := a.readHistory(o.events, o.catalogue, o.columns, o.minRating)
	if err != nil {
		return nil, err
	}
	return backtest.FromHistory(o.events, h), nil
}

// simulated lets a world live.
func (a *app) simulated(o backtestOptions) (*backtest.Dataset, error) {
	preset, err := listeners.FindPreset(o.world)
	if err != nil {
		return nil, usage(err)
	}
	cfg := preset.World()
	cfg.Seed = o.options.Seed
	if o.size.Weeks > 0 {
		cfg.Weeks = o.size.Weeks
	}
	if o.size.Listeners > 0 {
		cfg.Listeners = o.size.Listeners
	}
	if o.size.Songs > 0 {
		cfg.Artists = max(cfg.Artists*o.size.Songs/cfg.Songs, 1)
		cfg.Songs = o.size.Songs
	}
	if err := cfg.Validate(); err != nil {
		return nil, usage(err)
	}
	progress := newProgress(a.err, "living", "events", 0)
	defer progress.Done()
	return backtest.FromWorld(preset.Name, cfg, func(done, total int64) {
		progress.Total(total)
		progress.Set(done)
	})
}

func worldsHelp() string {
	var names []string
	for _, p := range listeners.Presets() {
		names = append(names, p.Name)
	}
	return strings.Join(names, ", ")
}

// listWriter writes the lists of one model in the form that the independent scorer reads.
type listWriter struct {
	model string // "": the first that comes
	data  *backtest.Dataset
	file  *os.File
	rows  *csv.Writer
}

// newListWriter returns nil where no lists are wanted.
func newListWriter(o backtestOptions, d *backtest.Dataset) (*listWriter, error) {
	if o.lists == "" {
		return nil, nil //nolint:nilnil // nil is the writer of no lists
	}
	file, err := os.Create(o.lists)
	if err != nil {
		return nil, run.WithCode(run.CodeIO, err)
	}
	w := &listWriter{model: o.listModel, data: d, file: file, rows: csv.NewWriter(file)}
	return w, w.rows.Write([]string{"freeze", "user", "rank", "item"})
}

func (w *listWriter) add(model string, freeze time.Time, listener int32, items []int32) error {
	if w.model == "" {
		w.model = model
	}
	if model != w.model {
		return nil
	}
	at := strconv.FormatInt(freeze.Unix(), 10)
	for i, item := range items {
		if err := w.rows.Write([]string{at, w.data.Listeners[listener], strconv.Itoa(i + 1), w.data.Items[item]}); err != nil {
			return run.WithCode(run.CodeIO, err)
		}
	}
	return nil
}

func (w *listWriter) close() error {
	if w == nil {
		return nil
	}
	w.rows.Flush()
	return run.WithCode(run.CodeIO, errors.Join(w.rows.Error(), w.file.Close()))
}

// writeJSON writes a value for people and programs to read.
func writeJSON(name string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return run.WithCode(run.CodeIO, os.WriteFile(name, append(text, '\n'), 0o644)) //nolint:gosec // figures are no secret
}
