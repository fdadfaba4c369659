package listeners

import (
	"fmt"
	"slices"
	"time"
)

// Report is what `demo --report` writes. Evaluator.Report fills in what the world knows; whoever ran the pipeline
// adds Events to Accounting's numbers.
type Report struct {
	Events              int64   `json:"events"`
	Seconds             float64 `json:"seconds"`
	EventsPerSecond     float64 `json:"events_per_second"`
	Listeners           int     `json:"listeners"`
	Songs               int     `json:"songs"`
	Weeks               int     `json:"weeks"`
	Playlists           int     `json:"playlists"`
	PlaylistsExpected   int     `json:"playlists_expected"`
	PlaylistsDuplicated int     `json:"playlists_duplicated"`
	// The three recalls are over the same listeners and weeks.
	RecallAt30           float64 `json:"recall_at_30"`
	RecallAt30Popularity float64 `json:"recall_at_30_popularity"`
	RecallAt30Ceiling    float64 `json:"recall_at_30_ceiling"`

	ByWeek     []WeekReport `json:"by_week"`
	Trends     TrendReport  `json:"trends"`
	Accounting Accounting   `json:"accounting"`
}

// WeekReport is the recall of one week's lists.
type WeekReport struct {
	Week                 string  `json:"week"`
	Listeners            int     `json:"listeners"`
	RecallAt30           float64 `json:"recall_at_30"`
	RecallAt30Popularity float64 `json:"recall_at_30_popularity"`
	RecallAt30Ceiling    float64 `json:"recall_at_30_ceiling"`
}

// TrendReport holds the emitted trends against the truth.
type TrendReport struct {
	Truth       int `json:"truth"`
	Detected    int `json:"detected"`
	FalseAlarms int `json:"false_alarms"`
	// MedianHoursToDetect counts from the hour the song was played twice as much as usual; below 0 is earlier.
	MedianHoursToDetect float64 `json:"median_hours_to_detect"`
	BotCampaigns        int     `json:"bot_campaigns"`
	BotCampaignsEmitted int     `json:"bot_campaigns_emitted"`
}

// Accounting is the outcome of every record the pipeline consumed.
type Accounting struct {
	Consumed     int64 `json:"consumed"`
	Applied      int64 `json:"applied"`
	Duplicate    int64 `json:"duplicate"`
	TooLate      int64 `json:"too_late"`
	DeadLettered int64 `json:"dead_lettered"`
}

// Evaluator holds what a recommender emitted against the truth of a world. It is not for concurrent use, and its
// Report reads the world, so the world's weeks must not be running meanwhile.
type Evaluator struct {
	w          *World
	lists      []map[int][]int // by week, then listener
	emitted    int
	duplicated int
	alarms     []alarm
}

type alarm struct {
	song   int
	region string
	at     time.Time
}

// NewEvaluator returns an empty evaluator of w.
func NewEvaluator(w *World) *Evaluator {
	return &Evaluator{w: w, lists: make([]map[int][]int, w.cfg.Weeks)}
}

// Playlist records the list emitted for a listener at the start of week n, in the order of its ranks. A second list
// for the same listener and week is counted as a duplicate and otherwise ignored. Ids and weeks that are not of
// this world are an error.
func (e *Evaluator) Playlist(n int, user string, songs []string) error {
	listener, ok := e.w.ListenerIndex(user)
	if !ok {
		return fmt.Errorf("evaluating a playlist: no such listener in this world: %q", user)
	}
	if n < 0 || n >= len(e.lists) {
		return fmt.Errorf("evaluating a playlist: week %d is outside of the run", n)
	}
	list := make([]int, len(songs))
	for i, id := range songs {
		if list[i], ok = e.w.SongIndex(id); !ok {
			return fmt.Errorf("evaluating a playlist: no such song in this world: %q", id)
		}
	}
	if e.lists[n] == nil {
		e.lists[n] = map[int][]int{}
	}
	e.emitted++
	if _, again := e.lists[n][listener]; again {
		e.duplicated++
		return nil
	}
	e.lists[n][listener] = list
	return nil
}

// Trend records that a trend was announced (once per episode; not its later stages, and not what was quarantined).
// region is "" when it is of all regions.
func (e *Evaluator) Trend(song, region string, at time.Time) error {
	index, ok := e.w.SongIndex(song)
	if !ok {
		return fmt.Errorf("evaluating a trend: no such song in this world: %q", song)
	}
	e.alarms = append(e.alarms, alarm{index, region, at})
	return nil
}

// WeekIndex is the number in this run of the week that begins on the given Monday; false outside of the run.
func (w *World) WeekIndex(monday time.Time) (int, bool) {
	n := int(monday.Sub(w.cfg.Start) / (7 * 24 * time.Hour))
	return n, n >= 0 && n < w.cfg.Weeks && w.WeekStart(n).Equal(monday)
}

