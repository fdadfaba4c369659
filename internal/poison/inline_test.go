//go:build crash && linux

package poison_test

import (
	"errors"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"earworm/consumers/ingest"
	"earworm/consumers/listener"
	"earworm/consumers/song"
	"earworm/consumers/stream"
	"earworm/internal/pseudonym"
	"earworm/internal/testkit/taskstore"
	"earworm/model/cooccur"
	"earworm/model/factor"
	"earworm/model/rank"
	"earworm/schemas"
)

// inline is one task of each role without Kafka, to see how long one record takes: in the process it takes its time among thousands.
type inline struct {
	ingest, listener, song *stream.Detached
	offsets                map[string]int64
	open                   int
	longest                time.Duration // processor time of one record in one role
	slow                   int           // records that took longer than hang
}

// hang is processor time, which a loaded machine does not stretch.
const hang = 100 * time.Millisecond

// transaction is how many records are in one.
const transaction = 500

func newInline(tb testing.TB) *inline {
	tb.Helper()
	topics := schemas.NewTopics("inline")
	in, listening, singing := ingest.Default(), listener.Default(), song.Default()
	in.Events, in.Users, in.Listens = topics.Events, topics.Users, topics.Listens
	listening.Listens, listening.Ticks, listening.SongUpdates = topics.Listens, topics.Ticks, topics.SongUpdates
	listening.Playlists, listening.DeadLetters, listening.Partitions = topics.Playlists, topics.DeadLetters, 1
	singing.SongUpdates, singing.Trends, singing.Partitions = topics.SongUpdates, topics.Trends, 1
	if err := errors.Join(in.Validate(), listening.Validate(), singing.Validate()); err != nil {
		tb.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	listeningMetrics, err := listener.NewMetrics(registry)
	if err != nil {
		tb.Fatal(err)
	}
	singingMetrics, err := song.NewMetrics(registry)
	if err != nil {
		tb.Fatal(err)
	}
	mapper := &pseudonym.Mapper{}
	first, err := ingest.New(in, mapper)
	if err != nil {
		tb.Fatal(err)
	}
	rows, table := taskstore.New(), factor.NewTable(listening.Learn)
	near := cooccur.NewTable(singing.Near, table)
	second, err := listener.New(listening, listener.Deps{
		Table: table, Near: near, Ranker: rank.New(table, near, listening.Rank), Revealer: mapper, Metrics: listeningMetrics,
	}, 0, rows)
	if err != nil {
		tb.Fatal(err)
	}
	songs := taskstore.New()
	third, err := song.New(singing, singingMetrics, songs)
	if err != nil {
		tb.Fatal(err)
	}
	detached := func(task stream.Task, store stream.Store) *stream.Detached {
		return stream.NewDetached(stream.DetachedConfig{Task: task, Store: store, Changelog: "log", DeadLetters: topics.DeadLetters})
	}
	return &inline{ingest: detached(first, nil), listener: detached(second, rows), song: detached(third, songs), offsets: map[string]int64{}}
}

// take lets the roles process one record, one after the other.
func (i *inline) take(topic string, r *forged, at time.Time) error {
	rec := stream.Record{Topic: topic, Key: r.key, Value: r.value, Headers: r.headers, At: at}
	if err := i.process(i.ingest, &rec); err != nil {
		return err
	}
	if i.open++; i.open < transaction {
		return nil
	}
	i.open = 0
	for _, stage := range []struct {
		from, to *stream.Detached
		topic    string
	}{{i.ingest, i.listener, schemas.NewTopics("inline").Listens}, {i.listener, i.song, schemas.NewTopics("inline").SongUpdates}} {
		if err := stage.from.Commit(); err != nil {
			return err
		}
		for _, m := range stage.from.Take() {
			if m.Topic != stage.topic {
				continue
			}
			if err := i.process(stage.to, &stream.Record{Topic: m.Topic, Key: m.Key, Value: m.Value, Headers: m.Headers, At: at}); err != nil {
				return err
			}
		}
	}
	err := i.song.Commit()
	i.song.Take()
	return err
}

func (i *inline) process(d *stream.Detached, rec *stream.Record) error {
	i.offsets[rec.Topic]++
	rec.Offset = i.offsets[rec.Topic]
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := threadTime()
	_, err := d.Process(rec)
	took := threadTime() - before
	i.longest = max(i.longest, took)
	if took > hang {
		i.slow++
	}
	return err
}

// threadTime is the processor time that this thread has used.
func threadTime() time.Duration {
	const thisThread = 1 // RUSAGE_THREAD
	var u syscall.Rusage
	if syscall.Getrusage(thisThread, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
