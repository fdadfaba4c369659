package service_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"earworm/consumers/feed"
	"earworm/consumers/listener"
	"earworm/consumers/stream"
	"earworm/internal/broker"
	"earworm/internal/config"
	"earworm/internal/obs"
	"earworm/internal/run"
	"earworm/internal/service"
	"earworm/schemas"
	"earworm/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// monday is the delivery of week 10 in UTC.
func monday() time.Time { return time.Date(2026, 3, 2, 6, 0, 0, 0, time.UTC) }

// safeBuffer is a log that a test reads while it is written.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func startBroker(t *testing.T, port int) *broker.Broker {
	t.Helper()
	b, err := broker.Start(t.Context(), broker.Config{Port: port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// freePort returns a port that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // its port is all that is wanted
	return l.Addr().(*net.TCPAddr).Port
}

func settings(dir string, addrs ...string) config.Config {
	cfg := config.Default()
	cfg.Instance = "test"
	cfg.Kafka.Brokers = addrs
	cfg.Topics.Partitions = 2
	cfg.State.Dir, cfg.State.LowDiskBytes = dir, 0
	cfg.HTTP.Listen = ""
	cfg.CommitInterval = 30 * time.Millisecond
	cfg.Learn.Dim = 8
	return cfg
}

// process is a running service.
type process struct {
	tb     testing.TB
	svc    *service.Service
	client *feed.Client
	log    *safeBuffer
	reg    *prometheus.Registry
	cancel context.CancelFunc
	done   chan error
}

func start(t *testing.T, cfg config.Config, memory state.FS) *process {
	t.Helper()
	p := &process{tb: t, log: &safeBuffer{}, reg: prometheus.NewPedanticRegistry(), done: make(chan error, 1)}
	var err error
	p.svc, err = service.New(cfg, service.Deps{
		Logger: slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: slog.LevelWarn})), Registry: p.reg,
		Build: obs.Build{}, Now: time.Now, FS: memory,
	})
	if err != nil {
		t.Fatal(err)
	}
	if p.client, err = p.svc.Feed(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go func() { p.done <- p.svc.Run(ctx) }()
	return p
}

// stop ends the process as a signal would.
func (p *process) stop() {
	p.tb.Helper()
	p.cancel()
	if err := <-p.done; err != nil {
		p.tb.Errorf("ended with %v", err)
	}
	p.client.Close()
}

// failed waits until the process ends by itself and returns why.
func (p *process) failed() error {
	p.tb.Helper()
	defer p.cancel()
	defer p.client.Close()
	select {
	case err := <-p.done:
		return err
	case <-time.After(30 * time.Second):
		p.tb.Fatalf("still running; log:\n%s", p.log)
		return nil
	}
}

