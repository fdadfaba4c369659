//go:build crash

package service_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
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
	"earworm/internal/broker"
	"earworm/internal/config"
	"earworm/internal/run"
	"earworm/internal/service"
	children "earworm/internal/testkit/process"
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

// TestDiskChild is the process when the test below runs its own binary.
func TestDiskChild(t *testing.T) {
	if os.Getenv(envInstance) == "" {
		t.Skip("is run by TestABrokenDiskEndsTheProcess")
	}
	os.Exit(diskChild())
}

// diskChild returns the exit code of earworm serve.
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
		ctx, stop := run.Signals(context.Background(), os.Exit)
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
			dir := t.TempDir()
			marks := []string{filepath.Join(dir, brokenFile), filepath.Join(dir, hitFile)}
			breakDisk(t, dir, name, trouble{
				begin: func() error { return os.WriteFile(marks[0], nil, 0o600) },
				began: func() (time.Time, error) {
					info, err := os.Stat(marks[1])
					if err != nil {
						return time.Time{}, err
					}
					return info.ModTime(), nil
				},
				end: func() error { return errors.Join(os.Remove(marks[0]), os.Remove(marks[1])) },
			})
		})
	}
}

// TestAFullDiskEndsTheProcess is the same with a file system that is full, which takes the right to mount one.
func TestAFullDiskEndsTheProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mounted := filepath.Join(dir, "state-sick")
	if err := os.MkdirAll(mounted, 0o750); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", mounted).CombinedOutput(); err != nil {
		t.Skipf("no file system can be mounted here: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "umount", mounted).CombinedOutput(); err != nil {
			t.Errorf("%v %s", err, out)
		}
	})
	ballast := filepath.Join(mounted, "ballast")
	var full time.Time
	breakDisk(t, dir, "", trouble{
		begin: func() error {
			defer func() { full = time.Now() }()
			file, err := os.Create(ballast)
			if err != nil {
				return err
			}
			for err == nil {
				_, err = file.Write(make([]byte, 64<<10))
			}
			if errors.Is(err, syscall.ENOSPC) {
				err = nil
			}
			return errors.Join(err, file.Close())
		},
		began: func() (time.Time, error) { return full, nil },
		end:   func() error { return os.Remove(ballast) },
	})
}

// trouble is what happens to a disk.
type trouble struct {
	begin func() error
	began func() (time.Time, error) // when it was first felt
	end   func() error
}

// breakDisk runs a process with a fault that waits for the trouble, and another that is well.
func breakDisk(t *testing.T, dir, fault string, d trouble) {
	t.Helper()
	b := startBroker(t, 0)
	start := func(instance string) *children.Child {
		return children.Run(t, children.Config{Path: os.Args[0], Args: []string{"-test.run", "^TestDiskChild$"}, Env: []string{
			envInstance + "=" + instance, envBrokers + "=" + b.Addrs()[0], envDir + "=" + dir, envFault + "=" + map[string]string{"sick": fault}[instance],
		}})
	}
	sick, other := start("sick"), start("other")
	cfg := diskSettings("sick", dir, b.Addrs()[0])
	waitOwners(t, b, cfg, 2) // the topics are there
	c := newCrowd(t, cfg)
	c.send(500)
	c.drain()

	if err := d.begin(); err != nil {
		t.Fatal(err)
	}
	for limit := time.Now().Add(time.Minute); sick.Running() && time.Now().Before(limit); time.Sleep(20 * time.Millisecond) {
		c.send(200)
	}
	ended := time.Now()
	exit, err := sick.Wait(c.bounded())
	if err != nil || exit.Code != run.CodeIO {
		t.Fatalf("ended with %v, %v; the end of its log:\n%s", exit, err, sick.Tail(20))
	}
	began, err := d.began()
	if err != nil {
		t.Fatal(err)
	}
	took := ended.Sub(began)
	if took > outBy {
		t.Errorf("it took %v to end", took)
	}
	c.send(200)
	c.drain() // the other has everything
	taken := time.Since(ended)
	if err := d.end(); err != nil {
		t.Fatal(err)
	}
	again := start("sick")
	waitOwners(t, b, cfg, 2)
	other.MustTerminate(t, 20*time.Second, 0)
	c.send(200)
	c.drain() // the one that was sick has everything
	again.MustTerminate(t, 20*time.Second, 0)
	c.judge()
	t.Logf("ended with %v, %v after the first trouble; the other had everything %v later; %d events", exit, took.Round(time.Millisecond),
		taken.Round(time.Millisecond), c.sent)
}

// waitOwners waits until so many members of the listener group own something.
func waitOwners(t *testing.T, b *broker.Broker, cfg config.Config, want int) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		owners := 0
		if group := b.Cluster().GroupInfo(cfg.App + "-" + feed.RoleListener); group != nil {
			for _, m := range group.Members {
				if m.NumAssigned() > 0 {
					owners++
				}
			}
		}
		if owners == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d members own partitions, want %d", owners, want)
		}
	}
}

// crowd sends events and knows how many each of its listeners must have.
type crowd struct {
	tb     testing.TB
	cfg    config.Config
	client *feed.Client
	counts map[string]uint64
	sent   int
}

func newCrowd(t *testing.T, cfg config.Config) *crowd {
	t.Helper()
	options, err := service.KafkaOptions(cfg)
	if err != nil {
		t.Fatal(err)
	}
	client, err := feed.New(feed.Config{
		App: cfg.App, Topics: service.Topics(cfg), Partitions: service.Partitions(cfg), ClientOptions: options, DrainInterval: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &crowd{tb: t, cfg: cfg, client: client, counts: map[string]uint64{}}
}

func (c *crowd) bounded() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	c.tb.Cleanup(cancel)
	return ctx
}

// send sends n events, each twice.
func (c *crowd) send(n int) {
	c.tb.Helper()
	ctx := c.bounded()
	for range n {
		who := fmt.Sprintf("listener-%03d", c.sent%100)
		value := fmt.Appendf(nil, `{"event_id":"%08x-0000-4000-8000-000000000000","type":"play","user_id":%q,"song_id":"song-%d","at":%d,"ms_played":200000,"duration_ms":200000}`,
			c.sent, who, c.sent%997, monday().UnixMilli()+int64(c.sent))
		c.client.Event(ctx, []byte(who), value)
		c.client.Event(ctx, []byte(who), value)
		c.counts[who]++
		c.sent++
	}
	if err := c.client.Flush(ctx); err != nil {
		c.tb.Fatal(err)
	}
}

func (c *crowd) drain() {
	c.tb.Helper()
	if err := c.client.Drain(c.bounded()); err != nil {
		c.tb.Fatal(err)
	}
}

// judge compares what is committed with what was sent.
func (c *crowd) judge() {
	c.tb.Helper()
	options, err := service.KafkaOptions(c.cfg)
	if err != nil {
		c.tb.Fatal(err)
	}
	got := map[string]uint64{}
	var core state.ListenerCore
	err = stream.ReadAll(c.bounded(), options, []string{service.Topics(c.cfg).ListenerChangelog}, func(rec *stream.Record) error {
		key, err := state.ParseUserKey(rec.Key)
		if err != nil || key.Row != state.RowCore {
			return nil //nolint:nilerr // rows of other kinds
		}
		if err := core.UnmarshalBinary(rec.Value); err != nil {
			return err
		}
		got[string(key.User)] = core.Events
		return nil
	})
	if err != nil {
		c.tb.Fatal(err)
	}
	if !maps.Equal(got, c.counts) {
		c.tb.Errorf("events of listeners: got %v, want %v", got, c.counts)
	}
}
