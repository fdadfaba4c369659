package bench

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"earworm/consumers/listener"
	"earworm/consumers/stream"
	"earworm/internal/config"
	"earworm/model/cooccur"
	"earworm/model/factor"
	"earworm/model/rank"
	"earworm/schemas"
	"earworm/state"
)

// table returns a table with the workload's songs.
func tableOf(w Workload) (*factor.Table, []factor.Index) {
	t := factor.NewTable(factor.DefaultParams())
	songs := make([]factor.Index, w.Songs)
	for i := range songs {
		s := w.song(i)
		songs[i] = t.Song(string(s.ID))
		t.Describe(songs[i], factor.Meta{Title: s.Title, Artist: s.Artist, Genres: s.Genres, Language: s.Language})
	}
	return t, songs
}

// BenchmarkFirstListen trains first listens as eight tasks would, a thousand to a transaction.
func BenchmarkFirstListen(b *testing.B) {
	for _, history := range []int{0, 5, 50} {
		b.Run(fmt.Sprintf("history=%d", history), func(b *testing.B) {
			w := DefaultWorkload()
			table, songs := tableOf(w)
			p := table.Params()
			rng := rand.New(rand.NewPCG(1, 2))
			users := make([][]float32, 2000)
			heard := make([][]factor.Index, len(users))
			for u := range users {
				users[u] = make([]float32, p.Dim)
				factor.InitRow(p, factor.Key(u+1), users[u])
				for range history {
					heard[u] = append(heard[u], songs[rng.IntN(len(songs))])
				}
			}
			const tasks = 8
			learners := make([]*factor.Learner, tasks)
			for i := range learners {
				learners[i] = factor.NewLearner(table, p, int32(i), uint64(i))
			}
			src := newSource(w, time0)
			changes, seq := 0, int64(0)
			b.ReportAllocs()
			before := cpuTime()
			for n := 0; b.Loop(); n++ {
				u := rng.IntN(len(users))
				learners[n%tasks].FirstListen(users[u], songs[src.draw()], 1, factor.Past{Songs: heard[u]})
				if n%(tasks*1000) == 0 {
					seq++
					for _, l := range learners {
						l.Flush(seq, func(factor.Delta) { changes++ })
						l.Committed()
					}
				}
			}
			b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(changes)/float64(b.N), "changes/op")
		})
	}
}

// time0 is when benchmarks take place.
var time0 = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// listenerTask returns a listener task on a store on disk, without Kafka.
func listenerTask(b *testing.B, w Workload) (*stream.Detached, *state.Store) {
	b.Helper()
	shared, err := state.NewShared(state.Config{Dir: b.TempDir(), Now: time.Now}, state.Deps{Registerer: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = shared.Close() })
	store, err := shared.Open(state.Identity{App: "bench", Role: "listener", Partitions: 1})
	if err != nil {
		b.Fatal(err)
	}
	cfg := listener.Default()
	cfg.Listens, cfg.Ticks, cfg.SongUpdates = "listens", "ticks", "updates"
	cfg.Playlists, cfg.DeadLetters, cfg.CacheBytes = "playlists", "letters", 16<<30
	metrics, err := listener.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	table, _ := tableOf(w)
	near := cooccur.NewTable(cooccur.DefaultParams(), table)
	task, err := listener.New(cfg, listener.Deps{Table: table, Near: near, Ranker: rank.New(table, near, cfg.Rank), Revealer: plain{}, Metrics: metrics}, 0, lent{store})
	if err != nil {
		b.Fatal(err)
	}
	return stream.NewDetached(stream.DetachedConfig{Task: task, Store: lent{store}, Changelog: "changes", DeadLetters: "letters"}), store
}

// lent translates the changes of the runtime for the store, as the service does.
type lent struct{ *state.Store }

func (l lent) Apply(changes []stream.Change, offset int64) error {
	translated := make([]state.Change, len(changes))
	for i, c := range changes {
		translated[i] = state.Change(c)
	}
	return l.Store.Apply(translated, offset)
}

// plain reveals ids that were never hidden.
type plain struct{}

func (plain) Reveal(id []byte) ([]byte, error) { return id, nil }

// BenchmarkListenerTask times one task per event, with Pebble and without Kafka, and weighs the listeners in memory and on disk.
func BenchmarkListenerTask(b *testing.B) {
	if testing.Short() {
		b.Skip("SKIPPED: takes minutes; make bench-throughput runs it")
	}
	for _, listeners := range []int{20_000, 200_000} {
		b.Run(fmt.Sprintf("listeners=%d/events=10", listeners), func(b *testing.B) {
			w := DefaultWorkload()
			w.Listeners, w.Events = listeners, 10*listeners
			for b.Loop() {
				fillListeners(b, w)
			}
		})
	}
}

// fillListeners runs a workload through a task and reports what it cost.
func fillListeners(b *testing.B, w Workload) {
	b.Helper()
	task, store := listenerTask(b, w)
	events := records(b, w)
	empty, before, began := heap(), cpuTime(), time.Now()
	for i := range events {
		if _, err := task.Process(&events[i]); err != nil {
			b.Fatal(err)
		}
		if i%5000 == 4999 || i == len(events)-1 {
			if err := task.Commit(); err != nil {
				b.Fatal(err)
			}
			task.Take()
		}
	}
	n := float64(len(events))
	b.ReportMetric(float64(cpuTime()-before)/n, "cpu-ns/event")
	b.ReportMetric(float64(time.Since(began))/n, "ns/event")
	b.ReportMetric(float64(heap()-empty)/float64(w.Listeners), "heap-B/listener")
	rows := 0
	err := store.Scan(nil, func(key, value []byte) error { rows += len(key) + len(value); return nil })
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(rows)/float64(w.Listeners), "state-B/listener")
	runtime.KeepAlive(task)
	runtime.KeepAlive(events)
}

// records makes the records of the listens topic.
func records(b *testing.B, w Workload) []stream.Record {
	b.Helper()
	decoder, err := schemas.NewDecoder(schemas.DecoderConfig{})
	if err != nil {
		b.Fatal(err)
	}
	src := newSource(w, time0)
	out := make([]stream.Record, w.Events)
	var event schemas.Event
	var text []byte
	for i := range out {
		e := src.next(0)
		text = e.AppendJSON(text[:0])
		if err := decoder.Decode(&event, text, nil); err != nil {
			b.Fatal(err)
		}
		event.User = nil
		out[i] = stream.Record{Topic: "listens", Offset: int64(i), Key: []byte(e.User), Value: event.AppendBinary(nil), At: time0}
	}
	return out
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkEndToEnd runs the whole path on an embedded broker and two processors.
func BenchmarkEndToEnd(b *testing.B) {
	if testing.Short() {
		b.Skip("SKIPPED: takes minutes; make bench-throughput runs it")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	for _, listeners := range []int{20_000, 200_000} {
		b.Run(fmt.Sprintf("broker=embedded/listeners=%d", listeners), func(b *testing.B) {
			w := DefaultWorkload()
			w.Listeners, w.Events = listeners, 500_000
			for b.Loop() {
				r, err := Run(b.Context(), Options{
					Workload: w, Dir: b.TempDir(), Partitions: 8, Config: config.Default(), Logger: slog.New(slog.DiscardHandler),
				})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(r.EventsPerSecond, "events/s")
				b.ReportMetric(r.CPU, "cpu-µs/event")
				b.ReportMetric(r.Updates, "updates/event")
			}
		})
	}
}