// ready waits until the process says that it is.
func (p *process) ready() {
	p.tb.Helper()
	for deadline := time.After(30 * time.Second); ; {
		ok, reasons := p.svc.Health().Ready()
		if ok {
			return
		}
		select {
		case <-deadline:
			p.tb.Fatalf("not ready: %v; log:\n%s", reasons, p.log)
		case err := <-p.done:
			p.tb.Fatalf("ended with %v; log:\n%s", err, p.log)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// bounded is a context that ends before the test's patience does.
func (p *process) bounded() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	p.tb.Cleanup(cancel)
	return ctx
}

func (p *process) drain() {
	p.tb.Helper()
	if err := p.client.Drain(p.bounded()); err != nil {
		p.tb.Fatalf("%v; log:\n%s", err, p.log)
	}
}

// songs sends a catalogue and events sends listens: 20 songs each of 12 listeners, and copies of all of them.
func (p *process) songs(n int) {
	p.tb.Helper()
	for i := range n {
		err := p.client.Song(p.bounded(), schemas.Song{
			ID: schemas.SongID(fmt.Sprintf("s%03d", i)), Title: fmt.Sprintf("title %d", i), Artist: fmt.Sprintf("artist %d", i/2),
		})
		if err != nil {
			p.tb.Fatal(err)
		}
	}
}

func user(n int) string { return fmt.Sprintf("user%02d", n) }

func (p *process) events(users, songs, copies int, at time.Time) {
	p.tb.Helper()
	for range copies {
		for u := range users {
			for s := range songs {
				value := fmt.Appendf(nil, `{"event_id":"%08x-0000-4000-8000-%012x","type":"play","user_id":"%s","song_id":"s%03d","at":%d,"ms_played":200000,"duration_ms":200000,"region":"DE"}`,
					at.Unix(), u*1000+s, user(u), (u*7+s*3)%200, at.Add(time.Duration(s)*time.Minute).UnixMilli())
				p.client.Event(p.bounded(), []byte(user(u)), value)
			}
		}
	}
}

// lists reads all playlists by listener and week; a withdrawn one is nil under its listener.
func (p *process) lists() map[string]*schemas.Playlist {
	p.tb.Helper()
	out := map[string]*schemas.Playlist{}
	err := p.client.Playlists(p.bounded(), func(user string, list *schemas.Playlist) error {
		if list == nil {
			out[user] = nil
			return nil
		}
		key := user + " " + list.Week
		if out[key] != nil {
			return fmt.Errorf("%s has two playlists", key)
		}
		out[key] = list
		return nil
	})
	if err != nil {
		p.tb.Fatal(err)
	}
	return out
}

// sums adds the counts of the inputs of each role by topic.
func (p *process) sums() map[string]stream.Counts {
	out := map[string]stream.Counts{}
	for role, inputs := range p.svc.Accounting() {
		for from, c := range inputs {
			if !c.Balanced() {
				p.tb.Errorf("%s, %v: %+v is not balanced", role, from, c)
			}
			out[from.Topic] = out[from.Topic].Add(c)
		}
	}
	return out
}

func get(t *testing.T, address, path, token string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // only read from
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// TestEventsBecomePlaylists goes all the way, and holds the accounting of each stage against that of the one before.
func TestEventsBecomePlaylists(t *testing.T) {
	t.Parallel()
	b := startBroker(t, 0)
	cfg := settings("state", b.Addrs()...)
	cfg.HTTP.Listen, cfg.HTTP.AdminListen = "127.0.0.1:0", fmt.Sprintf("127.0.0.1:%d", freePort(t))
	p := start(t, cfg, state.MemoryFS())
	defer p.stop()
	p.ready()
	p.songs(200)
	p.drain()
	p.events(12, 20, 2, monday().Add(-30*time.Hour))
	for _, bad := range []string{"", "no JSON", `{"type":"play"}`, `{"type":"play","user_id":"u","song_id":"s","at":0}`} {
		p.client.Event(t.Context(), []byte("u"), []byte(bad))
	}
	if err := p.client.Profile(t.Context(), schemas.Profile{User: "user03", TimeZone: "America/New_York"}); err != nil {
		t.Fatal(err)
	}
	p.drain()
	tick := func(at time.Time) {
		t.Helper()
		if err := p.client.Tick(p.bounded(), schemas.Tick{At: at.UnixMilli()}); err != nil {
			t.Fatal(err)
		}
		p.drain()
	}
	tick(monday()) // 06:00 in Berlin was an hour ago
	lists := p.lists()
	if len(lists) != 11 || lists["user03 2026-W10"] != nil {
		t.Errorf("%d playlists, want one for all but the one in New York", len(lists))
	}
	tick(monday().Add(5 * time.Hour))
	tick(monday().Add(5 * time.Hour))
	if lists = p.lists(); len(lists) != 12 {
		t.Errorf("%d playlists, want 12", len(lists))
	}
	for key, list := range lists {
		if list.Status != schemas.PlaylistReady || len(list.Tracks) != 30 || list.Tracks[0].Title == "" {
			t.Errorf("%s: %s with %d tracks", key, list.Status, len(list.Tracks))
		}
	}
	topics, sums := p.svc.Topics(), p.sums()
	events, users, listens := sums[topics.Events], sums[topics.Users], sums[topics.Listens]
	if want := (stream.Counts{Consumed: 484, Applied: 480, DeadLettered: 4}); events != want {
		t.Errorf("events %+v, want %+v", events, want)
	}
	if want := (stream.Counts{Consumed: events.Applied + users.Applied, Applied: 241, Duplicate: 240}); listens != want {
		t.Errorf("listens %+v, want %+v", listens, want)
	}
	if updates := sums[topics.SongUpdates]; updates.Consumed == 0 || updates.Applied != updates.Consumed {
		t.Errorf("song updates %+v", updates)
	}
	lookAtHTTP(t, p, cfg)
}

// lookAtHTTP asks the addresses of a process that has worked.
func lookAtHTTP(t *testing.T, p *process, cfg config.Config) {
	t.Helper()
	for path, want := range map[string]string{
		"/readyz": "ok", "/healthz": "ok", "/metrics": "earworm_listener_playlists_total{outcome=\"ready\"} 12",
	} {
		if status, body := get(t, p.svc.Address(), path, ""); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d without %q", path, status, want)
		}
	}
	admin := cfg.HTTP.AdminListen
	if status, body := get(t, admin, "/inspect/listener/user05", ""); status != http.StatusOK || !strings.Contains(body, `"events":20`) ||
		!strings.Contains(body, `"weeks":["2026-W10"]`) || !strings.Contains(body, `"title":"title `) {
		t.Errorf("a listener: %d %.300s", status, body)
	}
	if status, body := get(t, admin, "/inspect/song/s021", ""); status != http.StatusOK || !strings.Contains(body, `"plays":`) {
		t.Errorf("a song: %d %.300s", status, body)
	}
	for _, path := range []string{"/inspect/listener/nobody", "/inspect/song/nothing"} {
		if status, body := get(t, admin, path, ""); status != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, _ := get(t, p.svc.Address(), "/inspect/listener/user05", ""); status == http.StatusOK {
		t.Error("the public address tells about listeners")
	}
}

// TestErasureReachesEveryTopic: a null in the users topic removes the listener and withdraws the playlist.
func TestErasureReachesEveryTopic(t *testing.T) {
	t.Parallel()
	b := startBroker(t, 0)
	p := start(t, settings("state", b.Addrs()...), state.MemoryFS())
	defer p.stop()
	p.ready()
	p.songs(200)
	p.events(3, 20, 1, monday().Add(-30*time.Hour))
	p.drain()
	if err := p.client.Tick(p.bounded(), schemas.Tick{At: monday().UnixMilli()}); err != nil {
		t.Fatal(err)
	}
	p.drain()
	producer, err := stream.NewProducer([]kgo.Opt{kgo.SeedBrokers(b.Addrs()...)})
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	producer.Send(p.bounded(), stream.Message{Topic: p.svc.Topics().Users, Partition: -1, Key: []byte(user(1))})
	if err := producer.Flush(p.bounded()); err != nil {
		t.Fatal(err)
	}
	p.drain()
	lists := p.lists()
	if withdrawn, ok := lists[user(1)]; !ok || withdrawn != nil || len(lists) != 4 {
		t.Errorf("%d records, withdrawn %t", len(lists), ok)
	}
}

func TestBrokerThatIsAbsentAtStart(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	p := start(t, settings("state", fmt.Sprintf("127.0.0.1:%d", port)), state.MemoryFS())
	defer p.stop()
	for deadline := time.After(60 * time.Second); !strings.Contains(p.log.String(), "brokers are not ready; trying again"); {
		select {
		case <-deadline:
			t.Fatalf("says nothing:\n%s", p.log)
		case err := <-p.done:
			t.Fatalf("gave up with %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	if ok, reasons := p.svc.Health().Ready(); ok || !strings.Contains(fmt.Sprint(reasons), "brokers not reached yet") {
		t.Errorf("ready is %t: %v", ok, reasons)
	}
	startBroker(t, port)
	p.ready()
	p.events(2, 3, 1, monday())
	p.drain()
	if got := p.sums()[p.svc.Topics().Listens]; got.Applied != 6 {
		t.Errorf("%+v", got)
	}
}

func TestTopicWithWrongPartitions(t *testing.T) {
	t.Parallel()
	b := startBroker(t, 0)
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	cfg := settings("state", b.Addrs()...)
	topic := service.Topics(cfg).Listens
	if _, err := kadm.NewClient(client).CreateTopics(t.Context(), 3, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	err = start(t, cfg, state.MemoryFS()).failed()
	if run.ExitCode(err) != run.CodeConfig || !errors.Is(err, stream.ErrTopicMismatch) {
		t.Errorf("code %d: %v", run.ExitCode(err), err)
	}
	if text := fmt.Sprint(err); strings.Contains(text, "\n") || !strings.Contains(text, topic) || !strings.Contains(text, "3") {
		t.Errorf("not one line that says what is wrong: %q", text)
	}
}

func TestMissingTopicsThatMustNotBeCreated(t *testing.T) {
	t.Parallel()
	b := startBroker(t, 0)
	cfg := settings("state", b.Addrs()...)
	cfg.Topics.Create = false
	err := start(t, cfg, state.MemoryFS()).failed()
	if run.ExitCode(err) != run.CodeConfig || !strings.Contains(fmt.Sprint(err), service.Topics(cfg).Listens) {
		t.Errorf("code %d: %v", run.ExitCode(err), err)
	}
}

// TestTooFewPartitions: the fix that Kafka has would leave everything where it is no longer looked for.
func TestTooFewPartitions(t *testing.T) {
	t.Parallel()
	b := startBroker(t, 0)
	cfg := settings("state", b.Addrs()...)
	p := start(t, cfg, state.MemoryFS())
	p.ready()
	p.stop()
	cfg.Topics.Partitions = 8
	err := start(t, cfg, state.MemoryFS()).failed()
	if text := fmt.Sprint(err); run.ExitCode(err) != run.CodeConfig || !strings.Contains(text, "earworm reshard --to 8") || strings.Contains(text, "kafka-topics") {
		t.Errorf("code %d: %v", run.ExitCode(err), err)
	}
}

// say writes what the layout of an application shall be.
func say(t *testing.T, cfg config.Config, layout schemas.Layout) {
	t.Helper()
	value, err := layout.AppendJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	options, err := service.KafkaOptions(cfg)
	if err != nil {
		t.Fatal(err)
	}
	producer, err := stream.NewProducer(options)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	producer.Send(t.Context(), stream.Message{Topic: service.Topics(cfg).Layout, Partition: -1, Key: []byte(schemas.LayoutKey), Value: value})
	if err := producer.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestNobodyWorksBesideAMove: a process that begins, and one that has begun and was out of its group for a moment.
func TestNobodyWorksBesideAMove(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		layout schemas.Layout
		code   int
		text   string
	}{
		"under way": {schemas.Layout{
			Current: schemas.Generation{Number: 1, Partitions: 2}, Newest: 2, Move: &schemas.Move{To: schemas.Generation{Number: 2, Partitions: 8}},
		}, run.CodeTemporary, "--to 8"},
		"done":                 {schemas.Layout{Current: schemas.Generation{Number: 2, Partitions: 8}, Newest: 2}, run.CodeConfig, "topics.partitions to 8"},
		"done, to what it had": {schemas.Layout{Current: schemas.Generation{Number: 3, Partitions: 2}, Newest: 3}, run.CodeTemporary, "generation 3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startBroker(t, 0)
			cfg := settings("state", b.Addrs()...)
			cfg.Kafka.SessionTimeout, cfg.Kafka.TransactionTimeout = 3*time.Second, 2*time.Second
			p := start(t, cfg, state.MemoryFS())
			p.ready()
			say(t, cfg, test.layout)
			h := b.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.UnknownMemberID, TopLevel: true, Count: 3})
			defer h.Remove()
			err := p.failed()
			if run.ExitCode(err) != test.code || !strings.Contains(fmt.Sprint(err), test.text) {
				t.Errorf("a member that joins again: code %d: %v", run.ExitCode(err), err)
			}
			if name == "done, to what it had" {
				return // a new process finds the right topics
			}
			err = start(t, cfg, state.MemoryFS()).failed()
			if run.ExitCode(err) != test.code || !strings.Contains(fmt.Sprint(err), test.text) {
				t.Errorf("a new process: code %d: %v", run.ExitCode(err), err)
			}
			if _, err := service.Locate(t.Context(), cfg); run.ExitCode(err) != test.code {
				t.Errorf("a command: code %d: %v", run.ExitCode(err), err)
			}
		})
	}
}

func TestSecondProcessOnTheSameDirectory(t *testing.T) {
	t.Parallel()
	b := startBroker(t, 0)
	cfg := settings(t.TempDir(), b.Addrs()...)
	p := start(t, cfg, nil)
	defer p.stop()
	p.ready()
	cfg.Instance = "other"
	err := start(t, cfg, nil).failed()
	if run.ExitCode(err) != run.CodeIO || !errors.Is(err, state.ErrLocked) || strings.Contains(fmt.Sprint(err), "\n") {
		t.Errorf("code %d: %v", run.ExitCode(err), err)
	}
	p.events(1, 2, 1, monday())
	p.drain() // the first is not harmed
}

func TestPortThatIsTaken(t *testing.T) {
	t.Parallel()
	b := startBroker(t, 0)
	cfg := settings("state", b.Addrs()...)
	cfg.HTTP.Listen = b.Addrs()[0]
	err := start(t, cfg, state.MemoryFS()).failed()
	if run.ExitCode(err) != run.CodeIO || !strings.Contains(fmt.Sprint(err), cfg.HTTP.Listen) {
		t.Errorf("code %d: %v", run.ExitCode(err), err)
	}
}

// inspect reads listeners through the runtime: events, chain and songs.
func (p *process) inspect(cfg config.Config, users int) []string {
	p.tb.Helper()
	var out []string
	for u := range users {
		status, body := get(p.tb.(*testing.T), cfg.HTTP.AdminListen, "/inspect/listener/"+user(u), "")
		var i listener.Inspection
		if err := json.Unmarshal([]byte(body), &i); err != nil || status != http.StatusOK {
			p.tb.Fatalf("%s: %d %s", user(u), status, body)
		}
		out = append(out, fmt.Sprint(user(u), i.Events, i.Chain, i.Songs, i.Weeks, i.Vector))
	}
	return out
}

// TestStateIsRebuilt damages and deletes the state directory between two runs: both come back from the changelog.
func TestStateIsRebuilt(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]struct {
		do         func(t *testing.T, dir string)
		quarantine bool
	}{
		"nothing": {do: func(*testing.T, string) {}},
		"deleted": {do: func(t *testing.T, dir string) {
			t.Helper()
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}},
		"damaged": {do: damage, quarantine: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startBroker(t, 0)
			cfg := settings(filepath.Join(t.TempDir(), "state"), b.Addrs()...)
			cfg.HTTP.AdminListen = fmt.Sprintf("127.0.0.1:%d", freePort(t))
			first := start(t, cfg, nil)
			first.ready()
			first.songs(200)
			first.events(4, 20, 1, monday().Add(-30*time.Hour))
			first.drain()
			if err := first.client.Tick(first.bounded(), schemas.Tick{At: monday().UnixMilli()}); err != nil {
				t.Fatal(err)
			}
			first.drain()
			want := first.inspect(cfg, 4)
			first.stop()
			harm.do(t, cfg.State.Dir)

			second := start(t, cfg, nil)
			defer second.stop()
			second.ready()
			if got := second.inspect(cfg, 4); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("after the restart\n%s\nwant\n%s", got, want)
			}
			second.events(4, 20, 1, monday().Add(-30*time.Hour))
			second.drain()
			if got := second.sums()[second.svc.Topics().Listens]; got != (stream.Counts{Consumed: 80, Duplicate: 80}) {
				t.Errorf("copies after the restart: %+v", got)
			}
			if got := strings.Contains(second.log.String(), "a store was set aside"); got != harm.quarantine {
				t.Errorf("quarantine is told: %t; log:\n%s", got, second.log)
			}
		})
	}
}

