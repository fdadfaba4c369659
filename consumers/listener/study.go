package listener

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"earworm/model/calendar"
	"earworm/model/factor"
	"earworm/model/rank"
	"earworm/state"
)

// The blend of the sources is learnt from weekly frozen candidates and what the listener then did: with the playlist of a week the
// candidates of a sample of listeners are kept, and with the next one their task learns which of them were first listened to in
// the week after. What it learns goes to the blend's row as changes of factors go to theirs.

// study is what a task knows of the blend.
type study struct {
	committed  int64 // the tag of the latest committed transaction
	population int   // listeners of the partition, counted anew each week
	week       int32
}

const (
	studyWindow = 7 * 24 * time.Hour
	// studyEarly is how much before the end of the window it counts as over: Mondays move by an hour twice a year.
	studyEarly = 12 * time.Hour
	// studySongs is the least number of songs that a listener must have liked to be learnt from, studyActive how long ago they were
	// active at most.
	studySongs  = 5
	studyActive = 28 * 24 * time.Hour
)

// studyListener learns from what a listener did with their frozen candidates, and freezes new ones.
func (t *Task) studyListener(p *person, week calendar.Week, now int64) error {
	wanted, err := t.review(p, week, now)
	if err != nil || !wanted {
		return err
	}
	t.freeze(p, now)
	if p.frozen != nil {
		t.mark(p)
	}
	return nil
}

// review learns from what a listener did with their frozen candidates, if the week is over, and says whether new ones are wanted.
func (t *Task) review(p *person, week calendar.Week, now int64) (wanted bool, err error) {
	if t.cfg.StudySample == 0 {
		return false, nil
	}
	frozen, err := t.frozenOf(p)
	if err != nil {
		return false, err
	}
	if frozen != nil {
		if now < frozen.At+(studyWindow-studyEarly).Milliseconds() {
			return false, nil // the week is not over yet
		}
		t.judge(p, frozen)
		p.frozen, p.thawed = nil, true
		t.mark(p)
	}
	return t.sampled(p, week, now)
}

// freeze keeps the candidates of a listener, if there are any. It may be called for several listeners at once, while nothing else happens
// to the task.
func (t *Task) freeze(p *person, now int64) {
	f := t.ranker.Freeze(t.profileOf(p, now), now)
	if len(f.Songs) == 0 {
		return
	}
	p.frozen = &state.Frozen{At: now, Features: rank.Features, Songs: make([]uint64, len(f.Songs)), Rows: f.Rows}
	for i, song := range f.Songs {
		p.frozen.Songs[i] = uint64(song)
	}
}

// frozenOf returns the candidates that wait, nil if there are none.
func (t *Task) frozenOf(p *person) (*state.Frozen, error) {
	if p.frozen != nil || p.thawed || p.wiped {
		return p.frozen, nil
	}
	row, err := t.store.Get(state.AppendFrozenKey(t.key[:0], p.id))
	if err != nil || row == nil {
		return nil, err
	}
	f := &state.Frozen{}
	if err := f.UnmarshalBinary(row); err != nil {
		return nil, fmt.Errorf("reading frozen candidates: %w", err)
	}
	return f, nil
}

// judge learns which of the candidates the listener came to. Candidates of an earlier version of the features are let go.
func (t *Task) judge(p *person, f *state.Frozen) {
	if f.Features != rank.Features || p.core.OptOut {
		return
	}
	var chosen []int
	for i, song := range f.Songs {
		n, known := p.history.find(factor.Key(song))
		if !known {
			continue
		}
		h := &p.history.entries[n]
		if h.Flags&state.FlagTrained != 0 && h.FirstAt >= f.At && h.FirstAt < f.At+studyWindow.Milliseconds() {
			chosen = append(chosen, i)
		}
	}
	if len(chosen) == 0 {
		return
	}
	if t.ranker.LearnBlend(t.partition, f.Rows, chosen) {
		t.metrics.studied.Inc()
	}
}

// flushBlend tells the blend's row what was learnt.
func (t *Task) flushBlend() {
	learnt, ok := t.ranker.CloseBlend(t.partition, t.seq)
	if !ok {
		return
	}
	u := t.update(factor.KeyOf(factor.KindBlend, blendID), factor.KindBlend, func() string { return blendID })
	u.vector = learnt.Append(nil)
}

// blendID names the only row of its kind.
const blendID = "playlist"

// sampled says whether a listener's candidates of this week are kept: those of an active one with some history, and of so many that the
// partition keeps about StudySample.
func (t *Task) sampled(p *person, week calendar.Week, now int64) (bool, error) {
	if p.core.OptOut || len(p.trained) < studySongs || now-p.core.LastAt > studyActive.Milliseconds() {
		return false, nil
	}
	if t.study.week != week.Ordinal() {
		t.study.week, t.study.population = week.Ordinal(), 0
		err := t.scanRange(state.ZoneFamily(), state.ZoneFamilyEnd(), func(_, _ []byte) error {
			t.study.population++
			return nil
		})
		if err != nil {
			return false, fmt.Errorf("counting the listeners: %w", err)
		}
	}
	if t.study.population <= t.cfg.StudySample {
		return true, nil
	}
	seed := slices.Concat(p.id, []byte(week.String()))
	draw := float64(xxhash.Sum64(seed)>>11) / (1 << 53)
	return draw < float64(t.cfg.StudySample)/float64(t.study.population), nil
}

// Study learns from listeners and freezes their candidates as the delivery of a week's playlist does, without a playlist: a replay has
// no need of the others'. It learns from one after the other, then it ranks for all of them at once: candidates do not depend on what the
// sources are worth.
func (t *Task) Study(pseudonyms [][]byte, week calendar.Week, now int64) error {
	var wanted []*person
	for _, pseudonym := range pseudonyms {
		p, err := t.person(pseudonym)
		if err != nil {
			return err
		}
		more, err := t.review(p, week, now)
		if err != nil {
			return err
		}
		if more {
			wanted = append(wanted, p)
		}
	}
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(wanted)) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(wanted)); i = next.Add(1) - 1 {
				t.freeze(wanted[i], now)
			}
		})
	}
	workers.Wait()
	for _, p := range wanted {
		if p.frozen != nil {
			t.mark(p)
		}
	}
	return nil
}
