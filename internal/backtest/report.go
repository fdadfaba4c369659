package backtest

import (
	"math"
	"time"
)

// Report is the outcome of a run. Every mean is over listeners, then over weeks; its standard error is that of this mean of means.
type Report struct {
	Dataset  DatasetReport           `json:"dataset"`
	Protocol ProtocolReport          `json:"protocol"`
	Weeks    int                     `json:"weeks"`
	People   int                     `json:"user_weeks"`
	Models   map[string]*ModelReport `json:"models"`
	// Ceiling is what the truth of a simulated world would have scored, on a sample of the same listeners; null without truth.
	Ceiling *Ceiling `json:"ceiling"`
	// Order is the order in which the models were asked for.
	Order []string `json:"order"`
}

// DatasetReport is the size of the data.
type DatasetReport struct {
	Name      string  `json:"name"`
	Events    int     `json:"events"`
	Listeners int     `json:"listeners"`
	Items     int     `json:"items"`
	Artists   int     `json:"artists"`
	Weeks     float64 `json:"weeks"`
}

// ProtocolReport is what was measured, and when.
type ProtocolReport struct {
	Name       string    `json:"name"`
	ListLength int       `json:"list_length"`
	Warm       float64   `json:"warm"`
	TuneWeeks  int       `json:"tune_weeks"`
	OnTune     bool      `json:"on_tune_weeks"`
	MinUsers   int       `json:"min_users"`
	MinHistory int       `json:"min_history"`
	Sample     int       `json:"sample"`
	Seed       uint64    `json:"seed"`
	First      time.Time `json:"first_freeze"`
	Last       time.Time `json:"last_freeze"`
}

// ModelReport is what one model scored.
type ModelReport struct {
	Recall     float64 `json:"recall_at_30"`
	RecallSE   float64 `json:"recall_at_30_se"`
	NDCG       float64 `json:"ndcg_at_30"`
	NDCGSE     float64 `json:"ndcg_at_30_se"`
	HitRate    float64 `json:"hit_rate"`
	HitRateSE  float64 `json:"hit_rate_se"`
	Coverage   float64 `json:"coverage"`
	Percentile float64 `json:"popularity_percentile"`
	// Gini is null where no artists are known.
	Gini *float64 `json:"artist_gini"`
	// Prequential is the share of single finds that a list made at the beginning of the day held; null for models that learn in
	// batches.
	Prequential  *float64                 `json:"prequential_recall_at_30"`
	ByAge        map[string]SegmentReport `json:"by_song_age"`
	ByHistory    map[string]SegmentReport `json:"by_history"`
	ByMainstream map[string]SegmentReport `json:"by_mainstream"`
	// SecondsPerWeek is the processor time of learning one of the measured weeks, fitting included: what the next week would cost.
	SecondsPerWeek float64 `json:"seconds_per_week"`
	// ByPart is SecondsPerWeek by what it was spent on, for models that say of which parts they are made; null for others.
	ByPart map[string]float64 `json:"seconds_per_week_by_part"`
	// LearnSeconds, FitSeconds and RankSeconds are the processor time of all of Learn, of Freeze and of Rank; RankMillis is that
	// of one list.
	LearnSeconds float64 `json:"learn_seconds"`
	FitSeconds   float64 `json:"fit_seconds"`
	RankSeconds  float64 `json:"rank_seconds"`
	RankMillis   float64 `json:"rank_ms_per_list"`
	// Wasted counts slots that held what the listener knew already, or the same item again.
	Wasted int          `json:"wasted_slots"`
	ByWeek []WeekReport `json:"by_week"`
}

// SegmentReport is the recall of a part of the listeners, or of the items.
type SegmentReport struct {
	Recall   float64 `json:"recall_at_30"`
	RecallSE float64 `json:"recall_at_30_se"`
	People   int     `json:"user_weeks"`
}

