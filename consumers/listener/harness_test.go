package listener_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"earworm/consumers/listener"
	"earworm/consumers/stream"
	"earworm/internal/pseudonym"
	"earworm/internal/testkit/taskstore"
	"earworm/model/cooccur"
	"earworm/model/decay"
	"earworm/model/factor"
	"earworm/model/rank"
	"earworm/schemas"
	"earworm/state"
)

var seed = flag.Uint64("seed", 1, "seed of the random streams")

// monday is 2026-03-02 06:00 UTC, the delivery of week 10 in UTC.
func monday() time.Time { return time.Date(2026, 3, 2, 6, 0, 0, 0, time.UTC) }

const partition = 2

// exact returns a configuration under which what is learnt does not depend on chance or on other listeners, so that stores can
// be compared byte by byte.
func exact() listener.Config {
	cfg := listener.Default()
	cfg.Listens, cfg.Ticks, cfg.SongUpdates, cfg.Playlists, cfg.DeadLetters = "listens", "ticks", "updates", "playlists", "letters"
	// Songs stay where they are, and a listener's vector depends on nothing but the order of their events.
	cfg.Learn.Dim, cfg.Learn.Gain, cfg.Learn.Negatives, cfg.Learn.Window, cfg.Learn.HurriedWindow = 8, 0, 0, 0, 0
	// A slow machine must not decide where a transaction ends: the blend is rounded there.
	cfg.ChunkTime = math.MaxInt64
	return cfg
}

// rig is one task with its store, and everything it sent.
type rig struct {
	tb       testing.TB
	cfg      listener.Config
	table    *factor.Table
	near     *cooccur.Table
	store    *taskstore.Store
	metrics  *listener.Metrics
	registry *prometheus.Registry
	task     *listener.Task
	run      *stream.Detached

	offset, tickOffset int64
	sent               map[string][]stream.Message
}

