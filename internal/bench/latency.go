package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"earworm/model/calendar"
	"earworm/state"
)

// Latency is the time from the moment an event is made until a reader of committed records sees the listener's row that
// has it.
type Latency struct {
	Rate    int     `json:"events_per_second"`
	Events  int     `json:"events"`
	P50     float64 `json:"p50_ms"`
	P90     float64 `json:"p90_ms"`
	P99     float64 `json:"p99_ms"`
	Longest float64 `json:"longest_ms"`
}

// warmUp is how long events flow before they are measured.
const warmUp = 2 * time.Second

// latency sends events at the rate and reads the listener changelog beside.
func (r *Result) latency(ctx context.Context, o Options, s *system) error {
	options, err := s.options()
	if err != nil {
		return err
	}
	reader, err := kgo.NewClient(append(options,
		kgo.ConsumeTopics(s.topics().ListenerChangelog), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(250*time.Millisecond))...)
	if err != nil {
		return fmt.Errorf("making a reader: %w", err)
	}
	defer reader.Close()
	began := time.Now()
	ends := began.Add(warmUp + o.Hold)
	reading, stop := context.WithDeadline(ctx, ends.Add(5*time.Second))
	defer stop()
	found := make(chan []float64, 1)
	go func() { found <- observe(reading, reader, began.Add(warmUp), ends) }()
	if err := sendAt(ctx, o, s, began, ends); err != nil {
		return err
	}
	if err := s.client.Drain(ctx); err != nil {
		return err
	}
	times := <-found
	if len(times) == 0 {
		return fmt.Errorf("bench: no committed row was seen at %d events/s", o.Rate)
	}
	slices.Sort(times)
	at := func(q float64) float64 { return times[int(q*float64(len(times)-1))] }
	r.Latency = &Latency{Rate: o.Rate, Events: len(times), P50: at(.5), P90: at(.9), P99: at(.99), Longest: at(1)}
	say(o.Log, "at %d events/s: p50 %.0f ms, p99 %.0f ms", o.Rate, r.Latency.P50, r.Latency.P99)
	return nil
}

// sendAt sends the workload's events as they would happen now, evenly, until the end.
func sendAt(ctx context.Context, o Options, s *system, began, ends time.Time) error {
	w := o.Workload
	w.Seed++
	src := newSource(w, began)
	var arena []byte
	for now := time.Now(); now.Before(ends) && ctx.Err() == nil; now = time.Now() {
		due := int(now.Sub(began).Seconds() * float64(o.Rate))
		for src.made < due {
			if len(arena)+1024 > cap(arena) {
				arena = make([]byte, 0, 1<<20)
			}
			e := src.next(time.Now().UnixMilli())
			from := len(arena)
			arena = append(arena, e.User...)
			middle := len(arena)
			arena = e.AppendJSON(arena)
			s.client.Event(ctx, arena[from:middle:middle], arena[middle:len(arena):len(arena)])
		}
		time.Sleep(time.Millisecond)
	}
	return ctx.Err()
}

// observe returns how many ms after its event each committed history row was seen, for the events from one moment to another.
// A row that two events of one transaction share counts once, for the later.
func observe(ctx context.Context, reader *kgo.Client, from, to time.Time) []float64 {
	var times []float64
	var entry state.HistoryEntry
	for ctx.Err() == nil {
		fetches := reader.PollFetches(ctx)
		now := time.Now()
		fetches.EachRecord(func(rec *kgo.Record) {
			k, err := state.ParseUserKey(rec.Key)
			if err != nil || k.Row != state.RowHistory || entry.UnmarshalBinary(rec.Value) != nil {
				return
			}
			if at := time.UnixMilli(entry.LastAt); !at.Before(from) && at.Before(to) {
				times = append(times, float64(now.Sub(at).Microseconds())/1000)
			}
		})
	}
	return times
}

// weekOf names the ISO week of an instant.
func weekOf(at time.Time) string { return calendar.WeekOf(at.UTC()).String() }
