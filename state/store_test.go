package state

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestRowsAndOffsetSurviveACleanRestart(t *testing.T) {
	noLeaks(t)
	fs := MemoryFS()
	shared, store := reopen(t, fs)
	if store.Offset() != 0 || !store.LastApplied().IsZero() {
		t.Errorf("a new store has offset %d, last applied %s", store.Offset(), store.LastApplied())
	}
	mustApply(t, store, 4, Change{Key: []byte("a"), Value: []byte("1")}, Change{Key: []byte("b"), Value: []byte{}})
	mustApply(t, store, 9, Change{Key: []byte("a")}, Change{Key: []byte("c"), Value: []byte("3")})
	mustApply(t, store, 9)
	at := store.LastApplied()
	closeAll(t, shared)

	shared, store = reopen(t, fs)
	defer closeAll(t, shared)
	got, err := rows(store)
	if want := map[string]string{"b": "", "c": "3"}; err != nil || !maps.Equal(got, want) {
		t.Errorf("rows %v, %v; want %v", got, err, want)
	}
	if store.Offset() != 9 || !store.LastApplied().Equal(at) || at.IsZero() {
		t.Errorf("offset %d, last applied %s; want 9, %s", store.Offset(), store.LastApplied(), at)
	}
	if v, err := store.Get([]byte("a")); v != nil || err != nil {
		t.Errorf("Get of a deleted row = %q, %v", v, err)
	}
	if v, err := store.Get([]byte("b")); v == nil || len(v) != 0 || err != nil {
		t.Errorf("Get of an empty row = %v, %v; want empty, not nil", v, err)
	}
}

