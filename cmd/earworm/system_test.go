package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"earworm/internal/broker"
	"earworm/internal/run"
	"earworm/schemas"
)

// system is a serve command with a broker, and the variables with which other commands reach both.
type system struct {
	tb       testing.TB
	environ  []string
	broker   *broker.Broker
	stateDir string
	log      *bytes.Buffer // of serve: to be read when it has ended
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // its address is all that is wanted
	return l.Addr().String()
}

func startSystem(t *testing.T, environ ...string) *system {
	t.Helper()
	b, err := broker.Start(t.Context(), broker.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s := &system{tb: t, broker: b, stateDir: t.TempDir(), log: &log}
	s.environ = []string{
		"EARWORM_KAFKA_BROKERS=" + b.Addrs()[0], "EARWORM_TOPICS_PARTITIONS=2", "EARWORM_STATE_DIR=" + s.stateDir,
		"EARWORM_STATE_LOW_DISK_BYTES=0", "EARWORM_COMMIT_INTERVAL=30ms", "EARWORM_LEARN_DIM=8", "EARWORM_INSTANCE=one",
		"EARWORM_HTTP_LISTEN=" + freeAddress(t), "EARWORM_HTTP_ADMIN_LISTEN=" + freeAddress(t),
		"EARWORM_HTTP_ADMIN_TOKEN=0123456789abcdef", "EARWORM_LOG_LEVEL=warn",
	}
	s.environ = append(s.environ, environ...)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() {
		ended <- execute(ctx, []string{"serve", "--clock=false"}, streams{in: strings.NewReader(""), out: io.Discard, err: &log}, s.environ)
	}()
	t.Cleanup(func() {
		cancel()
		if code := <-ended; code != 0 {
			t.Errorf("serve ended with %d: %s", code, log.String())
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	for deadline := time.After(30 * time.Second); ; {
		if code, _, _ := command(t, s.environ, "health"); code == 0 {
			return s
		}
		select {
		case <-deadline:
			t.Fatal("serve does not become ready")
		case code := <-ended:
			ended <- code
			t.Fatalf("serve ended with %d", code)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// ok runs a command that must succeed, and returns its output.
func (s *system) ok(args ...string) string {
	s.tb.Helper()
	code, out, problems := command(s.tb.(*testing.T), s.environ, args...)
	if code != 0 {
		s.tb.Fatalf("%v: code %d, %s", args, code, problems)
	}
	return out
}

// fails runs a command that must end with a code and say something of the problem, in one line.
func (s *system) fails(code int, problem string, args ...string) {
	s.tb.Helper()
	got, out, problems := command(s.tb.(*testing.T), s.environ, args...)
	if got != code || !strings.Contains(problems, problem) || out != "" {
		s.tb.Errorf("%v: code %d, out %q, err %q; want %d, %q", args, got, out, problems, code, problem)
	}
}

// listens writes a file of 8 listeners' three weeks from 2026-02-02 on, 12 songs a week each, with bad rows.
func listens(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "listens.csv.gz")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	packed := gzip.NewWriter(file)
	rows := csv.NewWriter(packed)
	write := func(row ...string) {
		if err := rows.Write(row); err != nil {
			t.Fatal(err)
		}
	}
	write("when", "who", "artist", "track")
	start := time.Date(2026, 2, 2, 12, 0, 0, 0, time.UTC)
	for week := range 3 {
		for u := range 8 {
			for n := range 12 {
				song := (u*29 + week*85 + n*7) % 240
				at := start.AddDate(0, 0, 7*week).Add(time.Duration(n*100+u) * time.Minute)
				write(strconv.FormatInt(at.Unix(), 10), fmt.Sprintf("listener %d", u), fmt.Sprintf("AC/DC %d", song/3), fmt.Sprintf("track %d", song))
			}
		}
	}
	write("never", "ann", "x", "y")
	write("1770000000", "", "x", "y")
	rows.Flush()
	if err := errors.Join(rows.Error(), packed.Close(), file.Close()); err != nil {
		t.Fatal(err)
	}
	return name
}

const mapping = "timestamp=when,user=who,item=artist+track,title=track,artist=artist"

// TestCommandsAgainstARunningSystem goes through the commands as an operator would.
func TestCommandsAgainstARunningSystem(t *testing.T) {
	t.Parallel()
	s := startSystem(t)
	file := listens(t)
	if out := s.ok("trends"); out != "no trends\n" {
		t.Errorf("trends: %q", out)
	}
	s.fails(run.CodeUsage, "no playlist for this listener", "playlist", "listener 1")
	if out := s.ok("playlists", "export"); out != "freeze,user,rank,item\n" {
		t.Errorf("export of nothing: %q", out)
	}
	code, _, told := command(t, s.environ, "import", "csv", file, "--columns", mapping, "--weekly")
	if code != 0 || !strings.Contains(told, "2 rows cannot be used; the first: line 290: timestamp is \"never\"") ||
		!strings.Contains(told, "importing: 288 events in ") {
		t.Fatalf("import: code %d, %s", code, told)
	}
	exported(t, s)
	shown(t, s)

	// Once more changes nothing.
	before := s.ok("inspect", "listener", "listener 3")
	s.ok("import", "csv", file, "--columns", mapping)
	if after := s.ok("inspect", "listener", "listener 3"); after != before || !strings.Contains(after, `"events": 36,`) {
		t.Errorf("after the second import\n%s\nbefore\n%s", after, before)
	}
	if out := s.ok("inspect", "song", "AC/DC 0 – track 0"); !strings.Contains(out, `"plays":`) {
		t.Errorf("a song: %s", out)
	}
	s.fails(run.CodeUsage, "nothing is known", "inspect", "song", "no/such")

	s.ok("emit", "--week", "2026-W30")
	lines := strings.Split(strings.TrimSpace(waitFor(s, "2026-07-20,listener 7,30,", "playlists", "export")), "\n")
	if want := 1 + 8*30*4; len(lines) != want {
		t.Errorf("%d lines after a forced week, want %d", len(lines), want)
	}
	s.fails(run.CodeUsage, "not an ISO week", "emit", "--week", "2026-W99")
	if out := s.ok("verify"); !strings.HasSuffix(out, "0 lost, 0 duplicated, 0 wrong of 288\n") {
		t.Errorf("verify: %s", out)
	}
}

// waitFor runs a command until its output holds a text: emit only asks.
func waitFor(s *system, text string, args ...string) string {
	s.tb.Helper()
	for deadline := time.After(20 * time.Second); ; {
		_, out, problems := command(s.tb.(*testing.T), s.environ, args...)
		if strings.Contains(out, text) {
			return out
		}
		select {
		case <-deadline:
			s.tb.Fatalf("%v: no %q in\n%s%s", args, text, out, problems)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// exported checks both formats of the export.
func exported(t *testing.T, s *system) {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(s.ok("playlists", "export"))).ReadAll()
	if err != nil || len(rows) != 1+8*30*3 || !slices.Equal(rows[0], []string{"freeze", "user", "rank", "item"}) {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	seen := map[string]bool{}
	for n, row := range rows[1:] {
		week, u, rank := n/240, n/30%8, n%30+1
		want := []string{[]string{"2026-02-09", "2026-02-16", "2026-02-23"}[week], fmt.Sprintf("listener %d", u), strconv.Itoa(rank)}
		if !slices.Equal(row[:3], want) || !strings.HasPrefix(row[3], "AC/DC ") || seen[strings.Join(row, "|")] {
			t.Fatalf("row %d is %q, want %q", n, row, want)
		}
		seen[strings.Join(row, "|")] = true
	}
	lines := strings.Split(strings.TrimSpace(s.ok("playlists", "export", "--format", "ndjson")), "\n")
	if len(lines) != len(rows)-1 {
		t.Fatalf("%d lines", len(lines))
	}
	for n, line := range lines {
		var track exportedTrack
		if err := json.Unmarshal([]byte(line), &track); err != nil {
			t.Fatal(err)
		}
		row := rows[n+1]
		if track.Freeze != row[0] || track.User != row[1] || strconv.Itoa(track.Rank) != row[2] || track.Item != row[3] ||
			track.Slot == "" || track.Reason == "" {
			t.Fatalf("line %d is %s, row %q", n, line, row)
		}
	}
	s.fails(run.CodeUsage, `--format is "xml"`, "playlists", "export", "--format", "xml")
}

// shown checks what playlist prints.
func shown(t *testing.T, s *system) {
	t.Helper()
	text := s.ok("playlist", "listener 1")
	if !strings.HasPrefix(text, "Week 2026-W09, 30 tracks\n") || strings.Count(text, "\n") != 33 || !strings.Contains(text, "AC/DC") {
		t.Errorf("playlist:\n%s", text)
	}
	var list schemas.Playlist
	if err := json.Unmarshal([]byte(s.ok("playlist", "listener 1", "--json", "--week", "2026-W07")), &list); err != nil {
		t.Fatal(err)
	}
	if list.Week != "2026-W07" || list.User != "listener 1" || len(list.Tracks) != 30 || list.ID != schemas.PlaylistID("listener 1", "2026-W07") {
		t.Errorf("%+v", list)
	}
	s.fails(run.CodeUsage, "no playlist", "playlist", "listener 1", "--week", "2026-W40")
}

// TestProduce sends lines from standard input, good and bad.
func TestProduce(t *testing.T) {
	t.Parallel()
	s := startSystem(t)
	var in strings.Builder
	for n := range 50 {
		fmt.Fprintf(&in, `{"event_id":%q,"type":"play","user_id":"ann","song_id":"s%d","at":%d}`+"\n\n", uuid.NewString(), n%10, 1_772_618_340+60*n)
	}
	in.WriteString("no JSON\n" + `{"type":"play","user_id":"ann","song_id":"s1","at":0}` + "\n")
	var out, problems bytes.Buffer
	code := execute(t.Context(), []string{"produce"}, streams{in: strings.NewReader(in.String()), out: &out, err: &problems}, s.environ)
	if code != 0 || !strings.Contains(problems.String(), "producing: 52 events in ") {
		t.Fatalf("code %d: %s", code, problems.String())
	}
	for deadline := time.After(20 * time.Second); ; {
		if _, out, _ := command(t, s.environ, "inspect", "listener", "ann"); strings.Contains(out, `"events": 50,`) {
			break
		}
		select {
		case <-deadline:
			t.Fatal("the events do not arrive")
		case <-time.After(20 * time.Millisecond):
		}
	}
	s.fails(run.CodeIO, "no such file", "produce", "/no/such/file")
	broken := filepath.Join(t.TempDir(), "broken.gz")
	if err := os.WriteFile(broken, []byte("not packed"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.fails(run.CodeIO, "unpacking", "produce", broken)
	s.fails(run.CodeIO, "unpacking", "import", "csv", broken)
	for _, size := range []int{1_000_000, 3_000_000} { // more than brokers take, more than is read at once
		long := filepath.Join(t.TempDir(), "long.ndjson")
		if err := os.WriteFile(long, []byte("{}\n\n"+strings.Repeat("x", size)+"\n{}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		s.fails(run.CodeUsage, "line 3 is longer than 921600 bytes: it and what follows was not sent", "produce", long)
	}
}

// TestMistakesOfImport end before anything is sent, so they need no brokers.
func TestMistakesOfImport(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "a.csv")
	if err := os.WriteFile(file, []byte("a,b\n1,2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for problem, args := range map[string][]string{
		`no field "usr"`:           {"import", "csv", file, "--columns", "usr=a"},
		`no column "item"`:         {"import", "csv", file},
		"missing argument FILE":    {"import", "csv"},
		"missing argument USER":    {"playlist"},
		"set http.admin_listen":    {"inspect", "listener", "ann"},
		"not an ISO week":          {"emit"},
		`unexpected argument "x"`:  {"trends", "x"},
		"no column is mapped to u": {"import", "csv", file, "--columns", "timestamp=a,item=b"},
	} {
		code, _, problems := command(t, nil, args...)
		if code != run.CodeUsage || !strings.Contains(problems, problem) || strings.Count(problems, "\n") != 1 {
			t.Errorf("%v: code %d, %q, want %q", args, code, problems, problem)
		}
	}
}

// TestPrintedTables are what people see, to the letter.
func TestPrintedTables(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	list := &schemas.Playlist{Week: "2026-W10", Status: schemas.PlaylistReady, Tracks: []schemas.Track{
		{Rank: 1, Song: "s1", Title: "SOS", Artist: "Abba", Slot: "taste", Reason: "similar_to_seeds", Seeds: []schemas.SongID{"s8", "s9"}},
		{Rank: 2, Song: "s2", Slot: "explore", Reason: "hardly_heard_yet"},
		{Rank: 3, Song: "s3", Title: "Wave", Artist: "Sea", Slot: "trend", Reason: "trending"},
		{Rank: 4, Song: "s4", Title: "X", Artist: "Y", Slot: "artist", Reason: "artist_you_play", Seeds: []schemas.SongID{"s9"}},
		{Rank: 5, Song: "s5", Title: "X", Artist: "Y", Slot: "popular", Reason: "something_new"},
	}}
	if err := printPlaylist(&out, list, map[schemas.SongID]string{"s8": "Eight"}); err != nil {
		t.Fatal(err)
	}
	none := &schemas.Playlist{Week: "2026-W11", Status: schemas.PlaylistNone, Reason: "inactive"}
	if err := printPlaylist(&out, none, nil); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 4, 9, 59, 0, 0, time.UTC).UnixMilli()
	trends := []schemas.Trend{
		{Song: "s1", Status: schemas.TrendStarted, At: at, StartedAt: at, Score: 5.25, Ratio: 3.5, Listeners: 120},
		{Song: "s2", Region: "DE", Status: schemas.TrendQuarantined, At: at, StartedAt: at, Score: 9, Ratio: 30, Listeners: 7, Reason: "new_accounts"},
	}
	if err := errors.Join(printTrends(&out, trends, map[schemas.SongID]string{"s1": "SOS – Abba", "s2": "s2"}), printTrends(&out, nil, nil)); err != nil {
		t.Fatal(err)
	}
	var trimmed []string
	for line := range strings.SplitSeq(out.String(), "\n") {
		trimmed = append(trimmed, strings.TrimRight(line, " "))
	}
	want, err := os.ReadFile(filepath.Join("testdata", "tables.golden"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(trimmed, "\n"); got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
