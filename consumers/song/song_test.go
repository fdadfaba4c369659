package song_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"earworm/consumers/song"
	"earworm/consumers/stream"
	"earworm/internal/testkit/taskstore"
	"earworm/model/factor"
	"earworm/schemas"
	"earworm/state"
)

var seed = flag.Uint64("seed", 1, "seed of the random streams")

const partition = 5

func start() time.Time { return time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC) }

func minute(n int) int64 { return start().Add(time.Duration(n) * time.Minute).UnixMilli() }

// rig is one task with its store, and what it sent.
type rig struct {
	tb      testing.TB
	cfg     song.Config
	store   *taskstore.Store
	reg     *prometheus.Registry
	metrics *song.Metrics
	task    *song.Task
	run     *stream.Detached
	sent    []stream.Message
}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	cfg := song.Default()
	cfg.SongUpdates, cfg.Trends, cfg.Learn.Dim = "updates", "trends", 4
	if err := cfg.Validate(); err != nil {
		tb.Fatal(err)
	}
	r := &rig{tb: tb, cfg: cfg, store: taskstore.New(), reg: prometheus.NewPedanticRegistry()}
	var err error
	if r.metrics, err = song.NewMetrics(r.reg); err != nil {
		tb.Fatal(err)
	}
	r.open()
	return r
}

// open makes the task anew on its store. What was not committed is lost.
func (r *rig) open() {
	r.tb.Helper()
	if r.task != nil {
		r.run.Abandon()
		if err := r.task.Close(); err != nil {
			r.tb.Fatal(err)
		}
	}
	task, err := song.New(r.cfg, r.metrics, r.store)
	if err != nil {
		r.tb.Fatal(err)
	}
	r.task = task
	r.run = stream.NewDetached(stream.DetachedConfig{
		Task: task, Store: r.store, Changelog: "factors", DeadLetters: "letters", Partition: partition,
	})
}

func (r *rig) process(u schemas.SongUpdate) stream.Outcome {
	r.tb.Helper()
	mark := schemas.SongMark{Partition: u.Partition}
	for _, l := range u.Listens {
		mark.At = max(mark.At, l.At)
	}
	value := schemas.MarkSongUpdates(schemas.AppendSongUpdate(nil, &u), mark)
	outcome, err := r.run.Process(&stream.Record{Topic: "updates", Partition: partition, Value: value})
	if err != nil {
		r.tb.Fatal(err)
	}
	return outcome
}

func (r *rig) commit() {
	r.tb.Helper()
	if err := r.run.Commit(); err != nil {
		r.tb.Fatal(err)
	}
	r.sent = append(r.sent, r.run.Take()...)
}

func (r *rig) apply(updates ...schemas.SongUpdate) {
	r.tb.Helper()
	for _, u := range updates {
		r.process(u)
	}
	r.commit()
}

// row reads what is published of a row.
func (r *rig) row(kind factor.Kind, id string) schemas.FactorRow {
	r.tb.Helper()
	var row schemas.FactorRow
	value := r.store.Rows()[string(state.AppendFactorKey(nil, byte(kind), []byte(id)))]
	if value == nil {
		r.tb.Fatalf("no row of %s %q", kind, id)
	}
	if err := row.UnmarshalBinary(value); err != nil {
		r.tb.Fatal(err)
	}
	return row
}

func update(id string, from int32, seq int64, vector []float32, listens ...schemas.ListenBucket) schemas.SongUpdate {
	return schemas.SongUpdate{
		Kind: byte(factor.KindSong), ID: []byte(id), Partition: from, Seq: seq, Count: 1, Vector: vector, Listens: listens,
	}
}

func bucket(region string, at int64, plays, unique uint32) schemas.ListenBucket {
	return schemas.ListenBucket{
		Region: factor.RegionOf(region), At: at, Plays: plays, Unique: unique, Trusted: float32(unique), Completions: plays,
	}
}

func TestChangesAdd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	initial := factor.NewRow(r.cfg.Learn, factor.KeyOf(factor.KindSong, "s")).Vector
	first := update("s", 0, 10, []float32{.1, 0, 0, 0})
	first.Evidence = .25
	r.apply(first, update("s", 1, 4, []float32{.1, .2, 0, 0}), update("s", 0, 11, nil))
	r.apply(update("s", 0, 12, []float32{0, 0, .5, 0}), update("s", 3, 7, []float32{0, 0, 0, -.5}))
	row := r.row(factor.KindSong, "s")
	for i, want := range []float32{.2, .2, .5, -.5} {
		if got := row.Vector[i] - initial[i]; math.Abs(float64(got-want)) > 1e-6 {
			t.Errorf("component %d moved by %v, want %v", i, got, want)
		}
	}
	if row.Evidence != .25 || row.Updates != 5 {
		t.Errorf("evidence %v after %d updates", row.Evidence, row.Updates)
	}
	want := []schemas.Ack{{Partition: 0, Seq: 12}, {Partition: 1, Seq: 4}, {Partition: 3, Seq: 7}}
	if !slices.Equal(row.Acks, want) {
		t.Errorf("acknowledges %v, want %v", row.Acks, want)
	}
}

