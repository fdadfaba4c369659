package state

import (
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestOpenReadOnly opens what a killed process left, reads it, and leaves every file as it was.
func TestOpenReadOnly(t *testing.T) {
	noLeaks(t)
	disk := NewCrashFS()
	live := openShared(t, testConfig(disk), Deps{})
	st := openStore(t, live, testID)
	mustApply(t, st, 7, Change{Key: []byte("ka"), Value: []byte("1")}, Change{Key: []byte("kb"), Value: []byte("2")})
	mustApply(t, st, 9, Change{Key: []byte("kb")})
	if err := st.DeletePrefix([]byte("z")); err != nil { // durable, and so is what came before it
		t.Fatal(err)
	}
	left := disk.Crash(100, rand.New(rand.NewPCG(*seed, 0)))
	dir := left.PathJoin("state", testID.Role, "3")
	before := files(t, left, dir)
	s := openShared(t, testConfig(left), Deps{})
	if found, err := s.Stores(testID.Role); err != nil || !slices.Equal(found, []int32{3}) {
		t.Errorf("stores %v, %v", found, err)
	}
	if found, err := s.Stores("song"); err != nil || len(found) != 0 {
		t.Errorf("stores of a role that never ran: %v, %v", found, err)
	}
	read, err := s.OpenReadOnly(testID)
	if err != nil {
		t.Fatal(err)
	}
	got, err := rows(read)
	if err != nil || !maps.Equal(got, map[string]string{"ka": "1"}) || read.Offset() != 9 {
		t.Errorf("rows %v at offset %d, %v", got, read.Offset(), err)
	}
	if err := read.Apply([]Change{{Key: []byte("kc"), Value: []byte("3")}}, 10); err == nil {
		t.Error("a store that was opened to read was written")
	}
	if err := read.Close(); err != nil {
		t.Fatal(err)
	}
	if after := files(t, left, dir); !maps.Equal(before, after) {
		t.Errorf("files were %v and are %v", before, after)
	}
}

// TestOpenReadOnlyOfAStoreThatWasNeverFlushed: without a log its meta row was in memory only, and so was all else.
func TestOpenReadOnlyOfAStoreThatWasNeverFlushed(t *testing.T) {
	noLeaks(t)
	disk := NewCrashFS()
	live := openShared(t, testConfig(disk), Deps{})
	mustApply(t, openStore(t, live, testID), 7, Change{Key: []byte("ka"), Value: []byte("1")})
	left := disk.Crash(100, rand.New(rand.NewPCG(*seed, 0)))
	dir := left.PathJoin("state", testID.Role, "3")
	before := files(t, left, dir)
	s := openShared(t, testConfig(left), Deps{})
	read, err := s.OpenReadOnly(testID)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := rows(read); err != nil || len(got) != 0 || read.Offset() != 0 {
		t.Errorf("rows %v at offset %d, %v", got, read.Offset(), err)
	}
	if err := read.Close(); err != nil {
		t.Fatal(err)
	}
	if after := files(t, left, dir); !maps.Equal(before, after) {
		t.Errorf("files were %v and are %v", before, after)
	}
}

// TestStoresLeavesOutWhatWasNeverFinished: a process that is killed while it creates a store, and does not get the partition again,
// leaves a directory that holds none. One that has lost its manifest is another matter.
func TestStoresLeavesOutWhatWasNeverFinished(t *testing.T) {
	noLeaks(t)
	disk := NewCrashFS()
	s := openShared(t, testConfig(disk), Deps{})
	mustApply(t, openStore(t, s, testID), 7, Change{Key: []byte("ka"), Value: []byte("1")})
	write := func(partition, name string) {
		dir := disk.PathJoin("state", testID.Role, partition)
		if err := disk.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
		f, err := disk.Create(disk.PathJoin(dir, name), "earworm-test")
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	write("4", "LOCK")
	write("5", "MANIFEST-000001")
	write("6", "000004.sst")
	if found, err := s.Stores(testID.Role); err != nil || !slices.Equal(found, []int32{3, 6}) {
		t.Errorf("stores %v, %v; want those of 3 and 6", found, err)
	}
}

func TestOpenReadOnlyRefuses(t *testing.T) {
	noLeaks(t)
	disk := NewCrashFS()
	s := openShared(t, testConfig(disk), Deps{})
	if _, err := s.OpenReadOnly(testID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a store that is not there: %v", err)
	}
	if err := openStore(t, s, testID).Close(); err != nil {
		t.Fatal(err)
	}
	other := testID
	other.Partitions = 4
	if _, err := s.OpenReadOnly(other); err == nil {
		t.Error("a store of another partition count was opened")
	}
	foreign := testID
	foreign.App = "other"
	if _, err := s.OpenReadOnly(foreign); !errors.Is(err, ErrForeign) {
		t.Errorf("a store of another application: %v", err)
	}
	st := openStore(t, s, testID)
	if _, err := s.OpenReadOnly(testID); !errors.Is(err, ErrInUse) {
		t.Errorf("a store that is open: %v", err)
	}
	_ = st.markCorrupt(errors.New("flipped"))
	_ = st.Close()
	if _, err := s.OpenReadOnly(testID); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a damaged store: %v", err)
	}
	if names, err := disk.List(disk.PathJoin("state", testID.Role)); err != nil || !slices.Equal(names, []string{"3"}) {
		t.Errorf("directories %v, %v: something was set aside", names, err)
	}
}

// files returns the size of every file of a directory.
func files(t *testing.T, fsys FS, dir string) map[string]int64 {
	t.Helper()
	names, err := fsys.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[string]int64{}
	for _, name := range names {
		info, err := fsys.Stat(fsys.PathJoin(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		sizes[name] = info.Size()
	}
	return sizes
}
