package backtest

import (
	"testing"
	"unsafe"
)

// TestEventsAreSmall keeps nine million of them in half a gigabyte.
func TestEventsAreSmall(t *testing.T) {
	t.Parallel()
	if got := unsafe.Sizeof(record{}); got > 56 {
		t.Errorf("an event takes %d bytes, want at most 56", got)
	}
}

func BenchmarkEvents(b *testing.B) {
	d := &Dataset{records: make([]record, 1000), users: [][]byte{{'u'}}, songs: [][]byte{{'s'}}}
	b.ReportAllocs()
	for b.Loop() {
		for e := range d.Events {
			if e.Item != 0 {
				b.Fatal(e)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/event")
}