// TestKindsAreKeptApart: a song, an artist and a genre of one name are three rows.
func TestKindsAreKeptApart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	kinds := []factor.Kind{factor.KindSong, factor.KindArtist, factor.KindGenre, factor.KindLanguage}
	for n, kind := range kinds {
		u := update("same", 0, int64(n), []float32{1, 0, 0, 0}, bucket("", minute(0), 3, 1))
		u.Kind = byte(kind)
		r.apply(u)
	}
	for n, kind := range kinds {
		if row := r.row(kind, "same"); row.Updates != 1 || row.Acks[0].Seq != int64(n) {
			t.Errorf("%s: %+v", kind, row)
		}
	}
	if got := r.task.Inspect("same"); got == nil || got.Plays != 3 {
		t.Errorf("inspected %+v", got)
	}
}

func TestPopularityByRegion(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const day = 24 * 60
	r.apply(update("s", 0, 1, nil, bucket("DE", minute(0), 5, 4), bucket("JP", minute(day), 2, 1), bucket("", minute(0), 1, 1)))
	r.apply(update("s", 1, 1, nil, bucket("DE", minute(8*day), 9, 8), bucket("DE", minute(-day), 1, 0)))
	row := r.row(factor.KindSong, "s")
	if row.Plays != 18 || row.FirstAt != minute(-day) || row.LastAt != minute(8*day) {
		t.Errorf("%d plays from %d to %d", row.Plays, row.FirstAt, row.LastAt)
	}
	// Unique listeners: 5 at day 0, 1 at day 1, 8 at day 8.
	after := func(halfLife float64) float64 { return 8 + math.Exp2(-7/halfLife) + 5*math.Exp2(-8/halfLife) }
	p := row.Popularity
	for name, pair := range map[string][2]float64{
		"1d": {p.Value1d, after(1)}, "7d": {p.Value7d, after(7)}, "28d": {p.Value28d, after(28)},
	} {
		if math.Abs(pair[0]-pair[1]) > 1e-9 || p.At != minute(8*day) {
			t.Errorf("%s: %v at %d, want %v", name, pair[0], p.At, pair[1])
		}
	}
	regions := map[string]float64{}
	for _, l := range row.Listeners {
		regions[factor.Region(l.Region).String()] = math.Round(1e6*l.Value7d) / 1e6
	}
	if want := map[string]float64{"DE": math.Round(1e6*(8+4*math.Exp2(-8./7))) / 1e6, "JP": 1}; !maps.Equal(regions, want) {
		t.Errorf("regions %v, want %v", regions, want)
	}
	got := r.task.Inspect("s")
	if got.Plays != 18 || math.Abs(got.Popularity["7d"]-after(7)) > 1e-9 || got.FirstAt != "2026-03-01T00:00:00Z" {
		t.Errorf("inspected %+v", got)
	}
	if r.task.Inspect("unknown") != nil {
		t.Error("something is known of an unknown song")
	}
}

func TestBadUpdates(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, rec := range map[string]*stream.Record{
		"corrupt": {Topic: "updates", Value: []byte{1, 2}},
		"empty":   {Topic: "updates"},
	} {
		if outcome, err := r.run.Process(rec); err != nil || outcome != stream.OutcomeDeadLettered {
			t.Errorf("%s: %s, %v", name, outcome, err)
		}
	}
	listener := update("u", 0, 1, nil)
	listener.Kind = byte(factor.KindListener)
	if got := r.process(listener); got != stream.OutcomeDeadLettered {
		t.Errorf("a row of a listener is %s", got)
	}
	// A change that is too wide, too large or not finite is bounded, and still acknowledged.
	wide := update("s", 0, 1, []float32{1, 2, 3, 4, 5})
	huge := update("s", 1, 2, []float32{1e30, 0, 0, 0})
	r.apply(wide, huge)
	row := r.row(factor.KindSong, "s")
	norm := 0.
	for _, v := range row.Vector {
		norm += float64(v) * float64(v)
	}
	if len(row.Vector) != 4 || !(math.Sqrt(norm) <= float64(r.cfg.Learn.ChangeMax)+1) || len(row.Acks) != 2 {
		t.Errorf("%+v", row)
	}
	want := `
# HELP earworm_song_changes_bounded_total Combined changes that were shortened or refused because they were too large or not finite.
# TYPE earworm_song_changes_bounded_total counter
earworm_song_changes_bounded_total 2
# HELP earworm_song_rows Factor rows owned by the tasks of this process.
# TYPE earworm_song_rows gauge
earworm_song_rows 1
`
	if err := testutil.GatherAndCompare(r.reg, strings.NewReader(want), "earworm_song_rows", "earworm_song_changes_bounded_total"); err != nil {
		t.Error(err)
	}
	if got := len(r.sent); got != 3 {
		t.Errorf("%d dead letters, want 3", got)
	}
}

