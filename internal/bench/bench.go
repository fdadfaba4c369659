package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"syscall"
	"time"

	"earworm/internal/config"
	"earworm/schemas"
)

// Options say what is measured.
type Options struct {
	Workload Workload
	// Dir is an empty or missing directory for broker, state and profile.
	Dir string
	// Brokers is a Kafka to measure on; empty means the embedded broker, in this process.
	Brokers    []string
	Partitions int
	// Rate is the number of events a second of the latency measurement, which lasts Hold. 0 leaves it out.
	Rate int
	Hold time.Duration
	// Emit measures a week's playlists, Restore the start without local state.
	Emit, Restore bool
	// Handover measures how long partitions take to move to a second instance.
	Handover bool
	Config   config.Config
	Logger   *slog.Logger
	// Log gets a line for each step.
	Log io.Writer
}

// Result holds the figures.
type Result struct {
	Events          int64   `json:"events"`
	Seconds         float64 `json:"seconds"`
	EventsPerSecond float64 `json:"events_per_second"`
	// CPU is the processor time of this process per event, user and system, in µs.
	CPU float64 `json:"cpu_us_per_event"`
	// Parts splits CPU by what the profile's samples were taken in.
	Parts    []Part `json:"parts,omitempty"`
	PeakHeap uint64 `json:"heap_bytes"`
	// Transactions of all roles, and the records per event that they wrote: combined changes of rows for the song tasks, and rows that the
	// song tasks published.
	Transactions    int64    `json:"transactions"`
	Updates         float64  `json:"song_updates_per_event"`
	Published       float64  `json:"rows_published_per_event"`
	Latency         *Latency `json:"latency,omitempty"`
	Playlists       int64    `json:"playlists,omitempty"`
	PlaylistsPerSec float64  `json:"playlists_per_second,omitempty"`
	Restored        int64    `json:"restored_records,omitempty"`
	RestoredPerSec  float64  `json:"restored_records_per_second,omitempty"`
	// RestoredCPU is the processor time of this process per restored record, embedded broker included, in µs.
	RestoredCPU float64   `json:"restore_cpu_us_per_record,omitempty"`
	Handover    *Handover `json:"handover,omitempty"`
}

// Run measures. It stops at the first figure that cannot be right.
func Run(ctx context.Context, o Options) (*Result, error) {
	if err := o.Workload.Validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("making the directory: %w", err)
	}
	s, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	r := &Result{}
	err = r.measure(ctx, o, s)
	return r, errors.Join(err, s.close())
}

func (r *Result) measure(ctx context.Context, o Options, s *system) error {
	if err := r.throughput(ctx, o, s); err != nil {
		return err
	}
	if o.Rate > 0 {
		if err := r.latency(ctx, o, s); err != nil {
			return err
		}
	}
	if o.Emit {
		if err := r.emit(ctx, o, s); err != nil {
			return err
		}
	}
	if o.Restore {
		if err := r.restore(ctx, o, s); err != nil {
			return err
		}
	}
	if o.Handover { // the last: the second instance keeps its share when it ends, until its session times out
		return r.handover(ctx, o, s)
	}
	return nil
}

