package backtest

import (
	"time"

	"earworm/internal/costs"
	"earworm/schemas"
)

// ListLength is how many items a list holds: the 30 of recall@30.
const ListLength = 30

// Event is one event of the history, with the ordinals under which harness and models know its listener and item.
type Event struct {
	// Event is what production would decode. User, Song and Artist alias the dataset's memory.
	schemas.Event
	// Listener and Item are ordinals in the Dataset; Item is -1 where the event is about no item.
	Listener, Item int32
	// First marks the first event by which the listener consumes the item: a play of at least half, an addition to a playlist,
	// a rating from the minimum on.
	First bool
	// Positive marks every event that counts as consumption in that sense.
	Positive bool

	pair int32 // numbers listener and item together, where there is an item
}

// Model is what the harness measures. Calls come from one goroutine, but for Rank.
type Model interface {
	// Name is how the report calls the model.
	Name() string
	// Learn takes the next event, in order of time. The event is reused: what is kept must be copied.
	Learn(e *Event) error
	// Freeze tells that everything before at has been learnt and that lists are wanted; models that learn in batches fit here.
	// It comes for measured weeks only, not for the weeks of warming up.
	Freeze(at time.Time) error
	// Rank appends to dst up to ListLength items that the listener has never consumed, best first. It may be called concurrently,
	// for different listeners, between Freeze and the next Learn, and must give the same list in any order of calls.
	Rank(listener int32, dst []int32) []int32
}

// Accounted is a Model that says of which parts its learning consists.
type Accounted interface {
	Model
	// Parts are what its processor time is told by.
	Parts() []costs.Part
}

// Production makes the production model, which stands above this package.
type Production struct {
	// Parameters are those that it takes, with their defaults.
	Parameters map[string]float64
	// New makes the model that the report calls name, with a value for every parameter.
	New func(d *Dataset, o Options, name string, p map[string]float64) (Model, error)
}
