package replay

import (
	"earworm/internal/backtest"
	"earworm/internal/costs"
)

var _ backtest.Accounted = (*Model)(nil)

// Parts says what the production model spends its time on. To learn factors is what a batch factorisation does; all else a platform with such
// a factorisation needs beside it, or the replay does to drive the tasks.
func (*Model) Parts() []costs.Part {
	return []costs.Part{
		// First of all, since they pass through parts that follow.
		{Name: "ranking study", Functions: []string{"earworm/consumers/listener.(*Task).Study"}},
		{Name: "hit rate in passing", Functions: []string{"earworm/consumers/listener.(*Task).prequential"}},
		{Name: "factors", Functions: []string{
			"earworm/model/factor.(*Learner)", "earworm/model/factor.(*Table).Geometry", "earworm/model/factor.(*Row).Apply",
		}},
		{Name: "co-occurrence", Functions: []string{
			"earworm/model/cooccur", "earworm/consumers/listener.(*Task).pair", "earworm/consumers/song.(*Task).pair",
			"earworm/consumers/song.(*Task).writeNeighbours", "earworm/consumers/table.(*Loader).loadNeighbours",
		}},
		{Name: "trends and popularity", Functions: []string{"earworm/consumers/song.(*Task).judge", "earworm/consumers/song.(*Task).listen"}},
		{Name: "published rows", Functions: []string{
			"earworm/consumers/song.(*Task).write", "earworm/consumers/table", "earworm/internal/replay.(*songShard).add",
			"earworm/internal/replay.(*Cluster).publish",
		}},
		{Name: "listeners and their changes", Functions: []string{"earworm/consumers", "earworm/internal/replay"}},
	}
}