// preload brings topics, catalogue and events to the brokers while no role runs.
func preload(ctx context.Context, o Options, s *system) error {
	if err := s.start(ctx); err != nil { // makes the topics
		return err
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	for i := range o.Workload.Songs {
		if err := s.client.Song(ctx, o.Workload.song(i)); err != nil {
			return err
		}
	}
	if err := s.client.Flush(ctx); err != nil {
		return err
	}
	if err := s.halt(); err != nil {
		return err
	}
	src := newSource(o.Workload, time.Now().Add(-time.Minute))
	var arena []byte
	for range o.Workload.Events {
		if len(arena)+1024 > cap(arena) {
			arena = make([]byte, 0, 1<<20) // the old one lives until its events are sent
		}
		e := src.next(0)
		from := len(arena)
		arena = append(arena, e.User...)
		middle := len(arena)
		arena = e.AppendJSON(arena)
		s.client.Event(ctx, arena[from:middle:middle], arena[middle:len(arena):len(arena)])
	}
	return s.client.Flush(ctx)
}

// throughput lets the roles loose on the preloaded events. The clock starts when ingest has its partitions, which is before it has its first
// event: joining the group is not what is measured.
func (r *Result) throughput(ctx context.Context, o Options, s *system) error {
	if err := preload(ctx, o, s); err != nil {
		return err
	}
	say(o.Log, "%d events are in the topic", o.Workload.Events)
	listens := s.topics().Listens
	if err := s.start(ctx); err != nil {
		return err
	}
	if err := s.await(ctx, s.svc.Ingesting); err != nil {
		return err
	}
	profile, err := os.Create(filepath.Join(o.Dir, "cpu.pprof"))
	if err != nil {
		return fmt.Errorf("creating the profile: %w", err)
	}
	defer func() { _ = profile.Close() }()
	if err := pprof.StartCPUProfile(profile); err != nil {
		return fmt.Errorf("profiling: %w", err)
	}
	began, cpu := time.Now(), cpuTime()
	total := int64(o.Workload.Events)
	var heap uint64
	err = s.await(ctx, func() bool { all, _ := s.consumed(listens); heap = max(heap, heapBytes(all)); return all >= total })
	if err == nil {
		err = s.client.Drain(ctx)
	}
	r.Seconds, r.CPU = time.Since(began).Seconds(), (cpuTime()-cpu).Seconds()*1e6
	pprof.StopCPUProfile()
	if err != nil {
		return err
	}
	r.Events = total
	r.EventsPerSecond, r.CPU, r.PeakHeap = float64(r.Events)/r.Seconds, r.CPU/float64(r.Events), heap
	if all, applied := s.consumed(listens); all != total || applied != total {
		return fmt.Errorf("bench: %d events were consumed and %d applied, of %d", all, applied, total)
	}
	if err := r.count(s); err != nil {
		return err
	}
	r.Parts, err = parts(profile.Name(), r.CPU)
	say(o.Log, "%.0f events/s, %.1f µs of processor time each", r.EventsPerSecond, r.CPU)
	return err
}

// count reads what the roles count.
func (r *Result) count(s *system) (err error) {
	if r.Transactions, err = s.counted("earworm_stream_commits_total"); err != nil {
		return err
	}
	updates, err := s.counted("earworm_listener_song_updates_total")
	if err != nil {
		return err
	}
	published, err := s.counted("earworm_table_rows_loaded_total")
	r.Updates, r.Published = float64(updates)/float64(r.Events), float64(published)/float64(r.Events)
	return err
}

// heapBytes reads the heap now and then: it stops the world.
func heapBytes(tick int64) uint64 {
	if tick%64 != 0 {
		return 0
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// emit forces the playlists of the current week.
func (r *Result) emit(ctx context.Context, o Options, s *system) error {
	began := time.Now()
	week := weekOf(began)
	if err := s.client.Tick(ctx, schemas.Tick{At: began.UnixMilli(), Week: week, Forced: true}); err != nil {
		return err
	}
	if err := s.client.Drain(ctx); err != nil {
		return err
	}
	seconds := time.Since(began).Seconds()
	err := s.client.Playlists(ctx, func(_ string, list *schemas.Playlist) error {
		if list != nil && list.Week == week {
			r.Playlists++
		}
		return nil
	})
	r.PlaylistsPerSec = float64(r.Playlists) / seconds
	say(o.Log, "%d playlists, %.0f a second", r.Playlists, r.PlaylistsPerSec)
	return err
}

// restore starts without local state and waits until every task has it again.
func (r *Result) restore(ctx context.Context, o Options, s *system) error {
	if err := s.halt(); err != nil {
		return err
	}
	if err := s.wipe(); err != nil {
		return err
	}
	began, cpu := time.Now(), cpuTime()
	if err := s.start(ctx); err != nil {
		return err
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	seconds, used := time.Since(began).Seconds(), (cpuTime() - cpu).Seconds()
	var err error
	r.Restored, err = s.counted("earworm_stream_restored_records_total")
	r.RestoredPerSec, r.RestoredCPU = float64(r.Restored)/seconds, 1e6*used/float64(r.Restored)
	say(o.Log, "%d records restored, %.0f a second, %.2f µs of processor time each", r.Restored, r.RestoredPerSec, r.RestoredCPU)
	return err
}

// cpuTime is what this process has used of the processors.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func say(w io.Writer, format string, args ...any) {
	if w != nil {
		_, _ = fmt.Fprintf(w, format+"\n", args...)
	}
}
