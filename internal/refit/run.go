package refit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"earworm/consumers/feed"
	"earworm/consumers/listener"
	"earworm/consumers/stream"
	"earworm/consumers/table"
	"earworm/model/cooccur"
	"earworm/model/factor"
	"earworm/model/rank"
	"earworm/schemas"
	"earworm/state"
)

// ErrNotYet means that the plan was sent and that the song role has not taken it in; it will.
var ErrNotYet = errors.New("the refit is sent and not yet in force")

// Stage is a part of the work.
type Stage string

// The stages, in order. Of the last one nobody knows how long it takes.
const (
	StageRows      Stage = "reading rows"
	StageHistories Stage = "reading histories"
	StageFit       Stage = "fitting"
	StageLists     Stage = "ranking"
	StageSend      Stage = "sending"
	StageWait      Stage = "waiting"
)

// Config says what to refit.
type Config struct {
	Topics        schemas.Topics
	Partitions    int32
	ClientOptions stream.Options
	// Listener is the configuration of the listener role, Near that of co-occurrence.
	Listener listener.Config
	Near     cooccur.Params
	// Fit says how to fit; without an instant it is as of the newest event.
	Fit FitConfig
	// PairsMax bounds the pairs of listener and song in memory, some 60 bytes each; 0 is no bound.
	PairsMax int
	// Sample is how many listeners' lists are compared.
	Sample int
	// DryRun sends nothing.
	DryRun bool
	// Wait bounds the wait for the song role; 0 does not wait.
	Wait time.Duration
	// Begin, if set, is told that a stage begins and how much there is to do, 0 if that is unknown; Done how much more of it is done.
	Begin func(stage Stage, total int64)
	Done  func(n int64)
	// Ready, if set, gets the report before anything is sent.
	Ready func(Report) error
}

// Report is what a refit does, or has done.
type Report struct {
	Epoch     uint32    `json:"epoch"`
	AsOf      time.Time `json:"as_of"`
	Listeners int       `json:"listeners"`
	// Share is the share of the listeners that were taken; below 1 there were too many pairs.
	Share      float64 `json:"share"`
	Pairs      int     `json:"pairs"`
	Songs      int     `json:"songs"`
	Rows       int     `json:"rows"` // that move
	LossBefore float64 `json:"loss_before"`
	LossAfter  float64 `json:"loss_after"`
	// Cosine is the mean between songs before and after.
	Cosine float64 `json:"cosine"`
	// Lists is how many listeners were ranked for before and after, Kept the share of their top 30 that stays.
	Lists int     `json:"lists"`
	Kept  float64 `json:"kept"`
	// Sent says that the rows went out, InForce how many of them are published as moved.
	Sent    bool `json:"sent"`
	InForce int  `json:"in_force"`
}

// run is one refit.
type run struct {
	cfg    Config
	client *feed.Client
	table  *factor.Table
	near   *cooccur.Table
	blend  rank.Blend
}

// Run refits. With ErrNotYet there is a report as well. Whatever it is stopped by, it can be run again.
func Run(ctx context.Context, cfg Config, client *feed.Client) (*Report, error) {
	if cfg.Begin == nil {
		cfg.Begin = func(Stage, int64) {}
	}
	if cfg.Done == nil {
		cfg.Done = func(int64) {}
	}
	r := &run{cfg: cfg, client: client, table: factor.NewTable(cfg.Listener.Learn)}
	r.near = cooccur.NewTable(cfg.Near, r.table)
	if err := r.readRows(ctx); err != nil {
		return nil, err
	}
	histories, people := NewHistories(cfg.PairsMax), newSample(cfg.Sample)
	err := r.read(ctx, StageHistories, cfg.Topics.ListenerChangelog, func(rec *stream.Record) error {
		people.row(rec.Key, rec.Value)
		return histories.Row(rec.Key, rec.Value)
	})
	if err != nil {
		return nil, err
	}
	if r.cfg.Fit.At == 0 {
		r.cfg.Fit.At = histories.Newest()
	}
	plan, err := r.prepare(ctx, histories)
	if err != nil {
		return nil, err
	}
	report := &Report{
		Epoch: plan.Epoch, AsOf: time.UnixMilli(r.cfg.Fit.At).UTC(), Listeners: plan.Listeners, Share: histories.Share(), Pairs: plan.Pairs,
		Songs: plan.Songs, Rows: len(plan.Moves), LossBefore: plan.LossBefore, LossAfter: plan.LossAfter, Cosine: plan.Cosine,
	}
	if err := r.compare(ctx, plan, histories, people, report); err != nil {
		return nil, err
	}
	if cfg.Ready != nil {
		if err := cfg.Ready(*report); err != nil {
			return nil, err
		}
	}
	if cfg.DryRun {
		return report, nil
	}
	return report, r.bring(ctx, plan, report)
}

