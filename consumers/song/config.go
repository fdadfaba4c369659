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

	Learn factor.Params
	Near  cooccur.Params
	Trend trend.Params
}

// Default returns the defaults; the topics have none.
func Default() Config {
	return Config{App: "earworm", Interval: 5 * time.Minute, Learn: factor.DefaultParams(), Near: cooccur.DefaultParams(), Trend: trend.DefaultParams()}
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
	return errors.Join(append(errs, c.Learn.Validate(), c.Near.Validate(), c.Trend.Validate())...)
}
