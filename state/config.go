package state

import (
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Defaults that Config documents.
const (
	defaultCacheBytes       = 64 << 20
	defaultMemTableBytes    = 32 << 20
	defaultFlushInterval    = time.Minute
	defaultScrubDelay       = 10 * time.Minute
	defaultOpenFiles        = 1000
	defaultStallTimeout     = 5 * time.Second
	defaultBackgroundErrors = 3
	defaultBackgroundWindow = 5 * time.Second
	defaultMinFreeBytes     = 1 << 30
	defaultMinFreePercent   = 5
	minFreePercentCap       = 10 << 30
)

// Config says where and how the stores of one process live. A zero field means its default.
type Config struct {
	// Dir is the state directory; one process at a time may use it.
	Dir string
	// FS is the file system; nil is the operating system's.
	FS FS
	// CacheBytes bounds the block cache that all stores share; default 64 MiB.
	CacheBytes int64
	// MemTableBytes is the size of a store's write buffer; default 32 MiB, at least 1 MiB. What it holds a crash takes away, and it is
	// read again from the changelog.
	MemTableBytes int64
	// FlushInterval is the age at which a write buffer that is not full goes to disk with the next write; default 1 minute.
	FlushInterval time.Duration
	// ScrubDelay is how long after a listener was erased, or a store was wiped, their files are rewritten without them; what is erased
	// meanwhile is done together. Default 10 minutes.
	ScrubDelay time.Duration
	// OpenFiles bounds the open tables of all stores together; default 1000.
	OpenFiles int
	// StallTimeout is how long a write may take before the disk counts as sick; default 5 s.
	StallTimeout time.Duration
	// BackgroundErrors within BackgroundWindow make the disk count as sick; default 3 within 5 s.
	// Pebble retries a full disk or an I/O error for ever and tells the writer nothing.
	BackgroundErrors int
	// BackgroundWindow is the time in which BackgroundErrors are counted.
	BackgroundWindow time.Duration
	// MinFreeBytes is the free space below which nothing opens and Health fails; default 1 GiB, negative for no bound.
	MinFreeBytes int64
	// MinFreePercent is the same in percent of the disk, but never asks for more than 10 GiB; default 5, negative for no bound.
	MinFreePercent int
	// NoPolling keeps the stores from looking ten times a second whether a compaction may begin: where time is virtual, weeks of
	// such looks are all that a test would do. Compactions then begin after writes and after other compactions only.
	NoPolling bool
	// Now reads the wall clock; required. It dates meta rows and quarantined directories and counts background errors.
	Now func() time.Time
}

// Default returns the configuration that the zero values stand for, without Dir and Now.
func Default() Config {
	var c Config
	c.fill()
	return c
}

// Validate reports every problem of the configuration.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("state: Dir is empty"))
	}
	if c.Now == nil {
		errs = append(errs, errors.New("state: Now is nil"))
	}
	if c.CacheBytes < 0 || c.OpenFiles < 0 || c.BackgroundErrors < 0 {
		errs = append(errs, errors.New("state: CacheBytes, OpenFiles and BackgroundErrors must not be negative"))
	}
	if c.MemTableBytes != 0 && (c.MemTableBytes < 1<<20 || c.MemTableBytes > 1<<30) {
		errs = append(errs, errors.New("state: MemTableBytes must be between 1 MiB and 1 GiB"))
	}
	if c.StallTimeout < 0 || c.BackgroundWindow < 0 || c.FlushInterval < 0 || c.ScrubDelay < 0 {
		errs = append(errs, errors.New("state: StallTimeout, BackgroundWindow, FlushInterval and ScrubDelay must not be negative"))
	}
	if c.MinFreePercent > 90 {
		errs = append(errs, errors.New("state: MinFreePercent must be at most 90"))
	}
	return errors.Join(errs...)
}

func (c *Config) fill() {
	c.CacheBytes = orDefault(c.CacheBytes, defaultCacheBytes)
	c.MemTableBytes = orDefault(c.MemTableBytes, defaultMemTableBytes)
	c.FlushInterval = orDefault(c.FlushInterval, defaultFlushInterval)
	c.ScrubDelay = orDefault(c.ScrubDelay, defaultScrubDelay)
	c.OpenFiles = orDefault(c.OpenFiles, defaultOpenFiles)
	c.StallTimeout = orDefault(c.StallTimeout, defaultStallTimeout)
	c.BackgroundErrors = orDefault(c.BackgroundErrors, defaultBackgroundErrors)
	c.BackgroundWindow = orDefault(c.BackgroundWindow, defaultBackgroundWindow)
	c.MinFreeBytes = orDefault(c.MinFreeBytes, defaultMinFreeBytes)
	c.MinFreePercent = orDefault(c.MinFreePercent, defaultMinFreePercent)
}

func orDefault[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

// Deps are what the stores talk to. Every field may be zero.
type Deps struct {
	// Logger receives warnings and errors; never keys or values.
	Logger *slog.Logger
	// Registerer receives the metrics earworm_state_*.
	Registerer prometheus.Registerer
	// OnFatal is called once, on its own goroutine, when the stores must not be used any more: leave the group and exit.
	OnFatal func(error)
	// OnQuarantine is called, before Open returns, for each directory that was set aside.
	OnQuarantine func(Quarantine)
}

// Quarantine says which directory was set aside, where it is now, and why.
type Quarantine struct {
	Identity Identity
	// From is where the store lives (empty again); To is the directory that was set aside.
	From, To string
	// Reason is a bounded code, fit for a metric label.
	Reason Reason
	// Cause is the error found, or nil.
	Cause error
}

// Reason is why a store was set aside.
type Reason string

// The reasons for a quarantine.
const (
	ReasonCorrupt    Reason = "corrupt"
	ReasonUnreadable Reason = "unreadable"
	ReasonPartitions Reason = "partitions_changed"
	ReasonIdentity   Reason = "identity_changed"
	ReasonSchema     Reason = "schema_changed"
)
