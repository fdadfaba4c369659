package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// A deleted row stays in the files of a store until compactions happen to rewrite them, which for a quiet part of the keys is never. When a
// listener is erased that is not good enough: the store remembers what to rewrite, and does so some time later, for all who were
// erased meanwhile together.

// scrubKey is there while erased rows may still lie in the files. It names nobody. After a restart everything is rewritten, since
// what was to be is no longer known.
var scrubKey = []byte("\x00scrub")

// scrubSpansMax is the number of erased listeners from which the whole family of keys is rewritten instead of each one's.
const scrubSpansMax = 64

// span is a range of keys: lower is included, upper is not. All its rows lie between lower and last, which are no keys of rows.
type span struct{ lower, last, upper []byte }

// spanOf is the span of all rows whose keys begin with a prefix that goes on with less than 0xff.
func spanOf(prefix []byte) span {
	return span{lower: prefix, last: append(bytes.Clone(prefix), 0xff), upper: prefixEnd(prefix)}
}

// everyone are the families of keys that hold listeners.
func everyone() []span {
	return []span{spanOf([]byte{familyUser}), spanOf([]byte{familyZone})}
}

// scrubber is what a store still has to rewrite.
type scrubber struct {
	mu     sync.Mutex
	spans  []span
	all    bool // instead of spans
	timer  *time.Timer
	round  int // counts what was noted
	cancel context.CancelFunc
	closed bool

	manifest atomic.Uint64 // number of the list of files in use, 0 until the first since the store was opened
}

// erased returns which keys the changes erase: those of listeners whose core row is deleted, and deleted entries of the index by zone.
func erased(changes []Change) []span {
	var spans []span
	for _, c := range changes {
		if c.Value != nil || len(c.Key) == 0 {
			continue
		}
		switch c.Key[0] {
		case familyUser:
			if k, err := ParseUserKey(c.Key); err == nil && k.Row == RowCore {
				spans = append(spans, spanOf(AppendUserPrefix(nil, k.User)))
			}
		case familyZone:
			spans = append(spans, span{
				lower: bytes.Clone(c.Key[:len(c.Key)-1]), last: append(bytes.Clone(c.Key), 0), upper: append(bytes.Clone(c.Key), 1),
			})
		}
	}
	for _, s := range spans {
		if s.lower[0] == familyUser {
			return spans
		}
	}
	return nil // listeners who only moved to another zone
}

// note remembers what to rewrite, everything if spans is nil, and sees to it that it is done.
func (st *Store) note(spans []span) {
	c := &st.scrubs
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.round++
	c.spans = append(c.spans, spans...)
	if spans == nil || len(c.spans) > scrubSpansMax {
		c.spans, c.all = nil, true
	}
	if c.timer == nil {
		c.timer = time.AfterFunc(st.shared.cfg.ScrubDelay, st.scrub)
	}
}

// scrub rewrites what was noted. If it cannot, the key stays, and the next one to open the store tries again.
func (st *Store) scrub() {
	c := &st.scrubs
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	spans, round := c.spans, c.round
	if c.all {
		spans = everyone()
	}
	c.spans, c.all, c.timer, c.cancel = nil, false, nil, cancel
	c.mu.Unlock()
	err := st.stir(ctx, spans)
	if err == nil {
		err = st.relist(ctx)
	}
	if err == nil {
		err = st.exclusively(func() error { return st.scrubbed(round) })
	}
	switch {
	case err == nil:
		st.shared.metrics.scrubs.Inc()
	case errors.Is(err, ErrClosed), errors.Is(err, context.Canceled):
	default:
		st.shared.logger.Warn("erased rows could not be taken out of the files of a store; trying again when it is opened",
			"store", st.id.String(), "error", err)
	}
}

// scrubbed takes the mark away, unless more was noted meanwhile. The caller is the writer, so nothing can be noted now.
func (st *Store) scrubbed(round int) error {
	st.scrubs.mu.Lock()
	more := st.scrubs.round != round
	st.scrubs.mu.Unlock()
	if more {
		return nil
	}
	batch := st.db.NewBatch()
	if err := batch.Delete(scrubKey, nil); err != nil {
		return errors.Join(err, batch.Close())
	}
	return st.commitSame(batch)
}