// damage overwrites the middle of every file of the stores.
func damage(t *testing.T, dir string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.Contains(entry.Name(), "LOCK") || strings.Contains(entry.Name(), "lock") {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i := range content {
			content[i] ^= 0x5A
		}
		files++
		return os.WriteFile(path, content, 0o600)
	})
	if err != nil || files == 0 {
		t.Fatalf("%d files damaged: %v", files, err)
	}
}

// TestSettingsThatCannotWork are refused before anything starts, as the operator's mistake.
func TestSettingsThatCannotWork(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*config.Config){
		"pseudonym key": func(c *config.Config) { c.Ingest.PseudonymKey = config.NewSecret("1:short") },
		"zone":          func(c *config.Config) { c.Emit.Zone = "No/Such" },
		"compression":   func(c *config.Config) { c.Kafka.Compression = "rot13" },
	} {
		cfg := settings("state", "127.0.0.1:1")
		change(&cfg)
		_, err := service.New(cfg, service.Deps{
			Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Now: time.Now,
		})
		if run.ExitCode(err) != run.CodeConfig || strings.Contains(fmt.Sprint(err), "short") {
			t.Errorf("%s: code %d, %v", name, run.ExitCode(err), err)
		}
	}
}

// TestTopicOverrides: every topic that can be named in the settings gets that name.
func TestTopicOverrides(t *testing.T) {
	t.Parallel()
	cfg := config.Default()
	cfg.App = "other"
	plain := service.Topics(cfg)
	if plain.Listens != "other-listens" || plain != schemas.NewTopics("other") {
		t.Errorf("%+v", plain)
	}
	c := &cfg.Topics
	want := schemas.Topics{}
	for n, pair := range []struct{ set, dst *string }{
		{&c.Events, &want.Events},
		{&c.Catalog, &want.Catalog},
		{&c.Users, &want.Users},
		{&c.Listens, &want.Listens},
		{&c.ListenerChangelog, &want.ListenerChangelog},
		{&c.SongUpdates, &want.SongUpdates},
		{&c.SongFactors, &want.SongFactors},
		{&c.Ticks, &want.Ticks},
		{&c.Playlists, &want.Playlists},
		{&c.Patches, &want.Patches},
		{&c.Trends, &want.Trends},
		{&c.Metrics, &want.Metrics},
		{&c.DeadLetters, &want.DeadLetters},
		{&c.LetterMarks, &want.LetterMarks},
		{&c.Layout, &want.Layout},
	} {
		*pair.set = fmt.Sprintf("topic-%d", n)
		*pair.dst = *pair.set
	}
	if got := service.Topics(cfg); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
