package state

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"earworm/model/decay"
)

// Benchmarks run on a real disk: go test ./state -run XXX -bench . -benchtime 3s.

func benchShared(b *testing.B) *Shared {
	b.Helper()
	return openShared(b, Config{Dir: b.TempDir(), Now: time.Now, MinFreeBytes: -1, MinFreePercent: -1}, Deps{})
}

// workload makes batches as a listener task does: some listeners heard one or two songs each, and each core row is written once.
// Listeners are Zipf-distributed, as activity is.
type workload struct {
	zipf    *rand.Zipf
	rng     *rand.Rand
	core    ListenerCore
	entry   HistoryEntry
	changes []Change
}

func newWorkload(listeners uint64) *workload {
	rng := rand.New(rand.NewPCG(1, 1))
	w := &workload{
		rng: rng, zipf: rand.NewZipf(rng, 1.1, 50, listeners-1),
		core: ListenerCore{
			Vector: make([]float32, 64), Zone: "Europe/Berlin", Languages: []string{"de"}, Weeks: make([]byte, 12), Trust: make([]byte, 40),
		},
		entry: HistoryEntry{
			Plays: 3, FirstAt: 1_790_000_000_000, LastAt: 1_795_000_000_000, Engagement: decay.Counter{Value: 2.5, At: 1_795_000_000_000},
			Remembered: Remembered{IDs: []uint64{1, 2}, Times: []uint32{1_795_000_000, 1_795_000_000}},
		},
	}
	for i := range w.core.Vector {
		w.core.Vector[i] = rng.Float32()
	}
	return w
}

// batch returns n rows; a third of them are core rows.
func (w *workload) batch(n int) []Change {
	w.changes = w.changes[:0]
	for len(w.changes) < n {
		user := binary.BigEndian.AppendUint64(make([]byte, 0, 32), w.zipf.Uint64())
		w.changes = append(w.changes, Change{AppendCoreKey(nil, user), w.core.AppendBinary(nil)})
		for range 2 {
			w.changes = append(w.changes, Change{AppendHistoryKey(nil, user, w.rng.Uint64N(100_000)), w.entry.AppendBinary(nil)})
		}
	}
	return w.changes[:n]
}

func BenchmarkApply(b *testing.B) {
	for _, n := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			store := openStore(b, benchShared(b), testID)
			w := newWorkload(50_000)
			b.ReportAllocs()
			offset, inApply := int64(0), time.Duration(0)
			for b.Loop() {
				changes := w.batch(n)
				offset += int64(n)
				started := time.Now()
				mustApply(b, store, offset, changes...)
				inApply += time.Since(started)
			}
			b.ReportMetric(float64(offset)/inApply.Seconds(), "rows/s")
		})
	}
}

// BenchmarkRestore applies new rows in the batches of a restore, as fast as it can.
func BenchmarkRestore(b *testing.B) {
	store := openStore(b, benchShared(b), testID)
	w := newWorkload(50_000)
	batches := make([][]Change, 20)
	for i := range batches {
		batches[i] = append([]Change(nil), w.batch(10_000)...)
	}
	offset := int64(0)
	for b.Loop() {
		mustApply(b, store, offset, batches[int(offset/10_000)%len(batches)]...)
		offset += 10_000
	}
	b.ReportMetric(float64(offset)/b.Elapsed().Seconds(), "rows/s")
}

func filled(b *testing.B, shared *Shared, listeners int) (*Store, [][]byte) {
	b.Helper()
	store := openStore(b, shared, testID)
	w := newWorkload(uint64(listeners))
	users := make([][]byte, listeners)
	var changes []Change
	for i := range users {
		users[i] = binary.BigEndian.AppendUint64(nil, uint64(i))
		changes = append(changes, Change{AppendCoreKey(nil, users[i]), w.core.AppendBinary(nil)})
		for range 20 {
			changes = append(changes, Change{AppendHistoryKey(nil, users[i], w.rng.Uint64()), w.entry.AppendBinary(nil)})
		}
		if len(changes) > 5_000 {
			mustApply(b, store, int64(i), changes...)
			changes = changes[:0]
		}
	}
	mustApply(b, store, int64(listeners), changes...)
	return store, users
}

func BenchmarkGet(b *testing.B) {
	store, users := filled(b, benchShared(b), 20_000)
	rng := rand.New(rand.NewPCG(2, 2))
	var core ListenerCore
	key := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		key = AppendCoreKey(key[:0], users[rng.IntN(len(users))])
		if found, err := store.View(key, core.UnmarshalBinary); !found || err != nil {
			b.Fatal(found, err)
		}
	}
}

func BenchmarkScanListener(b *testing.B) {
	store, users := filled(b, benchShared(b), 20_000)
	rng := rand.New(rand.NewPCG(2, 2))
	var entry HistoryEntry
	count := 0
	b.ReportAllocs()
	for b.Loop() {
		err := store.Scan(AppendHistoryPrefix(nil, users[rng.IntN(len(users))]), func(_, v []byte) error {
			count++
			return entry.UnmarshalBinary(v)
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(count)/b.Elapsed().Seconds(), "rows/s")
}

func BenchmarkOpenAfterCleanClose(b *testing.B) {
	shared := benchShared(b)
	store, _ := filled(b, shared, 20_000)
	for b.Loop() {
		if err := store.Close(); err != nil {
			b.Fatal(err)
		}
		store = openStore(b, shared, testID)
	}
}

func BenchmarkOpenManyNewStores(b *testing.B) {
	for _, n := range []int32{32, 64} {
		b.Run(fmt.Sprintf("stores=%d", n), func(b *testing.B) {
			for b.Loop() {
				shared := benchShared(b)
				for p := range n {
					openStore(b, shared, Identity{App: "a", Role: "listener", Partition: p, Partitions: n})
				}
				if err := shared.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRowCodecs(b *testing.B) {
	w := newWorkload(10)
	b.Run("row=core", func(b *testing.B) {
		row := w.core.AppendBinary(nil)
		b.SetBytes(int64(len(row)))
		for b.Loop() {
			if err := w.core.UnmarshalBinary(row); err != nil {
				b.Fatal(err)
			}
			row = w.core.AppendBinary(row[:0])
		}
	})
	b.Run("row=history", func(b *testing.B) {
		row := w.entry.AppendBinary(nil)
		b.SetBytes(int64(len(row)))
		for b.Loop() {
			if err := w.entry.UnmarshalBinary(row); err != nil {
				b.Fatal(err)
			}
			row = w.entry.AppendBinary(row[:0])
		}
	})
}
