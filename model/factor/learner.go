package factor

import "math"

// Learner trains rows of a Table on the listens of one partition. Between two flushes it works on private copies of the rows
// it touches, so its steps take no lock; what it has changed reaches the shared slab every Params.SyncEvery steps on
// a row, at the latest at Flush. A Learner must not be used concurrently; different Learners may.
type Learner struct {
	table     *Table
	params    Params
	partition int32
	rng       splitMix
	hurried   bool
	// syncSmall is Params.SyncEvery for the rows whose steps are smaller: what two learners do to a row unseen by each other is bounded
	// by the sum of the steps. Nearly every step moves such rows, and all learners the same ones.
	syncSmall int
	sum       combination

	slots  []slot // slot 0 stands for None and stays zero
	values []float32
	bases  []float32
	where  slotMap

	pool      []int32 // slots of the negatives of this transaction
	draws     int     // from the pool, since it began
	effective []float32
	gradient  []float32

	flushed   []Index // rows with changes that were flushed and not committed
	lastSeq   int64   // of the latest Flush
	committed int64
}

// slot is a row that this transaction has touched. Its vector is values[slot·dim:], the slab's vector when they were last
// equal is bases[slot·dim:].
type slot struct {
	open           *change // hangs on the table's row; nil before the first sync
	row            Index
	steps          int32 // since the last sync
	total          int32
	bias, baseBias float32

	// The slots of the rows that its effective vector is the sum of: itself, its artist, its language, its genres. The first large ones take
	// the whole step, the first whole ones count whole; of the others the share.
	parts               [maxParts]int32
	count, large, whole uint8
	share               float32
}

// maxParts is the number of rows of which a song can be the sum.
const maxParts = 3 + maxGenres

// combination is what the kernels do to the rows of one song: the effective vector is Σ share·row, and a step makes each row keep·row + step·user.
type combination struct {
	at                [maxParts]int // offsets of the rows in Learner.values
	share, keep, step [maxParts]float32
	count             int
}

// Step tells how one example went.
type Step struct {
	Score float32 // the prediction before the step
	Error float32 // target minus score, before weight and clip
	Loss  float32 // weighted squared error of the positive and the mean of its negatives'
}

// Delta is the combined change of one row between two flushes.
type Delta struct {
	Key    Key // of Kind and ID
	Kind   Kind
	ID     string
	Vector []float32 // valid only until yield returns
	Bias   float32
	Count  int32 // steps that are combined
	Origin Origin
}

// NewLearner returns the learner of one listener partition. p must be the settings of the table.
func NewLearner(t *Table, p Params, origin int32, seed uint64) *Learner {
	l := &Learner{
		table: t, params: p, partition: origin, rng: splitMix(seed),
		syncSmall: max(p.SyncEvery, int(float32(p.SyncEvery)/max(p.GenreScale, .1))),
		effective: make([]float32, p.Dim), gradient: make([]float32, p.Dim),
		committed: math.MinInt64, lastSeq: math.MinInt64,
	}
	l.reset()
	return l
}

// reset forgets the private copies.
func (l *Learner) reset() {
	if len(l.slots) == 0 {
		l.slots = append(l.slots, slot{})
		l.values = append(l.values, make([]float32, l.params.Dim)...)
		l.bases = append(l.bases, make([]float32, l.params.Dim)...)
	}
	l.slots, l.values, l.bases = l.slots[:1], l.values[:l.params.Dim], l.bases[:l.params.Dim]
	l.pool, l.draws = l.pool[:0], 0
	l.where.clear()
}

// FirstListen trains on the first time that a listener heard song: a positive of the given confidence, uniform negatives, and
// songs of history, which are the listener's other songs. It changes user in place and does not allocate, apart from growing
// with the number of rows that a transaction touches.
func (l *Learner) FirstListen(user []float32, song Index, weight float32, history []Index) Step {
	if song == None || len(user) != l.params.Dim {
		return Step{}
	}
	l.table.activate(song)
	bound(user, l.params.NormMax)
	weight = clip(weight, l.params.ErrorClip)
	step := l.positive(user, l.slotOf(song), weight, 1)
	for range l.replays(len(history)) {
		other := history[l.rng.below(len(history))]
		if other != song && other != None {
			l.positive(user, l.slotOf(other), 1, l.params.ReplayWeight)
		}
	}
	return step
}

// Hurry says whether to train with the fewest replays: under load fewer passes over a history are the cheapest thing to do without,
// since later first listens replay it again.
func (l *Learner) Hurry(on bool) { l.hurried = on }

// replays returns how many songs of a history of length n are trained beside a first listen.
func (l *Learner) replays(n int) int {
	if n == 0 {
		return 0
	}
	m := l.params.ReplayFloor
	if !l.hurried {
		m = max(m, l.params.ReplayBudget/n)
	}
	return min(m, l.params.Replays, n)
}

// positive trains one positive and its negatives, and then moves the listener, within bounds, by the sum of their gradients. share scales
// all of them.
func (l *Learner) positive(user []float32, song int32, weight, share float32) Step {
	clear(l.gradient)
	step := l.pull(user, song, 1, weight*share)
	step.Loss = weight * step.Error * step.Error
	var negative float32
	for range l.params.Negatives {
		other := l.negative()
		if other == song {
			continue
		}
		s := l.pull(user, other, 0, share)
		negative += s.Error * s.Error
	}
	if l.params.Negatives > 0 {
		step.Loss += negative / float32(l.params.Negatives)
	}
	decayAxpy(1-l.params.UserStep*l.params.Regularisation, l.params.UserStep, l.gradient, user)
	bound(user, l.params.NormMax) // here and not after the replays: with the largest steps listener and songs would drive each other
	return step
}

