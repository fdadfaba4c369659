package listener

import (
	"errors"
	"math"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"earworm/model/factor"
	"earworm/model/rank"
)

// fading is the weight that the sliding measures keep of the past at each example: a window of about a thousand.
const fading = .999

// Metrics are what all listener tasks of a process report. It is safe for concurrent use.
type Metrics struct {
	unidentified, updates, erased, opened prometheus.Counter
	playlists                             *prometheus.CounterVec
	ratings                               prometheus.Histogram
	steps, examples, studied, taught      prometheus.Counter
	tracks                                *prometheus.CounterVec

	mu           sync.Mutex
	loss, recall sliding
	byHistory    [len(historyNames)]sliding
	byAge        [len(ageNames)]sliding
}

// sliding is an exponentially faded mean.
type sliding struct{ sum, weight float64 }

func (s *sliding) add(v float64) { s.sum, s.weight = s.sum*fading+v, s.weight*fading+1 }

func (s *sliding) mean() float64 {
	if s.weight == 0 {
		return math.NaN()
	}
	return s.sum / s.weight
}

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	options := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "earworm", Subsystem: "listener", Name: name, Help: help}
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts(options(name, help)))
	}
	m := &Metrics{
		unidentified: counter("events_unidentified_total", "Events without an id: they cannot be recognised when they come again."),
		updates:      counter("song_updates_total", "Combined changes of rows sent to the song tasks."),
		erased:       counter("erased_total", "Listeners erased."),
		opened:       counter("playlists_opened_total", "Playlists that listeners opened."),
		steps:        counter("training_steps_total", "First listens and explicit signals learnt."),
		examples:     counter("prequential_examples_total", "First listens that were ranked before they were learnt."),
		studied:      counter("blend_examples_total", "Weeks of listeners from which the worth of the sources was learnt."),
		taught:       counter("outcome_examples_total", "Playlists from whose outcomes the worth of the sources was learnt."),
		tracks: prometheus.NewCounterVec(prometheus.CounterOpts(options("playlist_tracks_total",
			"Tracks of playlists that listeners reached, by what became of them.")), []string{"outcome"}),
		playlists: prometheus.NewCounterVec(prometheus.CounterOpts(options("playlists_total",
			"Playlists emitted, by outcome: ready or the reason why there is none.")), []string{"outcome"}),
		ratings: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "earworm", Subsystem: "listener", Name: "survey_rating", Help: "Answers to surveys, 1 to 5.",
			Buckets: []float64{1, 2, 3, 4, 5},
		}),
	}
	gauge := func(name, help string, labels prometheus.Labels, s *sliding) prometheus.Collector {
		o := prometheus.GaugeOpts(options(name, help))
		o.ConstLabels = labels
		return prometheus.NewGaugeFunc(o, func() float64 {
			m.mu.Lock()
			defer m.mu.Unlock()
			return s.mean()
		})
	}
	var errs []error
	collectors := []prometheus.Collector{
		m.unidentified, m.updates, m.erased, m.opened, m.steps, m.examples, m.studied, m.taught, m.tracks, m.playlists, m.ratings,
		gauge("loss", "Sliding mean squared error of the learner.", nil, &m.loss),
		gauge("prequential_recall_at_30", "Sliding share of first listens that were among the 30 best before they were learnt.", nil, &m.recall),
	}
	for n, name := range historyNames {
		collectors = append(collectors, gauge("prequential_recall_at_30_by_history",
			"The same by what the listener knew: new is at most 3 songs, growing at most 20, settled more.",
			prometheus.Labels{"history": name}, &m.byHistory[n]))
	}
	for n, name := range ageNames {
		collectors = append(collectors, gauge("prequential_recall_at_30_by_song_age",
			"The same by the time since the song's release, or else since it was first heard.",
			prometheus.Labels{"song_age": name}, &m.byAge[n]))
	}
	for _, c := range collectors {
		errs = append(errs, reg.Register(c))
	}
	for _, outcome := range []string{outcomeReady, reasonInactive, reasonNoSongs} {
		m.playlists.WithLabelValues(outcome)
	}
	for _, outcome := range rank.OutcomeNames() {
		m.tracks.WithLabelValues(outcome)
	}
	return m, errors.Join(errs...)
}

// outcomeReady is the label of playlists with tracks.
const outcomeReady = "ready"

func (m *Metrics) playlist(reason string) {
	if reason == "" {
		reason = outcomeReady
	}
	m.playlists.WithLabelValues(reason).Inc()
}

func (m *Metrics) reached(o rank.Outcome) { m.tracks.WithLabelValues(o.String()).Inc() }

func (m *Metrics) step(s factor.Step) {
	m.steps.Inc()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.loss.add(float64(s.Loss))
}

func (m *Metrics) prequential(r ranked) {
	m.examples.Inc()
	v := 0.
	if r.hit {
		v = 1
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.recall.add(v)
	m.byHistory[r.history].add(v)
	m.byAge[r.age].add(v)
}