func TestScan(t *testing.T) {
	shared, store := reopen(t, MemoryFS())
	defer closeAll(t, shared)
	for i, key := range []string{"a", "ab\x00", "ab\xff", "ab\xff\xff", "ac", "b"} {
		mustApply(t, store, int64(i), Change{Key: []byte(key), Value: []byte{byte(i)}})
	}
	boom := errors.New("boom")
	tests := []struct {
		name         string
		prefix       string
		lower, upper string
		stopAfter    int
		err          error
		want         []string
	}{
		{name: "all", want: []string{"a", "ab\x00", "ab\xff", "ab\xff\xff", "ac", "b"}},
		{name: "prefix", prefix: "ab", want: []string{"ab\x00", "ab\xff", "ab\xff\xff"}},
		{name: "prefix of 0xff", prefix: "ab\xff", want: []string{"ab\xff", "ab\xff\xff"}},
		{name: "no match", prefix: "c"},
		{name: "range", lower: "ab\xff", upper: "b", want: []string{"ab\xff", "ab\xff\xff", "ac"}},
		{name: "stop", prefix: "a", stopAfter: 2, err: ErrStop, want: []string{"a", "ab\x00"}},
		{name: "error", prefix: "a", stopAfter: 1, err: boom, want: []string{"a"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			collect := func(k, _ []byte) error {
				got = append(got, string(k))
				if len(got) == test.stopAfter {
					return test.err
				}
				return nil
			}
			var err error
			if test.lower != "" {
				err = store.ScanRange([]byte(test.lower), []byte(test.upper), collect)
			} else {
				err = store.Scan([]byte(test.prefix), collect)
			}
			if want := map[bool]error{true: boom}[errors.Is(test.err, boom)]; !errors.Is(err, want) {
				t.Errorf("error %v, want %v", err, want)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestArgumentsThatAreRefusedChangeNothing(t *testing.T) {
	shared, store := reopen(t, MemoryFS())
	defer closeAll(t, shared)
	mustApply(t, store, 5, Change{Key: []byte("a"), Value: []byte("1")})
	good := Change{Key: []byte("b"), Value: []byte("2")}
	for _, key := range []string{"", "\x00meta", "\xff", strings.Repeat("k", MaxKeyBytes+1)} {
		if err := store.Apply([]Change{good, {Key: []byte(key), Value: []byte("x")}}, 6); !errors.Is(err, ErrKey) {
			t.Errorf("Apply of key %.8q returned %v", key, err)
		}
		if _, err := store.Get([]byte(key)); !errors.Is(err, ErrKey) {
			t.Errorf("Get of key %.8q returned %v", key, err)
		}
		if err := store.DeletePrefix([]byte(key)); !errors.Is(err, ErrKey) {
			t.Errorf("DeletePrefix of %.8q returned %v", key, err)
		}
	}
	if err := store.Apply([]Change{good}, 4); !errors.Is(err, ErrOffset) {
		t.Errorf("Apply with an older offset returned %v", err)
	}
	got, err := rows(store)
	if want := map[string]string{"a": "1"}; err != nil || !maps.Equal(got, want) || store.Offset() != 5 {
		t.Errorf("rows %v, %v, offset %d; want %v at 5", got, err, store.Offset(), want)
	}
}

func TestDeletePrefixAndWipe(t *testing.T) {
	fs := MemoryFS()
	shared, store := reopen(t, fs)
	ann, anna := AppendUserPrefix(nil, []byte("ann")), AppendUserPrefix(nil, []byte("anna"))
	secret := "nobody may know"
	mustApply(t, store, 7,
		Change{Key: AppendCoreKey(nil, []byte("ann")), Value: []byte(secret)},
		Change{Key: AppendHistoryKey(nil, []byte("ann"), 1<<63), Value: []byte(secret)},
		Change{Key: AppendPlaylistKey(nil, []byte("ann"), -1), Value: []byte(secret)},
		Change{Key: AppendCoreKey(nil, []byte("anna")), Value: []byte("stays")})
	if err := store.DeletePrefix(ann); err != nil {
		t.Fatal(err)
	}
	if err := store.Compact(t.Context(), ann); err != nil {
		t.Fatal(err)
	}
	got, err := rows(store)
	if err != nil || len(got) != 1 || store.Offset() != 7 || got[string(anna)+"0"] != "stays" {
		t.Errorf("rows %q, %v, offset %d", got, err, store.Offset())
	}
	closeAll(t, shared) // until then obsolete tables are being deleted
	tables, err := fs.List("state/listener/3")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range tables {
		if path.Ext(name) == ".sst" && strings.Contains(contentOf(t, fs, path.Join("state/listener/3", name)), secret) {
			t.Errorf("%s still holds the erased rows", name)
		}
	}
	shared, store = reopen(t, fs)
	if err := store.Wipe(); err != nil {
		t.Fatal(err)
	}
	closeAll(t, shared)
	shared, store = reopen(t, fs)
	defer closeAll(t, shared)
	if got, err := rows(store); err != nil || len(got) != 0 || store.Offset() != 0 {
		t.Errorf("after Wipe: rows %v, %v, offset %d", got, err, store.Offset())
	}
}

func contentOf(t *testing.T, fs FS, name string) string {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, info.Size())
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAnotherIdentityStartsEmpty(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Identity, *meta)
		reason Reason
	}{
		{"partition count", func(id *Identity, _ *meta) { id.Partitions = 16 }, ReasonPartitions},
		{"schema", func(_ *Identity, m *meta) { m.schema = SchemaVersion + 1 }, ReasonSchema},
		{"directory was moved", func(_ *Identity, m *meta) { m.id.Partition = 1 }, ReasonIdentity},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			noLeaks(t)
			fs := MemoryFS()
			shared, store := reopen(t, fs)
			mustApply(t, store, 5, Change{Key: []byte("a"), Value: []byte("1")})
			id, m := testID, meta{id: testID, schema: SchemaVersion, batches: 1, offset: 5}
			test.change(&id, &m)
			if err := store.db.Set(metaKey, m.appendBinary(nil), pebble.NoSync); err != nil {
				t.Fatal(err)
			}
			closeAll(t, shared)

			var found []Quarantine
			shared = openShared(t, testConfig(fs), Deps{OnQuarantine: func(q Quarantine) { found = append(found, q) }})
			defer closeAll(t, shared)
			store = openStore(t, shared, id)
			if got, err := rows(store); err != nil || len(got) != 0 || store.Offset() != 0 {
				t.Errorf("rows %v, %v, offset %d; want an empty store", got, err, store.Offset())
			}
			if len(found) != 1 || found[0].Reason != test.reason || found[0].Identity != id {
				t.Fatalf("set aside: %+v", found)
			}
			if _, err := fs.Stat(found[0].To); err != nil {
				t.Errorf("the directory that was set aside: %v", err)
			}
		})
	}
}

func TestOneQuarantineIsKept(t *testing.T) {
	fs := MemoryFS()
	for partitions := range int32(4) {
		shared := openShared(t, testConfig(fs), Deps{})
		id := testID
		id.Partitions += partitions
		mustApply(t, openStore(t, shared, id), 5)
		closeAll(t, shared)
	}
	names, err := fs.List("state/listener")
	if err != nil || len(names) != 2 {
		t.Errorf("directories %q, %v; want the store and the newest quarantine", names, err)
	}
}

func TestAForeignDirectoryIsRefusedAndUntouched(t *testing.T) {
	noLeaks(t)
	fs := MemoryFS()
	shared, store := reopen(t, fs)
	mustApply(t, store, 5, Change{Key: []byte("a"), Value: []byte("1")})
	closeAll(t, shared)

	shared = openShared(t, testConfig(fs), Deps{OnQuarantine: func(q Quarantine) { t.Errorf("set aside: %+v", q) }})
	other := testID
	other.App = "other"
	_, err := shared.Open(other)
	if !errors.Is(err, ErrForeign) || strings.Contains(err.Error(), "\n") {
		t.Errorf("Open returned %v, want one line of ErrForeign", err)
	}
	for _, word := range []string{"state/listener/3", `"earworm"`, `"other"`} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v does not name %s", err, word)
		}
	}
	closeAll(t, shared)
	shared, store = reopen(t, fs)
	defer closeAll(t, shared)
	if v, err := store.Get([]byte("a")); string(v) != "1" || err != nil || store.Offset() != 5 {
		t.Errorf("Get = %q, %v, offset %d", v, err, store.Offset())
	}
}

