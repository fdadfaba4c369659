package backtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// ErrNoWeeks says that the history is too short or too sparse to measure anything.
var ErrNoWeeks = errors.New("there is no week in which enough listeners can be measured")

// Run measures the models one after the other. The data is read once for each.
func Run(ctx context.Context, d *Dataset, o Options) (*Report, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	weeks := d.weeks(o)
	if len(weeks) == 0 {
		return nil, ErrNoWeeks
	}
	report := newReport(d, o, weeks)
	h := &harness{d: d, o: o, weeks: weeks, days: d.days(weeks, o)}
	for _, w := range weeks {
		report.People += w.measured
		h.total += int64(len(w.people))
	}
	models := o.Models
	if len(models) == 0 {
		models = DefaultModels(o.Production != nil)
	}
	for _, spec := range models { // all are made first: a wrong name is told before an hour of work
		if _, err := Parse(spec, o.Production); err != nil {
			return nil, err
		}
	}
	h.total = int64(len(models)) * (h.total + int64(d.Len()))
	for _, spec := range models {
		m, err := h.make(spec)
		if err != nil {
			return nil, fmt.Errorf("model %s: %w", spec, err)
		}
		r, err := h.measure(ctx, m)
		if err != nil {
			return nil, fmt.Errorf("model %s: %w", spec, err)
		}
		if _, twice := report.Models[m.Name()]; !twice {
			report.Order = append(report.Order, m.Name())
		}
		report.Models[m.Name()] = r
	}
	report.Ceiling = h.ceiling()
	return report, nil
}

func newReport(d *Dataset, o Options, weeks []*week) *Report {
	first, last := d.Span()
	return &Report{
		Dataset: DatasetReport{
			Name: d.Name, Events: d.Len(), Listeners: len(d.Listeners), Items: len(d.Items), Artists: len(d.Artists),
			Weeks: last.Sub(first).Hours() / (7 * 24),
		},
		Protocol: ProtocolReport{
			Name: "weekly freeze, full catalogue, never consumed before", ListLength: ListLength, Warm: o.Warm, TuneWeeks: o.TuneWeeks,
			OnTune: o.OnTuneWeeks, MinUsers: o.MinUsers, MinHistory: o.MinHistory, Sample: o.Sample, Seed: o.Seed,
			First: weeks[0].at, Last: weeks[len(weeks)-1].at,
		},
		Weeks: len(weeks), Models: map[string]*ModelReport{},
	}
}

// harness is one run.
type harness struct {
	d           *Dataset
	o           Options
	weeks       []*week
	days        []*day
	done, total int64
}

func (h *harness) make(spec string) (Model, error) {
	s, err := Parse(spec, h.o.Production)
	if err != nil {
		return nil, err
	}
	return s.model(h.d, h.o)
}

// progressEvery is how many events are learnt between two looks at the context.
const progressEvery = 8192

