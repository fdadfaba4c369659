package factor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cespare/xxhash/v2"
	"pgregory.net/rapid"
)

func TestKeyOfIsTheHashOfKindAndID(t *testing.T) {
	for _, id := range []string{"", "a", strings.Repeat("x", 255), strings.Repeat("x", 256), strings.Repeat("yz", 128) + "!", strings.Repeat("long ", 300)} {
		want := Key(xxhash.Sum64String("s" + id))
		if got := KeyOf(KindSong, id); got != want {
			t.Errorf("key of an id of %d bytes is %x, want %x", len(id), got, want)
		}
		if got := KeyOf(KindSong, []byte(id)); got != want {
			t.Errorf("key of %d bytes is %x, want %x", len(id), got, want)
		}
	}
	if KeyOf(KindSong, "a") == KeyOf(KindArtist, "a") {
		t.Error("a song and an artist of the same id share a key")
	}
	id := []byte("a song like any other")
	table := NewTable(small())
	table.SongOf(id)
	if allocs := testing.AllocsPerRun(100, func() { table.SongOf(id) }); allocs != 0 {
		t.Errorf("looking up a known song allocates %v times", allocs)
	}
}

func TestInitRowIsNormalAndTheSameEverywhere(t *testing.T) {
	p := DefaultParams()
	a, b := make([]float32, 10_001), make([]float32, 10_001)
	InitRow(p, 7, a)
	InitRow(p, 7, b)
	if !slices.Equal(a, b) {
		t.Error("two vectors of one key differ")
	}
	var sum, square float64
	for _, x := range a {
		sum += float64(x)
		square += float64(x) * float64(x)
	}
	n := float64(len(a))
	deviation := math.Sqrt(square / n)
	if want := float64(p.InitScale); math.Abs(deviation-want) > .05*want || math.Abs(sum/n) > .05*want {
		t.Errorf("mean %v, deviation %v, want 0 and %v", sum/n, deviation, want)
	}
	InitRow(p, 8, b)
	if slices.Equal(a, b) {
		t.Error("vectors of two keys are the same")
	}
}

// songTask is a song task in little: it applies committed changes in order and publishes rows when it likes.
type songTask struct {
	rows  map[Key]*Row
	acks  map[Key]map[int32]int64
	queue []Delta // committed and not yet applied
}

func (s *songTask) apply(p Params, n int) {
	for _, d := range s.queue[:n] {
		k := KeyOf(d.Kind, d.ID)
		if s.rows[k] == nil {
			r := NewRow(p, k)
			s.rows[k], s.acks[k] = &r, map[int32]int64{}
		}
		s.rows[k].Apply(p, d)
		s.acks[k][d.Origin.Partition] = d.Origin.Seq
	}
	s.queue = s.queue[n:]
}

func (s *songTask) published(kind Kind, id string, p Params) Published {
	k := KeyOf(kind, id)
	out := Published{Kind: kind, ID: id}
	if r := s.rows[k]; r != nil {
		out.Vector, out.Evidence = slices.Clone(r.Vector), r.Evidence
		for partition, seq := range s.acks[k] {
			out.Acks = append(out.Acks, Origin{Partition: partition, Seq: seq})
		}
		return out
	}
	r := NewRow(p, k)
	out.Vector = r.Vector
	return out
}