// WeekReport is one week of one model.
type WeekReport struct {
	Freeze     time.Time `json:"freeze"`
	People     int       `json:"user_weeks"`
	Recall     float64   `json:"recall_at_30"`
	RecallSE   float64   `json:"recall_at_30_se"`
	NDCG       float64   `json:"ndcg_at_30"`
	NDCGSE     float64   `json:"ndcg_at_30_se"`
	HitRate    float64   `json:"hit_rate"`
	HitRateSE  float64   `json:"hit_rate_se"`
	Coverage   float64   `json:"coverage"`
	Percentile float64   `json:"popularity_percentile"`
	// Gini is null where no artists are known.
	Gini         *float64                 `json:"artist_gini"`
	ByAge        map[string]SegmentReport `json:"by_song_age"`
	ByHistory    map[string]SegmentReport `json:"by_history"`
	ByMainstream map[string]SegmentReport `json:"by_mainstream"`
}

// Ceiling is what the truth scored.
type Ceiling struct {
	Recall   float64 `json:"recall_at_30"`
	RecallSE float64 `json:"recall_at_30_se"`
	NDCG     float64 `json:"ndcg_at_30"`
	People   int     `json:"user_weeks"`
}

// summarise averages weeks.
func summarise(weeks []*week, results []*measured) *ModelReport {
	r := &ModelReport{}
	r.Recall, r.RecallSE, _ = over(results, func(m *measured) *mean { return &m.recall })
	r.NDCG, r.NDCGSE, _ = over(results, func(m *measured) *mean { return &m.ndcg })
	r.HitRate, r.HitRateSE, _ = over(results, func(m *measured) *mean { return &m.hit })
	r.ByAge, r.ByHistory, r.ByMainstream = parts(results)
	var coverage, percentile, artists mean
	for i, m := range results {
		coverage.add(m.coverage)
		if m.listed > 0 {
			percentile.add(m.percentile)
		}
		if !math.IsNaN(m.gini) {
			artists.add(m.gini)
		}
		r.Wasted += m.wasted
		r.ByWeek = append(r.ByWeek, reportOf(weeks[i], m))
	}
	r.Coverage, r.Percentile = coverage.value(), finite(percentile.value())
	if artists.n > 0 {
		g := artists.value()
		r.Gini = &g
	}
	return r
}

// reportOf is one week by itself.
func reportOf(w *week, m *measured) WeekReport {
	r := WeekReport{
		Freeze: w.at, People: int(m.recall.n), Recall: m.recall.value(), RecallSE: finite(math.Sqrt(m.recall.variance())),
		NDCG: m.ndcg.value(), NDCGSE: finite(math.Sqrt(m.ndcg.variance())), HitRate: m.hit.value(), HitRateSE: finite(math.Sqrt(m.hit.variance())),
		Coverage: m.coverage, Percentile: finite(m.percentile),
	}
	if !math.IsNaN(m.gini) {
		r.Gini = &m.gini
	}
	r.ByAge, r.ByHistory, r.ByMainstream = parts([]*measured{m})
	return r
}

// parts are the recalls of all segments.
func parts(results []*measured) (age, history, mainstream map[string]SegmentReport) {
	return segments(ageNames, results, func(m *measured, s int) *mean { return &m.byAge[s] }),
		segments(historyNames, results, func(m *measured, s int) *mean { return &m.byHistory[s] }),
		segments(mainstreamNames, results, func(m *measured, s int) *mean { return &m.byMainstream[s] })
}

// over is the mean of the means of all weeks that have any, its standard error √Σσ²/W, and the number of values.
func over(results []*measured, of func(*measured) *mean) (value, se float64, n int) {
	weeks, variance := 0., 0.
	for _, r := range results {
		m := of(r)
		if m.n == 0 {
			continue
		}
		weeks++
		value += m.value()
		variance += finite(m.variance())
		n += int(m.n)
	}
	return finite(value / weeks), finite(math.Sqrt(variance) / weeks), n
}

func segments(names []string, results []*measured, of func(*measured, int) *mean) map[string]SegmentReport {
	parts := map[string]SegmentReport{}
	for s, name := range names {
		value, se, n := over(results, func(m *measured) *mean { return of(m, s) })
		if n > 0 {
			parts[name] = SegmentReport{Recall: value, RecallSE: se, People: n}
		}
	}
	return parts
}

// finite makes 0 of what cannot be told: JSON has no word for it.
func finite(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}