func TestAStoreOpensOnce(t *testing.T) {
	shared, store := reopen(t, MemoryFS())
	defer closeAll(t, shared)
	if _, err := shared.Open(testID); !errors.Is(err, ErrInUse) {
		t.Errorf("a second Open returned %v", err)
	}
	if err := errors.Join(store.Close(), store.Close()); err != nil {
		t.Errorf("Close returned %v", err)
	}
	if _, err := store.Get([]byte("a")); !errors.Is(err, ErrClosed) {
		t.Errorf("Get after Close returned %v", err)
	}
	if err := store.Apply(nil, 1); !errors.Is(err, ErrClosed) {
		t.Errorf("Apply after Close returned %v", err)
	}
	if _, err := shared.Open(testID); err != nil {
		t.Errorf("Open after Close returned %v", err)
	}
	closeAll(t, shared)
	if _, err := shared.Open(testID); !errors.Is(err, ErrClosed) {
		t.Errorf("Open after Shared.Close returned %v", err)
	}
}

// TestLockHelper is the second process of TestASecondProcessIsKeptOut.
func TestLockHelper(t *testing.T) {
	dir := os.Getenv("EARWORM_TEST_LOCK")
	if dir == "" {
		t.Skip("only runs as a child process")
	}
	_, err := NewShared(Config{Dir: dir, Now: time.Now, MinFreeBytes: -1, MinFreePercent: -1}, Deps{})
	fmt.Printf("locked=%v error=%v\n", errors.Is(err, ErrLocked), err)
}

