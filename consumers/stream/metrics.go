package stream

import (
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of one runtime. Labels are topics, partitions and the closed set of outcomes; never an identifier.
type metrics struct {
	records   *prometheus.CounterVec
	commits   prometheus.Counter
	aborts    prometheus.Counter
	restarts  prometheus.Counter
	rounds    prometheus.Counter
	stalls    prometheus.Counter
	skipped   *prometheus.CounterVec
	hanging   *prometheus.CounterVec
	duration  prometheus.Histogram
	restored  prometheus.Counter
	restoring *prometheus.GaugeVec

	lagRecords *prometheus.Desc
	lagSeconds *prometheus.Desc
	owned      *prometheus.Desc
	runtime    *Runtime

	mu   sync.Mutex
	lags map[TopicPartition]lag
}

// lag is where an input partition stands.
type lag struct {
	records int64
	lastAt  int64 // broker time of the last processed record, Unix ms
}

func newMetrics(reg prometheus.Registerer, r *Runtime) (*metrics, error) {
	const ns, sub = "earworm", "stream"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help})
	}
	name := func(n string) string { return prometheus.BuildFQName(ns, sub, n) }
	m := &metrics{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: ns, Subsystem: sub, Name: "records_total",
			Help: "Input records whose transaction committed, by outcome.",
		}, []string{"topic", "partition", "outcome"}),
		commits:  counter("commits_total", "Transactions committed."),
		aborts:   counter("aborts_total", "Transactions aborted or of unknown outcome."),
		restarts: counter("session_restarts_total", "Sessions that broke and were started anew."),
		stalls:   counter("stalls_total", "Sessions ended because records waited for a running task and were not processed."),
		rounds:   counter("group_rounds_forced_total", "Rebalances asked for because the last one left a partition without an owner."),
		skipped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: ns, Subsystem: sub, Name: "batches_skipped_total",
			Help: "Record batches that could not be read and were dead-lettered whole.",
		}, []string{"topic", "partition"}),
		hanging: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: ns, Subsystem: sub, Name: "hanging_transactions_total",
			Help: "Transactions of this instance that a coordinator left open in a partition: ended here, or left to an operator.",
		}, []string{"result"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: ns, Subsystem: sub, Name: "transaction_duration_seconds",
			Help:    "From the first record of a transaction until its effects are in the stores.",
			Buckets: []float64{.01, .025, .05, .1, .2, .3, .5, 1, 2, 5, 10, 20},
		}),
		restored: counter("restored_records_total", "Changelog records applied to stores by restores."),
		restoring: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: ns, Subsystem: sub, Name: "restore_remaining_records",
			Help: "Changelog records that a restoring task has still to read.",
		}, []string{"partition"}),
		lagRecords: prometheus.NewDesc(name("consumer_lag_records"),
			"Records of the input partition not yet processed, as of its last fetch.", []string{"topic", "partition"}, nil),
		lagSeconds: prometheus.NewDesc(name("consumer_lag_seconds"),
			"Age of the last processed record while the input partition lags, else 0.", []string{"topic", "partition"}, nil),
		owned:   prometheus.NewDesc(name("tasks"), "Tasks owned, by state.", []string{"state"}, nil),
		runtime: r,
		lags:    make(map[TopicPartition]lag),
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		m.records, m.commits, m.aborts, m.restarts, m.rounds, m.stalls, m.skipped, m.hanging, m.duration, m.restored, m.restoring, m,
	} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}

// Describe implements prometheus.Collector for what is computed when it is read.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.lagRecords
	ch <- m.lagSeconds
	ch <- m.owned
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	now := time.Now().UnixMilli()
	m.mu.Lock()
	for tp, l := range m.lags {
		p := strconv.Itoa(int(tp.Partition))
		seconds := 0.0
		if l.records > 1 { // 1 may be the marker of the last input transaction
			seconds = max(0, float64(now-l.lastAt)/1000)
		}
		ch <- prometheus.MustNewConstMetric(m.lagRecords, prometheus.GaugeValue, float64(l.records), tp.Topic, p)
		ch <- prometheus.MustNewConstMetric(m.lagSeconds, prometheus.GaugeValue, seconds, tp.Topic, p)
	}
	m.mu.Unlock()
	var live, restoring int
	m.runtime.mu.Lock()
	for _, t := range m.runtime.tasks {
		if t.state == taskLive {
			live++
		} else {
			restoring++
		}
	}
	m.runtime.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(m.owned, prometheus.GaugeValue, float64(live), "live")
	ch <- prometheus.MustNewConstMetric(m.owned, prometheus.GaugeValue, float64(restoring), "restoring")
}

// committed books the tallies of a committed transaction.
func (m *metrics) committed(tp TopicPartition, t *inputTally) {
	p := strconv.Itoa(int(tp.Partition))
	for o, n := range t.counts {
		if n > 0 {
			m.records.WithLabelValues(tp.Topic, p, Outcome(o).String()).Add(float64(n))
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lags[tp] = lag{records: max(0, t.high-t.next), lastAt: t.lastAt}
}

func (m *metrics) forgetLag(topic string, partition int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.lags, TopicPartition{Topic: topic, Partition: partition})
}
