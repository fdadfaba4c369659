package calendar_test

import (
	"errors"
	"testing"
	"time"
	_ "time/tzdata" // the zones must not depend on the machine that runs the tests

	"pgregory.net/rapid"

	"earworm/model/calendar"
)

func zone(tb testing.TB, name string) *time.Location {
	tb.Helper()
	loc, err := calendar.Zone(name)
	if err != nil {
		tb.Fatal(err)
	}
	return loc
}

func week(tb testing.TB, s string) calendar.Week {
	tb.Helper()
	w, err := calendar.ParseWeek(s)
	if err != nil {
		tb.Fatal(err)
	}
	return w
}

func TestWeekAtYearEdges(t *testing.T) {
	for _, row := range []struct{ at, week, monday, next string }{
		{"2020-12-28T00:00:00Z", "2020-W53", "2020-12-28", "2021-W01"},
		{"2021-01-03T23:59:59Z", "2020-W53", "2020-12-28", "2021-W01"},
		{"2021-01-04T00:00:00Z", "2021-W01", "2021-01-04", "2021-W02"},
		{"2027-01-03T12:00:00Z", "2026-W53", "2026-12-28", "2027-W01"},
		{"2026-01-01T00:00:00Z", "2026-W01", "2025-12-29", "2026-W02"},
		{"2025-12-28T23:00:00Z", "2025-W52", "2025-12-22", "2026-W01"},
		{"1970-01-01T00:00:00Z", "1970-W01", "1969-12-29", "1970-W02"},
		{"2010-01-03T00:00:00Z", "2009-W53", "2009-12-28", "2010-W01"},
		// The instant is Sunday in UTC and already Monday in Kathmandu (+05:45).
		{"2026-11-30T00:10:00+05:45", "2026-W49", "2026-11-30", "2026-W50"},
	} {
		at, err := time.Parse(time.RFC3339, row.at)
		if err != nil {
			t.Fatal(err)
		}
		w := calendar.WeekOf(at)
		if w.String() != row.week {
			t.Errorf("WeekOf(%s) = %s, want %s", row.at, w, row.week)
		}
		if got := w.Monday().Format(time.DateOnly); got != row.monday {
			t.Errorf("%s.Monday() = %s, want %s", w, got, row.monday)
		}
		if got := w.Next().String(); got != row.next {
			t.Errorf("%s.Next() = %s, want %s", w, got, row.next)
		}
		if w.Next().Previous() != w || !w.Before(w.Next()) || w.Next().Before(w) || w.Before(w) {
			t.Errorf("%s: Next, Previous and Before disagree", w)
		}
	}
}

func TestParseWeekRefuses(t *testing.T) {
	for _, s := range []string{
		"", "2026", "2026-48", "2026W48", "2026-W4", "2026-W00", "2026-W54", "2025-W53", "2026-w48", " 2026-W48",
		"2026-W48 ", "+026-W48", "2026-W+1", "0000-W01", "20265-W1", "2026-W4x", "２026-W48",
	} {
		if w, err := calendar.ParseWeek(s); !errors.Is(err, calendar.ErrWeek) {
			t.Errorf("ParseWeek(%q) = %v, %v; want ErrWeek", s, w, err)
		}
	}
	if (calendar.Week{}).Valid() {
		t.Error("the zero week is valid")
	}
}

func TestOrdinalIsConsecutiveAndInvertible(t *testing.T) {
	if got := week(t, "1970-W02").Ordinal(); got != 0 {
		t.Fatalf("ordinal of 1970-W02 = %d, want 0", got)
	}
	w := week(t, "0001-W01")
	for n := w.Ordinal(); w.Year < calendar.MaxYear; n++ {
		if w.Ordinal() != n || calendar.WeekFromOrdinal(n) != w {
			t.Fatalf("%s: ordinal %d, want %d, back %s", w, w.Ordinal(), n, calendar.WeekFromOrdinal(n))
		}
		w = w.Next()
	}
	if last := week(t, "9999-W52"); !last.Valid() || calendar.WeekFromOrdinal(last.Ordinal()) != last {
		t.Errorf("last week %s does not survive its ordinal", last)
	}
	rapid.Check(t, func(t *rapid.T) {
		w := calendar.WeekFromOrdinal(rapid.Int32Range(-100_000, 418_000).Draw(t, "ordinal"))
		back, err := calendar.ParseWeek(w.String())
		if err != nil || back != w {
			t.Fatalf("ParseWeek(%s) = %s, %v", w, back, err)
		}
	})
}