// commitSame commits what changes no row: the store is not as old as this, but as what was last applied. Whoever asks how old it is wants
// to know which deletions it may have missed.
func (st *Store) commitSame(batch *pebble.Batch) error {
	return st.commitAs(batch, st.offset.Load(), st.applied.Load())
}

// resumeScrub goes on with what a process that ended had noted.
func (st *Store) resumeScrub() error {
	found, err := st.readAtOpen(scrubKey, func([]byte) error { return nil })
	if found {
		st.note(nil)
	}
	return err
}

// close stops a scrub that is under way.
func (c *scrubber) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	if c.cancel != nil {
		c.cancel()
	}
}

// rewrite makes deleted rows in the spans physically gone.
func (st *Store) rewrite(ctx context.Context, spans []span) error {
	if err := st.enter(); err != nil {
		return err
	}
	defer st.users.Done()
	done := make(chan error, 1)
	go func() {
		err := st.db.Flush()
		for _, s := range spans {
			if err == nil {
				err = st.db.Compact(ctx, s.lower, s.upper, false)
			}
		}
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			return st.readFailed("compacting", err)
		}
		return nil
	case <-st.shared.health.failed:
		return st.shared.health.err()
	}
}

// stir rewrites the spans so that not even the deletions stay. Pebble moves a file that overlaps with no other down a level as it is: one
// with nothing but deletions would come to rest on the last level, where they delete nothing, and name who was erased. Two files
// that overlap cannot be moved; so each span gets two, which hold deletions of keys that no row has and go the same way.
func (st *Store) stir(ctx context.Context, spans []span) error {
	for _, s := range spans {
		for range 2 {
			err := st.exclusively(func() error {
				batch := st.db.NewBatch()
				if err := errors.Join(batch.Delete(s.lower, nil), batch.Delete(s.last, nil)); err != nil {
					return errors.Join(err, batch.Close())
				}
				return errors.Join(st.commitSame(batch), st.flush())
			})
			if err != nil {
				return err
			}
		}
		if err := st.rewrite(ctx, []span{s}); err != nil {
			return err
		}
	}
	return nil
}

// relistMax bounds the writes after which a new list of files must have begun: there are fewer files.
const relistMax = 10_000

// relist begins a new list of files (MANIFEST) and removes those before it. A list names the first and the last row of every file that
// there was since it began, and Pebble keeps the one before. There is no call for it: a list ends when it has as many
// changes as the store has files, and every flush is one.
func (st *Store) relist(ctx context.Context) error {
	before := st.scrubs.manifest.Load()
	for n := 0; st.scrubs.manifest.Load() == before; n++ {
		if n == relistMax {
			return fmt.Errorf("store %s: no new list of files after %d flushes", st.id, n)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		err := st.exclusively(func() error {
			batch := st.db.NewBatch()
			if err := mark(batch); err != nil {
				return errors.Join(err, batch.Close())
			}
			return errors.Join(st.commitSame(batch), st.flush())
		})
		if err != nil {
			return err
		}
	}
	// The event comes after the list is in use, so that those with smaller numbers are not.
	return st.removeLists(st.scrubs.manifest.Load())
}

// removeLists removes the lists of files with smaller numbers. Pebble, which would have done so later, does not mind.
func (st *Store) removeLists(current uint64) error {
	files := st.shared.fs
	names, err := files.List(st.dir)
	if err != nil {
		return fmt.Errorf("store %s: looking for old lists of files: %w", st.id, err)
	}
	for _, name := range names {
		number, ok := strings.CutPrefix(name, "MANIFEST-")
		n, err := strconv.ParseUint(number, 10, 64)
		if !ok || err != nil || n >= current {
			continue
		}
		if err := files.Remove(files.PathJoin(st.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("store %s: removing an old list of files: %w", st.id, err)
		}
	}
	return nil
}

// mark adds the key that a scrub is due to a batch.
func mark(batch *pebble.Batch) error { return batch.Set(scrubKey, []byte{1}, nil) }