// Whatever the order of listens, flushes, commits, abandoned transactions (some of which had been committed after all), applied changes and
// loads: once everything is acknowledged, the slab holds exactly the song tasks' rows, and no change is left waiting.
func TestSlabIsPublishedPlusUnacknowledged(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := small()
		p.SyncEvery = rapid.IntRange(1, 20).Draw(rt, "sync every")
		p.PendingMax = rapid.IntRange(1, 4).Draw(rt, "pending max")
		table := NewTable(p)
		songs := catalogue(table, 12)
		task := &songTask{rows: map[Key]*Row{}, acks: map[Key]map[int32]int64{}}
		learners := [2]*Learner{NewLearner(table, p, 0, 1), NewLearner(table, p, 1, 2)}
		user := make([]float32, p.Dim)
		InitRow(p, 1, user)
		seq := int64(0)
		load := func(i Index) { table.Load(task.published(table.KindAt(i), table.ID(i), p)) }
		finish := func(l *Learner, outcome int) {
			seq++
			var flushed []Delta
			l.Flush(seq, func(d Delta) {
				d.Vector = slices.Clone(d.Vector)
				flushed = append(flushed, d)
			})
			switch outcome {
			case 0: // the transaction was aborted
				l.Abandon()
			case 1: // it was committed, but nobody was told, and a song task was quick
				task.queue = append(task.queue, flushed...)
				task.apply(p, len(task.queue))
				for i := 1; i <= table.Rows(); i++ {
					load(Index(i))
				}
				l.Abandon()
			default:
				task.queue = append(task.queue, flushed...)
				l.Committed()
			}
		}
		for range rapid.IntRange(5, 60).Draw(rt, "actions") {
			l := learners[rapid.IntRange(0, 1).Draw(rt, "learner")]
			switch rapid.IntRange(0, 5).Draw(rt, "action") {
			case 0, 1, 2:
				song := songs[rapid.IntRange(0, len(songs)-1).Draw(rt, "song")]
				l.FirstListen(user, song, 1, Past{Songs: songs[:3]})
			case 3:
				finish(l, rapid.IntRange(0, 4).Draw(rt, "outcome"))
			case 4:
				task.apply(p, rapid.IntRange(0, len(task.queue)).Draw(rt, "applied"))
			case 5:
				load(Index(rapid.IntRange(1, table.Rows()).Draw(rt, "row")))
			}
		}
		for _, l := range learners {
			finish(l, 2)
		}
		task.apply(p, len(task.queue))
		got := make([]float32, p.Dim)
		for i := Index(1); int(i) <= table.Rows(); i++ {
			load(i)
			want := task.published(table.KindAt(i), table.ID(i), p)
			evidence := table.Vector(i, got)
			if !slices.Equal(got, want.Vector) || evidence != want.Evidence {
				rt.Fatalf("row %q is %v, published %v", table.ID(i), got, want.Vector)
			}
			if n := table.Pending(i); n != 0 {
				rt.Fatalf("row %q still waits for %d acknowledgements", table.ID(i), n)
			}
		}
	})
}

// Without any published row, the slab after an abandoned transaction is what it was before.
func TestAbandonRestoresTheSlab(t *testing.T) {
	p := small()
	p.SyncEvery = 2
	table := NewTable(p)
	songs := catalogue(table, 12)
	keep, drop := NewLearner(table, p, 0, 1), NewLearner(table, p, 1, 2)
	user := make([]float32, p.Dim)
	InitRow(p, 1, user)
	for _, song := range songs {
		keep.FirstListen(user, song, 1, Past{})
	}
	keep.Flush(1, func(Delta) {})
	keep.Committed()
	before := make([][]float32, table.Rows()+1)
	for i := range before {
		before[i] = make([]float32, p.Dim)
		table.Vector(Index(i), before[i])
	}
	for n := range 50 {
		drop.FirstListen(user, songs[n%len(songs)], 1, Past{Songs: songs})
		if n == 20 {
			drop.Flush(7, func(Delta) {})
		}
	}
	after := make([]float32, p.Dim)
	if table.Vector(songs[1], after); slices.Equal(after, before[songs[1]]) {
		t.Fatal("the learner changed nothing: the test shows nothing")
	}
	drop.Abandon()
	for i := range before {
		table.Vector(Index(i), after)
		for k := range after {
			if math.Abs(float64(after[k]-before[i][k])) > 1e-5 {
				t.Fatalf("row %q is %v after an abandoned transaction, was %v", table.ID(Index(i)), after, before[i])
			}
		}
	}
	if table.Pending(songs[1]) != 1 {
		t.Errorf("%d changes wait, want the committed one", table.Pending(songs[1]))
	}
}

