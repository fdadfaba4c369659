package state

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// MaxKeyBytes bounds a key.
const MaxKeyBytes = 1024

// Keys of callers lie between these: a range deletion of all of them leaves the meta row alone.
var (
	firstKey = []byte{0x01}
	endKey   = []byte{0xff}
)

// Change is one row to write, or to delete if Value is nil.
type Change struct{ Key, Value []byte }

// Store is the local state of one task. Reads may run concurrently with each other and with one writer; writers wait for each other.
// After ErrCorrupt it has to be closed; opening it again sets its directory aside.
type Store struct {
	shared  *Shared
	id      Identity
	dir     string
	db      *pebble.DB
	offset  atomic.Int64
	applied atomic.Int64
	corrupt atomic.Pointer[error]
	batches uint64    // written so far; belongs to the writer, as do the two below
	written bool      // since it was opened
	flushed time.Time // when the last flush began that the writer asked for

	opening   atomic.Bool
	openFatal chan error

	scrubs scrubber

	writer   chan struct{} // held by the one writer
	requests chan request
	stopped  chan struct{} // closed when the commit goroutine has ended

	mu      sync.Mutex
	closed  bool
	users   sync.WaitGroup
	closing sync.Once
	closeBy error
}

// request is a write for the commit goroutine. Writes go there because Pebble may never return from one: a caller can then leave.
type request struct {
	run  func() error
	done chan error
}

func newStore(s *Shared, id Identity, dir string) *Store {
	return &Store{
		shared: s, id: id, dir: dir, flushed: s.cfg.Now(),
		openFatal: make(chan error, 1),
		writer:    make(chan struct{}, 1),
		requests:  make(chan request), // unbuffered: one write at a time
		stopped:   make(chan struct{}),
	}
}

// Identity returns which store this is.
func (st *Store) Identity() Identity { return st.id }

// Offset returns the changelog offset from which the rows have to be brought up to date; 0 for an empty store.
func (st *Store) Offset() int64 { return st.offset.Load() }

// LastApplied returns the wall time of the last Apply, or the zero time if there was none.
func (st *Store) LastApplied() time.Time { return meta{applied: st.applied.Load()}.appliedAt() }

// Get returns a copy of the value of a key, or nil if there is none.
func (st *Store) Get(key []byte) ([]byte, error) {
	var value []byte
	_, err := st.View(key, func(v []byte) error {
		value = append(make([]byte, 0, len(v)), v...)
		return nil
	})
	return value, err
}

// View calls fn with the value of a key, which fn must not keep, and reports whether there is one. It returns fn's error as it is.
func (st *Store) View(key []byte, fn func(value []byte) error) (found bool, err error) {
	if err := checkKey(key); err != nil {
		return false, err
	}
	if err := st.enter(); err != nil {
		return false, err
	}
	defer st.users.Done()
	value, closer, err := st.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, st.readFailed("reading a row", err)
	}
	err = fn(value)
	if closeErr := closer.Close(); err == nil && closeErr != nil {
		err = st.readFailed("reading a row", closeErr)
	}
	return true, err
}

// Scan calls fn for each row whose key has the prefix, in key order; an empty prefix means every row. fn must not keep its
// arguments nor close the store. An error of fn ends the scan and is returned, except ErrStop.
func (st *Store) Scan(prefix []byte, fn func(key, value []byte) error) error {
	if len(prefix) == 0 {
		return st.ScanRange(nil, nil, fn)
	}
	return st.ScanRange(prefix, prefixEnd(prefix), fn)
}

// ScanRange is Scan over the keys from lower (included) to upper (not included); nil means no bound.
func (st *Store) ScanRange(lower, upper []byte, fn func(key, value []byte) error) error {
	if err := st.enter(); err != nil {
		return err
	}
	defer st.users.Done()
	if lower == nil || string(lower) < string(firstKey) {
		lower = firstKey
	}
	iter, err := st.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return st.readFailed("scanning rows", err)
	}
	for valid := iter.First(); valid; valid = iter.Next() {
		value, valueErr := iter.ValueAndErr()
		if valueErr != nil {
			break // iter.Error has it too
		}
		if err = fn(iter.Key(), value); err != nil {
			break
		}
	}
	if iterErr := errors.Join(iter.Error(), iter.Close()); iterErr != nil {
		return st.readFailed("scanning rows", iterErr)
	}
	if errors.Is(err, ErrStop) {
		return nil
	}
	return err
}

// batchKept is the size up to which the memory of a batch is used again: what a transaction of a task under load has, and a new one of
// that size would be fresh pages each time.
const batchKept = 16 << 20

