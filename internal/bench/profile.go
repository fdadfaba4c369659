package bench

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// partLabel is the profiler label that says to which role, or the broker, a goroutine belongs.
const partLabel = "part"

// Part is the processor time of one part of the system.
type Part struct {
	Name string  `json:"name"`
	CPU  float64 `json:"cpu_us_per_event"`
}

// Layers in the order in which they claim a sample: the first that has a frame on the stack gets it.
var layers = []struct{ prefix, name string }{ //nolint:gochecknoglobals // a table, never changed
	{"runtime.gcBgMarkWorker", "garbage collector"},
	{"runtime.bgsweep", "garbage collector"},
	{"earworm/model/factor.(*Learner).Flush", "combined changes"},
	{"earworm/model/factor.(*Learner)", "SGD"},
	{"github.com/twmb/franz-go/pkg/kfake", "embedded broker"},
	{"github.com/cockroachdb/pebble", "Pebble"},
	{"earworm/state.", "Pebble"},
	{"earworm/schemas", "decode and encode"},
	{"earworm/consumers/stream.(*Output).send", "Kafka client: produce"},
	{"earworm/consumers/table", "table"},
	{"earworm/model/factor.(*Table).Load", "table"},
	{"earworm/consumers/", "tasks"},
	{"earworm/model/", "tasks"},
	{"github.com/twmb/franz-go/pkg/kgo.(*source)", "Kafka client: fetch"},
	{"github.com/twmb/franz-go/pkg/kgo.(*cursorOffsetNext)", "Kafka client: fetch"},
	{"github.com/twmb/franz-go/pkg/kgo.(*ProcessFetch", "Kafka client: fetch"},
	{"github.com/twmb/franz-go/pkg/kgo", "Kafka client: other"},
}

// parts reads a CPU profile and splits the processor time of one event by label and layer.
func parts(name string, cpu float64) ([]Part, error) {
	f, err := os.Open(name) //nolint:gosec // the profile that Run has just written
	if err != nil {
		return nil, fmt.Errorf("opening the profile: %w", err)
	}
	defer func() { _ = f.Close() }()
	p, err := profile.Parse(f)
	if err != nil {
		return nil, fmt.Errorf("reading the profile: %w", err)
	}
	sums := map[string]int64{}
	var all int64
	for _, s := range p.Sample {
		v := s.Value[len(s.Value)-1]
		all += v
		sums[partOf(s)] += v
	}
	var out []Part
	for part, v := range sums {
		out = append(out, Part{Name: part, CPU: cpu * float64(v) / float64(max(all, 1))})
	}
	slices.SortFunc(out, func(a, b Part) int { return cmp.Compare(b.CPU, a.CPU) })
	return out, nil
}

// partOf names the layer of a sample, with the role if it is known.
func partOf(s *profile.Sample) string {
	layer := "runtime and other"
search:
	for _, l := range layers {
		for _, location := range s.Location {
			for _, line := range location.Line {
				if line.Function != nil && strings.HasPrefix(line.Function.Name, l.prefix) {
					layer = l.name
					break search
				}
			}
		}
	}
	if role := s.Label[partLabel]; len(role) > 0 && role[0] != "broker" {
		return role[0] + ": " + layer
	}
	return layer
}
