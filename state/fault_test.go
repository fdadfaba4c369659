package state

import (
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// faults makes chosen operations on chosen files fail once it is armed.
type faults struct {
	armed atomic.Bool
	hits  atomic.Int64
	hang  chan struct{} // when set, operations wait for it instead of failing
	err   error
	match func(op errorfs.Op) bool
}

func (*faults) String() string { return "faults" }

func (f *faults) MaybeError(op errorfs.Op) error {
	if !f.armed.Load() || !f.match(op) {
		return nil
	}
	f.hits.Add(1)
	if f.hang != nil {
		<-f.hang
		return nil
	}
	return f.err
}

func writesTo(ext string) func(errorfs.Op) bool {
	return func(op errorfs.Op) bool {
		if strings.HasPrefix(ext, ".") {
			return op.Kind.ReadOrWrite() == errorfs.OpIsWrite && filepath.Ext(op.Path) == ext
		}
		return op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.HasPrefix(filepath.Base(op.Path), ext)
	}
}

// TestSickDiskEndsTheProcess breaks one kind of file in one way. Whatever Pebble makes of it (it retries tables for ever and
// exits on a broken log), the owner must be told and no call may hang; what is left on disk must still be a prefix.
func TestSickDiskEndsTheProcess(t *testing.T) {
	const bound = 3 * time.Second
	tests := []struct {
		name  string
		match func(errorfs.Op) bool
		err   error
		hang  bool
		heals bool // Pebble goes on by itself once the disk works again
	}{
		{name: "table EIO", match: writesTo(".sst"), err: syscall.EIO, heals: true},
		{name: "table ENOSPC", match: writesTo(".sst"), err: syscall.ENOSPC, heals: true},
		{name: "manifest EIO", match: writesTo("MANIFEST"), err: syscall.EIO},
		{name: "everything ENOSPC", match: func(op errorfs.Op) bool { return op.Kind.ReadOrWrite() == errorfs.OpIsWrite }, err: syscall.ENOSPC},
		{name: "table hangs", match: writesTo(".sst"), hang: true, heals: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			disk := NewCrashFS()
			f := &faults{err: test.err, match: test.match}
			if test.hang {
				f.hang = make(chan struct{})
			}
			cfg := testConfig(errorfs.Wrap(disk.MemFS, f))
			cfg.Now = time.Now
			cfg.StallTimeout = 300 * time.Millisecond
			fatal := make(chan error, 1)
			shared, err := NewShared(cfg, Deps{OnFatal: func(err error) { fatal <- err }})
			if err != nil {
				t.Fatal(err)
			}
			store := openStore(t, shared, testID)
			h := newHistory(*seed)
			for range 200 {
				h.advance(t, store)
			}
			f.armed.Store(true)
			defer heal(t, f, store, test.heals)

			started := time.Now()
			failed := writeUntilError(t, h, store, bound)
			if !errors.Is(failed, ErrSick) {
				t.Errorf("Apply returned %v, want ErrSick", failed)
			}
			select {
			case err := <-fatal:
				if !errors.Is(err, ErrSick) || (test.err != nil && !test.hang && f.hits.Load() == 0) {
					t.Errorf("OnFatal got %v after %d faults", err, f.hits.Load())
				}
			case <-time.After(bound):
				t.Fatal("OnFatal was not called")
			}
			if shared.Health() == nil {
				t.Error("Health is still good")
			}
			if _, err := store.Get([]byte("row-001")); !errors.Is(err, ErrSick) {
				t.Errorf("Get returned %v, want ErrSick", err)
			}
			if err := shared.Close(); !errors.Is(err, ErrSick) {
				t.Errorf("Close returned %v, want ErrSick", err)
			}
			if took := time.Since(started); took > 2*bound {
				t.Errorf("it took %s to give up", took)
			}
			checkSurvivor(t, h, disk)
		})
	}
}

// heal makes the disk work again and, where Pebble can, lets it end: its retries must not go on beside the other tests.
func heal(t *testing.T, f *faults, store *Store, closes bool) {
	t.Helper()
	f.armed.Store(false)
	if f.hang != nil {
		close(f.hang)
	}
	if !closes {
		return
	}
	<-store.stopped
	if err := store.db.Close(); err != nil {
		t.Logf("closing after the fault: %v", err)
	}
}

// writeUntilError writes until the store refuses; steps that returned an error are of unknown outcome and stay in the history.
func writeUntilError(t *testing.T, h *history, store *Store, bound time.Duration) error {
	t.Helper()
	deadline := time.Now().Add(bound)
	for time.Now().Before(deadline) {
		s := step{offset: store.Offset() + 1, changes: h.batch(h.newest() + 1)}
		h.steps = append(h.steps, s)
		if err := store.Apply(s.changes, s.offset); err != nil {
			return err
		}
	}
	t.Fatalf("writes still succeed or hang after %s", bound)
	return nil
}

// checkSurvivor opens what the process left behind, as the next process would.
func checkSurvivor(t *testing.T, h *history, disk *CrashFS) {
	t.Helper()
	shared, store := reopen(t, disk.Crash(0, nil))
	defer closeAll(t, shared)
	got, err := rows(store)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := h.match(got, store.Offset(), h.lastSynced()); err != nil {
		t.Error(err)
	} else {
		t.Logf("step %d of %d survived", n, h.newest())
	}
}