func TestPendingChangesAreBounded(t *testing.T) {
	p := small()
	table := NewTable(p)
	songs := catalogue(table, 5)
	l := NewLearner(table, p, 0, 1)
	user := make([]float32, p.Dim)
	InitRow(p, 1, user)
	for seq := range int64(100) { // a song task that never answers
		l.FirstListen(user, songs[0], 1, Past{})
		l.Flush(seq, func(Delta) {})
		l.Committed()
	}
	if n := table.Pending(songs[0]); n > p.PendingMax+1 {
		t.Errorf("%d changes wait, want at most %d", n, p.PendingMax+1)
	}
	row := NewRow(p, table.KeyAt(songs[0]))
	table.Load(Published{Kind: KindSong, ID: "song0", Vector: row.Vector, Acks: []Origin{{Partition: 0, Seq: 99}}})
	got := make([]float32, p.Dim)
	if table.Vector(songs[0], got); !slices.Equal(got, row.Vector) || table.Pending(songs[0]) != 0 {
		t.Errorf("after the last acknowledgement the row is %v with %d waiting, published %v", got, table.Pending(songs[0]), row.Vector)
	}
}

func TestRowStaysFiniteAndBoundedWhateverArrives(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := small()
		r := NewRow(p, 1)
		for range 20 {
			d := Delta{Kind: KindSong, ID: "a", Vector: rapid.SliceOfN(rapid.Float32(), 0, p.Dim+1).Draw(rt, "vector"), Evidence: rapid.Float32().Draw(rt, "evidence")}
			if rapid.Bool().Draw(rt, "spoiled") && len(d.Vector) > 0 {
				d.Vector[0] = rapid.SampledFrom([]float32{float32(math.NaN()), float32(math.Inf(1)), math.MaxFloat32}).Draw(rt, "spoil")
			}
			before := slices.Clone(r.Vector)
			r.Apply(p, d)
			var moved, norm float64
			for k, x := range r.Vector {
				moved += float64(x-before[k]) * float64(x-before[k])
				norm += float64(x) * float64(x)
			}
			if !(math.Sqrt(norm) <= float64(p.NormMax)*1.001) || !(math.Sqrt(moved) <= float64(p.ChangeMax)*1.001) {
				rt.Fatalf("moved by %v to %v", math.Sqrt(moved), r.Vector)
			}
			if !(r.Evidence >= 0 && r.Evidence <= evidenceMax) {
				rt.Fatalf("evidence %v", r.Evidence)
			}
		}
	})
}

func TestRowOfAnotherWidthBeginsAgain(t *testing.T) {
	p := small()
	r := Row{Vector: make([]float32, 3)}
	if !r.Apply(p, Delta{Kind: KindSong, ID: "a", Vector: make([]float32, p.Dim)}) {
		t.Error("a change of zero was not taken as it came")
	}
	want := NewRow(p, KeyOf(KindSong, "a"))
	if !slices.Equal(r.Vector, want.Vector) {
		t.Errorf("the row is %v, want the initial %v", r.Vector, want.Vector)
	}
}

func TestScoreEqualsEffectiveVectors(t *testing.T) {
	p := small()
	table := NewTable(p)
	songs := catalogue(table, 300)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := Index(1); int(i) <= table.Rows(); i++ {
		v, _ := vectors(rng, p.Dim)
		table.Load(Published{Kind: table.KindAt(i), ID: table.ID(i), Vector: v, Evidence: float32(rng.Float64())})
	}
	user, q := make([]float32, p.Dim), make([]float32, p.Dim)
	for k := range user {
		user[k] = float32(k) - 2
	}
	var s Scores
	for range 2 { // the second time on used memory
		table.Score(user, &s)
		if !slices.Equal(s.Songs, songs) {
			t.Fatalf("songs are %v", s.Songs)
		}
		for n, song := range songs {
			table.Effective(song, q)
			if math.Abs(float64(s.Taste[n]-dot(user, q))) > 1e-4 {
				t.Fatalf("song %d has taste %v, want %v", n, s.Taste[n], dot(user, q))
			}
		}
	}
	table.Score(user[:2], &s)
	if slices.ContainsFunc(s.Taste, func(x float32) bool { return x != 0 }) {
		t.Error("a vector of the wrong width has scores")
	}
}