// flow makes a stream of updates of many songs over some days, a wave of one song among them, cut into transactions.
func flow(t *testing.T, days int) [][]schemas.SongUpdate {
	t.Helper()
	t.Logf("seed %d", *seed)
	rng := rand.New(rand.NewPCG(*seed, 3))
	regions := []string{"", "DE", "JP", "US"}
	var out [][]schemas.SongUpdate
	seq := int64(0)
	for m := 0; m < days*24*60; m += 30 {
		var batch []schemas.SongUpdate
		for n := range 12 {
			seq++
			id := fmt.Sprintf("s%02d", n)
			u := update(id, int32(rng.IntN(3)), seq, []float32{.01, -.01, 0, rng.Float32() / 100})
			for range 1 + rng.IntN(2) {
				plays := uint32(1 + rng.IntN(6))
				if n == 3 && m > days*24*60*2/3 && m < days*24*60*2/3+2*24*60 {
					plays *= 40
				}
				at := minute(m - rng.IntN(60))
				u.Listens = append(u.Listens, bucket(regions[rng.IntN(4)], at-at%300_000, plays+1, plays))
			}
			if rng.IntN(4) > 0 {
				batch = append(batch, u)
			}
		}
		artist := update(fmt.Sprintf("artist %d", rng.IntN(5)), 0, seq, []float32{0, .01, 0, 0})
		artist.Kind = byte(factor.KindArtist)
		out = append(out, append(batch, artist))
	}
	return out
}

// same compares stores and messages.
func same(t *testing.T, what string, want, got *rig) {
	t.Helper()
	a, b := want.store.Rows(), got.store.Rows()
	if len(a) < 17 {
		t.Fatalf("only %d rows", len(a))
	}
	for key, value := range a {
		if string(b[key]) != string(value) {
			t.Errorf("%s: row %q is\n%x, want\n%x", what, key, b[key], value)
			break
		}
	}
	if len(a) != len(b) {
		t.Errorf("%s: %d rows, want %d", what, len(b), len(a))
	}
	if !slices.EqualFunc(want.sent, got.sent, func(x, y stream.Message) bool {
		return x.Topic == y.Topic && string(x.Key) == string(y.Key) && string(x.Value) == string(y.Value)
	}) {
		t.Errorf("%s: %d messages, want the same %d", what, len(got.sent), len(want.sent))
	}
}

