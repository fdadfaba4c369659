package stream

import "time"

// SetLocalFirst turns the negative control on: changes reach the store before the Kafka commit.
func SetLocalFirst(c *Config) { c.localFirst = true }

// Sessions returns how many sessions broke so far.
func (r *Runtime) Problem() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.problem
}

// SetWatch sets the least time between two looks of the watch.
func SetWatch(c *Config, least time.Duration) { c.watchLeast = least }
