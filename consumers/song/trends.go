package song

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"earworm/consumers/stream"
	"earworm/model/factor"
	"earworm/model/trend"
	"earworm/schemas"
	"earworm/state"
)

// watch is the trend of one song in one region; the zero region is the world.
type watch struct {
	row     *row
	region  factor.Region
	state   trend.State
	guard   trend.Concentration
	reading trend.Reading
	score   float64
	active  bool // stands in its beat
}

// beat is what the trends of one region share: its traffic, and the songs that take part in the next evaluation.
type beat struct {
	region factor.Region
	season trend.Season
	active []*watch
	dirty  bool
}

// beats are the regions of a partition. Its traffic is a fair sample of the region's: songs are spread by hash.
type beats map[factor.Region]*beat

func (b beats) of(region factor.Region) *beat {
	if found, ok := b[region]; ok {
		return found
	}
	made := &beat{region: region}
	b[region] = made
	return made
}

// inOrder yields the regions in a fixed order.
func (b beats) inOrder() []*beat {
	return slices.SortedFunc(maps.Values(b), func(x, y *beat) int { return cmp.Compare(x.region.String(), y.region.String()) })
}

// watchesMax bounds the regions of a song whose trends are watched; the world is among them, because it is the first.
const watchesMax = 64

// watchOf returns a song's watch in a region, nil where there are too many.
func (r *row) watchOf(region factor.Region) *watch {
	for _, w := range r.watch {
		if w.region == region {
			return w
		}
	}
	if len(r.watch) >= watchesMax {
		return nil
	}
	w := &watch{row: r, region: region}
	r.watch = append(r.watch, w)
	return w
}

// watchListens counts a bucket for the song's trends: in its region and in the world.
func (t *Task) watchListens(r *row, b *schemas.ListenBucket) {
	bucket := trend.Bucket{
		At: b.At, Unique: float64(b.Unique), Trusted: float64(b.Trusted), NewAccounts: float64(b.NewAccounts),
		Plays: float64(b.Plays), ShortPlays: float64(b.ShortPlays), TopPlays: float64(b.TopPlays), Likes: float64(b.Likes),
	}
	regions := []factor.Region{{}, factor.Region(b.Region)}
	if regions[1] == (factor.Region{}) {
		regions = regions[:1]
	}
	for _, region := range regions {
		w, beat := r.watchOf(region), t.beats.of(region)
		beat.season.Observe(t.cfg.Trend, bucket)
		beat.dirty = true
		if w == nil {
			continue
		}
		w.state.Observe(t.cfg.Trend, &beat.season, b.At, float64(b.Trusted))
		w.guard.Observe(t.cfg.Trend, bucket)
		if !w.active && w.state.Active(t.cfg.Trend, b.At) {
			w.active = true
			beat.active = append(beat.active, w)
		}
	}
}

// stepsMax bounds the evaluations of one jump in time: after a silence of days nothing is trending but what the last of them say.
const stepsMax = 24

// advance evaluates the trends at every interval that has passed before an event time.
func (t *Task) advance(at int64, out *stream.Output) error {
	interval := t.cfg.Interval.Milliseconds()
	c := &t.clock
	now := at - at%interval
	if c.at == 0 {
		c.at, c.dirty = now, true
	}
	if now-c.at > stepsMax*interval {
		c.at = now - stepsMax*interval
	}
	for c.at < now {
		c.at += interval
		c.dirty = true
		for _, b := range t.beats.inOrder() {
			if err := t.step(b, c.at, out); err != nil {
				return err
			}
		}
	}
	return nil
}

// step evaluates the active songs of one region together.
func (t *Task) step(b *beat, at int64, out *stream.Output) error {
	kept := b.active[:0]
	for _, w := range b.active {
		if w.active = w.state.Active(t.cfg.Trend, at); w.active {
			kept = append(kept, w)
		}
	}
	clear(b.active[len(kept):])
	b.active = kept
	// The order of arrival depends on what came before a restart, the order of keys does not.
	slices.SortFunc(b.active, func(x, y *watch) int { return cmp.Compare(x.row.key, y.row.key) })
	states := make([]*trend.State, len(b.active))
	for i, w := range b.active {
		w.state.Judged(w.guard.Judge(t.cfg.Trend, &b.season))
		states[i] = &w.state
	}
	b.dirty = true
	for i, v := range t.detector.Step(&b.season, at, states) {
		w := b.active[i]
		w.reading, w.score = v.Reading, v.Score(t.cfg.Trend, w.guard.Trust())
		t.touch(w.row) // the evaluation itself moves the state: how often it was over the threshold
		if err := t.announce(w, v, at, out); err != nil {
			return err
		}
	}
	return nil
}

