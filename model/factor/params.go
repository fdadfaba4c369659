package factor

import (
	"errors"
	"fmt"
)

// Params are the settings of the learner. All processes of an application must use the same Dim and InitScale.
type Params struct {
	Dim int // width of every vector

	// Window is the number of songs that a listener came to last, and the number drawn from those before, from which their vector is solved
	// at each first listen, Steps the number of steps of conjugate gradients from where it stands, Replays the number of songs of the listener's own
	// history that are trained beside the new one, unless many know them. A hurried learner uses the hurried ones.
	Window, HurriedWindow   int
	Steps, HurriedSteps     int
	Replays, HurriedReplays int

	// Gain scales the steps of songs: 1 is least squares, 0 leaves them where they are.
	Gain float32
	// Negatives is the weight of all that a listener has not heard beside what they have: the number of songs of target 0 that would
	// have to be drawn for each first listen to the same effect.
	Negatives float32
	// Ridge is the pull of vectors to zero for each first listen and each of its Negatives. Where evidence is thin it is stronger:
	// by SongSparse/n for songs with n first listens on average, by ListenerSparse/n for a listener with n; RidgeMax bounds the sum.
	Ridge, SongSparse, ListenerSparse, RidgeMax float32

	InitScale float32 // deviation of an initial component
	WeightMax float32 // bound of the weight of one example
	NormMax   float32 // bound of the norm of any vector
	ChangeMax float32 // trust region: bound of the norm of one combined change of a row

	SyncEvery  int // a row's local changes reach the shared slab after this many steps on it
	PendingMax int // combined changes of one learner that a row remembers one by one until they are acknowledged
	RegionsMax int // regions of which a song's popularity is kept
	GenresMax  int // genres of a song that are trained; at most maxGenres
}

// maxGenres bounds the genre rows of a song, so that its features are a fixed-size value.
const maxGenres = 4

// DefaultParams returns settings that hold on dense simulated worlds and on small sparse streams alike.
func DefaultParams() Params {
	return Params{
		Dim: 32, Window: 8, HurriedWindow: 4, Steps: 4, HurriedSteps: 2, Replays: 2, HurriedReplays: 1,
		Gain: 1, Negatives: 20, Ridge: .005, SongSparse: .2, ListenerSparse: 1, RidgeMax: .03,
		InitScale: .02, WeightMax: 5, NormMax: 10, ChangeMax: 2,
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
	count("window", p.Window, 0, 10_000)
	count("hurried window", p.HurriedWindow, 0, 10_000)
	count("steps", p.Steps, 1, 1000)
	count("hurried steps", p.HurriedSteps, 1, 1000)
	count("replays", p.Replays, 0, 1000)
	count("hurried replays", p.HurriedReplays, 0, 1000)
	count("sync every", p.SyncEvery, 1, 1<<20)
	count("pending max", p.PendingMax, 1, 1<<10)
	count("regions max", p.RegionsMax, 0, 256)
	count("genres max", p.GenresMax, 0, maxGenres)
	decimal("gain", p.Gain, 0, 1)
	decimal("negatives", p.Negatives, 0, 1000)
	decimal("ridge", p.Ridge, 1e-6, 1)
	decimal("song sparse", p.SongSparse, 0, 100)
	decimal("listener sparse", p.ListenerSparse, 0, 100)
	decimal("ridge max", p.RidgeMax, p.Ridge, 1)
	decimal("init scale", p.InitScale, 1e-6, 1)
	decimal("weight max", p.WeightMax, .1, 100)
	decimal("norm max", p.NormMax, .1, 1e3)
	decimal("change max", p.ChangeMax, 1e-3, 1e3)
	return errors.Join(errs...)
}

// SongRidge is λ of songs, of which an average one has been heard so much.
func (p Params) SongRidge(mean float32) float32 {
	return min(p.RidgeMax, p.Ridge+p.SongSparse/max(mean, 1))
}

// ListenerRidge is λ(c + α₀N) of a listener with c first listens: of those c, and of all that they have not heard.
func (p Params) ListenerRidge(c float32) float32 {
	return min(p.RidgeMax, p.Ridge+p.ListenerSparse/max(c, 1)) * c * (1 + p.Negatives)
}
