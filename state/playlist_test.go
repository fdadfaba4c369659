package state

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func TestPlaylistRoundTrip(t *testing.T) {
	for name, want := range map[string]Playlist{
		"closed":           {Songs: []uint64{3, 1, ^uint64(0)}},
		"open":             {Songs: []uint64{3, 1, 2}, At: 1_795_414_200_000, Outcomes: []byte{0, 1, 0xff}},
		"open, long ago":   {Songs: []uint64{3}, At: -5, Outcomes: []byte{2}},
		"open and empty":   {Songs: []uint64{}, Outcomes: []byte{}},
		"closed and empty": {Songs: []uint64{}},
	} {
		got := Playlist{Songs: []uint64{9}, At: 9, Outcomes: []byte{9}} // what was there before must not shine through
		if err := got.UnmarshalBinary(want.AppendBinary(nil)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, want)
		}
	}
}

// TestPlaylistsOfBeforeOutcomesAreRead: their rows are those of closed lists.
func TestPlaylistsOfBeforeOutcomesAreRead(t *testing.T) {
	row := []byte{1, 2, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	var got Playlist
	if err := got.UnmarshalBinary(row); err != nil || !reflect.DeepEqual(got, Playlist{Songs: []uint64{7, 256}}) {
		t.Errorf("%+v, %v", got, err)
	}
	if again := got.AppendBinary(nil); !bytes.Equal(again, row) {
		t.Errorf("is written as %x", again)
	}
}

func FuzzPlaylist(f *testing.F) {
	closed, open := Playlist{Songs: []uint64{1, 2}}, Playlist{Songs: []uint64{1, 2}, At: 5, Outcomes: []byte{0, 0x13}}
	f.Add(closed.AppendBinary(nil))
	f.Add(open.AppendBinary(nil))
	f.Fuzz(func(t *testing.T, row []byte) {
		var p Playlist
		if err := p.UnmarshalBinary(row); err != nil {
			if !errors.Is(err, ErrRow) {
				t.Errorf("error %v is not ErrRow", err)
			}
			return
		}
		if again := p.AppendBinary(nil); !bytes.Equal(again, row) {
			t.Errorf("%x decodes, but is spelt %x", row, again)
		}
	})
}
