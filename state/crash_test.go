package state

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestCrashLeavesAPrefix cuts the power at random moments, with any part of the unsynced data lost, and expects rows and offset of
// one and the same moment, not before the last synced write. Now and then the survivor lives on and crashes again.
func TestCrashLeavesAPrefix(t *testing.T) {
	noLeaks(t)
	crashes := 150
	if testing.Short() {
		crashes = 60
	}
	rng := rand.New(rand.NewPCG(*seed, 11))
	h := newHistory(*seed)
	fs := NewCrashFS()
	shared, store := reopen(t, fs)
	lost, full := 0, 0
	for crash := range crashes {
		for range rng.IntN(40) {
			h.advance(t, store)
		}
		percent := []int{0, 10, 50, 90, 100}[rng.IntN(5)]
		copied := fs.Crash(percent, rng)
		before := h.newest()

		survivor, found := reopen(t, copied)
		got, err := rows(found)
		if err != nil {
			t.Fatalf("seed %d, crash %d: %v", *seed, crash, err)
		}
		n, err := h.match(got, found.Offset(), h.lastSynced())
		if err != nil {
			t.Fatalf("seed %d, crash %d, %d %% unsynced data kept: %v", *seed, crash, percent, err)
		}
		if n < before {
			lost++
		} else {
			full++
		}
		if rng.IntN(4) > 0 {
			closeAll(t, survivor)
			continue
		}
		closeAll(t, shared)
		// What the survivor holds is all there is now; it comes from tables.
		fs, shared, store = copied, survivor, found
		h.restart(n)
	}
	closeAll(t, shared)
	t.Logf("%d crashes: %d lost a tail, %d lost nothing, %d writes", crashes, lost, full, h.newest())
	if lost == 0 || full == 0 {
		t.Errorf("crashes lost a tail %d times and nothing %d times: the test must see both", lost, full)
	}
}

// TestFlushIntervalBoundsWhatACrashTakes: a task that writes little does not fill its buffer, and its rows go to disk all the same.
func TestFlushIntervalBoundsWhatACrashTakes(t *testing.T) {
	fs := NewCrashFS()
	shared, store := reopen(t, fs) // its clock moves by a second with each look
	defer closeAll(t, shared)
	write := func(from, to int64) {
		for offset := from; offset < to; offset++ {
			mustApply(t, store, offset, Change{Key: []byte("a"), Value: fmt.Append(nil, offset)})
		}
	}
	survives := func() int64 {
		survivor, found := reopen(t, fs.Crash(0, nil))
		defer closeAll(t, survivor)
		return found.Offset()
	}
	write(1, 20)
	if kept := survives(); kept != 0 {
		t.Fatalf("offset %d is on disk before the interval is over", kept)
	}
	write(20, 200)
	for deadline := time.Now().Add(10 * time.Second); survives() < 100; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("of 200 writes, one a second, only those up to %d are on disk", survives())
		}
	}
}

// TestWriteBuffersTakeNothingFromTheBlockCache: Pebble books them there.
func TestWriteBuffersTakeNothingFromTheBlockCache(t *testing.T) {
	cfg := testConfig(MemoryFS())
	cfg.CacheBytes, cfg.MemTableBytes = 2<<20, 8<<20
	shared := openShared(t, cfg, Deps{})
	var first *Store
	for partition := range int32(3) {
		id := testID
		id.Partition = partition
		store := openStore(t, shared, id)
		for i := range 12 { // buffers double from 256 KiB up to their size
			mustApply(t, store, int64(i), Change{Key: []byte("a"), Value: make([]byte, 3<<20)}, Change{Key: []byte{'b', byte(i)}, Value: []byte{1}})
			if err := store.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		if first == nil {
			first = store
		}
	}
	for range 2 {
		if _, err := rows(first); err != nil {
			t.Fatal(err)
		}
	}
	if shared.cache.Size() == 0 {
		t.Error("no block stays in the cache")
	}
	if shared.cache.Size() > cfg.CacheBytes+3*buffersOfStore*cfg.MemTableBytes {
		t.Errorf("the cache holds %d bytes", shared.cache.Size())
	}
}

// TestCrashAtTheFirstOpen cuts the power while a store is created: the next Open must find nothing, or the meta row.
func TestCrashAtTheFirstOpen(t *testing.T) {
	noLeaks(t)
	rng := rand.New(rand.NewPCG(*seed, 13))
	for range 50 {
		fs := NewCrashFS()
		shared, store := reopen(t, fs)
		if err := store.Apply([]Change{{Key: []byte("a"), Value: []byte("1")}}, 5); err != nil {
			t.Fatal(err)
		}
		survivor, found := reopen(t, fs.Crash(rng.IntN(101), rng))
		got, err := rows(found)
		if err != nil {
			t.Fatal(err)
		}
		if (found.Offset() == 5) != (got["a"] == "1") {
			t.Fatalf("seed %d: offset %d and rows %v disagree", *seed, found.Offset(), got)
		}
		closeAll(t, survivor)
		closeAll(t, shared)
	}
}

// reopen opens the test's store on a file system; nothing may be set aside.
func reopen(t *testing.T, fs FS) (*Shared, *Store) {
	t.Helper()
	s, err := NewShared(testConfig(fs), Deps{OnQuarantine: func(q Quarantine) { t.Errorf("set aside: %+v", q) }})
	if err != nil {
		t.Fatal(err)
	}
	st, err := s.Open(testID)
	if err != nil {
		t.Fatal(err)
	}
	return s, st
}

func closeAll(t *testing.T, s *Shared) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