// announce writes a trend when something about it changed; one that goes on is in the published row.
func (t *Task) announce(w *watch, v trend.Verdict, at int64, out *stream.Output) error {
	var status schemas.TrendStatus
	switch v.Status {
	case trend.StatusStarted:
		status = schemas.TrendStarted
	case trend.StatusQuarantined:
		status = schemas.TrendQuarantined
	case trend.StatusEnded:
		status = schemas.TrendEnded
	default:
		return nil
	}
	message := schemas.Trend{
		Song: schemas.SongID(w.row.id), Region: w.region.String(), Status: status, At: at, StartedAt: min(v.StartedAt, at),
		Score: v.Z, Ratio: v.Ratio, Velocity: v.Velocity, Listeners: v.Listeners,
	}
	if status == schemas.TrendQuarantined {
		message.Reason = v.Reason.String()
	}
	value, err := json.Marshal(&message)
	if err != nil {
		return fmt.Errorf("encoding a trend: %w", err)
	}
	event := schemas.CloudEvent{
		ID:     fmt.Sprintf("%016x-%s-%d-%s", uint64(w.row.key), w.region, v.StartedAt, status),
		Source: "/" + t.cfg.App, Type: schemas.OutputType(t.cfg.App, "trend", schemas.TrendSchemaVersion), At: at,
		SchemaVersion: schemas.TrendSchemaVersion,
	}
	var headers []stream.Header
	for _, h := range event.AppendHeaders(nil) {
		headers = append(headers, stream.Header{Key: h.Key, Value: h.Value})
	}
	out.Emit(stream.Message{Topic: t.cfg.Trends, Partition: -1, Key: []byte(w.row.id), Value: value, Headers: headers})
	t.metrics.trends.WithLabelValues(string(status)).Inc()
	return nil
}

// flag is what readers of the published row learn about the trend.
func (w *watch) flag() (schemas.TrendFlag, bool) {
	if w.state.StartedAt() == 0 {
		return schemas.TrendFlag{}, false
	}
	return schemas.TrendFlag{
		Region: w.region, Score: float32(w.score), StartedAt: w.state.StartedAt(),
		Quarantined: w.state.Quarantined() != trend.ReasonNone,
	}, true
}

// watchVersion is the first byte of the opaque part of a row.
const watchVersion = 1

// appendWatches appends the states of a row's trends.
func appendWatches(dst []byte, r *row) []byte {
	if len(r.watch) == 0 {
		return dst
	}
	dst = append(dst, watchVersion, byte(len(r.watch))) //nolint:gosec // at most watchesMax
	for _, w := range r.watch {
		dst = append(dst, w.region[0], w.region[1])
		dst = w.state.AppendBinary(dst)
		dst = w.guard.AppendBinary(dst)
	}
	return dst
}

// loadWatches reads them back and enters the active ones.
func (t *Task) loadWatches(r *row, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if len(b) < 2 || b[0] != watchVersion {
		return fmt.Errorf("%w: trends of an unknown version", state.ErrRow)
	}
	n := int(b[1])
	for b = b[2:]; n > 0; n-- {
		if len(b) < 2 {
			return fmt.Errorf("%w: trends end early", state.ErrRow)
		}
		w := &watch{row: r, region: factor.Region{b[0], b[1]}}
		rest, err := w.state.UnmarshalBinary(b[2:])
		if err == nil {
			b, err = w.guard.UnmarshalBinary(rest)
		}
		if err != nil {
			return fmt.Errorf("trend of a row: %w", err)
		}
		r.watch = append(r.watch, w)
		if w.state.Active(t.cfg.Trend, w.state.At) {
			w.active = true
			beat := t.beats.of(w.region)
			beat.active = append(beat.active, w)
		}
	}
	return nil
}

// loadBeat reads the traffic of one region, with the time up to which it was evaluated.
func (t *Task) loadBeat(key, value []byte) error {
	region, err := state.ParseSeasonKey(key)
	if err != nil {
		return err
	}
	b := t.beats.of(region)
	if _, err := b.season.UnmarshalBinary(value); err != nil {
		return fmt.Errorf("traffic of a region: %w", err)
	}
	t.clock.at = max(t.clock.at, b.season.SteppedAt()) // of a store from before there was a row of the clock
	return nil
}

// writeBeats puts the traffic of the regions that changed into the transaction.
func (t *Task) writeBeats(out *stream.Output) {
	for _, b := range t.beats.inOrder() {
		if b.dirty {
			t.value = b.season.AppendBinary(t.value[:0])
			out.Put(state.AppendSeasonKey(t.key[:0], b.region), t.value)
			b.dirty = false
		}
	}
}
