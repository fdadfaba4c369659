package listener

import (
	"earworm/model/factor"
	"earworm/model/trend"
	"earworm/schemas"
)

// trustPlay is one listen as the trust of a listener sees it.
func (t *Task) trustPlay(song factor.Index, e *schemas.Event) trend.TrustPlay {
	play := trend.TrustPlay{At: e.At, Song: uint64(t.table.KeyAt(song)), PlayedMs: e.PlayedMs}
	if artist := t.table.Artist(song); artist != factor.None {
		play.Artist = uint64(t.table.KeyAt(artist))
	}
	return play
}
