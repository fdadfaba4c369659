package listener

// person returns the listener with this pseudonym, from memory or from the store.
func (t *Task) person(id []byte) (*person, error) {
	if p, ok := t.people[string(id)]; ok {
		return p, nil
	}
	p, err := t.load(id)
	if err != nil {
		return nil, err
	}
	t.people[string(p.id)] = p
	t.recount(p)
	return p, nil
}

// mark enters a listener into the transaction; one who was erased in it is there again.
func (t *Task) mark(p *person) {
	p.erased = false
	if !p.dirty {
		p.dirty = true
		t.dirty = append(t.dirty, p)
	}
}

// drop forgets a listener; the next event loads it again.
func (t *Task) drop(p *person) {
	delete(t.people, string(p.id))
	t.cached -= p.counted
}

// shrink evicts clean listeners until the cache fits. Go's map order is as good as random, and random
// eviction needs no bookkeeping per event; active listeners come back with one scan.
func (t *Task) shrink() {
	if t.cached <= t.cfg.CacheBytes {
		return
	}
	target := t.cfg.CacheBytes / 10 * 9
	for _, p := range t.people {
		if t.cached <= target {
			return
		}
		if !p.dirty {
			t.drop(p)
		}
	}
}

// recount makes up for what grew since a listener was counted.
func (t *Task) recount(p *person) {
	now := p.bytes()
	t.cached += now - p.counted
	p.counted = now
}