func TestDelivery(t *testing.T) {
	for _, row := range []struct {
		zone, week string
		hour       int
		want       string
	}{
		{"Europe/Berlin", "2026-W13", 6, "2026-03-23T06:00:00+01:00"}, // the Monday before summer time
		{"Europe/Berlin", "2026-W14", 6, "2026-03-30T06:00:00+02:00"}, // the morning after: 167 hours later
		{"Europe/Berlin", "2026-W44", 6, "2026-10-26T06:00:00+01:00"}, // the morning after summer time: 169 hours
		{"Europe/Berlin", "2026-W53", 6, "2026-12-28T06:00:00+01:00"},
		{"America/New_York", "2026-W11", 6, "2026-03-09T06:00:00-04:00"},
		{"America/New_York", "2026-W45", 6, "2026-11-02T06:00:00-05:00"},
		{"America/New_York", "2020-W53", 6, "2020-12-28T06:00:00-05:00"},
		{"Asia/Kathmandu", "2026-W48", 6, "2026-11-23T06:00:00+05:45"},
		{"Pacific/Apia", "2011-W52", 6, "2011-12-26T06:00:00-10:00"}, // the week whose Friday did not exist
		{"Pacific/Apia", "2012-W01", 6, "2012-01-02T06:00:00+14:00"},
		{"Australia/Lord_Howe", "2026-W15", 6, "2026-04-06T06:00:00+10:30"}, // half an hour of summer time
		{"Australia/Lord_Howe", "2026-W41", 6, "2026-10-05T06:00:00+11:00"},
		{"Asia/Tehran", "2021-W12", 0, "2021-03-22T01:00:00+04:30"},  // 00:00–01:00 on a Monday did not exist
		{"Asia/Amman", "2021-W01", 99, "2021-01-04T23:00:00+02:00"},  // absurd hours are clamped
		{"Asia/Amman", "2021-W01", -99, "2021-01-04T00:00:00+02:00"}, //
		{"UTC", "2026-W48", 6, "2026-11-23T06:00:00Z"},
		{"Etc/GMT+12", "2026-W48", 6, "2026-11-23T06:00:00-12:00"},
		{"Pacific/Kiritimati", "2026-W48", 6, "2026-11-23T06:00:00+14:00"},
	} {
		got := week(t, row.week).Delivery(zone(t, row.zone), row.hour).Format(time.RFC3339)
		if got != row.want {
			t.Errorf("%s %s %02d:00 = %s, want %s", row.zone, row.week, row.hour, got, row.want)
		}
	}
	if got := week(t, "2026-W48").Delivery(nil, 6); got.Location() != time.UTC {
		t.Errorf("nil location gave %s", got)
	}
	fixed := week(t, "2026-W48").Delivery(time.FixedZone("x", -3600), 6)
	if got := fixed.UTC().Format(time.RFC3339); got != "2026-11-23T07:00:00Z" {
		t.Errorf("fixed zone: %s", got)
	}
}

// naiveDelivery walks the clock minute by minute until the wall shows the wanted time or later.
func naiveDelivery(w calendar.Week, loc *time.Location, hour int) time.Time {
	wanted := w.Monday().Add(time.Duration(hour) * time.Hour)
	for at := wanted.Add(-16 * time.Hour); ; at = at.Add(time.Minute) {
		_, offset := at.In(loc).Zone()
		if wall := at.Add(time.Duration(offset) * time.Second); !wall.Before(wanted) {
			return at
		}
	}
}

func TestDeliveryEqualsNaiveWalk(t *testing.T) {
	names := []string{
		"Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Apia", "Australia/Lord_Howe", "Asia/Tehran",
		"Africa/Casablanca", "America/Sao_Paulo", "Asia/Gaza", "Africa/Cairo", "America/Havana", "America/St_Johns",
		"Antarctica/Troll", "Asia/Pyongyang", "America/Caracas",
	}
	zones := map[string]*time.Location{}
	for _, name := range names {
		zones[name] = zone(t, name)
	}
	rapid.Check(t, func(t *rapid.T) {
		// 1972 on: before, offsets have seconds and the minute walk would be the wrong twin.
		w := calendar.WeekFromOrdinal(rapid.Int32Range(110, 3600).Draw(t, "week"))
		loc := zones[rapid.SampledFrom(names).Draw(t, "zone")]
		hour := rapid.IntRange(0, 23).Draw(t, "hour")
		got, want := w.Delivery(loc, hour), naiveDelivery(w, loc, hour)
		if !got.Equal(want) {
			t.Fatalf("%s %s %02d:00 = %s, want %s", loc, w, hour, got, want.In(loc))
		}
		if !got.Before(w.Next().Delivery(loc, hour)) {
			t.Fatalf("%s %s: next week's delivery is not later", loc, w)
		}
	})
}

func TestEveryRegionHasALoadableZone(t *testing.T) {
	known := 0
	for a := byte('A'); a <= 'Z'; a++ {
		for b := byte('A'); b <= 'Z'; b++ {
			name := calendar.ZoneOfRegion(string([]byte{a, b}))
			if name == "" {
				continue
			}
			known++
			zone(t, name)
			if lower := calendar.ZoneOfRegion(string([]byte{a + 32, b + 32})); lower != name {
				t.Errorf("%c%c: lower case gives %q, upper %q", a, b, lower, name)
			}
		}
	}
	if known != 250 { // ISO 3166-1 has 249; and XK
		t.Errorf("%d regions known, want 250", known)
	}
	for region, want := range map[string]string{
		"DE": "Europe/Berlin", "US": "America/New_York", "NP": "Asia/Kathmandu", "WS": "Pacific/Apia",
		"IN": "Asia/Kolkata", "BR": "America/Sao_Paulo", "ZW": "Africa/Harare", "AD": "Europe/Andorra",
		"": "", "D": "", "DEU": "", "ZZ": "", "1A": "", "\xff\xff": "",
	} {
		if got := calendar.ZoneOfRegion(region); got != want {
			t.Errorf("ZoneOfRegion(%q) = %q, want %q", region, got, want)
		}
	}
}