// TestAbandonAndRestartChangeNothing gives transactions up before and after their flush, and opens the task anew.
func TestAbandonAndRestartChangeNothing(t *testing.T) {
	t.Parallel()
	batches := flow(t, 7)
	want, abandoned, restarted := newRig(t), newRig(t), newRig(t)
	rng := rand.New(rand.NewPCG(*seed, 4))
	for n, batch := range batches {
		want.apply(batch...)

		for rng.IntN(3) == 0 {
			for _, u := range batch[:rng.IntN(len(batch)+1)] {
				abandoned.process(u)
			}
			if rng.IntN(2) == 0 {
				if err := abandoned.run.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			abandoned.run.Abandon()
		}
		abandoned.apply(batch...)

		if n%7 == 0 {
			restarted.open()
		}
		restarted.apply(batch...)
	}
	same(t, "with abandoned transactions", want, abandoned)
	same(t, "with restarts", want, restarted)
	if len(want.sent) == 0 {
		t.Error("the wave did not become a trend")
	}
}

// TestTrendsAreWhole: what is announced is valid, of the wave, and once per episode.
func TestTrendsAreWhole(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, batch := range flow(t, 7) {
		r.apply(batch...)
	}
	open := map[string]bool{}
	for _, m := range r.sent {
		var trend schemas.Trend
		if err := json.Unmarshal(m.Value, &trend); err != nil || m.Topic != "trends" {
			t.Fatalf("%s to %s: %v", m.Value, m.Topic, err)
		}
		place := string(trend.Song) + " " + trend.Region
		if string(m.Key) != string(trend.Song) {
			t.Errorf("%q: %+v", m.Key, trend)
		}
		switch trend.Status {
		case schemas.TrendStarted:
			if open[place] {
				t.Errorf("%s starts twice", place)
			}
			open[place] = true
		case schemas.TrendEnded:
			if !open[place] {
				t.Errorf("%s ends before it starts", place)
			}
			open[place] = false
		default:
		}
	}
	if _, world := open["s03 "]; !world {
		t.Errorf("the wave is not seen in the world: %d trends", len(r.sent))
	}
}

func TestRestartLoadsTheSameRows(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, batch := range flow(t, 2) {
		r.apply(batch...)
	}
	inspect := func() string {
		var all []any
		for n := range 12 {
			all = append(all, r.task.Inspect(fmt.Sprintf("s%02d", n)))
		}
		text, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	before, rows := inspect(), r.store.Rows()
	r.open()
	if after := inspect(); after != before {
		t.Errorf("after the restart\n%s, before\n%s", after, before)
	}
	if err := r.run.Commit(); err != nil {
		t.Fatal(err)
	}
	if !maps.EqualFunc(rows, r.store.Rows(), func(a, b []byte) bool { return string(a) == string(b) }) {
		t.Error("loading changed rows")
	}
}

// TestStoresThatCannotBeRead: a damaged row is an error and not a new row, also after an abandoned transaction.
func TestStoresThatCannotBeRead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.apply(update("s", 0, 1, []float32{1, 0, 0, 0}))
	r.process(update("s", 0, 2, nil))
	r.store.Fail = errors.New("disk")
	r.run.Abandon()
	r.store.Fail = nil
	if _, err := r.run.Process(&stream.Record{Topic: "updates", Value: schemas.AppendSongUpdate(nil, &schemas.SongUpdate{})}); err == nil {
		t.Error("goes on although its rows could not be read again")
	}
	for name, value := range map[string][]byte{"damaged": {77}, "of another width": narrow()} {
		store := taskstore.New()
		key := state.AppendFactorKey(nil, byte(factor.KindSong), []byte("s"))
		if err := store.Apply([]stream.Change{{Key: key, Value: value}}, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := song.New(r.cfg, r.metrics, store); err == nil {
			t.Errorf("a row %s is accepted", name)
		}
	}
}

func narrow() []byte {
	row := schemas.FactorRow{Kind: byte(factor.KindSong), ID: []byte("s"), Vector: []float32{1}}
	return row.AppendBinary(nil)
}

func TestConfig(t *testing.T) {
	t.Parallel()
	cfg := song.Default()
	cfg.Interval = time.Millisecond
	err := cfg.Validate()
	if err == nil || !strings.Contains(err.Error(), "topics must be named") || !strings.Contains(err.Error(), "interval") {
		t.Errorf("got %v", err)
	}
}

// TestARecordCountsAsAWhole: a record with one update that cannot be applied changes nothing.
func TestARecordCountsAsAWhole(t *testing.T) {
	r := newRig(t)
	good, bad := update("s", 0, 1, []float32{1, 0, 0, 0}), update("s", 0, 2, nil)
	bad.Kind = 'x'
	value := schemas.AppendSongUpdate(schemas.AppendSongUpdate(nil, &good), &bad)
	outcome, err := r.run.Process(&stream.Record{Topic: "updates", Partition: partition, Value: value})
	if err != nil || outcome != stream.OutcomeDeadLettered {
		t.Fatalf("%s, %v", outcome, err)
	}
	r.commit()
	if rows := r.store.Rows(); len(rows) != 0 {
		t.Errorf("%d rows were written", len(rows))
	}
	other := update("t", 3, 9, []float32{0, 1, 0, 0})
	value = schemas.AppendSongUpdate(schemas.AppendSongUpdate(nil, &good), &other)
	if outcome, err = r.run.Process(&stream.Record{Topic: "updates", Partition: partition, Value: value}); err != nil || outcome != stream.OutcomeApplied {
		t.Fatalf("%s, %v", outcome, err)
	}
	r.commit()
	if s, o := r.row(factor.KindSong, "s"), r.row(factor.KindSong, "t"); s.Updates != 1 || o.Updates != 1 || o.Acks[0] != (schemas.Ack{Partition: 3, Seq: 9}) {
		t.Errorf("rows %+v and %+v", s, o)
	}
}
