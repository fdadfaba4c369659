package service_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/prometheus/client_golang/prometheus"

	"earworm/consumers/feed"
	"earworm/consumers/stream"
	"earworm/internal/config"
	"earworm/internal/run"
	"earworm/internal/service"
	"earworm/internal/testkit/process"
	"earworm/state"
)

// This test's own binary is the process whose disk breaks: Pebble leaves goroutines behind on a disk that fails, and an exit code is
// one of a process. The variables say what to be.
const (
	envInstance = "EARWORM_TEST_DISK_INSTANCE"
	envBrokers  = "EARWORM_TEST_DISK_BROKERS"
	envDir      = "EARWORM_TEST_DISK_DIR"
	envFault    = "EARWORM_TEST_DISK_FAULT"
)

// brokenFile in the directory makes the disk fail from now on; the child writes hitFile when an operation has failed for the first time.
const (
	brokenFile = "broken"
	hitFile    = "hit"
)

// diskFault is what happens to operations that write.
type diskFault struct {
	match func(name string) bool // by the name of the file
	err   error
	hang  bool
}

func diskFaults() map[string]diskFault {
	named := func(mark string) func(string) bool {
		return func(name string) bool { return strings.HasPrefix(name, mark) || filepath.Ext(name) == mark }
	}
	all := func(string) bool { return true }
	return map[string]diskFault{
		"table EIO":               {match: named(".sst"), err: syscall.EIO},
		"table ENOSPC":            {match: named(".sst"), err: syscall.ENOSPC},
		"list of files EIO":       {match: named("MANIFEST"), err: syscall.EIO},
		"marker of the list EIO":  {match: named("marker"), err: syscall.EIO},
		"everything EIO":          {match: all, err: syscall.EIO},
		"everything ENOSPC":       {match: all, err: syscall.ENOSPC},
		"writes to tables hang":   {match: named(".sst"), hang: true},
		"everything hangs at all": {match: all, hang: true},
	}
}

func diskSettings(instance, dir, brokers string) config.Config {
	cfg := settings(filepath.Join(dir, "state-"+instance), brokers)
	cfg.Instance = instance
	cfg.Kafka.SessionTimeout, cfg.Kafka.TransactionTimeout = 3*time.Second, 2*time.Second
	cfg.State.MemtableBytes, cfg.State.CacheBytes = config.MiB, config.MiB
	return cfg
}

// diskChild is the process. Its exit code is that of earworm serve.
func diskChild() int {
	dir, fault := os.Getenv(envDir), diskFaults()[os.Getenv(envFault)]
	var broken, hit atomic.Bool
	go func() {
		for !broken.Load() {
			time.Sleep(time.Millisecond)
			_, err := os.Stat(filepath.Join(dir, brokenFile))
			broken.Store(err == nil && fault.match != nil)
		}
	}()
	injector := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !broken.Load() || op.Kind.ReadOrWrite() != errorfs.OpIsWrite || !fault.match(filepath.Base(op.Path)) {
			return nil
		}
		if hit.CompareAndSwap(false, true) {
			_ = os.WriteFile(filepath.Join(dir, hitFile), nil, 0o600)
		}
		if fault.hang {
			select {}
		}
		return fault.err
	})
	svc, err := service.New(diskSettings(os.Getenv(envInstance), dir, os.Getenv(envBrokers)), service.Deps{
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})), Registry: prometheus.NewRegistry(),
		Now: time.Now, FS: errorfs.Wrap(vfs.Default, injector),
	})
	if err == nil {
		ctx, stop := run.WatchSignals(context.Background(), func() { os.Exit(2) })
		defer stop()
		err = svc.Run(ctx)
	}
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
	}
	return run.ExitCode(err)
}

// outBy is how long a process with a broken disk may take to end, from the first operation that failed.
const outBy = 10 * time.Second

// TestABrokenDiskEndsTheProcess breaks the disk of one of two processes under load. It must end with 74 in time; the other must take its
// partitions over; and when the disk works again, so must the process. No event may be lost or count twice.
func TestABrokenDiskEndsTheProcess(t *testing.T) {
	t.Parallel()
	for name := range diskFaults() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			breakDisk(t, name)
		})
	}
}

func breakDisk(t *testing.T, fault string) {
	t.Helper()
	b := startBroker(t, 0)
	dir := t.TempDir()
	start := func(instance, fault string) *process.Child {
		return process.Run(t, process.Config{Path: os.Args[0], Env: []string{
			envInstance + "=" + instance, envBrokers + "=" + b.Addrs()[0], envDir + "=" + dir, envFault + "=" + fault,
		}})
	}
	sick, other := start("sick", fault), start("other", "")
	cfg := diskSettings("sick", dir, b.Addrs()[0])
	p := &people{tb: t, cfg: cfg, counts: map[string]uint64{}}
	p.open()
	defer p.client.Close()
	p.send(500)
	p.drain()
	waitOwners(t, b.Addrs()[0], cfg, 2)

	broken := time.Now()
	touch(t, filepath.Join(dir, brokenFile))
	for sick.Running() && time.Since(broken) < time.Minute {
		p.send(200)
		time.Sleep(20 * time.Millisecond)
	}
	ended := time.Now()
	exit, err := sick.Wait(p.bounded())
	if err != nil || exit.Code != run.CodeIO {
		t.Fatalf("ended with %v, %v; the end of its log:\n%s", exit, err, sick.Tail(20))
	}
	hit, err := os.Stat(filepath.Join(dir, hitFile))
	if err != nil {
		t.Fatal(err)
	}
	took := ended.Sub(hit.ModTime())
	if took > outBy {
		t.Errorf("it took %v to end", took)
	}
	p.send(200)
	p.drain() // the other has everything
	taken := time.Since(ended)
	if err := errors.Join(os.Remove(filepath.Join(dir, brokenFile)), os.Remove(filepath.Join(dir, hitFile))); err != nil {
		t.Fatal(err)
	}
	again := start("sick", fault)
	waitOwners(t, b.Addrs()[0], cfg, 2)
	other.MustTerminate(t, 20*time.Second, 0)
	p.send(200) // the one that was sick has everything
	p.drain()
	again.MustTerminate(t, 20*time.Second, 0)
	p.judge()
	t.Logf("ended with %v %v after the first failed operation; the other had everything %v later; %d events", exit, took.Round(time.Millisecond), taken.Round(time.Millisecond), p.sent)
}

func touch(t *testing.T, name string) {
	t.Helper()
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// waitOwners waits until the listener group has so many members that own something.
func waitOwners(t *testing.T, broker string, cfg config.Config, want int) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		owners, err := stream.GroupOwners(t.Context(), broker, cfg.App+"-"+feed.RoleListener)
		if err == nil && owners == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d members own partitions, want %d: %v", owners, want, err)
		}
	}
}
