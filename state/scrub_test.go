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

// clean waits until no file names a listener.
func (w *scrubWorld) clean(numbers ...int) {
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
	if n := testutil.ToFloat64(w.shared.metrics.scrubs); n < 2 {
		t.Errorf("%v scrubs", n)
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
