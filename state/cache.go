package state

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// blockCache is the cache of all stores. Pebble books write buffers as part of the cache that a store uses, so a few dozen stores
// with empty caches would be the result of a bound meant for blocks. Here the buffers come on top: the cache is nominally endless, and a
// reservation leaves of it what the blocks may take and the buffers of the open stores can take.
type blockCache struct {
	*pebble.Cache
	blocks, buffers int64 // bytes of all stores together, and of one

	mu      sync.Mutex
	stores  int64
	release func()
}

// cacheLimit is more than any machine has.
const cacheLimit = 1 << 42

// buffersOfStore is how many write buffers a busy store has: one that is written, one that is flushed.
const buffersOfStore = 2

func newBlockCache(blocks, buffer int64) *blockCache {
	c := &blockCache{Cache: pebble.NewCache(cacheLimit), blocks: blocks, buffers: buffersOfStore * buffer}
	c.add(0)
	return c
}

// add counts stores that are opened or closed.
func (c *blockCache) add(stores int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stores += stores
	if c.release != nil {
		c.release() // first: two reservations at once would empty the cache
	}
	c.release = c.Reserve(int(cacheLimit - c.blocks - c.stores*c.buffers))
}

// close gives the memory back once the last store is closed.
func (c *blockCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.release()
	c.Unref()
}
