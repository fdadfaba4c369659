package state

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strconv"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestDamageIsNeverSilent flips single bits in, and cuts off, each file of a store. The store must then open as a prefix of its
// history, or be found damaged, set aside and start empty: wrong rows or a wrong offset must never be served.
func TestDamageIsNeverSilent(t *testing.T) {
	mutations := 150 // Pebble looks for the flipped bit in each damaged block, which takes its time
	if testing.Short() {
		mutations = 80
	}
	rng := rand.New(rand.NewPCG(*seed, 17))
	h := newHistory(*seed)
	disk := NewCrashFS()
	shared, store := reopen(t, disk)
	for range 600 {
		h.advance(t, store)
	}
	original := disk.Crash(100, rng)
	closeAll(t, shared)
	dir := path.Join("state", testID.Role, strconv.Itoa(int(testID.Partition)))
	files := storeFiles(t, original, dir)

	outcomes := map[string]int{}
	for i := range mutations {
		damaged := original.Crash(100, rng)
		name := files[i%len(files)]
		what := mutate(t, damaged, path.Join(dir, name), rng)
		outcome, err := judge(t, h, damaged)
		if err != nil {
			t.Fatalf("seed %d: %s of %s: %v", *seed, what, name, err)
		}
		outcomes[outcome]++
	}
	t.Logf("%d mutations of %d files: %v", mutations, len(files), outcomes)
	if outcomes["found at open"] == 0 || outcomes["prefix"] == 0 {
		t.Errorf("outcomes %v: the test must see both", outcomes)
	}
}

func storeFiles(t *testing.T, fs FS, dir string) []string {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	kinds := map[string]bool{}
	files := slices.DeleteFunc(names, func(name string) bool {
		info, err := fs.Stat(path.Join(dir, name))
		kinds[path.Ext(name)] = true
		return err != nil || info.Size() == 0
	})
	if !kinds[".sst"] || !kinds[".log"] {
		t.Fatalf("store has no tables or no log: %v", files)
	}
	return files
}

// mutate flips one bit of a file or cuts it off somewhere.
func mutate(t *testing.T, fs *CrashFS, name string, rng *rand.Rand) string {
	t.Helper()
	content := readFile(t, fs, name)
	at := rng.IntN(len(content))
	if rng.IntN(3) == 0 {
		writeFile(t, fs, name, content[:at])
		return fmt.Sprintf("cut at %d", at)
	}
	content[at] ^= 1 << rng.IntN(8)
	writeFile(t, fs, name, content)
	return fmt.Sprintf("bit flipped at %d", at)
}

func damageAt(t *testing.T, fs *CrashFS, name string, at int) {
	t.Helper()
	content := readFile(t, fs, name)
	content[at] ^= 1
	writeFile(t, fs, name, content)
}

func readFile(t *testing.T, fs *CrashFS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return content
}

func writeFile(t *testing.T, fs *CrashFS, name string, content []byte) {
	t.Helper()
	out, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = out.Write(content)
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		t.Fatal(err)
	}
}

// judge opens a damaged store as a process would and reads all of it.
func judge(t *testing.T, h *history, disk *CrashFS) (outcome string, err error) {
	t.Helper()
	var aside []Quarantine
	deps := Deps{OnQuarantine: func(q Quarantine) { aside = append(aside, q) }}
	shared, err := NewShared(testConfig(disk), deps)
	if err != nil {
		return "", err
	}
	defer func() { _ = shared.Close() }()
	store, err := shared.Open(testID)
	if err != nil {
		return "", err
	}
	got, err := rows(store)
	switch {
	case err == nil && len(aside) == 0:
		if _, err := h.match(got, store.Offset(), 0); err != nil {
			return "", fmt.Errorf("silently wrong: %w", err)
		}
		return "prefix", nil
	case err == nil:
		return "found at open", empty(got, store)
	case !errors.Is(err, ErrCorrupt):
		return "", err
	}
	// The damage showed while reading. The process leaves; its successor must find the mark and start anew.
	if err := store.Apply(nil, store.Offset()); !errors.Is(err, ErrCorrupt) {
		return "", fmt.Errorf("a damaged store still takes writes: %w", err)
	}
	_ = store.Close()
	if store, err = shared.Open(testID); err != nil {
		return "", err
	}
	if len(aside) != 1 || aside[0].Reason != ReasonCorrupt {
		return "", fmt.Errorf("set aside: %+v", aside)
	}
	if got, err = rows(store); err != nil {
		return "", err
	}
	return "found by reading", empty(got, store)
}

func empty(got map[string]string, store *Store) error {
	if len(got) > 0 || store.Offset() != 0 || !store.LastApplied().IsZero() {
		return fmt.Errorf("the new store has %d rows and offset %d", len(got), store.Offset())
	}
	return nil
}

// TestAMissingFileIsNeverSilent removes each file in turn: a log that is gone is a hole in the history.
func TestAMissingFileIsNeverSilent(t *testing.T) {
	h := newHistory(*seed)
	disk := NewCrashFS()
	shared, store := reopen(t, disk)
	for range 300 {
		h.advance(t, store)
	}
	rng := rand.New(rand.NewPCG(*seed, 19))
	original := disk.Crash(100, rng)
	closeAll(t, shared)
	dir := path.Join("state", testID.Role, strconv.Itoa(int(testID.Partition)))
	for _, name := range storeFiles(t, original, dir) {
		damaged := original.Crash(100, rng)
		if err := damaged.Remove(path.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if _, err := judge(t, h, damaged); err != nil {
			t.Errorf("seed %d: without %s: %v", *seed, name, err)
		}
	}
}

// TestDamageFoundByReading damages rows that Open does not look at.
func TestDamageFoundByReading(t *testing.T) {
	h := newHistory(*seed)
	disk := NewCrashFS()
	shared, store := reopen(t, disk)
	changes := make([]Change, 300)
	for i := range changes {
		changes[i] = Change{Key: fmt.Appendf(nil, "row-%03d", i), Value: make([]byte, 4000)}
		for j := range changes[i].Value {
			changes[i].Value[j] = byte(h.rng.IntN(256))
		}
	}
	mustApply(t, store, 7, changes...)
	if err := store.Compact(t.Context(), []byte("row")); err != nil {
		t.Fatal(err)
	}
	closeAll(t, shared)
	dir := path.Join("state", testID.Role, strconv.Itoa(int(testID.Partition)))
	for _, name := range storeFiles(t, disk, dir) {
		if path.Ext(name) != ".sst" {
			continue
		}
		info, err := disk.Stat(path.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > 1<<20 {
			damageAt(t, disk, path.Join(dir, name), int(info.Size())/2)
		}
	}
	if outcome, err := judge(t, h, disk); outcome != "found by reading" || err != nil {
		t.Errorf("outcome %q, %v", outcome, err)
	}
}
