package song_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"earworm/consumers/song"
	"earworm/consumers/stream"
	"earworm/internal/testkit/taskstore"
	"earworm/model/factor"
	"earworm/model/trend"
	"earworm/schemas"
	"earworm/state"
)

// placed is a row or record that a split made.
type placed struct {
	to         int32
	key, value []byte
}

// divided is a task of one partition of four, with rows of all families, and what it becomes among eight.
type divided struct {
	*rig
	split *song.Splitter
	among stream.Split
	at    int32
	parts map[int32]*taskstore.Store
}

// home is where the row of a song belongs.
func home(id string, n int32) int32 {
	return stream.PartitionOf(append([]byte{byte(factor.KindSong)}, id...), n)
}

// songsOf returns ids that belong to a partition, half of them to each of its parts.
func songsOf(split stream.Split, at int32, n int) []string {
	count := map[int32]int{}
	var ids []string
	for i := 0; len(ids) < n; i++ {
		id := fmt.Sprintf("s%d", i)
		if to := home(id, split.To); home(id, split.From) == at && count[to] < n/int(split.Ways()) {
			count[to]++
			ids = append(ids, id)
		}
	}
	return ids
}

func newDivided(t *testing.T) *divided {
	t.Helper()
	among := stream.Split{From: 4, To: 8}
	d := &divided{rig: newRig(t), split: song.NewSplitter(among), among: among, at: 1, parts: map[int32]*taskstore.Store{}}
	d.cfg.Partitions = 4
	d.open()
	rng := rand.New(rand.NewPCG(*seed, 2))
	for n, id := range songsOf(among, d.at, 40) {
		for from := range int32(4) {
			// Partition 3 is a day ahead of the others: its listens wait.
			at := minute(n)
			if from == 3 {
				at = minute(n + 24*60)
			}
			d.process(schemas.SongUpdate{
				Kind: byte(factor.KindSong), ID: []byte(id), Partition: from, Seq: 1000 + int64(n), Vector: []float32{1, 0, float32(n), rng.Float32()}, Evidence: 1,
				Listens:   []schemas.ListenBucket{{Region: [2]byte{'D', 'E'}, At: at, Plays: 3, Unique: 2, Trusted: 2}},
				Listeners: 1, Pairs: []schemas.Pair{{Song: uint64(n), Weight: 1}}, PairsAt: at,
			})
		}
	}
	d.commit()
	for part := range among.Parts(d.at) {
		d.parts[part] = taskstore.New()
	}
	return d
}

// rows splits everything that the store holds.
func (d *divided) rows() []placed {
	d.tb.Helper()
	var out []placed
	err := d.store.Scan(nil, func(key, value []byte) error {
		return d.split.Split(d.at, key, value, func(to int32, key, value []byte) {
			out = append(out, placed{to, slices.Clone(key), slices.Clone(value)})
		})
	})
	if err != nil {
		d.tb.Fatal(err)
	}
	return out
}

