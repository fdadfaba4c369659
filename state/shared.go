package state

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/gofrs/flock"
	"github.com/prometheus/client_golang/prometheus"
)

// Between two looks at the free space at most so much is written, little against the smallest bound and much against a batch, and at
// most so much time passes while something is written at all: what a task writes stays in memory for up to a minute, and others fill
// disks, too.
const (
	spaceCheckBytes    = 16 << 20
	spaceCheckInterval = 2 * time.Second
)

// Shared is what all stores of a process have in common: the locked state directory, the caches, and their health.
// Its methods may be called concurrently.
type Shared struct {
	cfg        Config
	fs         FS
	logger     *slog.Logger
	quarantine func(Quarantine)
	metrics    *metrics
	registerer prometheus.Registerer
	health     *health
	lock       io.Closer
	cache      *blockCache
	files      *pebble.FileCache
	written    atomic.Int64 // bytes since the last look at the free space
	looked     atomic.Int64 // when that was, Unix nanoseconds

	mu     sync.Mutex
	closed bool
	stores map[string]*Store // by directory; nil while a store opens
}

// NewShared locks the state directory and prepares the caches. It returns ErrLocked when another process has the directory and
// ErrLowDisk when the disk is nearly full.
func NewShared(cfg Config, deps Deps) (*Shared, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.fill()
	s := &Shared{
		cfg: cfg, fs: cfg.FS, logger: deps.Logger, quarantine: deps.OnQuarantine, registerer: deps.Registerer,
		stores: map[string]*Store{},
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	s.health = newHealth(&s.cfg, func(err error) {
		s.metrics.sick.Set(1)
		if deps.OnFatal != nil {
			deps.OnFatal(err)
		}
	})
	var err error
	if s.lock, err = lockDir(cfg.FS, cfg.Dir); err != nil {
		return nil, err
	}
	if s.fs == nil {
		s.fs = vfs.Default
	}
	free, err := s.health.checkSpace(s.fs, cfg.Dir)
	if err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	if s.metrics, err = newMetrics(deps.Registerer); err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	s.metrics.freeBytes.Set(float64(free))
	s.cache = newBlockCache(cfg.CacheBytes, cfg.MemTableBytes)
	s.files = pebble.NewFileCache(4, cfg.OpenFiles)
	return s, nil
}

// lockDir creates the state directory and takes the lock that keeps a second process out.
func lockDir(fs FS, dir string) (io.Closer, error) {
	if fs != nil {
		if err := makeDir(fs, dir); err != nil {
			return nil, fmt.Errorf("creating state directory: %w", err)
		}
		lock, err := fs.Lock(fs.PathJoin(dir, "LOCK"))
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrLocked, dir, err)
		}
		return lock, nil
	}
	if err := makeDir(vfs.Default, dir); err != nil {
		return nil, fmt.Errorf("creating state directory: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "LOCK"))
	taken, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("locking state directory %s: %w", dir, err)
	}
	if !taken {
		return nil, fmt.Errorf("%w: %s", ErrLocked, dir)
	}
	return lock, nil
}

// Health returns nil while the stores may be used, and for ever the reason once they may not.
func (s *Shared) Health() error { return s.health.err() }

// Close closes every store and lets go of the directory. It may be called again.
func (s *Shared) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	open := make([]*Store, 0, len(s.stores))
	for _, st := range s.stores {
		if st != nil {
			open = append(open, st)
		}
	}
	s.mu.Unlock()
	// All at once: each may wait for its own flush.
	errs := make([]error, len(open), len(open)+1)
	var closing sync.WaitGroup
	for i, st := range open {
		closing.Go(func() {
			if err := st.Close(); err != nil {
				errs[i] = fmt.Errorf("closing store %s: %w", st.id, err)
			}
		})
	}
	closing.Wait()
	s.files.Unref()
	s.cache.close()
	s.metrics.unregister(s.registerer)
	errs = append(errs, s.lock.Close())
	return errors.Join(errs...)
}

// claim reserves a directory for one store of this process.
func (s *Shared) claim(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if _, taken := s.stores[dir]; taken {
		return ErrInUse
	}
	s.stores[dir] = nil
	return nil
}

func (s *Shared) release(dir string) {
	s.mu.Lock()
	delete(s.stores, dir)
	s.mu.Unlock()
}

// register makes an opened store known, unless Close came first.
func (s *Shared) register(st *Store) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.stores[st.dir] = st
	return true
}

// wrote counts written bytes and now and then looks at the disk.
func (s *Shared) wrote(n int) {
	now := s.cfg.Now().UnixNano()
	last := s.looked.Load()
	if s.written.Add(int64(n)) < spaceCheckBytes && now-last < spaceCheckInterval.Nanoseconds() {
		return
	}
	if !s.looked.CompareAndSwap(last, now) {
		return // another store looks
	}
	s.written.Store(0)
	s.lookAtDisk()
}

func (s *Shared) lookAtDisk() {
	free, err := s.health.checkSpace(s.fs, s.cfg.Dir)
	s.metrics.freeBytes.Set(float64(free))
	if err != nil {
		s.health.fail(err)
	}
}
