package state

import (
	"errors"
	"math"
	"testing"
)

func TestFrozenRoundTrip(t *testing.T) {
	want := Frozen{At: 1_795_414_200_000, Features: 3, Songs: []uint64{7, math.MaxUint64}, Rows: []float32{-4, 0, 3.96875, .5, -1.25, 1}}
	row := want.AppendBinary(nil)
	var got Frozen
	if err := got.UnmarshalBinary(row); err != nil || got.At != want.At || got.Features != 3 || len(got.Songs) != 2 || got.Songs[1] != want.Songs[1] {
		t.Fatalf("%+v, %v", got, err)
	}
	for i, x := range got.Rows {
		if x != want.Rows[i] {
			t.Errorf("feature %d is %v, want %v", i, x, want.Rows[i])
		}
	}
	for cut := range row {
		if err := got.UnmarshalBinary(row[:cut]); !errors.Is(err, ErrRow) {
			t.Errorf("the first %d of %d bytes: %v", cut, len(row), err)
		}
	}
	if err := got.UnmarshalBinary(append(row, 0)); !errors.Is(err, ErrRow) {
		t.Errorf("a longer row: %v", err)
	}
}

func TestFrozenFeaturesAreBounded(t *testing.T) {
	wild := Frozen{Features: 4, Songs: []uint64{1}, Rows: []float32{float32(math.NaN()), float32(math.Inf(1)), -1e30, .01}}
	var got Frozen
	if err := got.UnmarshalBinary(wild.AppendBinary(nil)); err != nil {
		t.Fatal(err)
	}
	for i, want := range []float32{0, 127. / 32, -4, 0} {
		if got.Rows[i] != want {
			t.Errorf("feature %d is %v, want %v", i, got.Rows[i], want)
		}
	}
}

func FuzzFrozen(f *testing.F) {
	example := Frozen{At: 5, Features: 2, Songs: []uint64{1, 2}, Rows: []float32{1, 2, 3, -3}}
	f.Add(example.AppendBinary(nil))
	f.Fuzz(func(t *testing.T, row []byte) {
		var got, again Frozen
		if got.UnmarshalBinary(row) != nil {
			return
		}
		if err := again.UnmarshalBinary(got.AppendBinary(nil)); err != nil || len(again.Songs) != len(got.Songs) || len(again.Rows) != len(got.Rows) {
			t.Errorf("%+v became %+v, %v", got, again, err)
		}
	})
}
