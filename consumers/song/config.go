package song

import (
	"errors"
	"fmt"
	"time"

	"earworm/model/cooccur"
	"earworm/model/factor"
	"earworm/model/trend"
)

// Config says how rows are kept. A zero field means its default.
type Config struct {
	// SongUpdates is read, Trends is written.
	SongUpdates, Trends string
	// App is part of the CloudEvents headers of trends.
	App string
	// Interval is the event time between two evaluations of trends; default 5 minutes.
	Interval time.Duration
	// Partitions is the number of listens partitions that the trends wait for in the beginning; 0: for those that are heard.
	Partitions int32
	// Wait is how long a listens partition may be silent, in the time of producing of its updates and while others speak, before the
	// trends go on without it; default a minute.
	Wait time.Duration
	// HeldMax bounds the counts of listens that wait; default 262144, of 72 bytes each.
	HeldMax int

	Learn factor.Params
	Near  cooccur.Params
	Trend trend.Params
}

// Default returns the defaults; the topics have none.
func Default() Config {
	return Config{
		App: "earworm", Interval: 5 * time.Minute, Wait: time.Minute, HeldMax: 1 << 18,
		Learn: factor.DefaultParams(), Near: cooccur.DefaultParams(), Trend: trend.DefaultParams(),
	}
}

// Validate reports every problem.
func (c Config) Validate() error {
	var errs []error
	if c.SongUpdates == "" || c.Trends == "" {
		errs = append(errs, errors.New("song: song updates and trends topics must be named"))
	}
	if c.Interval < time.Second {
		errs = append(errs, fmt.Errorf("song: interval is %s, want at least a second", c.Interval))
	}
	if c.Wait < 0 || c.HeldMax < 1 {
		errs = append(errs, fmt.Errorf("song: wait %s must not be negative and held %d at least 1", c.Wait, c.HeldMax))
	}
	return errors.Join(append(errs, c.Learn.Validate(), c.Near.Validate(), c.Trend.Validate())...)
}
