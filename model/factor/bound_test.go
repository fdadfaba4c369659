package factor

import (
	"math"
	"math/rand/v2"
	"testing"
)

func vectors(rng *rand.Rand, n int) (a, b []float32) {
	a, b = make([]float32, n), make([]float32, n)
	for i := range n {
		a[i], b[i] = float32(rng.NormFloat64()), float32(rng.NormFloat64())
	}
	return a, b
}

func TestBoundKeepsDirectionAndRefusesWhatIsNotANumber(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	tests := []struct {
		name string
		in   []float32
		want []float32
		ok   bool
	}{
		{"within", []float32{3, 4}, []float32{3, 4}, true},
		{"too long", []float32{30, 40}, []float32{6, 8}, false},
		{"infinite", []float32{inf, 1}, []float32{0, 0}, false},
		{"not a number", []float32{1, nan}, []float32{0, 0}, false},
		{"square overflows", []float32{1e38, 1e38}, []float32{0, 0}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if ok := bound(tt.in, 10); ok != tt.ok {
				t.Errorf("within bounds: %v, want %v", ok, tt.ok)
			}
			for i := range tt.in {
				if math.Abs(float64(tt.in[i]-tt.want[i])) > 1e-5 {
					t.Errorf("got %v, want %v", tt.in, tt.want)
				}
			}
		})
	}
}

func TestSlotMapEqualsMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	var m slotMap
	for range 3 {
		want := map[Index]int32{}
		for n := range int32(5000) {
			row := Index(1 + rng.IntN(20_000))
			if _, known := want[row]; !known {
				m.put(row, n+1)
				want[row] = n + 1
			}
		}
		for row := range Index(20_001) {
			if row != None && m.get(row) != want[row] {
				t.Fatalf("slot of row %d is %d, want %d", row, m.get(row), want[row])
			}
		}
		m.clear()
		if m.get(7) != 0 {
			t.Fatal("a cleared map still holds a row")
		}
	}
}
