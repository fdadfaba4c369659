package song

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are what all song tasks of a process report. It is safe for concurrent use.
type Metrics struct {
	rows    prometheus.Gauge
	bounded prometheus.Counter
	trends  *prometheus.CounterVec
	held    prometheus.Gauge
	crowded prometheus.Counter
	refits  *prometheus.CounterVec
}

// What becomes of the row of a refit.
const (
	refitApplied = "applied"
	refitRefused = "refused"
)

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		rows: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "earworm", Subsystem: "song", Name: "rows", Help: "Factor rows owned by the tasks of this process.",
		}),
		bounded: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "earworm", Subsystem: "song", Name: "changes_bounded_total",
			Help: "Combined changes that were shortened or refused because they were too large or not finite.",
		}),
		trends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "earworm", Subsystem: "song", Name: "trends_total", Help: "Trend records by status.",
		}, []string{"status"}),
		held: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "earworm", Subsystem: "song", Name: "listens_held",
			Help: "Counts of listens that wait for the trends until every listens partition has come to their event time.",
		}),
		crowded: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "earworm", Subsystem: "song", Name: "listens_crowded_total",
			Help: "Transactions in which so many listens waited that the trends went on without the listens partitions that are behind.",
		}),
		refits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "earworm", Subsystem: "song", Name: "refits_total",
			Help: "Rows of refits: applied, or refused because the row had taken in this or another refit since it was read.",
		}, []string{"outcome"}),
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.rows, m.bounded, m.trends, m.held, m.crowded, m.refits} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}
