package state

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	batches, rows, bytes          prometheus.Counter
	backgroundErrors, writeStalls prometheus.Counter
	scrubs                        prometheus.Counter
	quarantines                   *prometheus.CounterVec
	open, freeBytes, sick         prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "earworm_state_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "earworm_state_" + name, Help: help})
	}
	m := &metrics{
		batches:          counter("batches_total", "Batches applied to all stores."),
		rows:             counter("rows_total", "Rows written or deleted in all stores."),
		bytes:            counter("written_bytes_total", "Bytes of keys and values applied to all stores."),
		backgroundErrors: counter("background_errors_total", "Errors of flushes and compactions."),
		writeStalls:      counter("write_stalls_total", "Times that a store made writers wait."),
		scrubs:           counter("scrubs_total", "Times that erased listeners were taken out of the files of a store."),
		quarantines: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "earworm_state_quarantines_total",
			Help: "Stores set aside and started empty, by reason.",
		}, []string{"reason"}),
		open:      gauge("stores", "Stores that are open."),
		freeBytes: gauge("free_bytes", "Free space on the disk of the state directory; -1 if unknown."),
		sick:      gauge("sick", "1 once the stores must not be used any more."),
	}
	for _, reason := range []Reason{ReasonCorrupt, ReasonUnreadable, ReasonPartitions, ReasonIdentity, ReasonSchema} {
		m.quarantines.WithLabelValues(string(reason))
	}
	m.freeBytes.Set(-1)
	if reg == nil {
		return m, nil
	}
	for _, c := range m.collectors() {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("registering metrics of state: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		m.batches, m.rows, m.bytes, m.backgroundErrors, m.writeStalls, m.scrubs, m.quarantines, m.open, m.freeBytes, m.sick,
	}
}

// unregister makes room for the metrics of a later Shared of the same process.
func (m *metrics) unregister(reg prometheus.Registerer) {
	if reg == nil {
		return
	}
	for _, c := range m.collectors() {
		reg.Unregister(c)
	}
}
