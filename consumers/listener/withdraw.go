package listener

import (
	"math"

	"earworm/model/factor"
	"earworm/schemas"
)

// takeBack tells the tasks of the songs what an erased listener had brought, so that they take it out of what they count: first listens out
// of the popularity, and pairs.
//
// What is known of a listener is less than what was told of them. Of the days on which a song was heard only the first and the last are
// known, and the home region stands for where. Of a popular song some pairs were drawn to stand for all; on average each stood for
// itself, so that is what is taken back. Steps of learning are not: others have built on them.
func (t *Task) takeBack(p *person) {
	brought := map[factor.Index]*schemas.SongUpdate{}
	var order []factor.Index
	of := func(song factor.Index) *schemas.SongUpdate {
		u := brought[song]
		if u == nil {
			u = &schemas.SongUpdate{Withdraws: true, Kind: byte(factor.KindSong), ID: []byte(t.table.ID(song))}
			brought[song] = u
			order = append(order, song)
		}
		return u
	}
	for n := range p.history.entries {
		h := &p.history.entries[n]
		if song, known := t.songOf(h); known && h.FirstAt != 0 {
			u := of(song)
			u.Listens = append(u.Listens, schemas.ListenBucket{Region: p.core.Region, At: h.FirstAt - h.FirstAt%bucketMs, Unique: 1})
			if h.LastAt-h.FirstAt > dayMs {
				u.Listens = append(u.Listens, schemas.ListenBucket{Region: p.core.Region, At: h.LastAt - h.LastAt%bucketMs, Unique: 1})
			}
		}
	}
	params := t.near.Params()
	came := func(song factor.Index) int64 {
		if n, ok := p.history.find(t.table.KeyAt(song)); ok {
			return p.history.entries[n].FirstAt
		}
		return 0
	}
	for i, song := range p.trained {
		u, at := of(song), came(song)
		u.Listeners, u.CameAt = 1, at
		for _, other := range p.trained[max(0, i-params.Window):i] {
			if other != song {
				pairBack(u, t.table.KeyAt(other), at, params.HalfLife.Millis())
				pairBack(of(other), t.table.KeyAt(song), at, params.HalfLife.Millis())
			}
		}
	}
	for _, song := range order {
		t.taken = append(t.taken, *brought[song])
	}
}

// pairBack notes one pair of an instant. All pairs of an update are as of one instant, the latest: earlier ones are faded up to it.
func pairBack(u *schemas.SongUpdate, other factor.Key, at int64, halfLife float64) {
	weight := float32(1)
	switch {
	case at > u.PairsAt:
		fade := float32(math.Exp2(-float64(at-u.PairsAt) / halfLife))
		for i := range u.Pairs {
			u.Pairs[i].Weight *= fade
		}
		u.PairsAt = at
	case at < u.PairsAt:
		weight = float32(math.Exp2(-float64(u.PairsAt-at) / halfLife))
	}
	u.Pairs = append(u.Pairs, schemas.Pair{Song: uint64(other), Weight: weight})
}