func TestASecondProcessIsKeptOut(t *testing.T) {
	dir := t.TempDir()
	second := func() string {
		t.Helper()
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLockHelper$", "-test.v")
		child.Env = append(os.Environ(), "EARWORM_TEST_LOCK="+dir)
		out, err := child.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	cfg := Config{Dir: dir, Now: time.Now, MinFreeBytes: -1, MinFreePercent: -1}
	shared := openShared(t, cfg, Deps{})
	if out := second(); !strings.Contains(out, "locked=true") || !strings.Contains(out, dir) {
		t.Errorf("while the directory is in use: %s", out)
	}
	if _, err := NewShared(cfg, Deps{}); !errors.Is(err, ErrLocked) {
		t.Errorf("a second use in this process returned %v", err)
	}
	closeAll(t, shared)
	if out := second(); !strings.Contains(out, "locked=false error=<nil>") {
		t.Errorf("after Close: %s", out)
	}
}

func TestARealDirectory(t *testing.T) {
	noLeaks(t)
	cfg := testConfig(nil)
	cfg.Dir, cfg.MinFreeBytes, cfg.MinFreePercent = path.Join(t.TempDir(), "a", "b"), -1, -1
	for offset := range int64(3) {
		shared := openShared(t, cfg, Deps{})
		store := openStore(t, shared, testID)
		if store.Offset() != offset {
			t.Errorf("offset %d, want %d", store.Offset(), offset)
		}
		mustApply(t, store, offset+1, Change{Key: []byte("a"), Value: []byte("1")})
		closeAll(t, shared)
	}
}

func TestLowDisk(t *testing.T) {
	const gib = 1 << 30
	tests := []struct {
		name         string
		avail, total uint64
		minBytes     int64
		minPercent   int
		refused      bool
	}{
		{name: "plenty", avail: 50 * gib, total: 100 * gib},
		{name: "below a GiB", avail: gib - 1, total: 2 * gib, refused: true},
		{name: "below 5 %", avail: 4 * gib, total: 100 * gib, refused: true},
		{name: "below 5 % of a large disk", avail: 11 * gib, total: 4000 * gib},
		{name: "unbounded", avail: 1, total: 100 * gib, minBytes: -1, minPercent: -1},
		{name: "unknown"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fs := vfs.NewMem()
			fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: test.avail, TotalBytes: test.total})
			cfg := testConfig(fs)
			cfg.MinFreeBytes, cfg.MinFreePercent = test.minBytes, test.minPercent
			shared, err := NewShared(cfg, Deps{})
			if errors.Is(err, ErrLowDisk) != test.refused {
				t.Fatalf("NewShared returned %v", err)
			}
			if err == nil {
				closeAll(t, shared)
			}
		})
	}
}

// TestSomebodyElseFillsTheDisk: a task that writes little would not need the disk for a minute, and then lose that minute.
func TestSomebodyElseFillsTheDisk(t *testing.T) {
	noLeaks(t)
	fs := vfs.NewMem()
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 90 << 30, TotalBytes: 100 << 30})
	at := time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)
	cfg := testConfig(fs)
	cfg.Now = func() time.Time { return at }
	shared := openShared(t, cfg, Deps{})
	store := openStore(t, shared, testID)
	mustApply(t, store, 1)
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 20, TotalBytes: 100 << 30})
	var err error
	for i := int64(2); i <= 6 && err == nil; i++ { // a second each
		at = at.Add(time.Second)
		err = store.Apply([]Change{{Key: []byte("a"), Value: []byte("1")}}, i)
	}
	if err == nil {
		err = shared.Health()
	}
	if !errors.Is(err, ErrLowDisk) {
		t.Errorf("after 5 s: %v, want ErrLowDisk", err)
	}
}