// Apply writes the changes and the next changelog offset in one atomic batch in memory, which goes to disk later and in
// order: after a crash the store holds a prefix of what was applied. The rows of a listener whose core row is deleted leave the
// files some time later, see Config.ScrubDelay. It copies what it needs. An error wraps
// ErrOffset or ErrKey for a wrong argument (nothing is written), ErrCorrupt, ErrClosed, or the reason of Shared.Health.
func (st *Store) Apply(changes []Change, offset int64) error {
	return st.exclusively(func() error {
		if current := st.offset.Load(); offset < current {
			return fmt.Errorf("%w: %d is before %d", ErrOffset, offset, current)
		}
		size := 128
		for _, c := range changes {
			size += len(c.Key) + len(c.Value) + 16
		}
		batch := st.db.NewBatchWithSize(size, pebble.WithMaxRetainedSizeBytes(batchKept))
		for _, c := range changes {
			err := checkKey(c.Key)
			switch {
			case err != nil:
			case c.Value == nil:
				err = batch.Delete(c.Key, nil)
			default:
				err = batch.Set(c.Key, c.Value, nil)
			}
			if err != nil {
				return errors.Join(err, batch.Close())
			}
		}
		gone := erased(changes)
		if gone != nil {
			if err := mark(batch); err != nil {
				return errors.Join(err, batch.Close())
			}
		}
		if err := st.commit(batch, offset); err != nil {
			return err
		}
		if gone != nil {
			st.note(gone)
		}
		st.shared.metrics.batches.Inc()
		st.shared.metrics.rows.Add(float64(len(changes)))
		st.shared.metrics.bytes.Add(float64(size))
		st.shared.wrote(size)
		return nil
	})
}

// Flush makes durable what was applied.
func (st *Store) Flush() error { return st.exclusively(st.flush) }

// Wipe deletes every row and sets the offset to 0, durably. As with listeners who are erased, the bytes leave the disk some time later.
func (st *Store) Wipe() error {
	return st.exclusively(func() error {
		batch := st.db.NewBatch()
		if err := batch.DeleteRange(firstKey, endKey, nil); err != nil {
			return errors.Join(err, batch.Close())
		}
		if err := mark(batch); err != nil {
			return errors.Join(err, batch.Close())
		}
		err := errors.Join(st.commit(batch, 0), st.flush())
		st.note(nil)
		return err
	})
}

// DeletePrefix deletes every row whose key has the prefix, durably, and leaves the offset as it is.
// The bytes leave the disk with later compactions, or at once with Compact.
func (st *Store) DeletePrefix(prefix []byte) error {
	if err := checkKey(prefix); err != nil {
		return err
	}
	return st.exclusively(func() error {
		batch := st.db.NewBatch()
		if err := batch.DeleteRange(prefix, prefixEnd(prefix), nil); err != nil {
			return errors.Join(err, batch.Close())
		}
		return errors.Join(st.commit(batch, st.offset.Load()), st.flush())
	})
}

// Compact rewrites the files that hold keys with the prefix, so that deleted rows are physically gone. It can take seconds.
func (st *Store) Compact(ctx context.Context, prefix []byte) error {
	if err := checkKey(prefix); err != nil {
		return err
	}
	return st.rewrite(ctx, []span{{lower: prefix, upper: prefixEnd(prefix)}})
}

// commit is commitAs for a change of the rows, which is dated now.
func (st *Store) commit(batch *pebble.Batch, offset int64) error {
	return st.commitAs(batch, offset, st.shared.cfg.Now().UnixMilli())
}

// commitAs hands a batch, completed with the meta row, to the commit goroutine. The caller is the writer.
func (st *Store) commitAs(batch *pebble.Batch, offset, applied int64) error {
	now := st.shared.cfg.Now()
	m := meta{
		id: st.id, schema: SchemaVersion, batches: st.batches + 1, offset: offset, applied: applied,
	}
	var scratch [128]byte
	err := errors.Join(batch.Set(metaKey, m.appendBinary(scratch[:0]), nil), batch.Merge(countKey, one, nil))
	if err != nil {
		return errors.Join(err, batch.Close())
	}
	due := now.Sub(st.flushed) >= st.shared.cfg.FlushInterval
	if due {
		st.flushed = now
	}
	err = st.do(st.shared.cfg.StallTimeout, func() error {
		err := errors.Join(batch.Commit(pebble.NoSync), batch.Close())
		if err == nil && due {
			_, err = st.db.AsyncFlush()
		}
		return err
	})
	if err != nil {
		return st.readFailed("applying a batch", err)
	}
	st.batches, st.written = m.batches, true
	st.offset.Store(offset)
	st.applied.Store(m.applied)
	return nil
}

// flushPatience is how many times longer than a write a flush may take: it writes whole buffers to disk and waits for them.
const flushPatience = 4

// flush waits until everything in memory is in tables. The caller is the writer.
func (st *Store) flush() error {
	if err := st.do(flushPatience*st.shared.cfg.StallTimeout, st.db.Flush); err != nil {
		return st.readFailed("flushing", err)
	}
	return nil
}