// TestOpenOnASickDiskSetsNothingAside: a store may be whole although the disk cannot be read or written right now.
func TestOpenOnASickDiskSetsNothingAside(t *testing.T) {
	for _, kind := range []errorfs.OpReadWrite{errorfs.OpIsRead, errorfs.OpIsWrite} {
		t.Run(kind.String(), func(t *testing.T) {
			disk := vfs.NewMem()
			shared, store := reopen(t, disk)
			mustApply(t, store, 9, Change{Key: []byte("a"), Value: []byte("1")})
			closeAll(t, shared)

			f := &faults{err: syscall.EIO, match: func(op errorfs.Op) bool {
				return op.Kind.ReadOrWrite() == kind && strings.Contains(op.Path, testID.Role)
			}}
			cfg := testConfig(errorfs.Wrap(disk, f))
			shared, err := NewShared(cfg, Deps{OnQuarantine: func(q Quarantine) { t.Errorf("set aside: %+v", q) }})
			if err != nil {
				t.Fatal(err)
			}
			f.armed.Store(true)
			if _, err := shared.Open(testID); !errors.Is(err, syscall.EIO) {
				t.Errorf("Open returned %v, want EIO", err)
			}
			f.armed.Store(false)
			_ = shared.Close()

			shared, store = reopen(t, disk)
			defer closeAll(t, shared)
			if got, err := store.Get([]byte("a")); string(got) != "1" || err != nil || store.Offset() != 9 {
				t.Errorf("Get = %q, %v, offset %d; want 1 at 9", got, err, store.Offset())
			}
		})
	}
}

// TestNoSpaceForANewStoreEndsTheProcess: Pebble gives up in the middle and keeps the directory locked, so trying again cannot help.
func TestNoSpaceForANewStoreEndsTheProcess(t *testing.T) {
	disk := NewCrashFS()
	f := &faults{err: syscall.ENOSPC, match: func(op errorfs.Op) bool {
		return op.Kind == errorfs.OpFileWrite && strings.HasPrefix(filepath.Base(op.Path), "MANIFEST")
	}}
	fatal := make(chan error, 1)
	shared, err := NewShared(testConfig(errorfs.Wrap(disk.MemFS, f)), Deps{
		OnFatal: func(err error) { fatal <- err }, OnQuarantine: func(q Quarantine) { t.Errorf("set aside: %+v", q) },
	})
	if err != nil {
		t.Fatal(err)
	}
	f.armed.Store(true)
	if _, err := shared.Open(testID); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Open returned %v, want ENOSPC", err)
	}
	select {
	case err := <-fatal:
		if !errors.Is(err, ErrSick) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("OnFatal got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("OnFatal was not called")
	}
	f.armed.Store(false)
	if _, err := shared.Open(testID); !errors.Is(err, ErrSick) {
		t.Errorf("Open returned %v, want ErrSick", err)
	}
	_ = shared.Close()
	_, store := reopen(t, disk.Crash(0, nil)) // the next process
	mustApply(t, store, 1, Change{Key: []byte("a"), Value: []byte("1")})
}

// TestABriefHiccupIsSurvived: fewer errors than configured must not end the process.
func TestABriefHiccupIsSurvived(t *testing.T) {
	f := &faults{err: syscall.EIO}
	f.match = func(op errorfs.Op) bool {
		return op.Kind == errorfs.OpCreate && filepath.Ext(op.Path) == ".sst" && f.hits.Load() < 2
	}
	cfg := testConfig(errorfs.Wrap(vfs.NewMem(), f))
	cfg.Now = time.Now
	shared := openShared(t, cfg, Deps{OnFatal: func(err error) { t.Errorf("fatal: %v", err) }})
	store := openStore(t, shared, testID)
	f.armed.Store(true)
	h := newHistory(*seed)
	for range 200 {
		h.advance(t, store)
	}
	if err := store.Compact(t.Context(), []byte("row")); err != nil {
		t.Fatal(err)
	}
	if f.hits.Load() != 2 || shared.Health() != nil {
		t.Errorf("%d faults, health %v", f.hits.Load(), shared.Health())
	}
}

// TestAFullDiskDoesNotKeepTheProcess: a disk that is nearly full still works, and closing may flush to it. One that is full does not,
// and Pebble would try for ever; that it was nearly full before must not hide it.
func TestAFullDiskDoesNotKeepTheProcess(t *testing.T) {
	disk := NewCrashFS()
	disk.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 90 << 30, TotalBytes: 100 << 30})
	f := &faults{err: syscall.ENOSPC, match: writesTo(".sst")}
	cfg := testConfig(errorfs.Wrap(disk.MemFS, f))
	cfg.Now = time.Now
	cfg.StallTimeout = 5 * time.Second
	shared, err := NewShared(cfg, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	var stores []*Store
	for partition := range int32(3) {
		id := testID
		id.Partition = partition
		stores = append(stores, openStore(t, shared, id))
	}
	for _, store := range stores {
		mustApply(t, store, 1, Change{Key: []byte("a"), Value: []byte("1")})
	}
	f.armed.Store(true)
	disk.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 0, TotalBytes: 100 << 30})
	shared.lookAtDisk()
	if err := shared.Health(); !errors.Is(err, ErrLowDisk) {
		t.Fatalf("Health returned %v, want ErrLowDisk", err)
	}
	started := time.Now()
	if err := shared.Close(); !errors.Is(err, ErrLowDisk) {
		t.Errorf("Close returned %v, want ErrLowDisk", err)
	}
	if took := time.Since(started); took > cfg.StallTimeout {
		t.Errorf("closing took %s", took)
	}
	f.armed.Store(false) // what Pebble still tries succeeds, and ends
}
