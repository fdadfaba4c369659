package demo_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"earworm/internal/config"
	"earworm/internal/demo"
	"earworm/internal/run"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// small is a demo of seconds.
func small(dir string) demo.Options {
	cfg := config.Default()
	cfg.HTTP.Listen, cfg.State.LowDiskBytes, cfg.Learn.Dim = "127.0.0.1:0", 0, 8
	cfg.CommitInterval = 50 * time.Millisecond
	return demo.Options{
		Dir: dir, Seed: 1, Weeks: 2, Listeners: 30, Config: cfg, Logger: slog.New(slog.DiscardHandler),
		Registry: prometheus.NewPedanticRegistry(), Progress: func(int64) {}, Total: func(int64) {},
	}
}

// TestRunTwiceInTheSameDirectory: the second run begins anew and shows the same world.
func TestRunTwiceInTheSameDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "demo")
	var events []int64
	for n := range 2 {
		o := small(dir)
		o.Report, o.Stay = filepath.Join(t.TempDir(), "report.json"), n == 1
		var sent, total int64
		o.Progress, o.Total = func(v int64) { sent = v }, func(v int64) { total = v }
		r, err := demo.Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		f := r.Report
		if f.PlaylistsDuplicated != 0 || f.Playlists != f.PlaylistsExpected || f.Playlists < 30 || sent != f.Events || total == 0 {
			t.Errorf("%d playlists of %d, %d twice; %d events sent of about %d", f.Playlists, f.PlaylistsExpected, f.PlaylistsDuplicated, sent, total)
		}
		a := f.Accounting
		if a.Consumed != a.Applied+a.Duplicate+a.TooLate+a.DeadLettered || a.Consumed < f.Events {
			t.Errorf("accounting %+v of %d events", a, f.Events)
		}
		if r.Playlist == nil || r.Titles[r.Playlist.Tracks[0].Song] == "" {
			t.Error("no playlist to show")
		}
		events = append(events, f.Events)
		report(t, o.Report)
		stay(t, r, o.Stay)
	}
	if events[0] != events[1] {
		t.Errorf("%d events, then %d", events[0], events[1])
	}
}

// report looks for the keys that others read.
func report(t *testing.T, name string) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for key := range strings.FieldsSeq("events seconds events_per_second listeners songs weeks playlists playlists_expected " +
		"playlists_duplicated recall_at_30 recall_at_30_popularity recall_at_30_ceiling trends accounting") {
		if _, ok := got[key]; !ok {
			t.Errorf("the report has no %s", key)
		}
	}
}

// stay ends the run: at once, or, if it stays, when the context does.
func stay(t *testing.T, r *demo.Result, stays bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &told{said: make(chan string, 1)}
	done := make(chan error, 1)
	go func() { done <- r.Stay(ctx, out) }()
	if stays {
		if text := <-out.said; !strings.Contains(text, "still running: brokers [127.0.0.1:") {
			t.Errorf("said %q", text)
		}
		select {
		case err := <-done:
			t.Fatalf("did not stay: %v", err)
		default:
		}
		cancel()
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// told hands on what is written.
type told struct{ said chan string }

func (w *told) Write(p []byte) (int, error) {
	w.said <- string(p)
	return len(p), nil
}

// TestInterrupted ends a run in the middle: cleanly, with the cancellation as its only error.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := small(filepath.Join(t.TempDir(), "demo"))
	o.Progress = func(sent int64) {
		if sent > 1000 {
			cancel()
		}
	}
	_, err := demo.Run(ctx, o)
	if !errors.Is(err, context.Canceled) || run.ExitCode(err) != run.CodeOK {
		t.Errorf("code %d, %v", run.ExitCode(err), err)
	}
	// The directory is free again.
	o = small(o.Dir)
	o.Weeks, o.Listeners = 2, 10
	r, err := demo.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Stay(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

// TestInterruptedBeforeItBegins: no code of a broken disk for somebody who changed their mind.
func TestInterruptedBeforeItBegins(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := demo.Run(ctx, small(filepath.Join(t.TempDir(), "demo")))
	if !errors.Is(err, context.Canceled) || run.ExitCode(err) != run.CodeOK {
		t.Errorf("code %d, %v", run.ExitCode(err), err)
	}
}

// TestDirectoriesOfOthers are left alone.
func TestDirectoriesOfOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	precious := filepath.Join(dir, "state")
	if err := os.WriteFile(precious, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := demo.Run(t.Context(), small(dir))
	if run.ExitCode(err) != run.CodeUsage || !strings.Contains(err.Error(), "not a demo's directory") {
		t.Errorf("code %d, %v", run.ExitCode(err), err)
	}
	if text, err := os.ReadFile(precious); err != nil || string(text) != "precious" {
		t.Errorf("now holds %q, %v", text, err)
	}
	if _, err := demo.Run(t.Context(), small(filepath.Join(precious, "below"))); run.ExitCode(err) != run.CodeIO {
		t.Errorf("below a file: code %d, %v", run.ExitCode(err), err)
	}
}