// Feedback trains on an explicit signal or an early skip: one step towards target, without negatives or history.
func (l *Learner) Feedback(user []float32, song Index, target, weight float32) Step {
	if song == None || len(user) != l.params.Dim {
		return Step{}
	}
	bound(user, l.params.NormMax)
	clear(l.gradient)
	weight = clip(weight, l.params.ErrorClip)
	step := l.pull(user, l.slotOf(song), clip(target, l.params.ErrorClip), weight)
	step.Loss = weight * step.Error * step.Error
	decayAxpy(1-l.params.UserStep*l.params.Regularisation, l.params.UserStep, l.gradient, user)
	bound(user, l.params.NormMax)
	return step
}

// pull moves a song towards target for this listener and adds the listener's gradient to l.gradient:
//
//	e = weight·(target − ⟨user, q̂⟩ − b)    b += η_b·e    gradient += e·q̂    θ += η·(e·user − λθ)
//
// for each row θ of which q̂ is the sum. Genre rows take a smaller step, and their share of the mean.
func (l *Learner) pull(user []float32, song int32, target, weight float32) Step {
	p := &l.params
	s := &l.slots[song]
	l.gather(s)
	score := compose(&l.sum, l.values, user, l.effective) + s.bias
	e := target - score
	step := Step{Score: score, Error: e}
	e = clip(weight*e, p.ErrorClip)
	s.bias += p.BiasStep * (e - p.Regularisation*s.bias)
	l.step(s, e)
	push(&l.sum, l.values, user, l.effective, l.gradient, e)
	for i, n := range s.parts[:s.count] {
		every := l.syncSmall
		if i < int(s.large) {
			every = p.SyncEvery
		}
		part := &l.slots[n]
		part.steps++
		part.total++
		if int(part.steps) >= every {
			l.sync(n)
		}
	}
	return step
}

// gather says of which rows a song is the sum.
func (l *Learner) gather(s *slot) {
	c := &l.sum
	c.count = int(s.count)
	for i, n := range s.parts[:s.count] {
		c.at[i], c.share[i] = int(n)*l.params.Dim, 1
		if i >= int(s.whole) {
			c.share[i] = s.share
		}
	}
}

// step says how far each of them moves. Genre and language rows, which every song of theirs moves, take a smaller step.
func (l *Learner) step(s *slot, e float32) {
	c, p := &l.sum, &l.params
	small := p.SongStep * p.GenreScale
	for i := range s.parts[:s.count] {
		if i < int(s.large) {
			c.keep[i], c.step[i] = 1-p.SongStep*p.Regularisation, p.SongStep*e
		} else {
			c.keep[i], c.step[i] = 1-small*p.Regularisation, small*e*c.share[i]
		}
	}
}

func (l *Learner) value(n int32) []float32 {
	at := int(n) * l.params.Dim
	return l.values[at : at+l.params.Dim : at+l.params.Dim]
}

// slotOf returns the slot of a song, with its artist, language and genres.
func (l *Learner) slotOf(song Index) int32 {
	if n := l.where.get(song); n != 0 {
		return n
	}
	c, at := l.table.at(song)
	c.lock(at).RLock()
	f := c.rows[at].features
	c.lock(at).RUnlock()
	s := slot{share: f.genreShare}
	add := func(i Index) {
		if i != None {
			s.parts[s.count] = l.rowSlot(i)
			s.count++
		}
	}
	add(song)
	add(f.artist)
	s.large = s.count
	add(f.language)
	s.whole = s.count
	for _, g := range f.genres {
		add(g)
	}
	n := s.parts[0]
	own := &l.slots[n]
	own.parts, own.count, own.large, own.whole, own.share = s.parts, s.count, s.large, s.whole, s.share
	return n
}

// rowSlot returns the slot of a row and copies the row into it if it is new.
func (l *Learner) rowSlot(i Index) int32 {
	if i == None {
		return 0
	}
	if n := l.where.get(i); n != 0 {
		return n
	}
	n := int32(len(l.slots)) //nolint:gosec // bounded by the rows one transaction touches
	c, at := l.table.at(i)
	c.lock(at).RLock()
	l.values = append(l.values, c.vector(at, l.params.Dim)...)
	bias := c.biases[at]
	c.lock(at).RUnlock()
	l.bases = append(l.bases, l.value(n)...)
	l.slots = append(l.slots, slot{row: i, bias: bias, baseBias: bias, parts: [maxParts]int32{n}, count: 1, large: 1, whole: 1})
	l.where.put(i, n)
	return n
}

// negative draws a song from the transaction's pool. The pool grows with the number of draws, up to Params.PoolSize, so that each song
// in it is used many times: the rows, and so the records, that a transaction touches are few when it is short and bounded when
// it is long.
func (l *Learner) negative() int32 {
	if size := len(l.pool); size < l.params.PoolSize && l.draws >= (size-poolFirst)*poolUses {
		l.growPool()
	}
	l.draws++
	return l.pool[l.rng.below(len(l.pool))]
}

// The pool begins with poolFirst songs and gets another one for every poolUses draws.
const (
	poolFirst = 64
	poolUses  = 48
)

// growPool begins the pool or adds a song to it.
func (l *Learner) growPool() {
	active := l.table.activeList() // not empty: the positive has just been activated
	if len(l.pool) == 0 && len(active) <= l.params.PoolSize {
		for _, song := range active {
			l.pool = append(l.pool, l.slotOf(song))
		}
		l.draws = math.MinInt32 // it holds them all and need not grow
		return
	}
	for range max(1, min(poolFirst, l.params.PoolSize)-len(l.pool)) {
		l.pool = append(l.pool, l.slotOf(active[l.rng.below(len(active))]))
	}
}