func TestZoneRefusesMachineDependentNames(t *testing.T) {
	for _, name := range []string{"", "Local", "Mars/Olympus", "../etc/passwd", "europe"} {
		if _, err := calendar.Zone(name); !errors.Is(err, calendar.ErrZone) {
			t.Errorf("Zone(%q) = %v, want ErrZone", name, err)
		}
	}
}

func TestWeekSetEqualsMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var set calendar.WeekSet
		naive := map[calendar.Week]bool{}
		for _, ordinal := range rapid.SliceOf(rapid.Int32Range(2800, 3000)).Draw(t, "weeks") {
			w := calendar.WeekFromOrdinal(ordinal)
			if set.Add(w) == naive[w] {
				t.Fatalf("Add(%s) does not say whether it was absent", w)
			}
			naive[w] = true
		}
		encoded := set.AppendBinary(nil)
		var back calendar.WeekSet
		rest, err := back.UnmarshalBinary(append(encoded, "rest"...))
		if err != nil || string(rest) != "rest" {
			t.Fatalf("decoding: %q, %v", rest, err)
		}
		for _, s := range []*calendar.WeekSet{&set, &back} {
			if s.Len() != len(naive) {
				t.Fatalf("Len = %d, want %d", s.Len(), len(naive))
			}
			previous := calendar.Week{}
			for w := range s.All() {
				if !naive[w] || !previous.Before(w) {
					t.Fatalf("All yields %s after %s", w, previous)
				}
				previous = w
			}
			if last, ok := s.Last(); ok != (len(naive) > 0) || last != previous {
				t.Fatalf("Last = %s %t, want %s", last, ok, previous)
			}
			for ordinal := int32(2790); ordinal < 3010; ordinal++ {
				if w := calendar.WeekFromOrdinal(ordinal); s.Has(w) != naive[w] {
					t.Fatalf("Has(%s) = %t", w, s.Has(w))
				}
			}
		}
	})
}

func TestWeekSetIsCompactAndRefusesNonsense(t *testing.T) {
	var set calendar.WeekSet
	if set.Add(calendar.Week{}) || set.Add(calendar.Week{Year: 2025, Number: 53}) || set.Len() != 0 {
		t.Error("a week that does not exist was added")
	}
	w := week(t, "2026-W01")
	for range 104 {
		set.Add(w)
		w = w.Next()
	}
	if size := len(set.AppendBinary(nil)); size > 17 {
		t.Errorf("two years of weeks take %d bytes, want at most 17", size)
	}
	var wide calendar.WeekSet
	wide.Add(week(t, "9999-W52"))
	wide.Add(week(t, "0001-W01"))
	if size := len(wide.AppendBinary(nil)); wide.Len() != 2 || size > 66_000 {
		t.Errorf("the widest set: %d weeks in %d bytes", wide.Len(), size)
	}
	var back calendar.WeekSet
	if _, err := back.UnmarshalBinary(wide.AppendBinary(nil)); err != nil || back.Len() != 2 {
		t.Errorf("the widest set does not decode: %v", err)
	}
}

func FuzzWeekSetUnmarshal(f *testing.F) {
	var set calendar.WeekSet
	f.Add(set.AppendBinary(nil))
	set.Add(calendar.Week{Year: 2026, Number: 48})
	set.Add(calendar.Week{Year: 2026, Number: 53})
	f.Add(set.AppendBinary(nil))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0, 1})
	f.Add([]byte{2, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var s calendar.WeekSet
		rest, err := s.UnmarshalBinary(b)
		if err != nil {
			if !errors.Is(err, calendar.ErrWeekSet) || s.Len() != 0 {
				t.Fatalf("refused with %v, %d weeks left behind", err, s.Len())
			}
			return
		}
		var again calendar.WeekSet
		if _, err := again.UnmarshalBinary(s.AppendBinary(nil)); err != nil || again.Len() != s.Len() {
			t.Fatalf("does not survive a round trip: %v", err)
		}
		if len(rest) > len(b) {
			t.Fatal("more left than given")
		}
	})
}

func BenchmarkDelivery(b *testing.B) {
	loc := zone(b, "America/New_York")
	w := week(b, "2026-W48")
	b.ReportAllocs()
	for b.Loop() {
		_ = w.Delivery(loc, 6)
	}
}

func BenchmarkWeekSetHas(b *testing.B) {
	var set calendar.WeekSet
	w := week(b, "2026-W48")
	set.Add(w)
	b.ReportAllocs()
	for b.Loop() {
		_ = set.Has(w)
	}
}
