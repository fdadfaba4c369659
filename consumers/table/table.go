package table

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"earworm/consumers/stream"
	"earworm/model/factor"
	"earworm/schemas"
)

// Config names the topics.
type Config struct {
	SongFactors, Catalog string
	ClientOptions        []kgo.Opt
}

// Validate reports every problem.
func (c Config) Validate() error {
	if c.SongFactors == "" || c.Catalog == "" {
		return errors.New("table: song factors and catalogue topics must be named")
	}
	return nil
}

// Deps are what the role needs from its process.
type Deps struct {
	Tables     Tables
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Table follows both topics. Make it with New and run it once.
type Table struct {
	cfg      Config
	table    *factor.Table
	log      *slog.Logger
	decoder  *schemas.Decoder
	follower *stream.Follower
	rows     atomic.Int64
	metrics  *metrics

	loader *Loader
	song   schemas.Song
}

// New validates and starts nothing.
func New(cfg Config, deps Deps) (*Table, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	decoder, err := schemas.NewDecoder(schemas.DecoderConfig{})
	if err != nil {
		return nil, fmt.Errorf("table: %w", err)
	}
	t := &Table{cfg: cfg, table: deps.Tables.Factors, log: deps.Logger, decoder: decoder, loader: NewLoader(deps.Tables)}
	if t.metrics, err = newMetrics(deps.Registerer, deps.Tables.Factors); err != nil {
		return nil, err
	}
	t.follower, err = stream.NewFollower(stream.FollowerConfig{
		Topics: []string{cfg.SongFactors, cfg.Catalog}, ClientOptions: cfg.ClientOptions, Logger: deps.Logger,
		OnBatch: t.load,
	})
	if err != nil {
		return nil, fmt.Errorf("table: %w", err)
	}
	return t, nil
}

// Run follows until ctx ends, which is no error.
func (t *Table) Run(ctx context.Context) error { return t.follower.Run(ctx) }

// CaughtUp is closed when everything that was published before Run is in the table.
func (t *Table) CaughtUp() <-chan struct{} { return t.follower.CaughtUp() }

// Ready reports whether the table has caught up.
func (t *Table) Ready() (ready bool, reason string) {
	select {
	case <-t.CaughtUp():
		return true, ""
	default:
		return false, fmt.Sprintf("table: %d rows read, still catching up", t.rows.Load())
	}
}

func (t *Table) load(records []stream.Record) error {
	for i := range records {
		rec := &records[i]
		if rec.Topic == t.cfg.Catalog {
			t.describe(rec)
		} else {
			t.loadRow(rec)
		}
	}
	t.rows.Add(int64(len(records)))
	return nil
}

// loadRow takes in a factor row.
func (t *Table) loadRow(rec *stream.Record) {
	taken, err := t.loader.Row(rec.Key, rec.Value)
	if err != nil {
		t.skip(rec, err)
		return
	}
	if taken {
		t.metrics.loaded.Inc()
	}
}

// describe takes in a song of the catalogue. A removed song stays in the table: listeners' histories refer to it.
func (t *Table) describe(rec *stream.Record) {
	if rec.Value == nil {
		return
	}
	headers := make([]schemas.Header, 0, len(rec.Headers))
	for _, h := range rec.Headers {
		headers = append(headers, schemas.Header{Key: h.Key, Value: h.Value})
	}
	if err := t.decoder.DecodeSong(&t.song, rec.Key, rec.Value, headers); err != nil {
		t.skip(rec, err)
		return
	}
	s := &t.song
	t.table.Describe(t.table.Song(string(s.ID)), MetaOf(s))
	t.metrics.described.Inc()
}

// MetaOf translates a song of the catalogue for the model.
func MetaOf(s *schemas.Song) factor.Meta {
	return factor.Meta{
		Title: s.Title, Artist: s.Artist, Album: s.Album, Genres: s.Genres, Language: s.Language,
		ReleasedAt: s.ReleasedAt, DurationMs: s.DurationMs, Tempo: s.Tempo, Energy: s.Energy,
	}
}

// skip counts a record that does not decode. It stays in its compacted topic, so nothing is lost by not moving it.
func (t *Table) skip(rec *stream.Record, err error) {
	t.metrics.skipped.Inc()
	t.log.Warn("skipping a record of the table", slog.String("topic", rec.Topic),
		slog.Int("partition", int(rec.Partition)), slog.Int64("offset", rec.Offset), slog.Any("error", err))
}
