package state

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"

	"earworm/model/decay"
)

func fullCore() ListenerCore {
	return ListenerCore{
		Vector: []float32{1.5, -2, math.MaxFloat32}, Events: 1 << 60, Chain: ^uint64(0),
		FirstAt: -5, LastAt: math.MaxInt64, Positives: 3.25,
		Plays: decay.Counter{Value: 1, At: 2}, Skips: decay.Counter{Value: 3, At: -4},
		ViralLikes: decay.Counter{Value: 5, At: 6}, ViralSkips: decay.Counter{Value: 7, At: 8},
		Region: [2]byte{'D', 'E'}, Zone: "Europe/Berlin", ServedZone: "Asia/Tokyo", Languages: []string{"de", "", "en"},
		AgeBand: "30-39", OptOut: true, Discovery: -1, Weeks: []byte{1, 2}, Trust: []byte{3},
		Session: Session{StartedAt: 1, LastAt: 2, Plays: 3, Skips: math.MaxUint32}, Artists: []uint64{9, 8},
		Remembered: Remembered{IDs: []uint64{1, 2}, Times: []uint32{3, 4}, Horizon: 5},
	}
}

func fullEntry() HistoryEntry {
	return HistoryEntry{
		Plays: 7, FirstAt: 1_700_000_000_000, LastAt: 1_800_000_000_000, LikedAt: 3, Engagement: decay.Counter{Value: -.5, At: 9},
		Flags:      FlagLiked | FlagTrained,
		Remembered: Remembered{IDs: []uint64{^uint64(0)}, Times: []uint32{math.MaxUint32}, Horizon: math.MaxUint32},
	}
}

func TestRowsRoundTrip(t *testing.T) {
	core, entry := fullCore(), fullEntry()
	var gotCore ListenerCore
	if err := gotCore.UnmarshalBinary(core.AppendBinary(nil)); err != nil || !reflect.DeepEqual(core, gotCore) {
		t.Errorf("core: %v\n got %+v\nwant %+v", err, gotCore, core)
	}
	var gotEntry HistoryEntry
	if err := gotEntry.UnmarshalBinary(entry.AppendBinary(nil)); err != nil || !reflect.DeepEqual(entry, gotEntry) {
		t.Errorf("entry: %v\n got %+v\nwant %+v", err, gotEntry, entry)
	}
	// A value that was used before must not shine through.
	empty := ListenerCore{}
	if err := gotCore.UnmarshalBinary(empty.AppendBinary(nil)); err != nil || !bytes.Equal(gotCore.AppendBinary(nil), empty.AppendBinary(nil)) {
		t.Errorf("core used again: %v, %+v", err, gotCore)
	}
}

// TestEveryCutAndEveryLongerRowIsRefused: a row is whole or it is damaged.
func TestEveryCutAndEveryLongerRowIsRefused(t *testing.T) {
	core, entry := fullCore(), fullEntry()
	closed := Playlist{Songs: []uint64{1, 2}}
	open := Playlist{Songs: closed.Songs, At: 1_795_414_200_000, Outcomes: []byte{0, 0x13}}
	decoders := map[string]struct {
		row    []byte
		decode func([]byte) error
	}{
		"core":            {core.AppendBinary(nil), func(b []byte) error { return new(ListenerCore).UnmarshalBinary(b) }},
		"entry":           {entry.AppendBinary(nil), func(b []byte) error { return new(HistoryEntry).UnmarshalBinary(b) }},
		"closed playlist": {closed.AppendBinary(nil), func(b []byte) error { return new(Playlist).UnmarshalBinary(b) }},
		"open playlist":   {open.AppendBinary(nil), func(b []byte) error { return new(Playlist).UnmarshalBinary(b) }},
		"meta": {meta{id: testID, schema: 1, batches: 2, offset: 3, applied: 4}.appendBinary(nil), func(b []byte) error {
			return new(meta).unmarshalBinary(b)
		}},
	}
	for name, d := range decoders {
		if err := d.decode(d.row); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for n := range d.row {
			if err := d.decode(d.row[:n]); !errors.Is(err, ErrRow) {
				t.Errorf("%s cut to %d of %d bytes: %v", name, n, len(d.row), err)
			}
		}
		if err := d.decode(append(slices.Clone(d.row), 0)); !errors.Is(err, ErrRow) {
			t.Errorf("%s with a byte more: %v", name, err)
		}
		if err := d.decode(append([]byte{99}, d.row[1:]...)); !errors.Is(err, ErrRow) {
			t.Errorf("%s of version 99: %v", name, err)
		}
	}
}

func FuzzListenerCore(f *testing.F) {
	core, empty := fullCore(), ListenerCore{}
	f.Add(core.AppendBinary(nil))
	f.Add(empty.AppendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := fullCore()
		if err := c.UnmarshalBinary(b); err != nil {
			if !errors.Is(err, ErrRow) {
				t.Errorf("error %v is not ErrRow", err)
			}
			return
		}
		if again := c.AppendBinary(nil); !bytes.Equal(again, b) {
			t.Errorf("%x decodes, but is spelt %x", b, again)
		}
	})
}

func FuzzHistoryEntry(f *testing.F) {
	entry, empty := fullEntry(), HistoryEntry{}
	f.Add(entry.AppendBinary(nil))
	f.Add(empty.AppendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		e := fullEntry()
		if err := e.UnmarshalBinary(b); err != nil {
			if !errors.Is(err, ErrRow) {
				t.Errorf("error %v is not ErrRow", err)
			}
			return
		}
		if again := e.AppendBinary(nil); !bytes.Equal(again, b) {
			t.Errorf("%x decodes, but is spelt %x", b, again)
		}
	})
}

func TestDecodingIntoUsedRowsDoesNotAllocate(t *testing.T) {
	core, entry := fullCore(), fullEntry()
	coreRow, entryRow := core.AppendBinary(nil), entry.AppendBinary(nil)
	buf := make([]byte, 0, 4096)
	allocs := testing.AllocsPerRun(100, func() {
		if err := errors.Join(core.UnmarshalBinary(coreRow), entry.UnmarshalBinary(entryRow)); err != nil {
			t.Error(err)
		}
		buf = entry.AppendBinary(core.AppendBinary(buf[:0]))
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
