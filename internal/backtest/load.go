package backtest

import (
	"earworm/internal/history"
	"earworm/model/factor"
	"earworm/schemas"
)

// FromHistory makes a Dataset of a listening history that was read from a file.
func FromHistory(name string, h *history.History) *Dataset {
	b := &builder{}
	listeners, items := newNames(), newNames()
	for i := range h.Events {
		e := &h.Events[i]
		item := int32(-1)
		if len(e.Song) > 0 {
			item = items.number(e.Song)
		}
		b.add(record{
			id: e.ID, at: e.At, listener: listeners.number(e.User), item: item, played: int32(e.PlayedMs), //nolint:gosec // within a day
			duration: int32(e.DurationMs), position: int32(e.PositionMs), region: e.Region, kind: e.Kind, source: e.Source, device: e.Device, //nolint:gosec // within a day
		})
	}
	catalogue := h.Catalogue()
	return b.dataset(name, source{
		listeners: len(listeners.all), items: len(items.all),
		listener: func(n int32) (string, schemas.Profile, bool) {
			return listeners.all[n], schemas.Profile{User: schemas.UserID(listeners.all[n])}, false
		},
		item: func(n int32) (string, factor.Meta) {
			s := catalogue[items.all[n]]
			return items.all[n], factor.Meta{
				Title: s.Title, Artist: s.Artist, Album: s.Album, Genres: s.Genres, Language: s.Language, ReleasedAt: s.ReleasedAt,
				DurationMs: s.DurationMs, Tempo: s.Tempo, Energy: s.Energy,
			}
		},
	})
}

// names numbers names.
type names struct {
	numbers map[string]int32
	all     []string
}

func newNames() *names { return &names{numbers: map[string]int32{}} }

func (n *names) number(name []byte) int32 {
	number, known := n.numbers[string(name)]
	if !known {
		number = int32(len(n.all)) //nolint:gosec // at most as many as events
		n.all = append(n.all, string(name))
		n.numbers[n.all[number]] = number
	}
	return number
}
