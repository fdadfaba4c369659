package obs

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a wall clock that stands still until it is moved.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newHealth() (*Health, *clock) {
	c := &clock{at: time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)}
	return NewHealth(0, c.now), c
}

func TestLoggerLevelsAndFormats(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		cfg  LogConfig
		want string // what is found in the output of an info line; empty: no output
	}{
		{LogConfig{}, `msg=hello n=1`},
		{LogConfig{Level: "debug", Format: "text"}, `msg=hello n=1`},
		{LogConfig{Level: "info", Format: "json"}, `"msg":"hello","n":1`},
		{LogConfig{Level: "warn"}, ""},
	} {
		var out bytes.Buffer
		log, err := NewLogger(test.cfg, &out)
		if err != nil {
			t.Fatal(err)
		}
		log.Info("hello", "n", 1)
		if got := out.String(); !strings.Contains(got, test.want) || (test.want == "") != (got == "") {
			t.Errorf("%+v wrote %q, want %q", test.cfg, got, test.want)
		}
	}
	for _, cfg := range []LogConfig{{Level: "loud"}, {Format: "xml"}} {
		if _, err := NewLogger(cfg, io.Discard); err == nil {
			t.Errorf("%+v gave no error", cfg)
		}
	}
}

func TestRegistryHasBuildAndRuntime(t *testing.T) {
	t.Parallel()
	registry, err := NewRegistry(Build{Version: "v1", Revision: "abc", Go: "go1"})
	if err != nil {
		t.Fatal(err)
	}
	want := `
# HELP earworm_build_info Always 1; the labels say which program this is.
# TYPE earworm_build_info gauge
earworm_build_info{go="go1",modified="false",revision="abc",version="v1"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "earworm_build_info"); err != nil {
		t.Error(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == "go_goroutines" }) {
		t.Error("the metrics of the Go runtime are missing")
	}
}

// get calls handler and returns the status and the body.
func get(t *testing.T, handler http.Handler, method, path, authorization string) (int, string) {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody)
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder.Code, recorder.Body.String()
}

func TestProbes(t *testing.T) {
	t.Parallel()
	health, clock := newHealth()
	handler := PublicHandler(Build{Version: "v1"}, health, prometheus.NewPedanticRegistry())
	expect := func(path string, status int, body string) {
		t.Helper()
		if gotStatus, gotBody := get(t, handler, http.MethodGet, path, ""); gotStatus != status || gotBody != body {
			t.Errorf("%s: %d %q, want %d %q", path, gotStatus, gotBody, status, body)
		}
	}
	expect("/healthz", 200, "ok\n")
	expect("/readyz", 200, "ok\n")

	restoring := true
	health.AddCheck("tasks", func() (bool, string) { return !restoring, "2 of 8 restoring" })
	health.AddCheck("disk", func() (bool, string) { return true, "" })
	beat := health.Watch("listener")
	expect("/readyz", 503, "tasks: 2 of 8 restoring\n")
	expect("/healthz", 200, "ok\n")
	restoring = false
	expect("/readyz", 200, "ok\n")

	clock.at = clock.at.Add(DefaultMaxAge)
	expect("/healthz", 200, "ok\n")
	clock.at = clock.at.Add(time.Second)
	expect("/livez", 503, "listener: stands still for 1m1s\n")
	beat.Beat(clock.at)
	expect("/healthz", 200, "ok\n")
	clock.at = clock.at.Add(time.Hour)
	health.Unwatch("listener")
	expect("/healthz", 200, "ok\n")

	health.Stopping()
	health.AddCheck("disk", func() (bool, string) { return false, "full" })
	expect("/readyz", 503, "process: stopping\ndisk: full\n")
}

func TestVersionAndMetrics(t *testing.T) {
	t.Parallel()
	health, _ := newHealth()
	registry, err := NewRegistry(Build{Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	handler := PublicHandler(Build{Version: "v1"}, health, registry)
	_, body := get(t, handler, http.MethodGet, "/version", "")
	var build Build
	if err := json.Unmarshal([]byte(body), &build); err != nil || build.Version != "v1" {
		t.Errorf("/version: %q, %v", body, err)
	}
	if status, body := get(t, handler, http.MethodGet, "/metrics", ""); status != 200 || !strings.Contains(body, "earworm_build_info{") {
		t.Errorf("/metrics: %d %.200q", status, body)
	}
	for _, request := range []struct {
		method, path string
		status       int
	}{{http.MethodPost, "/metrics", 405}, {http.MethodGet, "/debug/pprof/", 404}, {http.MethodGet, "/", 404}, {http.MethodPut, "/healthz", 405}} {
		if status, _ := get(t, handler, request.method, request.path, ""); status != request.status {
			t.Errorf("%s %s: %d, want %d", request.method, request.path, status, request.status)
		}
	}
}

func TestAdminNeedsTheToken(t *testing.T) {
	t.Parallel()
	const token = "correct horse battery"
	changed := 0
	handler := requireToken(token, AdminHandler(true, map[string]http.Handler{
		"POST /change": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { changed++ }),
	}))
	for authorization, want := range map[string]int{
		"": 401, "Bearer ": 401, "Bearer wrong": 401, token: 401, "Basic " + token: 401, "Bearer " + token + "x": 401, "Bearer " + token: 200,
	} {
		if status, _ := get(t, handler, http.MethodGet, "/debug/pprof/", authorization); status != want {
			t.Errorf("authorization %q: %d, want %d", authorization, status, want)
		}
	}
	if status, _ := get(t, handler, http.MethodGet, "/change", "Bearer "+token); status != 405 || changed != 0 {
		t.Errorf("GET changed state: %d, %d changes", status, changed)
	}
	if status, _ := get(t, handler, http.MethodPost, "/change", "Bearer "+token); status != 200 || changed != 1 {
		t.Errorf("POST: %d, %d changes; want 200 and 1", status, changed)
	}
	if status, _ := get(t, AdminHandler(false, nil), http.MethodGet, "/debug/pprof/", ""); status != 404 {
		t.Errorf("profiles that are off: %d, want 404", status)
	}
}

// start runs a server on a free port; stop ends it and returns what Run returned.
func start(t *testing.T, cfg ServerConfig, handler http.Handler) (url string, stop func() error) {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	log, err := NewLogger(LogConfig{}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	server, err := NewServer(cfg, handler, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	return "http://" + server.Addr(), func() error {
		cancel()
		return <-done
	}
}

func TestServerServesAndStops(t *testing.T) {
	t.Parallel()
	inside, release := make(chan struct{}), make(chan struct{})
	url, stop := start(t, ServerConfig{Token: "t"}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(inside)
		<-release
		_, _ = io.WriteString(w, "done")
	}))
	answer := make(chan string, 1)
	go func() {
		request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		request.Header.Set("Authorization", "Bearer t")
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		response, err := client.Do(request)
		if err != nil {
			answer <- err.Error()
			return
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		answer <- string(body)
	}()
	<-inside
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	close(release)
	if got := <-answer; got != "done" {
		t.Errorf("a request in flight got %q", got)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestServerGivesUpOnSlowRequests(t *testing.T) {
	t.Parallel()
	inside := make(chan struct{})
	url, stop := start(t, ServerConfig{StopTimeout: time.Millisecond}, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(inside)
		<-r.Context().Done() // Ends when the server closes the connection.
	}))
	go func() {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if response, err := client.Do(request); err == nil {
			_ = response.Body.Close()
		}
	}()
	<-inside
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestServerRefusesLargeHeaders(t *testing.T) {
	t.Parallel()
	health, _ := newHealth()
	url, stop := start(t, ServerConfig{}, PublicHandler(Build{}, health, prometheus.NewPedanticRegistry()))
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/healthz", http.NoBody)
	request.Header.Set("X-Large", strings.Repeat("x", 64<<10))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err == nil {
		_ = response.Body.Close()
		if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("status %d, want 431", response.StatusCode)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestPortInUseIsAnErrorOfStartUp(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	taken, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	log, _ := NewLogger(LogConfig{}, io.Discard)
	if _, err := NewServer(ServerConfig{Listen: taken.Addr().String()}, http.NotFoundHandler(), log); err == nil {
		t.Error("no error")
	}
	server, err := NewServer(ServerConfig{Listen: "127.0.0.1:0"}, http.NotFoundHandler(), log)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := server.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

// TestConnectionsAreBounded holds one connection open: the next is accepted only when it has gone.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	inner, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	limited := limitListener(inner, 1)
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			conn, err := limited.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	var dialer net.Dialer
	for range 2 {
		client, err := dialer.DialContext(t.Context(), "tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
	}
	first := <-accepted
	select {
	case <-accepted:
		t.Error("a second connection was accepted")
	default:
	}
	_ = first.Close()
	_ = first.Close() // A slot must not be given back twice.
	second, ok := <-accepted
	if !ok {
		t.Fatal("the listener ended")
	}
	if err := limited.Close(); err != nil {
		t.Error(err)
	}
	for range accepted {
		t.Error("a connection was accepted after Close")
	}
	_ = second.Close()
}

func TestBuildSaysItsVersion(t *testing.T) {
	t.Parallel()
	build := ReadBuild("v9")
	if got := build.String(); !strings.HasPrefix(got, "earworm v9 (") || !strings.Contains(got, build.Go) {
		t.Errorf("got %q", got)
	}
	long := Build{Version: "v1", Revision: strings.Repeat("a", 40), Modified: true, Go: "go1", Platform: "p"}
	if got, want := long.String(), "earworm v1 (aaaaaaaaaaaa+changes, go1, p)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
