package state

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

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
