package state

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// filesWith lists the files below a directory that hold the text.
func filesWith(tb testing.TB, dir, text string) []string {
	tb.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			return nil // a compaction was faster
		}
		if bytes.Contains(content, []byte(text)) {
			found = append(found, filepath.Base(name))
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return found
}

// scrubWorld is a store on disk with many listeners in its files.
type scrubWorld struct {
	tb     testing.TB
	dir    string
	cfg    Config
	shared *Shared
	store  *Store
	offset int64
}

func newScrubWorld(t *testing.T, delay time.Duration) *scrubWorld {
	t.Helper()
	w := &scrubWorld{tb: t, dir: t.TempDir()}
	w.cfg = testConfig(nil)
	w.cfg.Dir, w.cfg.ScrubDelay, w.cfg.Now = w.dir, delay, time.Now
	w.cfg.MinFreeBytes, w.cfg.MinFreePercent = -1, -1
	w.open()
	for n := range 200 {
		id := fmt.Appendf(nil, "listener-%03d", n)
		w.apply(
			Change{AppendCoreKey(nil, id), fmt.Appendf(nil, "core of <%s>", id)},
			Change{AppendHistoryKey(nil, id, uint64(n)), fmt.Appendf(nil, "song of <%s>", id)},
			Change{AppendPlaylistKey(nil, id, 2900), fmt.Appendf(nil, "list of <%s>", id)},
			Change{AppendZoneKey(nil, "Europe/Berlin", id), []byte{1}},
		)
		if n%50 == 49 {
			if err := w.store.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return w
}

func (w *scrubWorld) open() {
	w.tb.Helper()
	w.shared = openShared(w.tb, w.cfg, Deps{})
	w.store = openStore(w.tb, w.shared, testID)
}

func (w *scrubWorld) close() {
	w.tb.Helper()
	if err := w.shared.Close(); err != nil {
		w.tb.Fatal(err)
	}
}

func (w *scrubWorld) apply(changes ...Change) {
	w.tb.Helper()
	w.offset++
	mustApply(w.tb, w.store, w.offset, changes...)
}

func (w *scrubWorld) erase(n int) {
	w.tb.Helper()
	id := fmt.Appendf(nil, "listener-%03d", n)
	w.apply(
		Change{AppendCoreKey(nil, id), nil}, Change{AppendHistoryKey(nil, id, uint64(n)), nil},
		Change{AppendPlaylistKey(nil, id, 2900), nil}, Change{AppendZoneKey(nil, "Europe/Berlin", id), nil},
	)
}

// gone waits until no file names a listener.
func (w *scrubWorld) gone(numbers ...int) {
	w.tb.Helper()
	for _, n := range numbers {
		text := fmt.Sprintf("listener-%03d", n)
		for deadline := time.After(20 * time.Second); ; {
			found := filesWith(w.tb, w.dir, text)
			if len(found) == 0 {
				break
			}
			select {
			case <-deadline:
				w.tb.Fatalf("%s is still in %v", text, found)
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
}

// clean is gone where others are known to be found.
func (w *scrubWorld) clean(numbers ...int) {
	w.tb.Helper()
	w.gone(numbers...)
	// Keys share their beginnings in a file, so whoever looks for a whole key may miss it; values are as they are.
	if len(filesWith(w.tb, w.dir, "<listener-111>")) == 0 {
		w.tb.Fatal("a listener who was not erased is in no file: this search finds nothing")
	}
}

// TestErasedListenersLeaveTheFiles: those at the edges of files too, which the list of files names.
func TestErasedListenersLeaveTheFiles(t *testing.T) {
	w := newScrubWorld(t, time.Millisecond)
	w.erase(0)
	w.erase(49)
	w.erase(77)
	w.clean(0, 49, 77)
	w.erase(199)
	w.clean(199)
	for deadline := time.After(20 * time.Second); testutil.ToFloat64(w.shared.metrics.scrubs) < 2; {
		select {
		case <-deadline:
			t.Fatal("the second scrub is not counted")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestManyErasedAtOnce: from some number on everything is rewritten.
func TestManyErasedAtOnce(t *testing.T) {
	w := newScrubWorld(t, 300*time.Millisecond)
	var gone []int
	for n := range scrubSpansMax + 20 {
		w.erase(n)
		gone = append(gone, n)
	}
	w.clean(gone...)
}

// TestScrubSurvivesARestart: what was due when the process ended is done by the next.
func TestScrubSurvivesARestart(t *testing.T) {
	w := newScrubWorld(t, time.Hour)
	w.erase(77)
	applied, offset := w.store.LastApplied(), w.store.Offset()
	w.close()
	if len(filesWith(t, w.dir, "<listener-077>")) == 0 {
		t.Fatal("there is nothing to scrub: this test shows nothing")
	}
	w.cfg.ScrubDelay = time.Millisecond
	w.open()
	w.clean(77)
	eventuallyScrubbed(t, w.store)
	w.close()
	w.open()
	if !w.store.LastApplied().Equal(applied) || w.store.Offset() != offset {
		t.Errorf("a scrub makes the store look younger: applied %s at %d, before it %s at %d", w.store.LastApplied(), w.store.Offset(), applied, offset)
	}
	if w.store.scrubs.timer != nil {
		t.Error("a store that is clean is scrubbed again")
	}
}

// eventuallyScrubbed waits until the store owes no scrub.
func eventuallyScrubbed(t *testing.T, st *Store) {
	t.Helper()
	for deadline := time.After(20 * time.Second); ; {
		found, err := st.readAtOpen(scrubKey, func([]byte) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		if !found {
			return
		}
		select {
		case <-deadline:
			t.Fatal("the scrub does not come to an end")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestWipedRowsLeaveTheFiles: a store that is wiped because it missed tombstones held who was erased.
func TestWipedRowsLeaveTheFiles(t *testing.T) {
	w := newScrubWorld(t, time.Millisecond)
	if err := w.store.Wipe(); err != nil {
		t.Fatal(err)
	}
	w.offset = 0
	w.apply(Change{AppendCoreKey(nil, []byte("listener-111")), []byte("<listener-111>")})
	if err := w.store.Flush(); err != nil {
		t.Fatal(err)
	}
	w.clean(0, 77, 199)
}

// TestOnlyErasuresAreScrubbed: somebody who moves to another zone, or whose song or list is forgotten, costs nothing.
func TestOnlyErasuresAreScrubbed(t *testing.T) {
	id := []byte("ann")
	for name, test := range map[string]struct {
		changes []Change
		spans   int
	}{
		"written": {[]Change{{AppendCoreKey(nil, id), []byte("x")}}, 0},
		"moved":   {[]Change{{AppendZoneKey(nil, "UTC", id), nil}, {AppendZoneKey(nil, "Asia/Tokyo", id), []byte{1}}}, 0},
		"list":    {[]Change{{AppendPlaylistKey(nil, id, 1), nil}}, 0},
		"factor":  {[]Change{{AppendFactorKey(nil, 's', id), nil}}, 0},
		"erased":  {[]Change{{AppendCoreKey(nil, id), nil}, {AppendHistoryKey(nil, id, 1), nil}}, 1},
		"indexed": {[]Change{{AppendZoneKey(nil, "UTC", id), nil}, {AppendCoreKey(nil, id), nil}}, 2},
	} {
		if got := len(erased(test.changes)); got != test.spans {
			t.Errorf("%s: %d spans, want %d", name, got, test.spans)
		}
	}
}

// TestErasedBeforeTheFirstFlush: what was written and deleted in memory leaves nothing but tombstones, in a file that Pebble moves to the
// last level as it is.
func TestErasedBeforeTheFirstFlush(t *testing.T) {
	w := &scrubWorld{tb: t, dir: t.TempDir()}
	w.cfg = testConfig(nil)
	w.cfg.Dir, w.cfg.ScrubDelay, w.cfg.Now = w.dir, 50*time.Millisecond, time.Now
	w.cfg.MinFreeBytes, w.cfg.MinFreePercent = -1, -1
	w.open()
	for _, only := range []bool{true, false} {
		if !only {
			w.apply(Change{AppendCoreKey(nil, []byte("listener-111")), []byte("<listener-111>")})
		}
		for _, n := range []int{7, 150, 900} {
			id := fmt.Appendf(nil, "listener-%03d", n)
			w.apply(Change{AppendCoreKey(nil, id), []byte("core")}, Change{AppendZoneKey(nil, "Europe/Berlin", id), []byte{1}})
			w.erase(n)
		}
		eventuallyScrubbed(t, w.store)
		w.gone(7, 150, 900)
	}
	w.clean(7)
}

// TestEdgesAreNobodysKeys: a scrub deletes them, so no row may have them, and all rows of the span lie between.
func TestEdgesAreNobodysKeys(t *testing.T) {
	for _, id := range [][]byte{[]byte("a"), []byte("listener-007"), {0xff}, {0xff, 0xff}, {0}, {1, 7, 0xff}, bytes.Repeat([]byte{0xff}, MaxIDBytes)} {
		rows := [][]byte{
			AppendCoreKey(nil, id), AppendHistoryKey(nil, id, 0), AppendHistoryKey(nil, id, 1<<64-1), AppendPlaylistKey(nil, id, 2900),
			AppendFrozenKey(nil, id), AppendGivenKey(nil, id),
		}
		zone := AppendZoneKey(nil, "Europe/Berlin", id)
		spans := erased([]Change{{Key: rows[0]}, {Key: zone}})
		if len(spans) != 2 {
			t.Fatalf("%q: %d spans", id, len(spans))
		}
		for i, s := range append(spans, everyone()...) {
			first, last := s.lower, s.last
			inside := rows
			if i%2 == 1 {
				inside = [][]byte{zone}
			}
			for _, row := range inside {
				if bytes.Compare(first, row) >= 0 || bytes.Compare(row, last) >= 0 {
					t.Errorf("%x: row %x is not between %x and %x", id, row, first, last)
				}
			}
			if bytes.Compare(last, s.upper) >= 0 {
				t.Errorf("%x: %x is not below %x", id, last, s.upper)
			}
			for _, edge := range [][]byte{first, last} {
				_, userErr := ParseUserKey(edge)
				_, _, zoneErr := ParseZoneKey(edge)
				if userErr == nil || zoneErr == nil || checkKey(edge) != nil {
					t.Errorf("%x: the edge %x is a key of a row", id, edge)
				}
			}
		}
	}
}
