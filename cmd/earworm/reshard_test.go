package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"earworm/internal/broker"
	"earworm/internal/erasure"
	"earworm/internal/reshard"
	"earworm/internal/run"
)

// shift is a serve command that runs until it is stopped.
func shift(t *testing.T, environ []string) (stop func()) {
	t.Helper()
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() {
		ended <- execute(ctx, []string{"serve", "--clock=false"}, streams{in: strings.NewReader(""), out: io.Discard, err: &log}, environ)
	}()
	for deadline := time.After(30 * time.Second); ; {
		if code, _, _ := command(t, environ, "health"); code == 0 {
			break
		}
		select {
		case <-deadline:
			cancel()
			<-ended
			t.Fatalf("serve does not become ready: %s", log.String())
		case code := <-ended:
			cancel()
			t.Fatalf("serve ended with %d: %s", code, log.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return func() {
		t.Helper()
		cancel()
		if code := <-ended; code != 0 {
			t.Errorf("serve ended with %d: %s", code, log.String())
		}
	}
}

// TestReshardCommand goes from two partitions to eight as an operator does, with the state directory of an instance that stays.
func TestReshardCommand(t *testing.T) {
	t.Parallel()
	b, err := broker.Start(t.Context(), broker.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	dir := t.TempDir()
	two := []string{
		"EARWORM_KAFKA_BROKERS=" + b.Addrs()[0], "EARWORM_STATE_DIR=" + dir, "EARWORM_STATE_LOW_DISK_BYTES=0", "EARWORM_COMMIT_INTERVAL=30ms",
		"EARWORM_LEARN_DIM=8", "EARWORM_INSTANCE=one", "EARWORM_HTTP_LISTEN=" + freeAddress(t), "EARWORM_LOG_LEVEL=error",
		"EARWORM_KAFKA_SESSION_TIMEOUT=3s", "EARWORM_KAFKA_TRANSACTION_TIMEOUT=1s",
	}
	eight := append(slices.Clone(two), "EARWORM_TOPICS_PARTITIONS=8")
	two = append(two, "EARWORM_TOPICS_PARTITIONS=2")
	s := &system{tb: t, environ: two, broker: b, stateDir: dir}
	s.fails(run.CodeUsage, "--to", "reshard")
	s.fails(run.CodeUsage, "--to", "reshard", "--to", "8", "--abort")
	s.fails(run.CodeConfig, "0 partitions", "reshard", "--to", "8")
	stop := shift(t, two)
	s.ok("import", "csv", listens(t), "--weekly", "--columns", mapping)
	s.ok("verify")
	before := s.ok("playlists", "export")
	stop()
	s.fails(run.CodeConfig, "power of two", "reshard", "--to", "12")
	s.fails(run.CodeUsage, "no move", "reshard", "--abort")
	file := filepath.Join(t.TempDir(), "receipt.json")
	out := s.ok("reshard", "--to", "8", "--receipt", file)
	if !strings.Contains(out, "2 to 8 partitions") || !strings.Contains(out, " 0 orphans") || !strings.Contains(out, "topics.partitions to 8") {
		t.Errorf("printed %s", out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var receipt reshard.Receipt
	if err := json.Unmarshal(text, &receipt); err != nil || !receipt.Equal() || len(receipt.Families) < 8 {
		t.Errorf("receipt %s: %v", text, err)
	}
	if again := s.ok("reshard", "--to", "8"); again != out {
		t.Errorf("asked again it printed %s, first %s", again, out)
	}
	s.fails(run.CodeConfig, "topics.partitions to 8", "verify")
	if code := execute(t.Context(), []string{"serve"}, streams{in: strings.NewReader(""), out: io.Discard, err: io.Discard}, two); code != run.CodeConfig {
		t.Errorf("serve with the old settings ended with %d", code)
	}
	s.environ = eight
	stop = shift(t, eight)
	if after := s.ok("playlists", "export"); after != before {
		t.Error("what was emitted is not the same")
	}
	s.ok("emit", "--week", "2026-W20")
	if verdict := s.ok("verify"); !strings.Contains(verdict, "0 lost, 0 duplicated, 0 wrong") {
		t.Error(verdict)
	}
	if after := s.ok("playlists", "export"); len(after) <= len(before) {
		t.Error("no list was emitted after the move")
	}
	var erased erasure.Receipt
	if err := json.Unmarshal([]byte(s.ok("erase", "listener 1")), &erased); err != nil {
		t.Fatal(err)
	}
	old := func() bool {
		return slices.ContainsFunc(erased.Places, func(p erasure.Place) bool {
			return p.Place == "earworm-listener-changelog" && p.Unbounded && strings.Contains(p.Note, "--drop-old")
		})
	}
	if !erased.Complete || !old() {
		t.Errorf("an erasure says nothing of the topics before the move: %+v", erased)
	}
	if dropped := s.ok("reshard", "--drop-old"); !strings.Contains(dropped, "earworm-listener-changelog, ") {
		t.Errorf("dropped %s", dropped)
	}
	s.fails(run.CodeUsage, "no topics of an earlier generation", "reshard", "--drop-old")
	if err := json.Unmarshal([]byte(s.ok("erase", "listener 1")), &erased); err != nil || old() {
		t.Errorf("an erasure names topics that are gone: %v", err)
	}
	stop()
	if verdict := s.ok("verify", "--state", dir); !strings.Contains(verdict, "0 lost, 0 duplicated, 0 wrong") || !strings.Contains(verdict, "16 local stores") {
		t.Error(verdict)
	}
}