func TestLoadIgnoresFactorsItCannotUse(t *testing.T) {
	p := small()
	table := NewTable(p)
	song := table.Song("a")
	before, after := make([]float32, p.Dim), make([]float32, p.Dim)
	table.Vector(song, before)
	nan := float32(math.NaN())
	for _, r := range []Published{
		{Kind: KindSong, ID: "a", Vector: []float32{1}, FirstAt: 5},
		{Kind: KindSong, ID: "a", Vector: []float32{1, 2, 3, 4, 5, nan}, FirstAt: 5},
		{Kind: KindSong, ID: "a", Vector: make([]float32, p.Dim), Evidence: nan, FirstAt: 5},
		{Kind: 'x', ID: "a", Vector: make([]float32, p.Dim)},
	} {
		table.Load(r)
		if table.Vector(song, after); !slices.Equal(before, after) {
			t.Errorf("%v changed the row to %v", r, after)
		}
	}
	if table.Stats(song).FirstAt != 5 || table.Active() != 1 || table.Rows() != 1 {
		t.Errorf("statistics %v, %d active, %d rows", table.Stats(song), table.Active(), table.Rows())
	}
}

// Learners, loads, descriptions and scans at once, for the race detector; and a row that two learners and a publisher moved must still settle.
func TestConcurrentUse(t *testing.T) {
	p := small()
	table := NewTable(p)
	songs := catalogue(table, 60)
	task := &songTask{rows: map[Key]*Row{}, acks: map[Key]map[int32]int64{}}
	var mu sync.Mutex // guards task
	var wait sync.WaitGroup
	for partition := range int32(3) {
		wait.Go(func() {
			l := NewLearner(table, p, partition, uint64(partition))
			rng := rand.New(rand.NewPCG(1, uint64(partition)))
			user := make([]float32, p.Dim)
			InitRow(p, Key(partition), user)
			for seq := range int64(60) {
				for range 10 {
					l.FirstListen(user, songs[rng.IntN(len(songs))], 1, Past{Songs: songs[:5]})
				}
				l.Flush(seq, func(d Delta) {
					d.Vector = slices.Clone(d.Vector)
					mu.Lock()
					task.queue = append(task.queue, d)
					mu.Unlock()
				})
				l.Committed()
				mu.Lock()
				task.apply(p, len(task.queue))
				row := task.published(KindSong, fmt.Sprintf("song%d", seq), p)
				mu.Unlock()
				table.Load(row)
			}
		})
	}
	wait.Go(func() {
		var s Scores
		user := make([]float32, p.Dim)
		for n := range 200 {
			table.Score(user, &s)
			table.Describe(songs[n%len(songs)], Meta{Title: "t", Artist: fmt.Sprintf("new artist%d", n)})
			table.Song(fmt.Sprintf("new song%d", n))
			table.measure()
		}
	})
	wait.Wait()
	got := make([]float32, p.Dim)
	for i := Index(1); int(i) <= table.Rows(); i++ {
		want := task.published(table.KindAt(i), table.ID(i), p)
		table.Load(want)
		if table.Vector(i, got); !slices.Equal(got, want.Vector) || table.Pending(i) != 0 {
			t.Fatalf("row %q is %v with %d waiting, published %v", table.ID(i), got, table.Pending(i), want.Vector)
		}
	}
}