func newRig(tb testing.TB, cfg listener.Config) *rig {
	tb.Helper()
	if err := cfg.Validate(); err != nil {
		tb.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	metrics, err := listener.NewMetrics(registry)
	if err != nil {
		tb.Fatal(err)
	}
	r := &rig{
		tb: tb, cfg: cfg, table: factor.NewTable(cfg.Learn), store: taskstore.New(), metrics: metrics, registry: registry,
		sent: map[string][]stream.Message{},
	}
	r.near = cooccur.NewTable(cooccur.DefaultParams(), r.table)
	r.open()
	return r
}

// open makes the task anew on its store, as after a restart. What was not committed is lost.
func (r *rig) open() {
	r.tb.Helper()
	if r.task != nil {
		r.run.Abandon()
		if err := r.task.Close(); err != nil {
			r.tb.Fatal(err)
		}
	}
	task, err := listener.New(r.cfg, listener.Deps{Table: r.table, Near: r.near, Ranker: rank.New(r.table, r.near, r.cfg.Rank), Revealer: &pseudonym.Mapper{}, Metrics: r.metrics}, partition, r.store)
	if err != nil {
		r.tb.Fatal(err)
	}
	r.task = task
	r.run = stream.NewDetached(stream.DetachedConfig{
		Task: task, Store: r.store, Changelog: "log", DeadLetters: "letters", Partition: partition,
	})
}

// songs makes a catalogue of n songs s000… of n/2 artists, each heard by a few.
func (r *rig) songs(n int) {
	r.tb.Helper()
	for i := range n {
		id := fmt.Sprintf("s%03d", i)
		popular := decay.Counter{Value: float64(1 + (i*7919)%n), At: monday().Add(-time.Hour).UnixMilli()}
		r.table.Load(factor.Published{
			Kind: factor.KindSong, ID: id, Vector: factor.NewRow(r.cfg.Learn, factor.KeyOf(factor.KindSong, id)).Vector,
			FirstAt: monday().Add(-1000 * time.Hour).UnixMilli(), LastAt: monday().Add(-time.Hour).UnixMilli(),
			Popularity: factor.Popularity{Total: popular.Value, Day: popular, Week: popular, Month: popular},
		})
		r.table.Describe(r.table.Song(id), factor.Meta{
			Title: "title " + id, Artist: fmt.Sprintf("artist %03d", i/2), Genres: []string{fmt.Sprintf("genre %d", i%7)},
		})
	}
}

// event returns a full listen with an id made of its content and nonce.
func event(user, song string, at time.Time, nonce ...any) schemas.Event {
	name := fmt.Sprint(user, "|", song, "|", at.UnixNano(), nonce)
	return schemas.Event{
		ID: schemas.EventID(uuid.NewSHA1(uuid.NameSpaceOID, []byte(name))), Kind: schemas.KindPlay, User: []byte(user), Song: []byte(song),
		At: at.UnixMilli(), PlayedMs: 200_000, DurationMs: 200_000, PositionMs: schemas.Unknown, Slot: schemas.Unknown,
	}
}

// of changes the kind of an event to one that is no listen.
func of(kind schemas.Kind, e schemas.Event) schemas.Event {
	e.Kind, e.PlayedMs, e.DurationMs = kind, schemas.Unknown, schemas.Unknown
	return e
}

func profile(user string, at time.Time, p schemas.Profile) schemas.Event {
	return schemas.Event{
		Kind: schemas.KindProfile, User: []byte(user), At: at.UnixMilli(), PlayedMs: schemas.Unknown, DurationMs: schemas.Unknown,
		PositionMs: schemas.Unknown, Slot: schemas.Unknown, Profile: &p,
	}
}

func erasure(user string, at time.Time) schemas.Event {
	e := profile(user, at, schemas.Profile{})
	e.Kind, e.Profile = schemas.KindErase, nil
	return e
}

// record is the event as ingest writes it.
func (r *rig) record(e schemas.Event) *stream.Record {
	key := e.User
	e.User = nil
	rec := &stream.Record{Topic: "listens", Partition: partition, Offset: r.offset, Key: key, Value: e.AppendBinary(nil)}
	r.offset++
	return rec
}

func (r *rig) tickRecord(tick schemas.Tick) *stream.Record {
	rec := &stream.Record{Topic: "ticks", Partition: partition, Offset: r.tickOffset, Value: tick.AppendBinary(nil)}
	r.tickOffset++
	return rec
}

func (r *rig) process(rec *stream.Record) stream.Outcome {
	r.tb.Helper()
	outcome, err := r.run.Process(rec)
	if err != nil {
		r.tb.Fatal(err)
	}
	return outcome
}

// commit ends the transaction and sorts what was sent by topic.
func (r *rig) commit() {
	r.tb.Helper()
	if err := r.run.Commit(); err != nil {
		r.tb.Fatal(err)
	}
	for _, m := range r.run.Take() {
		r.sent[m.Topic] = append(r.sent[m.Topic], m)
	}
}

// apply processes the events in one transaction and returns the outcome of the last.
func (r *rig) apply(events ...schemas.Event) stream.Outcome {
	r.tb.Helper()
	var outcome stream.Outcome
	for _, e := range events {
		outcome = r.process(r.record(e))
	}
	r.commit()
	return outcome
}

// want applies the events one by one and demands the same outcome of all.
func (r *rig) want(outcome stream.Outcome, events ...schemas.Event) {
	r.tb.Helper()
	for _, e := range events {
		if got := r.apply(e); got != outcome {
			r.tb.Fatalf("%s of %s at %s is %s, want %s", e.Kind, e.Song, time.UnixMilli(e.At).UTC(), got, outcome)
		}
	}
}

// tick processes a tick and those that it leads to, a transaction each, and returns how many there were.
func (r *rig) tick(tick schemas.Tick) int {
	r.tb.Helper()
	for n := 1; ; n++ {
		r.process(r.tickRecord(tick))
		r.commit()
		next, ok := r.nextTick()
		if !ok {
			return n
		}
		if tick = next; n > 10_000 {
			r.tb.Fatal("ticks do not end")
		}
	}
}

// at is the plain tick of a time.
func at(when time.Time) schemas.Tick { return schemas.Tick{At: when.UnixMilli()} }

// nextTick takes the continuation that was sent, if there is one.
func (r *rig) nextTick() (schemas.Tick, bool) {
	r.tb.Helper()
	sent := r.sent["ticks"]
	r.sent["ticks"] = nil
	if len(sent) == 0 {
		return schemas.Tick{}, false
	}
	if len(sent) > 1 || sent[0].Partition != partition {
		r.tb.Fatalf("%d ticks, to partition %d", len(sent), sent[0].Partition)
	}
	var tick schemas.Tick
	if err := tick.UnmarshalBinary(sent[0].Value); err != nil {
		r.tb.Fatal(err)
	}
	return tick, true
}

// playlists takes the playlists that were sent; a withdrawal is one without a week.
func (r *rig) playlists() []schemas.Playlist {
	r.tb.Helper()
	var lists []schemas.Playlist
	for _, m := range r.sent["playlists"] {
		list := schemas.Playlist{User: schemas.UserID(m.Key)}
		if m.Value != nil {
			if err := json.Unmarshal(m.Value, &list); err != nil {
				r.tb.Fatal(err)
			}
			if err := list.Validate(); err != nil || string(m.Key) != string(list.User) {
				r.tb.Fatalf("playlist of %q under %q: %v", list.User, m.Key, err)
			}
		}
		lists = append(lists, list)
	}
	r.sent["playlists"] = nil
	return lists
}

// updates decodes what was sent to the song tasks since the last call.
func (r *rig) updates() []schemas.SongUpdate {
	r.tb.Helper()
	all := updates(r.tb, r.cfg, r.sent["updates"])
	r.sent["updates"] = nil
	return all
}

// updates decodes records for the song tasks, which must be of the right one.
func updates(tb testing.TB, cfg listener.Config, sent []stream.Message) []schemas.SongUpdate {
	tb.Helper()
	var all []schemas.SongUpdate
	for _, m := range sent {
		var record schemas.SongUpdates
		if err := record.UnmarshalBinary(m.Value); err != nil {
			tb.Fatal(err)
		}
		for _, u := range record.Updates {
			to := stream.PartitionOf(append([]byte{u.Kind}, u.ID...), cfg.Partitions)
			if m.Partition != to || u.Partition != partition {
				tb.Errorf("an update of %q from partition %d went to partition %d, want %d", u.ID, u.Partition, m.Partition, to)
			}
			all = append(all, u)
		}
	}
	return all
}

// core reads a listener's stored row; nil when there is none.
func (r *rig) core(user string) *state.ListenerCore {
	r.tb.Helper()
	value := r.store.Rows()[string(state.AppendCoreKey(nil, []byte(user)))]
	if value == nil {
		return nil
	}
	var core state.ListenerCore
	if err := core.UnmarshalBinary(value); err != nil {
		r.tb.Fatal(err)
	}
	return &core
}

// heard reads a stored history entry; nil when there is none.
func (r *rig) heard(user, song string) *state.HistoryEntry {
	r.tb.Helper()
	key := state.AppendHistoryKey(nil, []byte(user), uint64(factor.KeyOf(factor.KindSong, song)))
	value := r.store.Rows()[string(key)]
	if value == nil {
		return nil
	}
	var h state.HistoryEntry
	if err := h.UnmarshalBinary(value); err != nil {
		r.tb.Fatal(err)
	}
	return &h
}
