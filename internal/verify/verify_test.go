package verify_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"earworm/consumers/feed"
	"earworm/consumers/stream"
	"earworm/internal/broker"
	"earworm/internal/config"
	"earworm/internal/listeners"
	"earworm/internal/obs"
	"earworm/internal/service"
	"earworm/internal/verify"
	"earworm/schemas"
	"earworm/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// system is one that has processed a small world and stopped.
type system struct {
	client  *feed.Client
	cfg     verify.Config
	options stream.Options
}

func processed(t *testing.T) *system {
	t.Helper()
	b, err := broker.Start(t.Context(), broker.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	cfg := config.Default()
	cfg.Kafka.Brokers, cfg.Topics.Partitions, cfg.HTTP.Listen, cfg.Instance = b.Addrs(), 2, "", "one"
	cfg.CommitInterval, cfg.State.Dir = 20*time.Millisecond, t.TempDir()
	svc, err := service.New(cfg, service.Deps{
		Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Build: obs.ReadBuild(""), Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	client, err := svc.Feed()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	options, err := service.KafkaOptions(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- svc.Run(ctx) }()
	send(ctx, t, client)
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	return &system{client: client, options: options, cfg: verify.Config{
		App: cfg.App, Topics: svc.Topics(), Partitions: 2, ClientOptions: options,
		DedupeWindow: cfg.Listener.DedupeWindow, StateDir: cfg.State.Dir,
	}}
}

// send lets a world of 30 listeners live for a week and gets them their playlists.
func send(ctx context.Context, t *testing.T, client *feed.Client) {
	t.Helper()
	w := listeners.SmallTest()
	w.Weeks, w.Listeners, w.Songs, w.Artists, w.Virals, w.BotCampaigns = 1, 30, 300, 60, 0, 0
	w.DuplicateShare, w.LateShare, w.BadShare = .05, .1, .01
	world, err := listeners.New(w)
	if err != nil {
		t.Fatal(err)
	}
	for song := range world.Songs() {
		if err := client.Song(ctx, schemas.Song{ID: schemas.SongID(song.ID), Artist: song.Artist}); err != nil {
			t.Fatal(err)
		}
	}
	for event := range world.Week(0) {
		client.Event(ctx, []byte(event.User), event.AppendJSON(nil))
	}
	if err := client.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	if err := client.Tick(ctx, schemas.Tick{At: world.WeekStart(1).Add(36 * time.Hour).UnixMilli()}); err != nil {
		t.Fatal(err)
	}
	if err := client.Drain(ctx); err != nil {
		t.Fatal(err)
	}
}

func (s *system) verify(t *testing.T) *verify.Report {
	t.Helper()
	report, err := verify.Run(t.Context(), s.cfg, s.client)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func (s *system) produce(t *testing.T, messages ...stream.Message) {
	t.Helper()
	p, err := stream.NewProducer(s.options)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, m := range messages {
		p.Send(t.Context(), m)
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// last returns the newest record of a topic that fits.
func (s *system) last(t *testing.T, topic string, fits func(*stream.Record) bool) stream.Message {
	t.Helper()
	var found stream.Message
	err := stream.ReadAll(t.Context(), s.options, []string{topic}, func(rec *stream.Record) error {
		if rec.Value != nil && fits(rec) {
			found = stream.Message{
				Topic: rec.Topic, Partition: rec.Partition, Key: slices.Clone(rec.Key), Value: slices.Clone(rec.Value), Headers: rec.Headers,
			}
		}
		return nil
	})
	if err != nil || found.Key == nil {
		t.Fatalf("nothing to tamper with in %s: %v", topic, err)
	}
	return found
}

func TestRun(t *testing.T) {
	t.Parallel()
	s := processed(t)
	r := s.verify(t)
	if !r.OK() || r.Of < 500 || r.Playlists < 20 || r.Stores != 4 || r.Rows < 500 || r.Unproved != 0 {
		t.Fatalf("an untouched system: %+v", r)
	}
	if o := r.Outcomes; o.Duplicate == 0 || o.Consumed != o.Applied+o.Duplicate+o.TooLate+o.DeadLettered {
		t.Fatalf("outcomes %+v", o)
	}
	s.cfg.StateDir = "" // tampering with a changelog makes stores differ, too
	for name, test := range s.tampering(t) {
		s.produce(t, test.message)
		if r := s.verify(t); test.count(r) == 0 || r.First == "" {
			t.Errorf("%s was not seen: %+v", name, r.Result)
		}
		s.produce(t, test.repair)
		if r := s.verify(t); !r.OK() {
			t.Fatalf("%s was repaired, and yet: %+v", name, r.Result)
		}
	}
	s.outputs(t)
	s.refusals(t)
}

// tampering is one record that makes the state wrong, which counter must see it, and the record that repairs it.
type tampering struct {
	message, repair stream.Message
	count           func(*verify.Report) int
}

func lost(r *verify.Report) int       { return r.Lost }
func duplicated(r *verify.Report) int { return r.Duplicated }
func wrong(r *verify.Report) int      { return r.Wrong }

func (s *system) tampering(t *testing.T) map[string]tampering {
	t.Helper()
	ofRow := func(row state.UserRow) func(*stream.Record) bool {
		return func(rec *stream.Record) bool {
			key, err := state.ParseUserKey(rec.Key)
			if err != nil || key.Row != row {
				return false
			}
			var entry state.HistoryEntry
			return row != state.RowHistory || entry.UnmarshalBinary(rec.Value) == nil && entry.Plays > 0
		}
	}
	log, rows := s.cfg.Topics.ListenerChangelog, s.cfg.Topics.SongFactors
	core, history := s.last(t, log, ofRow(state.RowCore)), s.last(t, log, ofRow(state.RowHistory))
	song := s.last(t, rows, func(rec *stream.Record) bool {
		var row schemas.FactorRow
		return row.UnmarshalBinary(rec.Value) == nil && row.Plays > 0
	})
	withCore := func(change func(*state.ListenerCore)) stream.Message {
		return changed(t, core, change, (*state.ListenerCore).UnmarshalBinary, (*state.ListenerCore).AppendBinary)
	}
	withSong := func(change func(*schemas.FactorRow)) stream.Message {
		return changed(t, song, change, (*schemas.FactorRow).UnmarshalBinary, (*schemas.FactorRow).AppendBinary)
	}
	gone := func(m stream.Message) stream.Message {
		m.Value = nil
		return m
	}
	stranger := core
	stranger.Key = state.AppendCoreKey(nil, []byte("stranger"))
	stranger.Partition = stream.PartitionOf([]byte("stranger"), s.cfg.Partitions)
	return map[string]tampering{
		"an event too few":     {withCore(func(c *state.ListenerCore) { c.Events-- }), core, lost},
		"an event too many":    {withCore(func(c *state.ListenerCore) { c.Events++ }), core, duplicated},
		"another order":        {withCore(func(c *state.ListenerCore) { c.Chain++ }), core, wrong},
		"a listener forgotten": {gone(core), core, lost},
		"a song forgotten":     {gone(history), history, lost},
		"a listener made up":   {stranger, gone(stranger), wrong},
		"a play too many": {
			changed(t, history, func(h *state.HistoryEntry) { h.Plays++ },
				(*state.HistoryEntry).UnmarshalBinary, (*state.HistoryEntry).AppendBinary), history, duplicated,
		},
		"a listen of a song too many": {withSong(func(r *schemas.FactorRow) { r.Plays++ }), song, duplicated},
		"a listen of a song too few":  {withSong(func(r *schemas.FactorRow) { r.Plays-- }), song, lost},
	}
}

func changed[T any](t *testing.T, m stream.Message, change func(*T), decode func(*T, []byte) error, encode func(*T, []byte) []byte) stream.Message {
	t.Helper()
	var row T
	if err := decode(&row, m.Value); err != nil {
		t.Fatal(err)
	}
	change(&row)
	m.Value = encode(&row, nil)
	return m
}

// outputs tampers with what cannot be repaired by a later record.
func (s *system) outputs(t *testing.T) {
	t.Helper()
	s.produce(t, s.last(t, s.cfg.Topics.Playlists, func(*stream.Record) bool { return true }))
	if r := s.verify(t); r.Duplicated != 1 {
		t.Errorf("a playlist twice was not seen: %+v", r.Result)
	}
	s.produce(t, stream.Message{
		Topic: s.cfg.Topics.DeadLetters, Key: []byte("x"), Headers: []stream.Header{{Key: stream.HeaderErrorCode, Value: []byte("too_late")}},
	})
	if r := s.verify(t); r.Duplicated != 2 {
		t.Errorf("a dead letter too many was not seen: %+v", r.Result)
	}
}

// refusals are what cannot be judged.
func (s *system) refusals(t *testing.T) {
	t.Helper()
	cfg := s.cfg
	cfg.Partitions = 4
	if _, err := verify.Run(t.Context(), cfg, s.client); !errors.Is(err, verify.ErrPartitions) {
		t.Errorf("another partition count: %v", err)
	}
	cfg = s.cfg
	cfg.StateDir += "/missing"
	if _, err := verify.Run(t.Context(), cfg, s.client); err == nil {
		t.Error("a state directory that is not there was accepted")
	}
	s.produce(t, s.last(t, s.cfg.Topics.Listens, func(*stream.Record) bool { return true }))
	cfg = s.cfg
	cfg.Wait = 300 * time.Millisecond
	if _, err := verify.Run(t.Context(), cfg, s.client); !errors.Is(err, verify.ErrBehind) {
		t.Errorf("an event that nobody has consumed: %v", err)
	}
}

// TestStores tampers with a local store behind the changelog's back.
func TestStores(t *testing.T) {
	t.Parallel()
	s := processed(t)
	shared, err := state.NewShared(state.Config{Dir: s.cfg.StateDir, Now: time.Now, MinFreeBytes: -1, MinFreePercent: -1}, state.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	store, err := shared.Open(state.Identity{App: s.cfg.App, Role: feed.RoleListener, Partition: 1, Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	var key, value []byte
	err = store.Scan(nil, func(k, v []byte) error {
		key, value = bytes.Clone(k), bytes.Clone(v)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	apply := func(offset int64, c state.Change) *verify.Report {
		t.Helper()
		if err := store.Apply([]state.Change{c}, offset); err != nil {
			t.Fatal(err)
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		if err := shared.Close(); err != nil {
			t.Fatal(err)
		}
		r := s.verify(t)
		if shared, err = state.NewShared(state.Config{Dir: s.cfg.StateDir, Now: time.Now, MinFreeBytes: -1, MinFreePercent: -1}, state.Deps{}); err != nil {
			t.Fatal(err)
		}
		if store, err = shared.Open(state.Identity{App: s.cfg.App, Role: feed.RoleListener, Partition: 1, Partitions: 2}); err != nil {
			t.Fatal(err)
		}
		return r
	}
	t.Cleanup(func() { _ = shared.Close() })
	at := store.Offset()
	for name, change := range map[string]state.Change{
		"a row with other content": {Key: key, Value: append(bytes.Clone(value), 0)},
		"a row missing":            {Key: key},
		"a row made up":            {Key: state.AppendCoreKey(nil, []byte("stranger")), Value: value},
	} {
		if r := apply(at, change); r.Wrong != 1 || r.Lost+r.Duplicated != 0 {
			t.Errorf("%s: %+v", name, r.Result)
		}
		if err := store.Apply([]state.Change{{Key: key, Value: value}, {Key: state.AppendCoreKey(nil, []byte("stranger"))}}, at); err != nil {
			t.Fatal(err)
		}
	}
	if r := apply(at+1_000_000, state.Change{Key: key, Value: value}); r.Wrong != 1 {
		t.Errorf("a store ahead of its changelog: %+v", r.Result)
	}
	if _, err := verify.Run(t.Context(), s.cfg, s.client); !errors.Is(err, state.ErrLocked) {
		t.Errorf("a directory in use: %v", err)
	}
}
