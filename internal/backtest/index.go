package backtest

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// columns turns the past around: of each item, the pairs with the listeners who consumed it, and of each pair the listener.
type columns struct {
	offset    []int32 // by item, and one more
	pairs     []int32
	listeners []int32 // by pair
}

func newColumns(d *Dataset) columns {
	c := columns{offset: make([]int32, len(d.Items)+1), pairs: make([]int32, len(d.past.items)), listeners: make([]int32, len(d.past.items))}
	for _, item := range d.past.items {
		c.offset[item+1]++
	}
	for i := range d.Items {
		c.offset[i+1] += c.offset[i]
	}
	next := slices.Clone(c.offset)
	for l := range d.Listeners {
		for pair := d.past.offset[l]; pair < d.past.offset[l+1]; pair++ {
			c.listeners[pair] = int32(l)
			item := d.past.items[pair]
			c.pairs[next[item]] = pair
			next[item]++
		}
	}
	return c
}

// of returns the pairs of an item.
func (c *columns) of(item int32) []int32 { return c.pairs[c.offset[item]:c.offset[item+1]] }

// chunk is how many rows a goroutine takes at a time.
const chunk = 64

// parallel calls do for parts of 0..n-1 on all processors; each worker has one state, made by it. The parts must not depend on each
// other: who does which is left to chance.
func parallel[S any](n int, state func() S, do func(s S, from, to int)) {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), (n+chunk-1)/chunk) {
		workers.Go(func() {
			s := state()
			for {
				to := int(next.Add(chunk))
				if to-chunk >= n {
					return
				}
				do(s, to-chunk, min(to, n))
			}
		})
	}
	workers.Wait()
}
