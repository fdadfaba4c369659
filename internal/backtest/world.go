package backtest

import (
	"fmt"
	"time"

	"earworm/internal/listeners"
	"earworm/model/factor"
	"earworm/schemas"
)

// FromWorld makes a Dataset of all weeks of a simulated world, with the truth as its ceiling. Broken events and those sent again are
// left out, as production would; late ones stand where they happened.
func FromWorld(name string, cfg listeners.Config, progress func(done, total int64)) (*Dataset, error) {
	w, err := listeners.New(cfg)
	if err != nil {
		return nil, err
	}
	b := &builder{choices: map[schemas.EventID]choice{}}
	words := newVocabulary()
	expected := int64(cfg.EventsPerListenerWeek*float64(cfg.Listeners*cfg.Weeks)) + 1
	b.records = make([]record, 0, expected+expected/8)
	for n := range cfg.Weeks {
		for e := range w.Week(n) {
			if e.Bad != listeners.BadNone || e.Duplicate {
				continue
			}
			b.add(words.record(&e))
			if e.Kind == schemas.KindOnboarding.String() {
				b.choices[schemas.EventID(e.ID)] = choice{genres: texts(e.Genres), artists: texts(e.Artists)}
			}
			if len(b.records)%progressEvery == 0 {
				progress(int64(len(b.records)), expected)
			}
		}
	}
	people, songs := 0, 0
	for range w.Listeners() {
		people++
	}
	for range w.Songs() {
		songs++
	}
	d := b.dataset(fmt.Sprintf("world %s, seed %d", name, cfg.Seed), worldSource(w, people, songs))
	d.Ceiling = d.truth(w, songs)
	return d, nil
}

// worldSource says what the numbers of a world stand for.
func worldSource(w *listeners.World, people, songs int) source {
	return source{
		listeners: people, items: songs, catalogued: true,
		listener: func(n int32) (string, schemas.Profile, bool) {
			l := w.Listener(int(n))
			return l.ID, schemas.Profile{User: schemas.UserID(l.ID), Region: l.Region, TimeZone: l.Zone, Languages: l.Languages}, l.Bot
		},
		item: func(n int32) (string, factor.Meta) {
			s := w.Song(int(n))
			return s.ID, factor.Meta{
				Title: s.Title, Artist: s.Artist, Album: s.Album, Genres: s.Genres, Language: s.Language, ReleasedAt: s.Released.UnixMilli(),
				DurationMs: s.Duration.Milliseconds(), Tempo: s.Tempo, Energy: s.Energy,
			}
		},
	}
}

// truth ranks by the true chances. The world has been lived through, and asking it for one listener only reads.
func (d *Dataset) truth(w *listeners.World, songs int) func(int32, time.Time) []int32 {
	ordinal := make([]int32, songs)
	for i, name := range d.Items {
		if n, ok := w.SongIndex(name); ok {
			ordinal[n] = int32(i)
		}
	}
	return func(listener int32, at time.Time) []int32 {
		index, ok := w.ListenerIndex(d.Listeners[listener])
		n, inside := w.WeekIndex(at)
		if !ok || !inside {
			return nil
		}
		list := make([]int32, 0, ListLength)
		for _, s := range w.Oracle(index, n) {
			list = append(list, ordinal[s])
		}
		return list
	}
}

// vocabulary finds the numbers of the wire's words.
type vocabulary struct {
	kinds   map[string]schemas.Kind
	sources map[string]schemas.Source
	devices map[string]schemas.Device
}

func newVocabulary() *vocabulary {
	v := &vocabulary{kinds: map[string]schemas.Kind{}, sources: map[string]schemas.Source{}, devices: map[string]schemas.Device{}}
	for k := schemas.KindPlay; k <= schemas.KindErase; k++ {
		v.kinds[k.String()] = k
	}
	for s := schemas.SourceUnknown; s <= schemas.SourceOther; s++ {
		v.sources[s.String()] = s
	}
	for d := schemas.DeviceUnknown; d <= schemas.DeviceOther; d++ {
		v.devices[d.String()] = d
	}
	return v
}

// record makes a small event of one of a world.
func (v *vocabulary) record(e *listeners.Event) record {
	r := record{
		id: e.ID, at: e.At, listener: int32(e.Listener), item: int32(e.SongIndex), played: int32(e.PlayedMs), //nolint:gosec // the world's are small
		duration: int32(e.DurationMs), position: int32(e.PositionMs), //nolint:gosec // the world's are small
		kind: v.kinds[e.Kind], source: v.sources[e.Source], device: v.devices[e.Device],
	}
	copy(r.region[:], e.Region)
	return r
}

func texts(words []string) [][]byte {
	out := make([][]byte, len(words))
	for i, w := range words {
		out[i] = []byte(w)
	}
	return out
}
