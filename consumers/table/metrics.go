package table

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"earworm/model/factor"
)

type metrics struct {
	loaded, described, skipped prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, table *factor.Table) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "earworm", Subsystem: "table", Name: name, Help: help,
		})
	}
	m := &metrics{
		loaded:    counter("rows_loaded_total", "Published factor rows taken in."),
		described: counter("songs_described_total", "Songs of the catalogue taken in."),
		skipped:   counter("records_skipped_total", "Records of the broadcast topics that did not decode."),
	}
	gauge := func(name, help string, read func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "earworm", Subsystem: "table", Name: name, Help: help,
		}, func() float64 { return float64(read()) })
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		m.loaded, m.described, m.skipped,
		gauge("rows", "Factor rows in memory.", table.Rows),
		gauge("songs", "Songs in memory.", table.Songs),
		gauge("songs_active", "Songs that somebody has listened to.", table.Active),
	} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}
