//go:build synctests

package sim_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"earworm/consumers/stream"
	"earworm/internal/config"
	"earworm/internal/service"
	"earworm/state"
)

// line is the network of one instance: it can be cut, as by the death of the process.
type line struct {
	network *kfake.VirtualNetwork

	mu    sync.Mutex
	dead  bool
	conns []net.Conn
}

func (l *line) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := l.network.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return nil, errors.Join(errors.New("the process is dead"), conn.Close())
	}
	l.conns = append(l.conns, conn)
	return conn, nil
}

// cut closes every connection and makes new ones impossible.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
	for _, conn := range l.conns {
		_ = conn.Close() // closed by its owner already, or now
	}
}

// instance is one process: it can be started, stopped, and killed.
type instance struct {
	name    string
	cfg     config.Config
	network *kfake.VirtualNetwork
	disk    *state.CrashFS
	line    *line
	cancel  context.CancelFunc
	done    chan error // nil while it does not run
}

// start begins the process on its disk.
func (i *instance) start(tb testing.TB) {
	tb.Helper()
	i.line = &line{network: i.network}
	cfg := i.cfg
	cfg.Instance = i.name
	svc, err := service.New(cfg, service.Deps{
		Logger: logger(i.name), Registry: prometheus.NewRegistry(), Now: time.Now,
		WallClock: true, TickInterval: tickInterval,
		FS: i.disk, VirtualTime: true,
		KafkaOptions: append(calm(), kgo.Dialer(i.line.dial)),
	})
	if err != nil {
		tb.Errorf("%s: %v", i, err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	i.cancel, i.done = cancel, done
	go func() { done <- svc.Run(ctx) }()
}

// calm are options for clients that have months to live: what is idle asks seldom.
func calm() stream.Options {
	return stream.Options{
		kgo.FetchMaxWait(fetchWait), kgo.MetadataMaxAge(time.Hour), kgo.ConnIdleTimeout(15 * time.Minute),
	}
}

// stop ends the process as an operator would.
func (i *instance) stop(tb testing.TB) {
	tb.Helper()
	if i.done == nil {
		return
	}
	i.cancel()
	if err := <-i.done; err != nil {
		tb.Errorf("%s: %v", i, err)
	}
	i.done = nil
}

// kill ends the process as kill -9 would: from one moment on nothing of it reaches the brokers or the disk, of which what is given is
// left. What is left of the process is only cleared away.
func (i *instance) kill(disk *state.CrashFS) {
	i.line.cut()
	i.cancel()
	logger(i.name).Info("what was left of a killed process has ended", slog.Any("error", <-i.done))
	i.disk, i.done = disk, nil
}

func (i *instance) String() string { return "instance " + i.name }

// logger is silent unless SIM_LOG is set.
func logger(name string) *slog.Logger {
	if os.Getenv("SIM_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil)).With(slog.String("instance", name))
}
