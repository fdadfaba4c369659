package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/twmb/franz-go/pkg/kfake"
)

// ErrPortTaken says that another process listens on a port the broker was told to use.
var ErrPortTaken = errors.New("port is taken")

// ErrDirInUse says that another process runs a broker on the same data directory.
var ErrDirInUse = errors.New("broker directory is in use by another process")

// Config tells Start what to embed. The zero value is one broker in memory on a free port.
type Config struct {
	// Dir holds the log; "" keeps everything in memory.
	Dir string
	// Port is the first broker's port on 127.0.0.1, the others follow it; 0 takes free ports.
	Port int
	// Brokers is the number of listeners; 0 means 1.
	Brokers int
	// Sync forces every batch to the disk before it is acknowledged.
	Sync bool
	// SessionTimeoutMin is the smallest group session timeout a member may ask for; 0 means 100 ms.
	SessionTimeoutMin time.Duration
	// MessageBytesMax bounds one record batch; 0 means 8 MiB.
	MessageBytesMax int
	// Settings are broker configs that override the ones chosen here, by their Kafka name.
	Settings map[string]string
	// Options go to kfake last: kfake.ListenFn of a VirtualNetwork for synctest bubbles (which needs a Port: it
	// does not choose free ones), TLS, SASL, seed topics.
	Options []kfake.Opt
	// Logger receives kfake's warnings and errors; nil drops them.
	Logger *slog.Logger
}

// Broker is a running embedded cluster. Its methods may be called from any goroutine.
type Broker struct {
	cluster *kfake.Cluster
	lock    *flock.Flock
	once    sync.Once
	err     error
}

// Start opens the directory, replays its log and listens. Cancelling ctx after Start returned does not stop the
// broker: it has to outlive the clients that drain into it, so the caller closes it last.
// Errors match ErrPortTaken or ErrDirInUse where that is the cause.
func Start(ctx context.Context, cfg Config) (*Broker, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("starting the embedded broker: %w", err)
	}
	if cfg.Port < 0 || cfg.Port > 65535 || cfg.Brokers < 0 {
		return nil, fmt.Errorf("starting the embedded broker: port %d or broker count %d out of range", cfg.Port, cfg.Brokers)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	cluster, err := kfake.NewCluster(options(cfg)...)
	if err != nil {
		return nil, errors.Join(startError(cfg, err), unlock(lock))
	}
	Repair(cluster)
	return &Broker{cluster: cluster, lock: lock}, nil
}

// Addrs returns the bootstrap addresses, host:port.
func (b *Broker) Addrs() []string { return b.cluster.ListenAddrs() }

// Cluster is kfake's own handle, for tests that inject faults, compact or move leaders.
func (b *Broker) Cluster() *kfake.Cluster { return b.cluster }

// Close stops listening, writes the final state and frees the directory. It is idempotent.
func (b *Broker) Close() error {
	b.once.Do(func() {
		b.cluster.Close()
		b.err = unlock(b.lock)
	})
	return b.err
}

// lockDir creates dir and takes its lock; nil for a broker in memory.
func lockDir(dir string) (*flock.Flock, error) {
	if dir == "" {
		return nil, nil //nolint:nilnil // no directory, no lock: both absent is the meaning
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("creating broker directory: %w", err)
	}
	// Beside the log, not inside it: kfake owns what lies in its directory.
	lock := flock.New(filepath.Join(dir, "broker.lock"))
	held, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("locking broker directory: %w", err)
	}
	if !held {
		return nil, fmt.Errorf("%s: %w", dir, ErrDirInUse)
	}
	return lock, nil
}

func unlock(lock *flock.Flock) error {
	if lock == nil {
		return nil
	}
	if err := lock.Close(); err != nil {
		return fmt.Errorf("unlocking broker directory: %w", err)
	}
	return nil
}

func startError(cfg Config, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("embedded broker on 127.0.0.1:%d: %w; choose another port or 0 for a free one", cfg.Port, ErrPortTaken)
	}
	return fmt.Errorf("starting the embedded broker: %w", err)
}

// never is a century.
const never = 100 * 365 * 24 * time.Hour

func options(cfg Config) []kfake.Opt {
	brokers := max(cfg.Brokers, 1)
	minSession := cfg.SessionTimeoutMin
	if minSession <= 0 {
		minSession = 100 * time.Millisecond
	}
	maxBytes := cfg.MessageBytesMax
	if maxBytes <= 0 {
		maxBytes = 8 << 20
	}
	settings := map[string]string{
		"log.retention.ms":             "-1",
		"group.min.session.timeout.ms": strconv.FormatInt(minSession.Milliseconds(), 10),
		"message.max.bytes":            strconv.Itoa(maxBytes),
		"default.replication.factor":   "1",
		// kfake compacts up to the end of the log, as if the records of open transactions were committed: a committed row that one of
		// them replaces is gone, and when the transaction is aborted, the state with it. The same after a restart with one open.
		"log.cleaner.backoff.ms": strconv.FormatInt(never.Milliseconds(), 10),
	}
	maps.Copy(settings, cfg.Settings)
	opts := []kfake.Opt{
		kfake.NumBrokers(brokers),
		kfake.GroupMinSessionTimeout(minSession),
		kfake.BrokerConfigs(settings),
	}
	if cfg.Port != 0 {
		ports := make([]int, brokers)
		for i := range ports {
			ports[i] = cfg.Port + i
		}
		opts = append(opts, kfake.Ports(ports...))
	}
	if cfg.Dir != "" {
		opts = append(opts, kfake.DataDir(filepath.Join(cfg.Dir, "log")))
	}
	if cfg.Sync {
		opts = append(opts, kfake.SyncWrites())
	}
	if cfg.Logger != nil {
		opts = append(opts, kfake.WithLogger(logger{cfg.Logger}))
	}
	return append(opts, cfg.Options...)
}

// logger passes on what deserves a look; kfake's info lines are one per request.
type logger struct{ to *slog.Logger }

var _ kfake.Logger = logger{}

// Logf implements kfake.Logger.
func (l logger) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		l.to.Error("embedded broker", "detail", fmt.Sprintf(format, args...))
	case kfake.LogLevelWarn:
		l.to.Warn("embedded broker", "detail", fmt.Sprintf(format, args...))
	case kfake.LogLevelNone, kfake.LogLevelInfo, kfake.LogLevelDebug:
	}
}
