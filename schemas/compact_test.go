package schemas

import (
	"bytes"
	"math"
	"reflect"
	"runtime"
	"testing"

	"pgregory.net/rapid"
)

// drawBytes draws an id, empty included.
func drawBytes(t *rapid.T, label string) []byte {
	b := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, label)
	if len(b) == 0 {
		return nil
	}
	return b
}

// drawEvent draws an event of any kind with any mix of parts.
func drawEvent(t *rapid.T) Event {
	known := rapid.OneOf(rapid.Just(int64(Unknown)), rapid.Int64())
	e := Event{
		Kind: Kind(rapid.Uint8Range(uint8(KindPlay), uint8(KindErase)).Draw(t, "kind")), Clamped: rapid.Bool().Draw(t, "clamped"),
		User: drawBytes(t, "user"), Song: drawBytes(t, "song"), Artist: drawBytes(t, "artist"), At: rapid.Int64().Draw(t, "at"),
		PlayedMs: known.Draw(t, "played"), DurationMs: known.Draw(t, "duration"), PositionMs: known.Draw(t, "position"),
		Device: Device(rapid.Byte().Draw(t, "device")), Source: Source(rapid.Byte().Draw(t, "source")),
		Slot: rapid.Int16().Draw(t, "slot"), Rating: rapid.Int8().Draw(t, "rating"),
	}
	copy(e.ID[:], rapid.SliceOfN(rapid.Byte(), 0, 16).Draw(t, "id"))
	copy(e.PlaylistID[:], rapid.SliceOfN(rapid.Byte(), 0, 16).Draw(t, "playlist"))
	copy(e.Region[:], rapid.SliceOfN(rapid.Byte(), 0, 2).Draw(t, "region"))
	for i := range rapid.IntRange(0, 3).Draw(t, "genres") {
		e.Genres = append(e.Genres, []byte{byte('a' + i)})
	}
	for range rapid.IntRange(0, 3).Draw(t, "artists") {
		e.Artists = append(e.Artists, []byte("artist"))
	}
	if rapid.Bool().Draw(t, "profile") {
		e.Profile = &Profile{
			Region: "DE", TimeZone: rapid.StringN(0, 10, 30).Draw(t, "zone"), AgeBand: "25-34", OptOut: rapid.Bool().Draw(t, "opt out"),
			Languages: rapid.SliceOfN(rapid.Just("de"), 1, 3).Draw(t, "languages"),
		}
		if rapid.Bool().Draw(t, "discovery told") {
			v := rapid.Float64Range(0, 1).Draw(t, "discovery")
			e.Profile.Discovery = &v
		}
	}
	return e
}

func TestEventBinaryRoundTrip(t *testing.T) {
	var got Event
	rapid.Check(t, func(t *rapid.T) {
		want := drawEvent(t)
		b := want.AppendBinary([]byte("before"))[len("before"):]
		if err := got.UnmarshalBinary(b); err != nil || !reflect.DeepEqual(normal(got), normal(want)) {
			t.Fatalf("%v\ngot  %+v\nwant %+v", err, got, want)
		}
		for cut := range b {
			if got.UnmarshalBinary(b[:cut]) == nil {
				t.Fatalf("the first %d of %d bytes decode", cut, len(b))
			}
		}
		if got.UnmarshalBinary(append(b, 0)) == nil {
			t.Fatal("a trailing byte is accepted")
		}
	})
}

func TestEventBinaryHoldsNoOriginalID(t *testing.T) {
	e := Event{Kind: KindProfile, User: []byte("pseudonym"), Profile: &Profile{User: "canary7391", Region: "DE"}}
	if b := e.AppendBinary(nil); bytes.Contains(b, []byte("canary7391")) {
		t.Error("the profile's original id is in the record")
	}
}