// TestSplitOfASongTask: a task of each part runs on what it got, and together they know what the one knew.
func TestSplitOfASongTask(t *testing.T) {
	t.Parallel()
	d := newDivided(t)
	families := map[byte]int{}
	offset := int64(0)
	for _, row := range d.rows() {
		families[row.key[0]]++
		offset++
		if err := d.parts[row.to].Apply([]stream.Change{{Key: row.key, Value: row.value}}, offset); err != nil {
			t.Fatal(err)
		}
		if row.key[0] == 'f' {
			var f schemas.FactorRow
			if err := f.UnmarshalBinary(row.value); err != nil || len(f.Acks) != 0 || f.Plays != 12 {
				t.Errorf("row %q: %v, %d plays, acknowledges %v", row.key, err, f.Plays, f.Acks)
			}
		}
	}
	if families['f'] != 40 || families['n'] != 40 || families['c'] != 2 || families['s'] != 4 || families['h'] < 2 {
		t.Errorf("rows by family: %v", families)
	}
	for part, store := range d.parts {
		r := &rig{tb: t, cfg: d.cfg, store: store, reg: d.reg, metrics: d.metrics}
		r.cfg.Partitions = 8
		r.open()
		// What waits comes to its time when all eight have: the parts of 3 have told theirs, and were heard.
		for from := range int32(8) {
			value := schemas.MarkSongUpdates(nil, schemas.SongMark{Partition: from, At: minute(3 * 24 * 60)})
			if _, err := r.run.Process(&stream.Record{Topic: "updates", Partition: part, Value: value}); err != nil {
				t.Fatal(err)
			}
		}
		r.commit()
		left := 0
		if err := store.Scan(nil, func(key, _ []byte) error {
			if _, err := state.ParseHeldKey(key); err == nil {
				left++
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if left != 0 {
			t.Errorf("part %d: %d rows of listens still wait after everybody has come past them", part, left)
		}
	}
}

// TestSplitSaysTheSame: the facts of the parts are those of the whole, but for what is of a task as a whole.
func TestSplitSaysTheSame(t *testing.T) {
	t.Parallel()
	d := newDivided(t)
	facts := func(key, value []byte, into map[string]int) {
		t.Helper()
		err := d.split.Facts(key, value, func(f stream.Fact) {
			if f.Home != nil {
				into[fmt.Sprintf("%s %x %x %x", f.Family, f.Home, f.Key, f.Value)]++
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	before, after := map[string]int{}, map[string]int{}
	if err := d.store.Scan(nil, func(key, value []byte) error {
		facts(key, value, before)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, row := range d.rows() {
		facts(row.key, row.value, after)
	}
	if len(before) < 120 || len(before) != len(after) {
		t.Errorf("%d facts before, %d after; 40 rows, neighbours and listens that wait are to be there", len(before), len(after))
	}
	for fact, n := range before {
		if after[fact] != n {
			t.Errorf("%s: %d times, was %d", fact, after[fact], n)
		}
	}
}

// TestSplitOfTraffic: each part has its share of the sums, and the season of the region, which is what songs are measured with, is the same.
func TestSplitOfTraffic(t *testing.T) {
	t.Parallel()
	d := newDivided(t)
	key := state.AppendSeasonKey(nil, [2]byte{'D', 'E'})
	var whole, part trend.Season
	value, err := d.store.Get(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := whole.UnmarshalBinary(value); err != nil {
		t.Fatal(err)
	}
	parts := 0
	for _, row := range d.rows() {
		if bytes.Equal(row.key, key) {
			parts++
			if _, err := part.UnmarshalBinary(row.value); err != nil {
				t.Fatal(err)
			}
		}
	}
	p := d.cfg.Trend
	p.PriorTraffic = 0
	at := minute(24 * 60)
	if parts != 2 || part.SteppedAt() != whole.SteppedAt() || part.Start() != whole.Start() || part.Index(p, at) != whole.Index(p, at) {
		t.Errorf("%d parts; index %v, was %v", parts, part.Index(p, at), whole.Index(p, at))
	}
	// A part that goes on with half of the traffic, as it gets half of the songs, has a season that does not move.
	bucket := trend.Bucket{At: at, Unique: 10, Trusted: 10, Plays: 10}
	half := trend.Bucket{At: at, Unique: 5, Trusted: 5, Plays: 5}
	whole.Observe(p, bucket)
	part.Observe(p, half)
	if a, b := whole.Index(p, at), part.Index(p, at); a-b > 1e-9 || b-a > 1e-9 {
		t.Errorf("index %v in the whole and %v in a part", a, b)
	}
}

// TestSplitOfUpdates: each change goes to the part of its row and acknowledges nothing; how far a listens partition has come is told of each
// of its parts to each part.
func TestSplitOfUpdates(t *testing.T) {
	t.Parallel()
	among := stream.Split{From: 4, To: 16}
	s := song.NewSplitter(among)
	ids := songsOf(among, 1, 8)
	var value []byte
	for n, id := range ids {
		u := schemas.SongUpdate{Kind: byte(factor.KindSong), ID: []byte(id), Partition: 2, Seq: 77, Vector: []float32{float32(n)}, Evidence: 1, Withdraws: n == 3}
		value = schemas.AppendSongUpdate(value, &u)
	}
	for _, mark := range []int64{0, start().UnixMilli()} {
		value = schemas.MarkSongUpdates(value, schemas.SongMark{Partition: 2, At: mark})
		found, marks := map[string]int32{}, map[string]int{}
		if err := s.SplitUpdates(1, value, func(to int32, value []byte) {
			var u schemas.SongUpdates
			if err := u.UnmarshalBinary(value); err != nil {
				t.Fatal(err)
			}
			if u.Mark.At != mark {
				t.Errorf("mark %+v", u.Mark)
			}
			marks[fmt.Sprintf("%d of %d", to, u.Mark.Partition)]++
			for _, one := range u.Updates {
				found[string(one.ID)] = to
				if one.Seq != 0 || one.Withdraws != (string(one.ID) == ids[3]) || one.Evidence != 1 {
					t.Errorf("%+v", one)
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			if to, ok := found[id]; !ok || to != home(id, 16) {
				t.Errorf("mark %d: %s is told to %d, belongs to %d", mark, id, to, home(id, 16))
			}
		}
		if want := map[int64]int{0: 4, start().UnixMilli(): 16}[mark]; len(marks) != want {
			t.Errorf("mark %d: told %v, want %d parts and origins", mark, marks, want)
		}
	}
	if err := s.SplitUpdates(1, []byte("nothing"), func(int32, []byte) {}); err == nil {
		t.Error("read what is no update")
	}
}

// TestSplitRefusesWhatItDoesNotKnow: a row must not get lost because nobody knows where it belongs.
func TestSplitRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	s := song.NewSplitter(stream.Split{From: 4, To: 8})
	for _, row := range []struct{ key, value string }{
		{"x1", "value"},
		{"", "value"},
		{string(state.ClockKey()), "\x09"},
		{string(state.AppendSeasonKey(nil, [2]byte{'D', 'E'})), "short"},
		{string(state.AppendHeldKey(nil, 1)), "short"},
		{string(state.AppendFactorKey(nil, byte(factor.KindSong), []byte("s"))), "short"},
	} {
		if err := s.Split(0, []byte(row.key), []byte(row.value), func(int32, []byte, []byte) {}); err == nil {
			t.Errorf("split a row %q = %q", row.key, row.value)
		}
	}
	if err := s.Facts([]byte("x1"), nil, func(stream.Fact) {}); err == nil {
		t.Error("found facts in an unknown row")
	}
}
