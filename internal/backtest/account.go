package backtest

import (
	"maps"

	"earworm/internal/costs"
)

// account finds out what the learning of one model in the measured weeks is spent on.
type account struct {
	parts     []costs.Part
	recording *costs.Recording // nil before it begins and after it ends
}

// notLearning is what the harness does between the weeks: ranking and measuring.
var notLearning = costs.Part{Functions: []string{
	"earworm/internal/backtest.rank", "earworm/internal/backtest.(*Dataset).evaluate", "earworm/internal/backtest.(*harness).hand",
	"earworm/internal/backtest.(*prequential)",
}}

// newAccount is one that records nothing for a model that does not say of which parts it is made.
func newAccount(m Model) *account {
	a := &account{}
	if accounted, ok := m.(Accounted); ok {
		a.parts = append([]costs.Part{notLearning}, accounted.Parts()...)
	}
	return a
}

// start begins to record. Where the process is being profiled by somebody else, there is no account.
func (a *account) start() {
	if len(a.parts) > 0 {
		a.recording, _ = costs.Start()
	}
}

// stop ends the recording, and returns the seconds by part of learning.
func (a *account) stop() (map[string]float64, error) {
	if a.recording == nil {
		return nil, nil
	}
	recording := a.recording
	a.recording = nil
	seconds, err := recording.Stop(a.parts)
	delete(seconds, notLearning.Name)
	return seconds, err
}

// shares divides a whole in proportion to the parts.
func shares(parts map[string]float64, whole float64) map[string]float64 {
	var sum float64
	for _, v := range parts {
		sum += v
	}
	if sum == 0 {
		return nil
	}
	out := maps.Clone(parts)
	for name := range out {
		out[name] *= whole / sum
	}
	return out
}