// Report measures what was recorded. Recall is that of the people (no bots) who had heard five songs before the week
// and found at least one in it: hits / min(30, found), averaged over people, then over the weeks that have lists.
// Somebody without a list scores 0. The ceiling takes about half a millisecond for each of the ceilingSample people
// of a week it is measured on; 0 measures everybody.
func (e *Evaluator) Report(ceilingSample int) Report {
	w := e.w
	r := Report{
		Listeners: len(w.people), Songs: len(w.songs), Weeks: w.cfg.Weeks,
		Playlists: e.emitted, PlaylistsDuplicated: e.duplicated, Trends: e.trends(),
	}
	for n, lists := range e.lists {
		if lists == nil || n >= w.next {
			continue
		}
		for i := range w.people {
			if w.known(i, n) {
				r.PlaylistsExpected++
			}
		}
		week, ok := e.week(n, ceilingSample)
		if !ok {
			continue
		}
		r.ByWeek = append(r.ByWeek, week)
		r.RecallAt30 += week.RecallAt30
		r.RecallAt30Popularity += week.RecallAt30Popularity
		r.RecallAt30Ceiling += week.RecallAt30Ceiling
	}
	weeks := float64(max(len(r.ByWeek), 1))
	r.RecallAt30 /= weeks
	r.RecallAt30Popularity /= weeks
	r.RecallAt30Ceiling /= weeks
	return r
}

// week measures one week; false when there is nobody to measure.
func (e *Evaluator) week(n, ceilingSample int) (WeekReport, bool) {
	w := e.w
	year, number := w.WeekStart(n).ISOWeek()
	report := WeekReport{Week: fmt.Sprintf("%04d-W%02d", year, number)}
	var people []int
	var found [][]int
	for i := range w.people {
		if w.people[i].campaign >= 0 || w.heardCount(i, n) < 5 {
			continue
		}
		if relevant := w.Relevant(i, n); len(relevant) > 0 {
			people, found = append(people, i), append(found, relevant)
		}
	}
	if len(people) == 0 {
		return report, false
	}
	every := 1
	if ceilingSample > 0 {
		every = max(len(people)/ceilingSample, 1)
	}
	measured := 0
	for j, i := range people {
		relevant := found[j]
		report.RecallAt30 += recall(e.lists[n][i], relevant)
		report.RecallAt30Popularity += recall(w.Popular(i, n), relevant)
		if j%every == 0 {
			report.RecallAt30Ceiling += recall(w.Oracle(i, n), relevant)
			measured++
		}
	}
	report.Listeners = len(people)
	report.RecallAt30 /= float64(len(people))
	report.RecallAt30Popularity /= float64(len(people))
	report.RecallAt30Ceiling /= float64(measured)
	return report, true
}

// known tells whether anything had been heard of the account before week n: whoever gave a sign of life gets a list.
func (w *World) known(i, n int) bool {
	start := w.WeekStart(n).UnixMilli()
	born := w.habits[i].bornAt
	return born > 0 && born < start
}

func (w *World) heardCount(listener, n int) int {
	count := 0
	w.HeardBefore(listener, n, func(int) { count++ })
	return count
}

// recall is hits among the first 30 of list, each song once, by min(30, relevant).
func recall(list, relevant []int) float64 {
	hits := 0
	list = list[:min(len(list), listLength)]
	for i, s := range list {
		if slices.Contains(relevant, s) && !slices.Contains(list[:i], s) {
			hits++
		}
	}
	return float64(hits) / float64(min(listLength, len(relevant)))
}

// trends matches alarms with waves and campaigns by song and time. A wave of one region may also be announced for
// all regions; announced for another region it is a false alarm.
func (e *Evaluator) trends() TrendReport {
	w := e.w
	end := w.WeekStart(w.next)
	var report TrendReport
	explained := make([]bool, len(e.alarms))
	var delays []float64
	for i := range w.virals {
		v := &w.virals[i]
		if v.DoubledAt.After(end) {
			continue
		}
		report.Truth++
		found, firstAt := false, time.Time{}
		for j, a := range e.alarms {
			if a.song != v.Song || a.region != "" && v.Region != "" && a.region != v.Region ||
				a.at.Before(v.Start) || a.at.After(v.End) {
				continue
			}
			explained[j] = true
			if !found || a.at.Before(firstAt) {
				found, firstAt = true, a.at
			}
		}
		if found {
			report.Detected++
			delays = append(delays, firstAt.Sub(v.DoubledAt).Hours())
		}
	}
	for _, c := range w.campaigns {
		if c.Start.After(end) {
			continue
		}
		report.BotCampaigns++
		emitted := false
		for j, a := range e.alarms {
			// The fast counters of a detector remember a campaign for a while after its end.
			if a.song == c.Song && !a.at.Before(c.Start) && a.at.Before(c.End.Add(48*time.Hour)) {
				explained[j], emitted = true, true
			}
		}
		if emitted {
			report.BotCampaignsEmitted++
		}
	}
	for _, ok := range explained {
		if !ok {
			report.FalseAlarms++
		}
	}
	report.MedianHoursToDetect = median(delays)
	return report
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