func TestRecordingsAreRecognised(t *testing.T) {
	table := NewTable(small())
	recording := func(artist, title string) uint64 {
		s := table.Song(artist + "/" + title)
		table.Describe(s, Meta{Artist: artist, Title: title})
		return table.Recording(s)
	}
	base := recording("Slash", "Communication Breakdown")
	for _, same := range []string{"communication breakdown", "Communication Breakdown (iTunes Session)", "Communication Breakdown [Remastered]", "Communication-Breakdown!"} {
		if recording("SLASH", same) != base {
			t.Errorf("%q is not taken for the same recording", same)
		}
	}
	for _, other := range [][2]string{{"Slash", "Communication"}, {"Led Zeppelin", "Communication Breakdown"}, {"SlashC", "ommunication Breakdown"}} {
		if recording(other[0], other[1]) == base {
			t.Errorf("%q is taken for the same recording", other)
		}
	}
	if recording("", "") != 0 || recording("", "(?)") != 0 {
		t.Error("songs without a title are taken for one recording")
	}
}

func TestPopularityKeepsTheLivelyRegions(t *testing.T) {
	p := small()
	p.RegionsMax = 2
	var pop Popularity
	day := int64(24 * 3600 * 1000)
	pop.Add(p, RegionOf("DE"), 0, 5)
	pop.Add(p, RegionOf("FR"), 20*day, 3)
	pop.Add(p, RegionOf("US"), 20*day, 1)
	pop.Add(p, RegionOf("nowhere"), 20*day, 1)
	if pop.Total != 10 {
		t.Errorf("total %v, want 10", pop.Total)
	}
	if pop.In(RegionOf("DE"), 20*day) != 0 || pop.In(RegionOf("FR"), 20*day) != 3 || pop.In(RegionOf("US"), 27*day) != .5 {
		t.Errorf("regions are %v", pop.Regions)
	}
}

// TestPopularityTakenBack: exactly, whatever came later, and never below nothing. What ever was stays counted.
func TestPopularityTakenBack(t *testing.T) {
	p := small()
	day := int64(24 * 3600 * 1000)
	var with, without Popularity
	for n := range int64(20) {
		region := RegionOf([]string{"DE", "FR", ""}[n%3])
		with.Add(p, region, n*day, 1)
		if n != 4 && n != 15 {
			without.Add(p, region, n*day, 1)
		}
	}
	with.Remove(RegionOf("FR"), 4*day, 1)
	with.Remove(RegionOf("DE"), 15*day, 1)
	near := func(a, b float64) bool { return math.Abs(a-b) < 1e-9*max(1, b) }
	if !near(with.Day.Value, without.Day.Value) || !near(with.Week.Value, without.Week.Value) || !near(with.Month.Value, without.Month.Value) ||
		!near(with.In(RegionOf("DE"), 20*day), without.In(RegionOf("DE"), 20*day)) || !near(with.In(RegionOf("FR"), 20*day), without.In(RegionOf("FR"), 20*day)) {
		t.Errorf("got %+v, want %+v", with, without)
	}
	if with.Total != 20 {
		t.Errorf("total %v, want 20", with.Total)
	}
	with.Remove(RegionOf("DE"), 18*day, 1e9)
	with.Remove(RegionOf("JP"), 19*day, 1)
	with.Remove(Region{}, 19*day, 1e9)
	if with.Day.Value != 0 || with.Month.Value != 0 || with.In(RegionOf("DE"), 20*day) != 0 || len(with.Regions) != 2 {
		t.Errorf("after too much was taken: %+v", with)
	}
}

