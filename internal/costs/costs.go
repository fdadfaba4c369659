package costs

import (
	"bytes"
	"errors"
	"fmt"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/google/pprof/profile"
)

// ErrBusy says that the process is being profiled already: there is one profile of a process at a time.
var ErrBusy = errors.New("the process is being profiled already")

// Part is something to spend time on. A sample belongs to the first part one of whose functions is on its stack.
type Part struct {
	Name string
	// Functions are the beginnings of their full names, as of "earworm/model/factor.(*Learner)".
	Functions []string
}

// Rest is the name of what belongs to no part.
const Rest = "rest"

// Recording is a stretch of work that is being sampled.
type Recording struct{ samples bytes.Buffer }

// Start begins to sample the whole process. The error is ErrBusy.
func Start() (*Recording, error) {
	r := &Recording{}
	if err := pprof.StartCPUProfile(&r.samples); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return r, nil
}

// Stop ends the recording and returns the seconds of processor time by part.
func (r *Recording) Stop(parts []Part) (map[string]float64, error) {
	pprof.StopCPUProfile()
	p, err := profile.Parse(&r.samples)
	if err != nil {
		return nil, fmt.Errorf("reading the samples: %w", err)
	}
	seconds := map[string]float64{}
	for _, s := range p.Sample {
		seconds[partOf(s, parts)] += time.Duration(s.Value[len(s.Value)-1]).Seconds()
	}
	return seconds, nil
}

// partOf names the part that a sample belongs to.
func partOf(s *profile.Sample, parts []Part) string {
	for _, part := range parts {
		for _, location := range s.Location {
			for _, line := range location.Line {
				if line.Function != nil && part.has(line.Function.Name) {
					return part.Name
				}
			}
		}
	}
	return Rest
}

func (p *Part) has(function string) bool {
	for _, beginning := range p.Functions {
		if strings.HasPrefix(function, beginning) {
			return true
		}
	}
	return false
}
