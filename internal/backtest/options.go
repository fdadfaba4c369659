package backtest

import (
	"errors"
	"fmt"
	"time"
)

// Options say how to measure. Zero means default, where there is one.
type Options struct {
	// Models to measure, in this order; see Names for what there is. Default: DefaultModels.
	Models []string
	// Warm is the share of the time span that is learnt before the first measured Monday. Default 0.4.
	Warm float64
	// TuneWeeks is how many measured weeks at the beginning are set apart for choosing parameters: the report leaves them out.
	TuneWeeks int
	// OnTuneWeeks measures those weeks and none of the others.
	OnTuneWeeks bool
	// MinUsers leaves out weeks with fewer measured listeners. Default 20.
	MinUsers int
	// MinHistory is how many different items a measured listener has consumed. Default 5.
	MinHistory int
	// Sample is how many people of a week are measured; 0 is everybody, as the protocol has it.
	Sample int
	// CeilingSample is how many listeners of a week the ceiling of a simulated world is measured on. Default 200.
	CeilingSample int
	// DailySample is how many listeners of a day are measured prequentially. Default 200, or a seventh of Sample where there is one: the
	// days of a week cost what its Monday does.
	DailySample int
	// Seed decides everything models leave to chance.
	Seed uint64
	// Shards is the number of listener shards and of song shards the production model runs with. Default 1.
	Shards int
	// Late is how many transactions the rows of songs come late to the listener shards of the production model. Default 0: with the
	// second transaction after the one that changed them.
	Late int
	// Production makes the models that Models calls earworm; nil: there is none.
	Production *Production
	// Progress, if set, is told how many of total units of work are done.
	Progress func(done, total int64)
	// List, if set, is called with every list of a measured listener, week by week and in order of the listeners.
	List func(model string, freeze time.Time, listener int32, items []int32) error
}

// withDefaults fills in the defaults.
func (o Options) withDefaults() Options {
	if o.Warm == 0 {
		o.Warm = .4
	}
	if o.MinUsers == 0 {
		o.MinUsers = 20
	}
	if o.MinHistory == 0 {
		o.MinHistory = 5
	}
	if o.CeilingSample == 0 {
		o.CeilingSample = 200
	}
	if o.DailySample == 0 {
		o.DailySample = 200
		if o.Sample > 0 {
			o.DailySample = max(o.Sample/7, 1)
		}
	}
	if o.Shards == 0 {
		o.Shards = 1
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	return o
}

// Validate reports every option that makes no sense.
func (o Options) Validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(!(o.Warm >= 0 && o.Warm < 1), "warm %v is not in [0, 1)", o.Warm)
	bad(o.TuneWeeks < 0, "tune weeks %d is negative", o.TuneWeeks)
	bad(o.OnTuneWeeks && o.TuneWeeks == 0, "there are no tune weeks to measure")
	bad(o.MinUsers < 0 || o.MinHistory < 0 || o.CeilingSample < 0 || o.Sample < 0 || o.DailySample < 0, "a minimum or a sample is negative")
	bad(o.Late < 0 || o.Late > 1<<20, "late %d is not in 0..1048576", o.Late)
	bad(o.Shards < 0 || o.Shards > 1024, "shards %d is not in 0..1024", o.Shards)
	return errors.Join(errs...)
}
