package factor

import (
	"math"
	"slices"
)

// Origin tags a combined change: the listener partition that made it and the listens offset up to which it goes.
// Seq grows monotonically within a partition.
type Origin struct {
	Partition int32
	Seq       int64
}

// Published is a row as its song task published it.
type Published struct {
	Kind   Kind
	ID     string
	Vector []float32
	// Evidence is the weight of first listens and explicit words that the row has been trained on.
	Evidence float32

	Popularity      Popularity // songs only, as is Trend
	Trend           TrendInfo
	FirstAt, LastAt int64 // first and latest listen, Unix ms; 0 = never

	// Acks holds, for each listener partition, the latest Seq whose change is part of Vector and Bias.
	Acks []Origin
	// Epoch is that of the refit that the row has taken in last; 0 is none.
	Epoch uint32
}

// change is one combined change of a row by a learner of this process that the published row does not yet hold.
// It hangs on its row and is guarded by the row's block lock.
type change struct {
	next     *change
	origin   Origin
	open     bool // the transaction still adds to it
	count    int32
	evidence float32
	vector   []float32
}

func (t *Table) newChange(next *change, partition int32) *change {
	c := t.changes.Get().(*change) //nolint:forcetypeassert // the pool holds nothing else
	clear(c.vector)
	*c = change{next: next, origin: Origin{Partition: partition}, open: true, vector: c.vector}
	return c
}

// Load takes in a published row: the slab becomes the published values plus the changes of this process that they
// do not yet hold. Rows may arrive in any order and more than once. A vector of the wrong width or with values that are not
// numbers leaves the factors as they are.
func (t *Table) Load(r Published) {
	if !r.Kind.Valid() {
		return
	}
	i := t.Row(r.Kind, r.ID)
	usable := len(r.Vector) == t.params.Dim && finite(dot(r.Vector, r.Vector)) && r.Evidence >= 0 && finite(r.Evidence)
	c, at := t.at(i)
	c.lock(at).Lock()
	if usable {
		t.settleLocked(c, at, r)
		if c.rows[at].epoch != r.Epoch {
			c.rows[at].epoch = r.Epoch
			t.refitted.Add(1)
		}
	}
	if r.Kind == KindSong {
		s := &Stats{Popularity: r.Popularity, Trend: r.Trend, FirstAt: r.FirstAt, LastAt: r.LastAt}
		s.Popularity.Regions, s.Trend.Regions = slices.Clone(r.Popularity.Regions), slices.Clone(r.Trend.Regions)
		c.rows[at].stats = s
	}
	c.lock(at).Unlock()
	if r.Kind == KindSong && r.FirstAt != 0 {
		t.activate(i)
	}
	for newest := t.epoch.Load(); usable && r.Epoch > newest && !t.epoch.CompareAndSwap(newest, r.Epoch); newest = t.epoch.Load() {
	}
	t.version.Add(1)
}

// Epoch returns the epoch of the newest refit that any row has taken in; 0 is none.
func (t *Table) Epoch() uint32 { return t.epoch.Load() }

// EpochOf returns the epoch of the refit that a row has taken in last; 0 is none.
func (t *Table) EpochOf(i Index) uint32 {
	c, at := t.at(i)
	c.lock(at).RLock()
	defer c.lock(at).RUnlock()
	return c.rows[at].epoch
}

// settleLocked forgets the acknowledged changes of a row and sets it to the published values plus the others.
func (t *Table) settleLocked(c *chunk, at int, r Published) {
	vector := c.vector(at, t.params.Dim)
	copy(vector, r.Vector)
	evidence := r.Evidence
	for link := &c.rows[at].pending; *link != nil; {
		p := *link
		acknowledged := !p.open && slices.ContainsFunc(r.Acks, func(o Origin) bool {
			return o.Partition == p.origin.Partition && o.Seq >= p.origin.Seq
		})
		if acknowledged {
			*link = p.next
			t.changes.Put(p)
			continue
		}
		axpy(1, p.vector, vector)
		evidence += p.evidence
		link = &p.next
	}
	bound(vector, t.params.NormMax)
	t.setEvidence(c, at, evidence)
}

// withdraw takes back the changes of a partition that were never committed: those still open and those flushed after committed.
// A change that a published row already holds is gone from the list, and stays in the slab.
func (t *Table) withdraw(i Index, partition int32, committed int64) {
	c, at := t.at(i)
	c.lock(at).Lock()
	defer c.lock(at).Unlock()
	vector, evidence := c.vector(at, t.params.Dim), c.evidence[at]
	for link := &c.rows[at].pending; *link != nil; {
		p := *link
		if p.origin.Partition != partition || (!p.open && p.origin.Seq <= committed) {
			link = &p.next
			continue
		}
		axpy(-1, p.vector, vector)
		evidence -= p.evidence
		*link = p.next
		t.changes.Put(p)
	}
	bound(vector, t.params.NormMax) // what was taken back may have been what kept the others within bounds
	t.setEvidence(c, at, evidence)
}

// setEvidence changes the evidence of a row, whose lock is held.
func (t *Table) setEvidence(c *chunk, at int, evidence float32) {
	evidence = min(max(evidence, 0), evidenceMax)
	if c.rows[at].kind == KindSong {
		t.positives.Add(evidenceUnits(evidence) - evidenceUnits(c.evidence[at]))
	}
	c.evidence[at] = evidence
}

// evidenceUnits rounds what a row has and not what it gains: a sum of rounded gains would depend on how many there were.
func evidenceUnits(evidence float32) int64 {
	return int64(math.Round(float64(evidence) * evidenceUnit))
}

// Pending returns the number of changes of a row that wait for their acknowledgement.
func (t *Table) Pending(i Index) int {
	c, at := t.at(i)
	c.lock(at).RLock()
	defer c.lock(at).RUnlock()
	n := 0
	for p := c.rows[at].pending; p != nil; p = p.next {
		n++
	}
	return n
}
