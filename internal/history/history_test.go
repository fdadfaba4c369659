package history_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"earworm/internal/history"
	"earworm/schemas"
)

func read(t *testing.T, text string, minRating float64, pairs ...string) *history.History {
	t.Helper()
	columns, err := history.ParseColumns(pairs)
	if err != nil {
		t.Fatal(err)
	}
	h, err := history.Read(strings.NewReader(text), history.Options{Columns: columns, MinRating: minRating})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// lines tells the events as text.
func lines(h *history.History) []string {
	var out []string
	for _, e := range h.Events {
		out = append(out, fmt.Sprintf("%s %s %s %s %d", time.UnixMilli(e.At).UTC().Format("0102T150405.000"), e.Kind, e.User, e.Song, e.PlayedMs))
	}
	return out
}

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func bad(h *history.History) []string {
	var out []string
	for _, b := range h.Bad {
		out = append(out, b.Error())
	}
	return out
}

func TestTimesInEverySpelling(t *testing.T) {
	t.Parallel()
	h := read(t, `timestamp,user,item
1772618340,ann,seconds
1772618341.5,ann,fraction
1772618342000,ann,millis
2026-03-04T09:59:03Z,ann,rfc
2026-03-04T11:59:04.25+02:00,ann,offset
2026-03-04 09:59:05,ann,space
2026-03-04T09:59:06,ann,no zone
 2026-03-05 ,ann,date
`, 0)
	expect(t, "events", lines(h),
		"0304T095900.000 play ann seconds -1", "0304T095901.500 play ann fraction -1", "0304T095902.000 play ann millis -1",
		"0304T095903.000 play ann rfc -1", "0304T095904.250 play ann offset -1", "0304T095905.000 play ann space -1",
		"0304T095906.000 play ann no zone -1", "0305T000000.000 play ann date -1")
	expect(t, "bad rows", bad(h))
}

func TestBadRowsKeepTheirLine(t *testing.T) {
	t.Parallel()
	h := read(t, `timestamp,user,item,ms_played,rating
yesterday,ann,s,,
0,ann,s,,
NaN,ann,s,,
1e300,ann,s,,
4102444800,ann,s,,
1772618340,,s,,
1772618340,ann,,,
1772618340,ann
"1772618340","ann","two
lines",1,
1772618340,ann,s,-1,
1772618340,ann,s,long,
1772618340,ann,s,99999999999,
1772618340,ann,s,,good
bare"quote,ann,s,,
1772618340,an"n,s,,
1772618340,ann,s,,Inf
1772618341,ann,last,7,5
1772618340,`+strings.Repeat("u", 257)+`,s,,
`, 3)
	expect(t, "events", lines(h), "0304T095900.000 play ann two\nlines 1", "0304T095901.000 play ann last 7")
	expect(t, "bad rows", bad(h),
		`line 2: timestamp is "yesterday", want Unix time or RFC 3339`,
		"line 3: timestamp lies outside of the years 2000 to 2099",
		"line 4: timestamp lies outside of the years 2000 to 2099",
		"line 5: timestamp lies outside of the years 2000 to 2099",
		"line 6: timestamp lies outside of the years 2000 to 2099",
		"line 7: user or item is empty",
		"line 8: user or item is empty",
		"line 9: user or item is empty",
		`line 12: ms_played is "-1", want milliseconds`,
		`line 13: ms_played is "long", want milliseconds`,
		`line 14: ms_played is "99999999999", want milliseconds`,
		`line 15: rating is "good", want a number`,
		`line 16: bare " in non-quoted-field`,
		`line 17: bare " in non-quoted-field`,
		`line 18: rating is "Inf", want a number`,
		"line 20: user has more than 256 bytes",
	)
	var row history.BadRow
	if !errors.As(error(h.Bad[0]), &row) || row.Line != 2 {
		t.Error("a bad row is no error")
	}
}

func TestSameFileSameEvents(t *testing.T) {
	t.Parallel()
	text := "user,item,timestamp,ms_played\nann,s1,1772618340,1\nann,s1,1772618341,1\nann,s2,1772618340,1\nbob,s1,1772618340,1\n"
	first, second := read(t, text, 0), read(t, strings.ReplaceAll(text, "1772618340", "2026-03-04T09:59:00Z"), 0)
	ids := map[schemas.EventID]bool{}
	for i, e := range first.Events {
		if ids[e.ID] || e.ID.IsZero() {
			t.Errorf("row %d has no id of its own", i)
		}
		ids[e.ID] = true
		if second.Events[i].ID != e.ID {
			t.Errorf("row %d gets another id when the time is spelled otherwise", i)
		}
	}
	if len(ids) != 4 || first.Events[0].ID.String() != "d7122c69-f724-5c01-b128-e4d67d196003" {
		t.Errorf("%d ids; the first is %s: files that were imported would be imported twice", len(ids), first.Events[0].ID)
	}
}

func TestOrderOfTime(t *testing.T) {
	t.Parallel()
	h := read(t, "user,item,timestamp\nann,c,1772618342\nann,a,1772618340\nbob,a2,1772618340\nann,b,1772618341\n", 0)
	expect(t, "events", lines(h), "0304T095900.000 play ann a -1", "0304T095900.000 play bob a2 -1",
		"0304T095901.000 play ann b -1", "0304T095902.000 play ann c -1")
}

func TestColumns(t *testing.T) {
	t.Parallel()
	h := read(t, "when,who,artist,track,cc,len,tags\n1772618340,ann,Abba,SOS,se,201000,pop|disco; 70s |\n1772618341,ann,Abba,Waterloo,,,\n", 0,
		"timestamp=when", "user=who", "item=artist+track", "title=track", "artist=artist", "region=cc", "duration_ms=len", "genres=tags")
	expect(t, "events", lines(h), "0304T095900.000 play ann Abba – SOS -1", "0304T095901.000 play ann Abba – Waterloo -1")
	if e := h.Events[0]; e.Region != [2]byte{'S', 'E'} || e.DurationMs != 201_000 || h.Events[1].DurationMs != schemas.Unknown {
		t.Errorf("%+v", e)
	}
	songs := h.Catalogue()
	sos := songs["Abba – SOS"]
	if len(songs) != 2 || fmt.Sprintf("%s|%s|%s|%q", sos.ID, sos.Title, sos.Artist, sos.Genres) != `Abba – SOS|SOS|Abba|["pop" "disco" "70s"]` {
		t.Errorf("%+v", songs)
	}
	for _, s := range songs {
		if _, err := s.AppendJSON(nil); err != nil {
			t.Error(err)
		}
	}
	for _, test := range []struct{ pairs, want string }{
		{"user", "not of the form"},
		{"user=", "not of the form"},
		{"usr=x", `no field "usr"`},
		{"user=a user=b", "mapped to"},
		{"user=a item=b", "no column is mapped to timestamp"},
	} {
		if _, err := history.ParseColumns(strings.Fields(test.pairs)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.pairs, err, test.want)
		}
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	columns, err := history.ParseColumns(nil)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"":                     "reading the header",
		"user,item\nann,s\n":   `no column "timestamp" for timestamp; it has user, item`,
		"\"user,item\nann,s\n": "reading the header",
	} {
		if _, err := history.Read(strings.NewReader(text), history.Options{Columns: columns}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	broken := io.MultiReader(strings.NewReader("user,item,timestamp\nann,s,1\n"), iotest.ErrReader(iotest.ErrTimeout))
	if _, err := history.Read(broken, history.Options{Columns: columns}); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("a reader that fails: %v", err)
	}
}

// TestByteOrderMark: spreadsheets write one in front of the header.
func TestByteOrderMark(t *testing.T) {
	t.Parallel()
	h := read(t, "\ufefftimestamp,user,item\r\n1772618340,ann,s\r\n", 0)
	expect(t, "events", lines(h), "0304T095900.000 play ann s -1")
	if err := h.Describe(strings.NewReader("\ufeffitem,title\ns,T\n")); err != nil || h.Catalogue()["s"].Title != "T" {
		t.Errorf("%v, %+v", err, h.Catalogue())
	}
}

func TestRatings(t *testing.T) {
	t.Parallel()
	text := "timestamp,user,item,rating,ms_played\n1772618340,ann,bad,2.9,5000\n1772618341,ann,good,3,5000\n1772618342,ann,none,,5000\n"
	h := read(t, text, 3)
	expect(t, "with a bound", lines(h), "0304T095900.000 skip ann bad 0", "0304T095901.000 play ann good 5000", "0304T095902.000 play ann none 5000")
	if h.Events[0].PositionMs != 0 {
		t.Errorf("skipped at %d", h.Events[0].PositionMs)
	}
	expect(t, "without", lines(read(t, text, 0)),
		"0304T095900.000 play ann bad 5000", "0304T095901.000 play ann good 5000", "0304T095902.000 play ann none 5000")
}

// TestHugeIDs: what is too long for the wire is shortened, so that the system accepts it, and two of them stay two.
func TestHugeIDs(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", 200)
	h := read(t, "timestamp,user,item\n1772618340,ann,"+long+"1\n1772618341,ann,"+long+"2\n1772618342,ann,"+long+"1\n1772618343,ann,a\xffb\n", 0)
	if len(h.Bad) != 0 || len(h.Events) != 4 {
		t.Fatalf("%v", h.Bad)
	}
	if a, b := string(h.Events[0].Song), string(h.Events[1].Song); a == b || a != string(h.Events[2].Song) || !strings.HasPrefix(a, "ääää") {
		t.Errorf("two long items become %q and %q", a, b)
	}
	decoder, err := schemas.NewDecoder(schemas.DecoderConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range h.Events {
		var got schemas.Event
		if err := decoder.Decode(&got, e.AppendJSON(nil), nil); err != nil || string(got.Song) != string(e.Song) {
			t.Errorf("%q does not pass the decoder: %v", e.Song, err)
		}
	}
	for _, s := range h.Catalogue() {
		if _, err := s.AppendJSON(nil); err != nil {
			t.Error(err)
		}
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	h := read(t, "timestamp,user,item,title,artist\n1772618340,ann,s1,Old,Who\n1772618341,ann,s2,Two,\n1772618342,ann,s1,Later,\n", 0)
	err := h.Describe(strings.NewReader("genres,item,title,language,artist,album\nrock|pop,s1,New,en,,LP\n,s2,,,Artist,\njazz,unknown,X,,,\nx,s\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	songs := h.Catalogue()
	for _, id := range []string{"s1", "s2"} {
		s := songs[id]
		got = append(got, fmt.Sprintf("%s|%s|%s|%s|%s|%q", s.ID, s.Title, s.Artist, s.Album, s.Language, s.Genres))
	}
	expect(t, "songs", got, `s1|New|Who|LP|en|["rock" "pop"]`, `s2|Two|Artist||`+`|[]`)
	if err := h.Describe(strings.NewReader("title\nx\n")); err == nil || !strings.Contains(err.Error(), "no column item") {
		t.Errorf("without items: %v", err)
	}
	if err := h.Describe(strings.NewReader("item\na\"b\n")); err == nil {
		t.Error("a broken file is accepted")
	}
}

// TestObjects: NDJSON gives what CSV gives, ids included.
func TestObjects(t *testing.T) {
	t.Parallel()
	columns := []string{"timestamp=when", "user=who", "item=artist+track", "artist=artist", "genres=tags", "rating=stars"}
	table := read(t, "when,who,artist,track,tags,stars\n1772618340,12345678901234567890,Abba,SOS,pop|disco,4\n1772618341,ann,Abba,Waterloo,,1\n", 3, columns...)
	objects := read(t, `{"when":1772618340,"who":12345678901234567890,"artist":"Abba","track":"SOS","tags":["pop","disco"],"stars":4}

{"when":"1772618341","who":"ann","artist":"Abba","track":"Waterloo","tags":null,"stars":1,"other":{"x":1}}
{"when":1772618342,"artist":"Abba","track":"nobody's"}
{"when":1772618343,
[]`, 3, columns...)
	expect(t, "events", lines(objects), lines(table)...)
	for i := range table.Events {
		if table.Events[i].ID != objects.Events[i].ID {
			t.Errorf("event %d has another id", i)
		}
	}
	if a, b := fmt.Sprint(table.Catalogue()), fmt.Sprint(objects.Catalogue()); a != b || !strings.Contains(a, "disco") {
		t.Errorf("%s\nwant\n%s", b, a)
	}
	if problems := bad(objects); len(problems) != 3 || problems[0] != "line 4: user or item is empty" || !strings.HasPrefix(problems[1], "line 5: decoding") {
		t.Errorf("%q", problems)
	}
	broken := io.MultiReader(strings.NewReader("{\"user\":1}\n"), iotest.ErrReader(iotest.ErrTimeout))
	if _, err := history.Read(broken, history.Options{Columns: history.Columns{}}); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("a reader that fails: %v", err)
	}
}
