package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
	"strconv"
	"time"

	"earworm/internal/listeners"
	"earworm/schemas"
)

// Workload describes the events. They are plays of songs whose popularity follows Zipf's law, with the repeats and skips of
// real listening: a share of the plays returns to what the listener heard lately.
type Workload struct {
	Events, Listeners, Songs int
	// Exponent of Zipf's law.
	Exponent float64
	// Repeats is the share of plays that return to one of the listener's songs, Skips that of plays given up early.
	Repeats, Skips float64
	// Hot is the share of the plays that go to one song, on top of its popularity.
	Hot float64
	// Span is the event time that the events cover.
	Span time.Duration
	Seed uint64
}

// DefaultWorkload returns two million events: 55 % repeats as in models.md's base world, spread over an hour.
func DefaultWorkload() Workload {
	return Workload{
		Events: 2_000_000, Listeners: 200_000, Songs: 50_000, Exponent: 1, Repeats: .55, Skips: .25, Span: time.Hour, Seed: 1,
	}
}

// Validate reports every problem.
func (w Workload) Validate() error {
	var errs []error
	if w.Events < 1 || w.Listeners < 1 || w.Songs < 1 {
		errs = append(errs, errors.New("bench: events, listeners and songs must be at least 1"))
	}
	if !(w.Exponent >= 0 && w.Exponent <= 4) || !(w.Repeats >= 0 && w.Repeats <= 1) || !(w.Skips >= 0 && w.Skips <= 1) || !(w.Hot >= 0 && w.Hot <= 1) {
		errs = append(errs, errors.New("bench: exponent must lie between 0 and 4, shares between 0 and 1"))
	}
	if w.Span <= 0 {
		errs = append(errs, errors.New("bench: span must be positive"))
	}
	return errors.Join(errs...)
}

// recent is how many of a listener's songs a repeat chooses from.
const recent = 8

// source makes the events of a workload, always the same ones.
type source struct {
	w       Workload
	rng     *rand.Rand
	weights []float64 // cumulative
	guide   []int32   // first song whose cumulative weight reaches i/len
	lately  []int32   // recent songs of each listener, song+1
	turn    []uint8
	made    int
	event   listeners.Event
	start   int64
}

func newSource(w Workload, end time.Time) *source {
	s := &source{
		w: w, rng: rand.New(rand.NewPCG(w.Seed, 0xbe9c)), //nolint:gosec // a benchmark holds no secret
		weights: make([]float64, w.Songs), guide: make([]int32, w.Songs),
		lately: make([]int32, w.Listeners*recent), turn: make([]uint8, w.Listeners),
		start: end.Add(-w.Span).UnixMilli(),
	}
	sum := 0.0
	for i := range s.weights {
		sum += math.Pow(float64(i+1), -w.Exponent)
		s.weights[i] = sum
	}
	for i := range s.guide {
		at := sum * float64(i) / float64(len(s.guide))
		s.guide[i] = int32(sort.SearchFloat64s(s.weights, at)) //nolint:gosec // a number of songs
	}
	return s
}

// draw returns a song by its popularity.
func (s *source) draw() int32 {
	u := s.rng.Float64()
	at := u * s.weights[len(s.weights)-1]
	i := s.guide[int(u*float64(len(s.guide)))]
	for int(i) < len(s.weights)-1 && s.weights[i] < at {
		i++
	}
	return i
}

// next returns the next event; it is valid until the one after. now is its time in ms, 0 for its place in the span.
func (s *source) next(now int64) *listeners.Event {
	who := s.rng.IntN(s.w.Listeners)
	mine := s.lately[who*recent:][:recent]
	var song int32 // the hot one
	if s.w.Hot > 0 && s.rng.Float64() < s.w.Hot {
		// It does not push out what the listener returns to.
	} else if known := min(int(s.turn[who]), recent); known > 0 && s.rng.Float64() < s.w.Repeats {
		song = mine[s.rng.IntN(known)]
	} else {
		song = s.draw()
		mine[int(s.turn[who])%recent] = song
		s.turn[who]++
		if s.turn[who] == 2*recent {
			s.turn[who] = recent
		}
	}
	if now == 0 {
		now = s.start + s.w.Span.Milliseconds()*int64(s.made)/int64(s.w.Events)
	}
	duration := int64(150_000 + 1000*(song%150))
	e := &s.event
	*e = listeners.Event{
		Kind: "play", User: userID(who), Song: songID(int(song)), At: now, PlayedMs: duration, DurationMs: duration,
		PositionMs: -1, Region: regions[who%len(regions)], Device: "mobile", Source: "library", Slot: -1,
	}
	if s.rng.Float64() < s.w.Skips {
		e.Kind, e.PlayedMs, e.PositionMs = "skip", 6000, 6000
	}
	s.made++
	binary.BigEndian.PutUint64(e.ID[0:], uint64(now)<<16|0x7000) //nolint:gosec // after 1970
	binary.BigEndian.PutUint64(e.ID[8:], uint64(s.made)|1<<63)   //nolint:gosec // counts from 0
	return e
}

var regions = [...]string{"DE", "FR", "US", "GB", "JP", "BR"} //nolint:gochecknoglobals // a table, never changed

func userID(i int) string { return "listener-" + strconv.Itoa(1_000_000+i) }
func songID(i int) string { return "song-" + strconv.Itoa(1_000_000+i) }

// song describes a song of the workload: ten of an artist, two of 40 genres, one of eight languages.
func (w Workload) song(i int) schemas.Song {
	return schemas.Song{
		ID: schemas.SongID(songID(i)), Title: fmt.Sprintf("Title %d", i), Artist: fmt.Sprintf("Artist %d", i%max(1, w.Songs/10)),
		Genres:   []string{fmt.Sprintf("genre-%d", i%40), fmt.Sprintf("genre-%d", (i/7)%40)},
		Language: fmt.Sprintf("x%c", 'a'+i%8), DurationMs: int64(150_000 + 1000*(i%150)),
	}
}