func TestADiskThatFillsUpEndsTheProcess(t *testing.T) {
	noLeaks(t)
	fs := vfs.NewMem()
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 90 << 30, TotalBytes: 100 << 30})
	fatal := make(chan error, 1)
	reg := prometheus.NewPedanticRegistry()
	shared := openShared(t, testConfig(fs), Deps{Registerer: reg, OnFatal: func(err error) { fatal <- err }})
	store := openStore(t, shared, testID)
	mustApply(t, store, 1)
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 20, TotalBytes: 100 << 30})
	value := make([]byte, 1<<20)
	var err error
	for i := int64(2); i < 100 && err == nil; i++ {
		err = store.Apply([]Change{{Key: []byte("a"), Value: value}}, i)
	}
	if !errors.Is(err, ErrLowDisk) || !errors.Is(<-fatal, ErrLowDisk) || !errors.Is(shared.Health(), ErrLowDisk) {
		t.Errorf("Apply returned %v, health %v", err, shared.Health())
	}
	want := "# HELP earworm_state_sick 1 once the stores must not be used any more.\n# TYPE earworm_state_sick gauge\nearworm_state_sick 1\n"
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "earworm_state_sick"); err != nil {
		t.Error(err)
	}
	// The disk still works: the store is closed as usual, and its directory can be opened again once there is space.
	offset := store.Offset()
	if err := shared.Close(); !errors.Is(err, ErrLowDisk) {
		t.Errorf("Close returned %v", err)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 90 << 30, TotalBytes: 100 << 30})
	shared, store = reopen(t, fs)
	defer closeAll(t, shared)
	// The write that was cut short may have happened: rows and offset go together.
	if got := store.Offset(); got != offset && got != offset+1 {
		t.Errorf("offset %d, want %d or the next", got, offset)
	}
}

func TestConfigNamesEveryProblem(t *testing.T) {
	err := Config{MemTableBytes: 5, StallTimeout: -1, OpenFiles: -1, MinFreePercent: 91}.Validate()
	for _, word := range []string{"Dir", "Now", "MemTableBytes", "StallTimeout", "OpenFiles", "MinFreePercent"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v does not mention %s", err, word)
		}
	}
	good := Default()
	good.Dir, good.Now = "x", time.Now
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}

func TestIdentityIsChecked(t *testing.T) {
	shared := openShared(t, testConfig(MemoryFS()), Deps{})
	for _, id := range []Identity{
		{App: "", Role: "song", Partitions: 1},
		{App: "a", Role: "../song", Partitions: 1},
		{App: "a", Role: "", Partitions: 1},
		{App: "a", Role: "song", Partition: 4, Partitions: 4},
		{App: "a", Role: "song", Partition: -1, Partitions: 4},
	} {
		if _, err := shared.Open(id); err == nil {
			t.Errorf("Open(%+v) succeeded", id)
		}
	}
}

// TestReadersRunBesideTheWriter is for the race detector: each reader must see one batch or the next, never half of one.
func TestReadersRunBesideTheWriter(t *testing.T) {
	noLeaks(t)
	shared, store := reopen(t, MemoryFS())
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for store.Offset() < 500 {
				seen := map[string]bool{}
				err := store.Scan([]byte("row"), func(_, v []byte) error {
					seen[string(v)] = true
					return nil
				})
				if _, getErr := store.Get([]byte("row0")); err != nil || getErr != nil || len(seen) > 1 {
					t.Errorf("scan saw %v, %v, %v", seen, err, getErr)
					return
				}
			}
		})
	}
	for offset := range int64(501) {
		var changes []Change
		for row := range 10 {
			changes = append(changes, Change{Key: fmt.Appendf(nil, "row%d", row), Value: fmt.Append(nil, offset)})
		}
		mustApply(t, store, offset, changes...)
	}
	readers.Wait()
	closeAll(t, shared)
}

// TestSystemErrorsAreTold apart from damage: only damage may cost a store its content.
func TestSystemErrorsAreToldFromDamage(t *testing.T) {
	for err, want := range map[error]Reason{
		fmt.Errorf("opening: %w", syscall.EIO):                    "",
		fmt.Errorf("opening: %w", syscall.ENOSPC):                 "",
		&os.PathError{Op: "open", Path: "x", Err: syscall.EACCES}: "",
		&os.PathError{Op: "open", Path: "x", Err: syscall.ENOENT}: ReasonUnreadable,
		errors.New("pebble: invalid something"):                   ReasonUnreadable,
		fmt.Errorf("opening: %w", pebble.ErrCorruption):           ReasonCorrupt,
		fmt.Errorf("%w: something", ErrRow):                       ReasonCorrupt,
		fmt.Errorf("%w: something", ErrSick):                      "",
		errors.New("lock held by current process"):                "",
	} {
		if got := classify(err); got != want {
			t.Errorf("classify(%v) = %q, want %q", err, got, want)
		}
	}
}
