package factor

import (
	"errors"
	"fmt"
)

// Params are the settings of the learner. All processes of an application must use the same Dim and InitScale.
type Params struct {
	Dim       int // width of every vector
	Negatives int // uniform negatives for each first listen
	PoolSize  int // songs from which the negatives of one transaction are drawn

	// Replays is the greatest number of songs of the listener's own history trained beside a first listen. The number
	// shrinks to ReplayBudget/len(history) for long histories, whose rows have had their passes, and never below ReplayFloor.
	Replays, ReplayBudget, ReplayFloor int
	ReplayWeight                       float32 // of a replayed song and its negatives beside the first listen's 1

	UserStep       float32 // η of the listener's vector
	SongStep       float32 // η of song and artist rows
	GenreScale     float32 // factor on SongStep for genre and language rows, which every song of the genre moves
	BiasStep       float32 // η of the song's bias
	Regularisation float32 // λ of every vector
	InitScale      float32 // deviation of an initial component

	ErrorClip  float32 // bound of one prediction error
	NormMax    float32 // bound of the norm of any vector
	ChangeMax  float32 // trust region: bound of the norm of one combined change of a row
	BiasMax    float32 // bound of |bias|
	SyncEvery  int     // a row's local changes reach the shared slab after this many steps on it
	PendingMax int     // combined changes of one learner that a row remembers one by one until they are acknowledged
	RegionsMax int     // regions of which a song's popularity is kept
	GenresMax  int     // genres of a song that are trained; at most maxGenres
}

// maxGenres bounds the genre rows of a song, so that its features are a fixed-size value.
const maxGenres = 4

// DefaultParams returns settings that hold on dense simulated worlds and on small sparse streams alike.
func DefaultParams() Params {
	return Params{
		Dim: 32, Negatives: 15, PoolSize: 1024,
		Replays: 8, ReplayBudget: 400, ReplayFloor: 1, ReplayWeight: .3,
		UserStep: .15, SongStep: .06, GenreScale: .3, BiasStep: .005, Regularisation: .001, InitScale: .02,
		ErrorClip: 2, NormMax: 10, ChangeMax: 2, BiasMax: 2,
		SyncEvery: 32, PendingMax: 8, RegionsMax: 8, GenresMax: maxGenres,
	}
}

// Validate reports every setting that is out of range.
func (p Params) Validate() error {
	var errs []error
	count := func(name string, v, low, high int) {
		if v < low || v > high {
			errs = append(errs, fmt.Errorf("%s is %d, want %d to %d", name, v, low, high))
		}
	}
	decimal := func(name string, v, low, high float32) {
		if !(v >= low && v <= high) { // also refuses NaN
			errs = append(errs, fmt.Errorf("%s is %v, want %v to %v", name, v, low, high))
		}
	}
	count("dim", p.Dim, 1, 1024)
	count("negatives", p.Negatives, 0, 1000)
	count("pool size", p.PoolSize, 1, 1<<20)
	count("replays", p.Replays, 0, 1000)
	count("replay budget", p.ReplayBudget, 0, 1<<20)
	count("replay floor", p.ReplayFloor, 0, 1000)
	count("sync every", p.SyncEvery, 1, 1<<20)
	count("pending max", p.PendingMax, 1, 1<<10)
	count("regions max", p.RegionsMax, 0, 256)
	count("genres max", p.GenresMax, 0, maxGenres)
	decimal("replay weight", p.ReplayWeight, 0, 1)
	decimal("user step", p.UserStep, 0, 1)
	decimal("song step", p.SongStep, 0, 1)
	decimal("genre scale", p.GenreScale, 0, 1)
	decimal("bias step", p.BiasStep, 0, 1)
	decimal("regularisation", p.Regularisation, 0, 1)
	decimal("init scale", p.InitScale, 1e-6, 1)
	decimal("error clip", p.ErrorClip, .1, 100)
	decimal("norm max", p.NormMax, .1, 1e3)
	decimal("change max", p.ChangeMax, 1e-3, 1e3)
	decimal("bias max", p.BiasMax, 0, 1e3)
	return errors.Join(errs...)
}