// readRows reads the published rows and the catalogue, as every process does.
func (r *run) readRows(ctx context.Context) error {
	ranker := rank.New(r.table, r.near, r.cfg.Listener.Rank)
	loader := table.NewLoader(table.Tables{Factors: r.table, Neighbours: r.near, Ranker: ranker})
	err := r.read(ctx, StageRows, r.cfg.Topics.SongFactors, func(rec *stream.Record) error {
		_, err := loader.Row(rec.Key, rec.Value)
		return err
	})
	if err != nil {
		return err
	}
	r.blend = ranker.Blend()
	err = r.client.Songs(ctx, func(song schemas.Song) error {
		r.table.Describe(r.table.Song(string(song.ID)), table.MetaOf(&song))
		return nil
	})
	if err != nil {
		return fmt.Errorf("refit: %w", err)
	}
	return nil
}

// read reads a topic up to where it ends now.
func (r *run) read(ctx context.Context, stage Stage, topic string, fn func(*stream.Record) error) error {
	spans, err := stream.Spans(ctx, r.cfg.ClientOptions, topic)
	if err != nil {
		return fmt.Errorf("refit: %w", err)
	}
	total := int64(0)
	for _, span := range spans {
		total += span.End - span.Start
	}
	r.cfg.Begin(stage, total)
	err = stream.ReadAll(ctx, r.cfg.ClientOptions, []string{topic}, func(rec *stream.Record) error {
		r.cfg.Done(1)
		if err := fn(rec); err != nil {
			return fmt.Errorf("partition %d offset %d: %w", rec.Partition, rec.Offset, err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("refit: reading %s: %w", topic, err)
	}
	return nil
}

// prepare fits.
func (r *run) prepare(ctx context.Context, histories *Histories) (*Plan, error) {
	cfg := r.cfg.Fit
	cfg.Begin = func(total int64) { r.cfg.Begin(StageFit, total) }
	cfg.Done = r.cfg.Done
	plan, err := Prepare(ctx, r.table, histories, cfg)
	if err != nil {
		return nil, fmt.Errorf("refit: %w", err)
	}
	return plan, nil
}

// compare ranks for a sample of listeners with the rows before and after. The table has the latter from then on.
func (r *run) compare(ctx context.Context, plan *Plan, histories *Histories, people *sample, report *Report) error {
	people.shrink()
	users := histories.users()
	users = slices.DeleteFunc(users, func(user string) bool { return people.people[user] == nil })
	report.Lists = len(users)
	r.cfg.Begin(StageLists, int64(2*len(users)))
	before, err := people.lists(r.cfg.Listener, r.table, r.near, r.blend, users, r.cfg.Fit.At)
	if err != nil {
		return err
	}
	r.cfg.Done(int64(len(users)))
	plan.Apply(r.table)
	after, err := people.lists(r.cfg.Listener, r.table, r.near, r.blend, users, r.cfg.Fit.At)
	if err != nil {
		return err
	}
	r.cfg.Done(int64(len(users)))
	report.Kept = kept(before, after)
	return ctx.Err() //nolint:wrapcheck // the caller's own
}

// bring sends the plan and waits until it is in force.
func (r *run) bring(ctx context.Context, plan *Plan, report *Report) error {
	r.cfg.Begin(StageSend, int64(len(plan.Moves)))
	plan.Send(r.cfg.Partitions, func(partition int32, rows int, value []byte) {
		r.client.SongUpdates(ctx, partition, value)
		r.cfg.Done(int64(rows))
	})
	if err := r.client.Flush(ctx); err != nil {
		return fmt.Errorf("refit: part of it may be sent; run it again: %w", err)
	}
	report.Sent = true
	if r.cfg.Wait == 0 {
		return nil
	}
	r.cfg.Begin(StageWait, 0)
	bounded, cancel := context.WithTimeout(ctx, r.cfg.Wait)
	defer cancel()
	if err := r.client.Passed(bounded, feed.RoleSong, r.cfg.Topics.SongUpdates); err != nil {
		return fmt.Errorf("%w: is the song role running? %w", ErrNotYet, err)
	}
	inForce := map[string]bool{}
	var row schemas.FactorRow
	err := stream.ReadAll(ctx, r.cfg.ClientOptions, []string{r.cfg.Topics.SongFactors}, func(rec *stream.Record) error {
		if _, _, err := state.ParseFactorKey(rec.Key); err != nil || rec.Value == nil {
			return nil //nolint:nilerr // no row of factors
		}
		if err := row.UnmarshalBinary(rec.Value); err != nil {
			return fmt.Errorf("partition %d offset %d: %w", rec.Partition, rec.Offset, err)
		}
		if row.Epoch == plan.Epoch {
			inForce[string(rec.Key)] = true
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("refit: reading %s: %w", r.cfg.Topics.SongFactors, err)
	}
	report.InForce = len(inForce)
	return nil
}