// do runs a write on the commit goroutine and waits for it, but never longer than the disk is believed to work.
func (st *Store) do(patience time.Duration, run func() error) error {
	h := st.shared.health
	req := request{run: run, done: make(chan error, 1)}
	requests := st.requests
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for late := false; ; {
		select {
		case requests <- req:
			requests = nil // handed over; from now on wait for the answer only
		case err := <-req.done:
			return err
		case <-h.failed:
			return h.err()
		case <-timer.C:
			if late {
				h.fail(fmt.Errorf("%w: store %s: a write takes longer than %s", ErrSick, st.id, patience))
				continue
			}
			// A process that was stopped (SIGSTOP, a suspended machine) finds the timer expired when it wakes up,
			// before the disk had a chance: wait once more, a little.
			late = true
			timer.Reset(patience / 5)
		}
	}
}

// start begins to serve writes.
func (st *Store) start() {
	go func() {
		defer close(st.stopped)
		for req := range st.requests {
			req.done <- st.run(req)
		}
	}()
}

// run executes one write. A panic of Pebble leaves its structures half changed; nothing can be written after that.
func (st *Store) run(req request) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: store %s: writing panicked: %v", ErrSick, st.id, r)
			st.shared.health.fail(err)
		}
	}()
	return req.run()
}

// exclusively runs fn as the one writer of an open, healthy store.
func (st *Store) exclusively(fn func() error) error {
	if err := st.enter(); err != nil {
		return err
	}
	defer st.users.Done()
	select {
	case st.writer <- struct{}{}:
		defer func() { <-st.writer }()
		return fn()
	case <-st.shared.health.failed:
		return st.shared.health.err()
	}
}

// enter counts a user of the store, which Close waits for.
func (st *Store) enter() error {
	if err := st.corrupt.Load(); err != nil {
		return *err
	}
	if err := st.shared.health.err(); err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed {
		return fmt.Errorf("store %s: %w", st.id, ErrClosed)
	}
	st.users.Add(1)
	return nil
}

// Close waits for the users of the store and closes it; what was applied is then durable. It may be called again.
// On a sick disk it gives up instead of waiting: the next Open finds what was flushed.
func (st *Store) Close() error {
	st.closing.Do(func() {
		st.scrubs.close()
		st.mu.Lock()
		st.closed = true
		st.mu.Unlock()
		st.users.Wait()
		close(st.requests)
		select {
		case <-st.stopped:
			st.closeBy = st.closeDB()
		case <-st.shared.health.hopeless:
			st.closeBy = st.shared.health.err()
		}
		st.shared.metrics.open.Dec()
		st.shared.cache.add(-1)
		st.shared.release(st.dir)
	})
	return st.closeBy
}

// closeDB flushes and closes Pebble, which waits for flushes and compactions: for ever, on a full disk.
func (st *Store) closeDB() error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- fmt.Errorf("closing panicked: %v", r)
			}
		}()
		var err error
		if st.written && st.corrupt.Load() == nil {
			err = st.db.Flush()
		}
		done <- errors.Join(err, st.db.Close())
	}()
	timer := time.NewTimer(flushPatience * st.shared.cfg.StallTimeout)
	defer timer.Stop()
	select {
	case err := <-done:
		return errors.Join(err, st.shared.health.err())
	case <-st.shared.health.hopeless:
		return st.shared.health.err()
	case <-timer.C:
		err := fmt.Errorf("%w: store %s: closing takes longer than %s", ErrSick, st.id, flushPatience*st.shared.cfg.StallTimeout)
		st.shared.health.fail(err)
		return err
	}
}

// readFailed turns an error of Pebble into one of ours, and remembers corruption for the next Open.
func (st *Store) readFailed(doing string, err error) error {
	if isCorruption(err) {
		return st.markCorrupt(fmt.Errorf("%s: %w", doing, err))
	}
	return fmt.Errorf("store %s: %s: %w", st.id, doing, err)
}

// markCorrupt makes every later call fail and leaves a mark in the directory, so that even after a crash it is set aside.
func (st *Store) markCorrupt(err error) error {
	err = fmt.Errorf("store %s: %w: %w", st.id, ErrCorrupt, err)
	if !st.corrupt.CompareAndSwap(nil, &err) {
		return *st.corrupt.Load()
	}
	fs := st.shared.fs
	f, markErr := fs.Create(fs.PathJoin(st.dir, corruptMarker), "earworm-marker")
	if markErr == nil {
		markErr = errors.Join(f.Sync(), f.Close(), syncDir(fs, st.dir))
	}
	if markErr != nil {
		st.shared.logger.Error("damaged store could not be marked", "store", st.id.String(), "error", markErr)
	}
	return err
}

func checkKey(key []byte) error {
	if len(key) == 0 || len(key) > MaxKeyBytes || key[0] < firstKey[0] || key[0] >= endKey[0] {
		return fmt.Errorf("%w: %d bytes", ErrKey, len(key))
	}
	return nil
}
