package state

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/redact"
)

// listener tells the health of the process what Pebble does behind the writers' backs.
func (st *Store) listener() *pebble.EventListener {
	shared := st.shared
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			shared.metrics.backgroundErrors.Inc()
			if isCorruption(err) {
				// The disk works, this store is damaged: its next call says so, and only it has to go.
				_ = st.markCorrupt(err)
				return
			}
			if shared.health.background(st.id, err) {
				shared.logger.Error("store cannot flush or compact", "store", st.id.String(), "error", redact.Sprint(err).Redact())
			}
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			// The bounds in info are keys, which name people: only the file is logged.
			shared.logger.Error("store has a damaged file", "store", st.id.String(), "file", info.Path)
			_ = st.markCorrupt(info.Details)
		},
		DiskSlow: func(info pebble.DiskSlowInfo) {
			shared.logger.Warn("disk is slow", "store", st.id.String(), "operation", info.OpType.String(), "took", info.Duration)
		},
		ManifestCreated: func(info pebble.ManifestCreateInfo) {
			if info.Err == nil {
				st.scrubs.manifest.Store(uint64(info.FileNum))
			}
		},
		LowDiskSpace:    func(pebble.LowDiskSpaceInfo) { shared.lookAtDisk() },
		WriteStallBegin: func(pebble.WriteStallBeginInfo) { shared.metrics.writeStalls.Inc() },
	}
}

// pebbleLogger keeps Pebble's chatter out of the log and its os.Exit out of the process.
type pebbleLogger struct{ st *Store }

var _ pebble.Logger = (*pebbleLogger)(nil)

// Infof drops the message: normal running is silent.
func (*pebbleLogger) Infof(string, ...any) {}

// Errorf logs the message without its arguments' content, which may hold keys.
func (l *pebbleLogger) Errorf(format string, args ...any) {
	l.st.shared.logger.Error("pebble reports an error", "store", l.st.id.String(), "error", redact.Sprintf(format, args...).Redact())
}

// Fatalf ends the use of all stores and never returns, as Pebble requires: its structures are half changed and its locks held.
// Where Pebble would exit, the owner is told to.
func (l *pebbleLogger) Fatalf(format string, args ...any) {
	err := fmt.Errorf("store %s: %s: %w", l.st.id, redact.Sprintf(format, args...).Redact(), cause(args))
	if l.st.opening.Load() {
		// The content of one directory, not the disk, may be to blame: Open decides.
		select {
		case l.st.openFatal <- err:
		default:
		}
	} else {
		l.st.shared.health.fail(fmt.Errorf("%w: %w", ErrSick, err))
	}
	select {}
}