func TestEventBinaryRefuses(t *testing.T) {
	e := Event{Kind: KindPlay, Song: []byte("s")}
	good := e.AppendBinary(nil)
	for name, spoil := range map[string]func(b []byte) []byte{
		"version": func(b []byte) []byte { b[0]++; return b }, "kind 0": func(b []byte) []byte { b[1] = 0; return b },
		"kind above": func(b []byte) []byte { b[1] = byte(KindErase) + 1; return b }, "empty": func([]byte) []byte { return nil },
	} {
		if got := codeOf(t, new(Event).UnmarshalBinary(spoil(bytes.Clone(good)))); got != CodeCorrupt {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// exampleUpdate is a song update with every part.
func exampleUpdate() SongUpdate {
	u := SongUpdate{
		Kind: 's', ID: []byte("s-77120"), Partition: 31, Seq: 1 << 40, Count: 17, Vector: make([]float32, 64), Evidence: -0.25,
		Listens: []ListenBucket{
			{Region: [2]byte{'D', 'E'}, At: 1_795_414_200_000, First: 3, Unique: 5, Trusted: 4.5, Plays: 9, Skips: 2, Completions: 6, ShortPlays: 1, Likes: 1, NewAccounts: 2, TopPlays: 4},
			{Region: [2]byte{'F', 'R'}, At: 1_795_414_500_000, Plays: math.MaxUint32},
		},
	}
	u.Listeners, u.PairsAt, u.Pairs = 3, 1_795_414_350_000, examplePairs()
	for i := range u.Vector {
		u.Vector[i] = float32(i) / 7
	}
	return u
}

func examplePairs() []Pair {
	return []Pair{{Song: math.MaxUint64, Weight: 1.5}, {Song: 7, Weight: 1e9}}
}

// exampleRow is a factor row with every part.
func exampleRow() FactorRow {
	return FactorRow{
		Kind: 's', ID: []byte("s-77120"), Vector: exampleUpdate().Vector, Evidence: 0.5, FirstAt: -5, LastAt: 1_795_414_350_000,
		Plays: math.MaxUint64, Updates: 12, Popularity: Popularity{At: 1_795_414_350_000, Value1d: 1.5, Value7d: 9.25, Value28d: 30},
		Listeners: []RegionPopularity{{Region: [2]byte{'D', 'E'}, Value7d: 4, At: 7}, {Value7d: 1, At: 8}},
		Trend:     []TrendFlag{{Region: [2]byte{'D', 'E'}, Score: 6.5, StartedAt: 9, Quarantined: true}},
		Acks:      []Ack{{Partition: 0, Seq: 1 << 50}, {Partition: 31, Seq: -1}},
		State:     []byte("opaque"),
	}
}

// exampleTick is a tick with every part.
func exampleTick() Tick {
	return Tick{At: 1_795_414_350_000, Week: "2026-W48", Forced: true, Zone: "Europe/Berlin", AfterUser: "\xff\x00p", Chunk: 3}
}

func TestCompactRecordsRoundTrip(t *testing.T) {
	u, gotU := exampleUpdate(), SongUpdate{Listens: make([]ListenBucket, 9)}
	w, gotW := exampleUpdate(), exampleUpdate()
	w.Withdraws, w.CameAt = true, -7
	gotU.Withdraws, gotU.CameAt, gotU.Epoch, gotU.Base = true, 9, 5, 4 // of the record before
	f, gotF := exampleUpdate(), w
	f.Epoch, f.Base = math.MaxUint32, 3
	r, gotR := exampleRow(), FactorRow{Acks: make([]Ack, 9), Trend: make([]TrendFlag, 3), State: []byte("old"), Epoch: 9}
	m, gotM := exampleRow(), FactorRow{}
	m.Epoch = 7
	k, gotK := exampleTick(), Tick{AfterUser: "old"}
	n, gotN := Neighbours{At: -3, Listeners: 12.5, Pairs: examplePairs()}, Neighbours{Pairs: make([]Pair, 9)}
	for name, tt := range map[string]struct {
		b         []byte
		decode    func(b []byte) error
		got, want any
	}{
		"song update": {u.AppendBinary(nil), gotU.UnmarshalBinary, &gotU, &u},
		"withdrawal":  {w.AppendBinary(nil), gotW.UnmarshalBinary, &gotW, &w},
		"refit":       {f.AppendBinary(nil), gotF.UnmarshalBinary, &gotF, &f},
		"refit row":   {m.AppendBinary(nil), gotM.UnmarshalBinary, &gotM, &m},
		"factor row":  {r.AppendBinary(nil), gotR.UnmarshalBinary, &gotR, &r},
		"tick":        {k.AppendBinary(nil), gotK.UnmarshalBinary, &gotK, &k},
		"neighbours":  {n.AppendBinary(nil), gotN.UnmarshalBinary, &gotN, &n},
	} {
		if err := tt.decode(tt.b); err != nil || !reflect.DeepEqual(tt.got, tt.want) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", name, err, tt.got, tt.want)
		}
		for cut := range tt.b {
			if got := codeOf(t, tt.decode(tt.b[:cut])); got != CodeCorrupt {
				t.Errorf("%s: the first %d of %d bytes: %s", name, cut, len(tt.b), got)
			}
		}
		if got := codeOf(t, tt.decode(append(tt.b, 0))); got != CodeCorrupt {
			t.Errorf("%s: trailing byte: %s", name, got)
		}
	}
}

// TestSongUpdatesShareARecord: a record that ends between two updates holds fewer of them, every other cut is damage.
func TestSongUpdatesShareARecord(t *testing.T) {
	whole := exampleUpdate()
	small := SongUpdate{Kind: 'a', ID: []byte("artist"), Partition: 1, Seq: 2, Vector: []float32{1}}
	want := []SongUpdate{small, whole, small, {Kind: 'g', ID: []byte("genre")}}
	var b []byte
	ends := map[int]int{markBytes: 0} // offset to number of updates before it
	for i := range want {
		b = AppendSongUpdate(b, &want[i])
		ends[len(b)] = i + 1
	}
	got := SongUpdates{Updates: []SongUpdate{exampleUpdate(), exampleUpdate()}} // nothing of which may shine through
	for cut := range len(b) + 1 {
		n, between := ends[cut]
		err := got.UnmarshalBinary(b[:cut])
		if between && (err != nil || len(got.Updates) != n) {
			t.Fatalf("%d updates in %d bytes, %v; want %d", len(got.Updates), cut, err, n)
		}
		if !between && codeOf(t, err) != CodeCorrupt {
			t.Fatalf("the first %d of %d bytes: %v", cut, len(b), err)
		}
		for i := range n {
			if x, y := got.Updates[i].AppendBinary(nil), want[i].AppendBinary(nil); !bytes.Equal(x, y) {
				t.Fatalf("update %d: %+v, want %+v", i, got.Updates[i], want[i])
			}
		}
	}
}

// TestSongUpdatesAreMarked: the mark is set when the record is sent, and one without updates has one.
func TestSongUpdatesAreMarked(t *testing.T) {
	u := exampleUpdate()
	b := AppendSongUpdate(nil, &u)
	mark := SongMark{Partition: 7, At: 1_795_414_350_000}
	got := SongUpdates{Mark: mark}
	if err := got.UnmarshalBinary(b); err != nil || got.Mark != (SongMark{Partition: u.Partition}) || len(got.Updates) != 1 {
		t.Errorf("before it is sent: %+v of %d updates, %v", got.Mark, len(got.Updates), err)
	}
	if err := got.UnmarshalBinary(MarkSongUpdates(b, mark)); err != nil || got.Mark != mark || len(got.Updates) != 1 {
		t.Errorf("marked: %+v of %d updates, %v", got.Mark, len(got.Updates), err)
	}
	if err := got.UnmarshalBinary(MarkSongUpdates(nil, mark)); err != nil || got.Mark != mark || len(got.Updates) != 0 {
		t.Errorf("without updates: %+v of %d updates, %v", got.Mark, len(got.Updates), err)
	}
	for _, m := range []SongMark{{Partition: -1, At: 5}, {At: -1}} {
		if code := codeOf(t, got.UnmarshalBinary(MarkSongUpdates(nil, m))); code != CodeCorrupt {
			t.Errorf("%+v: %s", m, code)
		}
	}
}

func TestCompactRecordsRefuseNonFinite(t *testing.T) {
	for _, v := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
		u := exampleUpdate()
		u.Vector[63] = v
		if got := codeOf(t, new(SongUpdate).UnmarshalBinary(u.AppendBinary(nil))); got != CodeCorrupt {
			t.Errorf("vector with %v: %s", v, got)
		}
		r := exampleRow()
		r.Popularity.Value28d = float64(v)
		if got := codeOf(t, new(FactorRow).UnmarshalBinary(r.AppendBinary(nil))); got != CodeCorrupt {
			t.Errorf("popularity of %v: %s", v, got)
		}
	}
}

// A few bytes may not make the decoder reserve megabytes.
func TestCompactLengthsAreCheckedBeforeAllocating(t *testing.T) {
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range 64 {
		u, r := exampleUpdate(), exampleRow()
		b := u.AppendBinary(nil)
		spoiled := append(append(bytes.Clone(b[:i]), huge...), b[i:]...)
		if new(SongUpdate).UnmarshalBinary(spoiled) == nil && i > 0 && i < 10 {
			t.Errorf("update with a huge length at %d decodes", i)
		}
		b = r.AppendBinary(nil)
		_ = new(FactorRow).UnmarshalBinary(append(append(bytes.Clone(b[:i]), huge...), b[i:]...))
		_ = new(Event).UnmarshalBinary(append([]byte{1, 1, byte(i), 0}, huge...))
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
		t.Errorf("%d bytes allocated", n)
	}
}

func TestCompactAllocatesNothing(t *testing.T) {
	var e, gotE Event
	if err := newDecoder(t, DecoderConfig{}).Decode(&e, []byte(plainPlay), nil); err != nil {
		t.Fatal(err)
	}
	u, r := exampleUpdate(), exampleRow()
	var gotU SongUpdate
	var gotR FactorRow
	room := make([]byte, 0, 4096)
	for name, run := range map[string]func() error{
		"event":       func() error { return gotE.UnmarshalBinary(e.AppendBinary(room)) },
		"event JSON":  func() error { e.AppendJSON(room); return nil },
		"song update": func() error { return gotU.UnmarshalBinary(u.AppendBinary(room)) },
		"factor row":  func() error { return gotR.UnmarshalBinary(r.AppendBinary(room)) },
	} {
		if n := testing.AllocsPerRun(100, func() {
			if err := run(); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// recodes checks that what decodes encodes to bytes that decode to the same.
func recodes[T any](t *testing.T, b []byte, decode func(*T, []byte) error, encode func(*T) []byte) {
	t.Helper()
	var first, second T
	if codeOf(t, decode(&first, b)) != CodeNone {
		return
	}
	encoded := encode(&first)
	if err := decode(&second, encoded); err != nil || !reflect.DeepEqual(first, second) {
		t.Fatalf("%v\n%+v\n%+v", err, first, second)
	}
	if again := encode(&second); !bytes.Equal(encoded, again) {
		t.Fatalf("%x\n%x", encoded, again)
	}
}

func FuzzEventBinary(f *testing.F) {
	d := newDecoder(f, DecoderConfig{})
	for _, value := range files(f, "event/valid") {
		var e Event
		if err := d.Decode(&e, value, nil); err != nil {
			f.Fatal(err)
		}
		f.Add(e.AppendBinary(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		recodes(t, b, (*Event).UnmarshalBinary, func(e *Event) []byte { return e.AppendBinary(nil) })
	})
}

func FuzzSongUpdate(f *testing.F) {
	u := exampleUpdate()
	f.Add(u.AppendBinary(nil))
	u.Epoch, u.Base = 2, 1
	f.Add(u.AppendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		recodes(t, b, (*SongUpdate).UnmarshalBinary, func(u *SongUpdate) []byte { return u.AppendBinary(nil) })
	})
}

func FuzzSongUpdates(f *testing.F) {
	u := exampleUpdate()
	whole := AppendSongUpdate(AppendSongUpdate(nil, &SongUpdate{ID: []byte("x")}), &u)
	f.Add(whole)
	f.Add(MarkSongUpdates(nil, SongMark{Partition: 3, At: 1 << 41}))
	f.Fuzz(func(t *testing.T, b []byte) {
		recodes(t, b, (*SongUpdates).UnmarshalBinary, func(s *SongUpdates) []byte {
			again := MarkSongUpdates(nil, s.Mark)
			for i := range s.Updates {
				again = AppendSongUpdate(again, &s.Updates[i])
			}
			return again
		})
	})
}

func FuzzFactorRow(f *testing.F) {
	r := exampleRow()
	f.Add(r.AppendBinary(nil))
	r.Epoch = 3
	f.Add(r.AppendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		recodes(t, b, (*FactorRow).UnmarshalBinary, func(r *FactorRow) []byte { return r.AppendBinary(nil) })
	})
}

func FuzzTick(f *testing.F) {
	k := exampleTick()
	f.Add(k.AppendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		recodes(t, b, (*Tick).UnmarshalBinary, func(k *Tick) []byte { return k.AppendBinary(nil) })
	})
}

func BenchmarkAppendBinary(b *testing.B) {
	var e Event
	if err := newDecoder(b, DecoderConfig{}).Decode(&e, []byte(plainPlay), nil); err != nil {
		b.Fatal(err)
	}
	u, r := exampleUpdate(), exampleRow()
	room := make([]byte, 0, 4096)
	for _, bb := range []struct {
		name   string
		encode func() []byte
	}{
		{"record=event", func() []byte { return e.AppendBinary(room) }},
		{"record=update", func() []byte { return u.AppendBinary(room) }},
		{"record=row", func() []byte { return r.AppendBinary(room) }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n = len(bb.encode())
			}
			b.ReportMetric(float64(n), "B/record")
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	d := newDecoder(b, DecoderConfig{})
	var e Event
	if err := d.Decode(&e, []byte(plainPlay), nil); err != nil {
		b.Fatal(err)
	}
	u, r := exampleUpdate(), exampleRow()
	compact, update, row := e.AppendBinary(nil), u.AppendBinary(nil), r.AppendBinary(nil)
	binaryMode := []Header{
		{"ce_specversion", []byte("1.0")}, {"ce_id", []byte(exampleUUID)}, {"ce_source", []byte("/player")}, {"ce_type", []byte("play")},
	}
	structured := []byte(`{"specversion":"1.0","id":"` + exampleUUID + `","source":"/player","type":"play","data":` + plainPlay + `}`)
	structuredMode := []Header{{"content-type", []byte("application/cloudevents+json")}}
	plain := []byte(plainPlay)
	nested := []byte(plainPlay[:len(plainPlay)-1] + `,"context":{"app":"x"}}`)
	for _, bb := range []struct {
		name   string
		decode func() error
	}{
		{"format=json", func() error { return d.Decode(&e, plain, nil) }},
		{"format=json-nested", func() error { return d.Decode(&e, nested, nil) }},
		{"format=cloudevents-binary", func() error { return d.Decode(&e, plain, binaryMode) }},
		{"format=cloudevents-structured", func() error { return d.Decode(&e, structured, structuredMode) }},
		{"format=compact", func() error { return e.UnmarshalBinary(compact) }},
		{"format=update", func() error { return u.UnmarshalBinary(update) }},
		{"format=row", func() error { return r.UnmarshalBinary(row) }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := bb.decode(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
