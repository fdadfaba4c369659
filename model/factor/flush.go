package factor

// sync adds what the learner changed of a row since the last sync to the shared slab and to the row's open change, and takes in
// what others changed meanwhile. Rows that everybody moves, as those of genres, would otherwise be moved by
// each learner as if it were alone, and the sum of their steps would overshoot (models.md §A.5).
func (l *Learner) sync(n int32) {
	s := &l.slots[n]
	if s.steps == 0 {
		return
	}
	s.steps = 0
	value, base := l.value(n), l.base(n)
	if !finite(dot(value, value)) {
		copy(value, base)
		s.evidence = s.baseEvidence
		return
	}
	bound(value, l.params.NormMax)

	t := l.table
	c, at := t.at(s.row)
	c.lock(at).Lock()
	defer c.lock(at).Unlock()
	open := l.openLocked(s, &c.rows[at])
	slab := c.vector(at, l.params.Dim)
	exchange(value, base, open.vector, slab)
	if !bound(slab, l.params.NormMax) { // what each learner moved is within bounds, what all moved need not be
		axpy(-1, value, open.vector)
		axpy(1, slab, open.vector)
		copy(value, slab)
		copy(base, slab)
	}
	gained := s.evidence - s.baseEvidence
	open.evidence += gained
	t.setEvidence(c, at, c.evidence[at]+gained)
	s.evidence, s.baseEvidence = c.evidence[at], c.evidence[at]
}

// openLocked returns the open change of this learner on a row. The slot keeps it: a row that everybody trains has dozens, and nobody but
// this learner takes an open one off the list.
func (l *Learner) openLocked(s *slot, r *row) *change {
	if s.open == nil {
		r.pending = l.table.newChange(r.pending, l.partition)
		s.open = r.pending
	}
	return s.open
}

// Flush closes the changes of this transaction, tags them with (partition, seq) and yields each once, in the order in which the
// rows were first touched. seq must be greater than that of the flush before. The private copies are dropped.
func (l *Learner) Flush(seq int64, yield func(d Delta)) {
	l.lastSeq = seq
	for n := 1; n < len(l.slots); n++ {
		l.sync(int32(n))
		s := &l.slots[n]
		if s.open == nil {
			continue
		}
		c, at := l.table.at(s.row)
		c.lock(at).Lock()
		closed := l.closeLocked(&c.rows[at], seq)
		if closed != nil {
			closed.count = s.total
		}
		c.lock(at).Unlock()
		if closed == nil {
			continue
		}
		l.flushed = append(l.flushed, s.row)
		// Read without the lock: nobody changes a closed change, and it can only be recycled after it was acknowledged,
		// which cannot happen before it has been yielded and committed.
		r := &c.rows[at]
		yield(Delta{Key: r.key, Kind: r.kind, ID: r.id, Vector: closed.vector, Evidence: closed.evidence, Count: closed.count, Origin: closed.origin})
	}
	l.reset()
}

// closeLocked closes the open change of this learner. When the partition already has PendingMax changes that wait for their
// acknowledgement the oldest is folded into a younger one, so that a lagging song task costs precision and not memory:
// until the younger one is acknowledged the slab may count the older one twice.
func (l *Learner) closeLocked(r *row, seq int64) *change {
	var closed, oldest, second *change
	waiting := 0
	for p := r.pending; p != nil; p = p.next { // youngest first
		if p.origin.Partition != l.partition {
			continue
		}
		if p.open {
			p.open, p.origin.Seq = false, seq
			closed = p
			continue
		}
		if p.origin.Seq > l.committed {
			continue // may still be withdrawn
		}
		waiting++
		oldest, second = p, oldest
	}
	if waiting < l.params.PendingMax || second == nil {
		return closed
	}
	axpy(1, oldest.vector, second.vector)
	second.evidence += oldest.evidence
	for link := &r.pending; *link != nil; link = &(*link).next {
		if *link == oldest {
			*link = oldest.next
			l.table.changes.Put(oldest)
			break
		}
	}
	return closed
}

// Committed tells the learner that the transaction of its latest Flush was committed.
func (l *Learner) Committed() {
	l.committed = max(l.committed, l.lastSeq)
	l.flushed = l.flushed[:0]
}

// Abandon takes every change since the latest Committed out of the slab: those flushed and those not. The learner can be used on.
func (l *Learner) Abandon() {
	for n := 1; n < len(l.slots); n++ {
		if l.slots[n].open != nil {
			l.table.withdraw(l.slots[n].row, l.partition, l.committed)
		}
	}
	for _, i := range l.flushed {
		l.table.withdraw(i, l.partition, l.committed)
	}
	l.flushed = l.flushed[:0]
	l.reset()
}

// slotMap maps rows to slots: open addressing with linear probing, at most half full, so that a look-up is one cache line and
// clearing costs no more than the table. Slot 0 means absent.
type slotMap struct {
	rows  []Index
	slots []int32
	used  int
}

func (m *slotMap) hash(i Index) int {
	return int(uint32(i) * 2654435769 & uint32(len(m.rows)-1)) //nolint:gosec // Knuth's multiplier; the length is a power of two below 2³²
}

func (m *slotMap) get(i Index) int32 {
	if len(m.rows) == 0 {
		return 0
	}
	for h := m.hash(i); ; h = (h + 1) & (len(m.rows) - 1) {
		if m.rows[h] == i {
			return m.slots[h]
		}
		if m.rows[h] == None {
			return 0
		}
	}
}

func (m *slotMap) put(i Index, n int32) {
	if 2*(m.used+1) > len(m.rows) {
		old := *m
		size := max(64, 2*len(old.rows))
		m.rows, m.slots, m.used = make([]Index, size), make([]int32, size), 0
		for h, row := range old.rows {
			if row != None {
				m.put(row, old.slots[h])
			}
		}
	}
	h := m.hash(i)
	for m.rows[h] != None {
		h = (h + 1) & (len(m.rows) - 1)
	}
	m.rows[h], m.slots[h] = i, n
	m.used++
}

func (m *slotMap) clear() {
	clear(m.rows)
	m.used = 0
}