// measure runs one model over the data.
func (h *harness) measure(ctx context.Context, m Model) (*ModelReport, error) {
	clock := newClock()
	var warming, learn, fit, ranked float64
	var results []*measured
	next, learnt, lists := 0, 0, 0
	live, _ := m.(Live)
	daily := prequential{days: h.days}
	account := newAccount(m)
	defer account.stop() //nolint:errcheck // of a run that failed nobody wants to know what it cost
	if live != nil {
		h.total += daily.lists()
	}
	freeze := func() error {
		w := h.weeks[next]
		learn += clock.lap()
		if next == 0 {
			warming = learn
			account.start()
		}
		if err := m.Freeze(w.at); err != nil {
			return fmt.Errorf("freezing at %s: %w", w.at.Format(time.DateOnly), err)
		}
		fit += clock.lap()
		given := rank(m, w.people)
		h.progress(int64(len(given)))
		ranked += clock.lap()
		lists += len(given)
		results = append(results, h.d.evaluate(w, given))
		err := h.hand(m, w, given)
		clock.lap() // measuring is nobody's work
		next++
		return err
	}
	for e := range h.d.Events {
		for next < len(h.weeks) && e.At >= h.weeks[next].at.UnixMilli() {
			if err := freeze(); err != nil {
				return nil, err
			}
		}
		if live != nil && daily.due(e.At) {
			learn += clock.lap()
			if err := daily.before(e.At, h, live); err != nil {
				return nil, err
			}
			clock.lap()
		}
		if err := m.Learn(e); err != nil {
			return nil, fmt.Errorf("learning an event of %s: %w", time.UnixMilli(e.At).UTC().Format(time.RFC3339), err)
		}
		if learnt++; learnt%progressEvery == 0 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			h.progress(progressEvery)
		}
	}
	learn += clock.lap()
	h.progress(int64(learnt % progressEvery))
	by, err := account.stop()
	if err != nil {
		return nil, err
	}
	r := summarise(h.weeks, results)
	if daily.hits.n > 0 {
		v := daily.hits.value()
		r.Prequential = &v
	}
	r.LearnSeconds, r.FitSeconds, r.RankSeconds = learn, fit, ranked
	r.RankMillis = ranked * 1000 / float64(max(lists, 1))
	_, last := h.d.Span()
	r.SecondsPerWeek = (learn-warming)/(last.Sub(h.weeks[0].at).Hours()/(7*24)) + fit/float64(len(h.weeks))
	r.ByPart = shares(by, r.SecondsPerWeek)
	return r, nil
}

func (h *harness) progress(n int64) {
	h.done += n
	h.o.Progress(h.done, h.total)
}

// rank asks for the lists of some people, on all processors. Who asks for which makes no difference.
func rank(m Model, people []person) [][]int32 {
	lists := make([][]int32, len(people))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(people)) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(lists)); i = next.Add(1) - 1 {
				lists[i] = m.Rank(people[i].listener, nil)
			}
		})
	}
	workers.Wait()
	return lists
}

// hand gives the lists of measured listeners to whoever asked for them.
func (h *harness) hand(m Model, w *week, lists [][]int32) error {
	if h.o.List == nil {
		return nil
	}
	for i, list := range lists {
		if p := &w.people[i]; p.measured {
			if err := h.o.List(m.Name(), w.at, p.listener, list); err != nil {
				return err
			}
		}
	}
	return nil
}

// ceiling measures the truth on a sample of the same listeners.
func (h *harness) ceiling() *Ceiling {
	if h.d.Ceiling == nil {
		return nil
	}
	var results []*measured
	for _, w := range h.weeks {
		sample := *w
		sample.people = nil
		every := max(w.measured/h.o.CeilingSample, 1)
		n := 0
		for i := range w.people {
			if w.people[i].measured {
				if n%every == 0 {
					sample.people = append(sample.people, w.people[i])
				}
				n++
			}
		}
		truth := oracle{d: h.d, at: w.at}
		results = append(results, h.d.evaluate(&sample, rank(truth, sample.people)))
	}
	c := &Ceiling{}
	c.Recall, c.RecallSE, c.People = over(results, func(m *measured) *mean { return &m.recall })
	c.NDCG, _, _ = over(results, func(m *measured) *mean { return &m.ndcg })
	return c
}

// oracle is the truth as a model.
type oracle struct {
	d  *Dataset
	at time.Time
}

// Name implements Model.
func (oracle) Name() string { return "truth" }

// Learn implements Model: the truth is known.
func (oracle) Learn(*Event) error { return nil }

// Freeze implements Model.
func (oracle) Freeze(time.Time) error { return nil }

// Rank implements Model.
func (o oracle) Rank(listener int32, dst []int32) []int32 {
	return append(dst, o.d.Ceiling(listener, o.at)...)
}

// clock reads the processor time of the process: on a machine with other work, wall time says little.
type clock struct{ last float64 }

func newClock() *clock { return &clock{last: processorSeconds()} }

// lap is the time since the last lap.
func (c *clock) lap() float64 {
	now := processorSeconds()
	took := now - c.last
	c.last = now
	return took
}

func processorSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}
