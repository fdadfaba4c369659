package state

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// health decides when the stores of a process must not be used any more. That is final: the process has to leave and exit,
// because Pebble gives no way back from a failed fsync.
type health struct {
	cfg     *Config
	onFatal func(error)
	failed  chan struct{} // closed with the first fatal error
	// hopeless is closed with the first one that leaves nothing to wait for: a disk that is only nearly full still works, and closing may
	// flush to it. The first fatal error often is that the disk is nearly full, and the next that it is full.
	hopeless chan struct{}

	mu     sync.Mutex
	fatal  error
	lost   bool        // hopeless is closed
	recent []time.Time // background errors within the window, at most cfg.BackgroundErrors
}

func newHealth(cfg *Config, onFatal func(error)) *health {
	return &health{cfg: cfg, onFatal: onFatal, failed: make(chan struct{}), hopeless: make(chan struct{})}
}

// fail records the first fatal error and tells the owner on a goroutine of its own: Pebble may hold locks while it calls us.
func (h *health) fail(err error) {
	h.mu.Lock()
	first := h.fatal == nil
	if first {
		h.fatal = err
		close(h.failed)
	}
	if !h.lost && !errors.Is(err, ErrLowDisk) {
		h.lost = true
		close(h.hopeless)
	}
	h.mu.Unlock()
	if first {
		go h.onFatal(err)
	}
}

func (h *health) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fatal
}

// background counts a background error and reports whether it is the first in a while, so that only that one is logged.
func (h *health) background(store Identity, err error) (first bool) {
	now := h.cfg.Now()
	h.mu.Lock()
	for len(h.recent) > 0 && now.Sub(h.recent[0]) > h.cfg.BackgroundWindow {
		h.recent = h.recent[1:]
	}
	first = len(h.recent) == 0
	if len(h.recent) < h.cfg.BackgroundErrors {
		h.recent = append(h.recent, now)
	}
	tooMany := len(h.recent) >= h.cfg.BackgroundErrors
	h.mu.Unlock()
	if tooMany {
		h.fail(fmt.Errorf("%w: store %s: %d errors within %s: %w",
			ErrSick, store, h.cfg.BackgroundErrors, h.cfg.BackgroundWindow, err))
	}
	return first
}

// checkSpace returns ErrLowDisk when the disk under dir is nearly full. It returns the free bytes, or -1 if they are unknown.
func (h *health) checkSpace(fs FS, dir string) (int64, error) {
	usage, err := fs.GetDiskUsage(dir)
	if err != nil || usage.TotalBytes == 0 {
		return -1, nil //nolint:nilerr // a file system that cannot say how full it is sets no bound
	}
	need := max(h.cfg.MinFreeBytes, 0)
	if percent := h.cfg.MinFreePercent; percent > 0 {
		// A twentieth of a large disk is more than any store needs: the cap keeps big, well-filled disks usable.
		need = max(need, min(int64(usage.TotalBytes/100)*int64(percent), minFreePercentCap)) //nolint:gosec // a hundredth of a disk fits
	}
	free := int64(usage.AvailBytes) //nolint:gosec // no disk has 8 EiB
	if free < need {
		return free, fmt.Errorf("%w: %s has %d MiB free, %d MiB are required", ErrLowDisk, dir, free>>20, need>>20)
	}
	return free, nil
}

// cause finds the error among the arguments of a log line, to classify it.
func cause(args []any) error {
	for _, a := range args {
		if err, ok := a.(error); ok {
			return err
		}
	}
	return errors.New("no cause given")
}