func TestTrendsThatAListenerSees(t *testing.T) {
	info := TrendInfo{Regions: []RegionTrend{
		{Region: RegionOf("DE"), Status: TrendOngoing, Score: 4},
		{Region: RegionOf("FR"), Status: TrendOngoing, Score: 9},
		{Status: TrendOngoing, Score: 3},
	}}
	for region, want := range map[string]float32{"DE": 4, "FR": 9, "US": 3, "": 3} {
		if got, ok := info.Best(RegionOf(region)); !ok || got.Score != want {
			t.Errorf("the best trend in %q has the score %v, want %v", region, got.Score, want)
		}
	}
	if info.Quarantined() {
		t.Error("quarantined without reason")
	}
	info.Regions[0].Status = TrendQuarantined
	if got, _ := info.Best(RegionOf("DE")); got.Score != 3 || !info.Quarantined() {
		t.Errorf("a quarantined trend is shown: %v", got)
	}
}

func TestValidateNamesEveryProblem(t *testing.T) {
	if err := DefaultParams().Validate(); err != nil {
		t.Errorf("the default settings are refused: %v", err)
	}
	p := DefaultParams()
	p.Dim, p.Ridge, p.InitScale = 0, float32(math.NaN()), 0
	err := p.Validate()
	for _, name := range []string{"dim", "ridge", "init scale"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %q", err, name)
		}
	}
}

// TestScoresOfSeveralVectorsAreThoseOfEach: those that songs get one by one, and none for a vector of another width.
func TestScoresOfSeveralVectorsAreThoseOfEach(t *testing.T) {
	p := DefaultParams()
	table := NewTable(p)
	songs := catalogue(table, 300)
	one, other, q := make([]float32, p.Dim), make([]float32, p.Dim), make([]float32, p.Dim)
	InitRow(p, 1, one)
	InitRow(p, 2, other)
	var got [3]Scores
	table.ScoreAll(Query{one, &got[0]}, Query{one[:3], &got[1]}, Query{other, &got[2]})
	asked := append(slices.Clone(songs), songs[7]) // more than fit a block, not in the table's order, one twice
	slices.Reverse(asked)
	var some [3]Scores
	table.ScoreSongs(asked, Query{one, &some[0]}, Query{one[:3], &some[1]}, Query{other, &some[2]})
	for n, song := range asked {
		for i := range some {
			if all := got[i].Taste[slices.Index(songs, song)]; math.Abs(float64(some[i].Taste[n]-all)) > 1e-6 {
				t.Fatalf("of some songs number %d scores %v for vector %d, of all songs %v", n, some[i].Taste[n], i, all)
			}
		}
	}
	for n, song := range songs {
		table.Effective(song, q)
		for i, want := range [3]float32{dot(one, q), 0, dot(other, q)} {
			if diff := math.Abs(float64(got[i].Taste[n] - want)); diff > 1e-6 {
				t.Fatalf("song %d scores %v for vector %d, want %v", n, got[i].Taste[n], i, want)
			}
		}
	}
}

// BenchmarkScore scores every song of a table for one listener.
func BenchmarkScore(b *testing.B) {
	p := DefaultParams()
	table := NewTable(p)
	songs := catalogue(table, 50_000)
	user := make([]float32, p.Dim)
	InitRow(p, 1, user)
	var s Scores
	b.ReportAllocs()
	for b.Loop() {
		table.Score(user, &s)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(songs)), "ns/song")
}

// TestEpochs: a row has the epoch that was loaded last, the table the newest of all.
func TestEpochs(t *testing.T) {
	t.Parallel()
	table := NewTable(DefaultParams())
	load := func(id string, epoch uint32) {
		table.Load(Published{Kind: KindSong, ID: id, Vector: make([]float32, DefaultParams().Dim), Epoch: epoch})
	}
	for _, step := range []struct {
		id            string
		epoch, newest uint32
	}{{"a", 0, 0}, {"b", 2, 2}, {"a", 1, 2}, {"b", 3, 3}} {
		load(step.id, step.epoch)
		if got := table.EpochOf(table.Song(step.id)); got != step.epoch || table.Epoch() != step.newest {
			t.Errorf("after %+v: row %d, table %d", step, got, table.Epoch())
		}
	}
}
