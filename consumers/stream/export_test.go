package stream

// SetLocalFirst turns the negative control on: changes reach the store before the Kafka commit.
func SetLocalFirst(c *Config) { c.localFirst = true }

// Sessions returns how many sessions broke so far.
func (r *Runtime) Problem() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.problem
}
