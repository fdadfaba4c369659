package state

import (
	"math/rand/v2"
	"testing"
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
		// What the survivor holds is all there is now; it was synced when the survivor replayed its log.
		fs, shared, store = copied, survivor, found
		h.restart(n)
	}
	closeAll(t, shared)
	t.Logf("%d crashes: %d lost a tail, %d lost nothing, %d writes", crashes, lost, full, h.newest())
	if lost == 0 || full == 0 {
		t.Errorf("crashes lost a tail %d times and nothing %d times: the test must see both", lost, full)
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
