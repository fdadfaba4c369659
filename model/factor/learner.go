package factor

import "math"

// Learner trains rows of a Table on the listens of one partition. Between two flushes it works on private copies of the rows
// it looks at, so each of them is locked once a transaction, and neither a step nor a listener's solution waits for anybody. What it
// has changed reaches the shared slab every Params.SyncEvery steps on a row, at the latest at Flush; what others change meanwhile reaches
// it then, or with the next transaction. A Learner must not be used concurrently; different Learners may.
//
// It minimises the loss of implicit ALS (Hu, Koren, Volinsky 2008; Rendle et al. 2022)
//
//	Σ_heard c·(1 − ⟨p, q̂⟩)² + α₀·Σ_all ⟨p, q̂⟩² + λ·Σ (c + α₀N)‖row‖²
//
// over a stream and without drawing negatives: the middle sum goes through Gram matrices of the catalogue (Geometry). A listener's vector is
// solved by a few steps of conjugate gradients; a song's by recursive least squares, whose gain is a matrix that all songs share, divided by
// how much the song has been heard.
type Learner struct {
	table     *Table
	params    Params
	partition int32
	rng       splitMix
	hurried   bool
	sum       combination

	slots  []slot // slot 0 stands for None and stays zero
	values []float32
	bases  []float32
	where  slotMap

	window    window
	direction []float32 // M·p of the listener in hand
	effective []float32

	flushed   []Index // rows with changes that were flushed and not committed
	lastSeq   int64   // of the latest Flush
	committed int64
}

// slot is a row that this transaction has looked at. bases[slot·dim:] is the slab's vector as it was last seen: a listener's vector is
// solved over these, because rows that have just been moved towards a listener would say that the listener was right.
type slot struct {
	open         *change // hangs on the table's row; nil before the first sync
	row          Index
	moved        int32 // values[moved·dim:] is the row as trained, 0 while it has not been
	steps        int32 // since the last sync
	total        int32
	evidence     float32
	baseEvidence float32

	// The slots of the rows that its effective vector is the sum of: itself, its artist, its language, its genres. The first whole ones count
	// whole; of the others the share.
	parts        [maxParts]int32
	count, whole uint8
	share        float32
}

// maxParts is the number of rows of which a song can be the sum.
const maxParts = 3 + maxGenres

// combination is what the kernel needs of the rows of one song: the effective vector is Σ share·row.
type combination struct {
	at    [maxParts]int // offsets of the rows in Learner.values
	share [maxParts]float32
	count int
}

// Step tells how one example went.
type Step struct {
	Score float32 // the prediction before the step
	Error float32 // target minus score, before weight and clip
	Loss  float32 // weighted squared error
}

// Delta is the combined change of one row between two flushes.
type Delta struct {
	Key    Key // of Kind and ID
	Kind   Kind
	ID     string
	Vector []float32 // valid only until yield returns
	// Evidence is the weight of the first listens and explicit words among the steps.
	Evidence float32
	Count    int32 // steps that are combined
	Origin   Origin
}

// NewLearner returns the learner of one listener partition. p must be the settings of the table.
func NewLearner(t *Table, p Params, origin int32, seed uint64) *Learner {
	l := &Learner{
		table: t, params: p, partition: origin, rng: splitMix(seed),
		direction: make([]float32, p.Dim), effective: make([]float32, p.Dim),
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
	l.where.clear()
}

// Past is what a listener's vector is solved from.
type Past struct {
	Songs   []Index // that they came to, in order
	Refused []Index // that they disliked or banned, in order
	Chosen  []Index // rows of artists and genres that they named themselves
}

// FirstListen trains on the first time that a listener heard song: the listener's vector is solved from their past and the song,
// then the song, and some of their other songs, are moved towards what they should score. past does not hold the song yet. It changes user
// in place and does not allocate, apart from growing with the number of rows that a transaction touches.
func (l *Learner) FirstListen(user []float32, song Index, weight float32, past Past) Step {
	if song == None || len(user) != l.params.Dim {
		return Step{}
	}
	l.table.activate(song)
	weight = l.bounded(weight)
	g := l.table.Geometry()
	l.window.begin(l, user)
	l.recall(past)
	l.window.add(song, weight, 1)
	n := l.slotOf(song)
	before := l.look(&l.slots[n], user, l.effective)
	l.window.solve(g, user, l.steps())
	gain := g.shape(l.direction, user)
	l.heard(n, weight)
	l.pull(g, user, gain, n, 1, weight)
	for range l.replays(len(past.Songs)) {
		if other := past.Songs[l.rng.below(len(past.Songs))]; other != song && other != None {
			if n := l.slotOf(other); l.slots[n].evidence < replayBelow {
				l.replay(g, user, gain, n)
			}
		}
	}
	e := 1 - before
	return Step{Score: before, Error: e, Loss: weight * e * e}
}

// Hurry says whether to look at less of the past: under load that is the cheapest thing to do without, since later first listens look
// at it again.
func (l *Learner) Hurry(on bool) { l.hurried = on }

// replayBelow is the evidence from which a song is not trained again: it would move by less than a hundredth of the error, and each row that
// moves has to be sent.
const replayBelow = 100

// replays returns how many songs of a history of length n are trained beside a first listen.
func (l *Learner) replays(n int) int {
	if l.hurried {
		return min(l.params.HurriedReplays, n)
	}
	return min(l.params.Replays, n)
}

// steps returns how many steps a listener's vector takes.
func (l *Learner) steps() int {
	if l.hurried {
		return l.params.HurriedSteps
	}
	return l.params.Steps
}

// recall enters what the listener heard and refused last, all that they named, and of the songs before the last ones a stratified sample:
// one out of each of as many stretches, which stands for its stretch. With the latest songs alone a vector would only know the fashion of the day
// of somebody who mostly follows it; to look at all of them costs more than all else that is learnt from a listen.
func (l *Learner) recall(past Past) {
	size := l.params.Window
	if l.hurried {
		size = l.params.HurriedWindow
	}
	newest := latest(past.Songs, size)
	older := past.Songs[:len(past.Songs)-len(newest)]
	for n, drawn := 0, min(size, len(older)); n < drawn; n++ {
		stretch := older[n*len(older)/drawn : (n+1)*len(older)/drawn]
		l.window.add(stretch[l.rng.below(len(stretch))], min(drawnWeightMax, float32(len(stretch))), 1)
	}
	for _, song := range newest {
		l.window.add(song, 1, 1)
	}
	for _, song := range latest(past.Refused, 2*size) {
		l.window.add(song, refusedWeight, 0)
	}
	for _, row := range latest(past.Chosen, 2*size) {
		l.window.add(row, 1, 1)
	}
}

const (
	// refusedWeight is how much a refused song weighs in a listener's vector beside one that they came to.
	refusedWeight = 2
	// drawnWeightMax bounds how many songs one that was drawn stands for: where tastes drift, a long past must not drown the present.
	drawnWeightMax = 8
)

func latest(list []Index, n int) []Index { return list[max(0, len(list)-n):] }

// Solve sets user to the vector of a listener with this past.
func (l *Learner) Solve(user []float32, past Past) {
	if len(user) != l.params.Dim {
		return
	}
	l.window.begin(l, user)
	l.recall(past)
	l.window.solve(l.table.Geometry(), user, l.steps())
}

// Feedback trains a song on an explicit signal of a listener: one step towards target. The listener's own vector is Solve's.
func (l *Learner) Feedback(user []float32, song Index, target, weight float32) Step {
	if song == None || len(user) != l.params.Dim {
		return Step{}
	}
	bound(user, l.params.NormMax)
	weight, target = l.bounded(weight), clip(target, 1)
	g := l.table.Geometry()
	gain := g.shape(l.direction, user)
	n := l.slotOf(song)
	l.heard(n, weight)
	return l.pull(g, user, gain, n, target, weight)
}

// bounded returns the weight of an example: not negative, and a number.
func (l *Learner) bounded(weight float32) float32 { return max(0, clip(weight, l.params.WeightMax)) }

// look sets q to the effective vector of a slot as the table has it, and returns its product with user.
func (l *Learner) look(s *slot, user, q []float32) float32 {
	c := &l.sum
	c.count = int(s.count)
	for i, n := range s.parts[:s.count] {
		c.at[i], c.share[i] = int(n)*l.params.Dim, s.shareOf(i)
	}
	return compose(c, l.bases, user, q)
}

// train makes copies of the rows of a slot that can be moved, sets q to its effective vector as trained, and returns its product with user.
func (l *Learner) train(s *slot, user, q []float32) float32 {
	c := &l.sum
	c.count = int(s.count)
	for i, n := range s.parts[:s.count] {
		part := &l.slots[n]
		if part.moved == 0 {
			part.moved = int32(len(l.values) / l.params.Dim) //nolint:gosec // at most as many as slots
			l.values = append(l.values, l.base(n)...)
		}
		c.at[i], c.share[i] = int(part.moved)*l.params.Dim, s.shareOf(i)
	}
	return compose(c, l.values, user, q)
}

// shareOf is the share of the i-th part in the effective vector.
func (s *slot) shareOf(i int) float32 {
	if i < int(s.whole) {
		return 1
	}
	return s.share
}

// heard counts evidence for the rows of a song.
func (l *Learner) heard(song int32, weight float32) {
	s := &l.slots[song]
	for i, n := range s.parts[:s.count] {
		part := &l.slots[n]
		part.evidence = min(part.evidence+weight*s.shareOf(i), evidenceMax)
	}
}

// evidenceMax bounds the evidence of a row: from there on a step moves nothing that a float32 could tell.
const evidenceMax = 1 << 24

// pull moves a song towards target for this listener. Each row θ of which q̂ is the sum takes a step of recursive least squares, with n its
// evidence and ν what the absence of everybody else weighs:
//
//	e = w·(target − ⟨p, q̂⟩)/(1 + w·g)    θ += Gain·share/(n + ν)·e·M·p    g = Σ Gain·share²/(n + ν)·pᵀMp
//
// The denominator makes it an implicit step: however large the gain, the prediction does not pass the target.
func (l *Learner) pull(g *Geometry, user []float32, gain float32, song int32, target, weight float32) Step {
	s := &l.slots[song]
	score := l.train(s, user, l.effective)
	var steps [maxParts]float32
	total := l.gains(g, s, gain, &steps)
	e := target - score
	step := Step{Score: score, Error: e, Loss: weight * e * e}
	e = weight * e / (1 + weight*total)
	for i, n := range s.parts[:s.count] {
		axpy(steps[i]*e, l.direction, l.value(n))
		l.stepped(n)
	}
	return step
}

// replay is pull for a song whose first listen has been learnt: a sample of the gradient of all of the song's listeners, which therefore
// takes with it an n-th of the pull to zero.
func (l *Learner) replay(g *Geometry, user []float32, gain float32, song int32) {
	s := &l.slots[song]
	score := l.train(s, user, l.effective)
	var steps [maxParts]float32
	e := (1 - score) / (1 + l.gains(g, s, gain, &steps))
	for i, n := range s.parts[:s.count] {
		part := &l.slots[n]
		prior := g.prior(part.row)
		keep := 1 - l.params.Gain*min(.5, prior/max(part.evidence+prior, .1)/max(part.evidence, 1)*s.shareOf(i))
		decayAxpy(keep, steps[i]*e, l.direction, l.value(n))
		l.stepped(n)
	}
}

// gains sets how far each row of a song moves for an error of one, and returns by how much that moves the prediction.
func (l *Learner) gains(g *Geometry, s *slot, gain float32, steps *[maxParts]float32) (total float32) {
	for i, n := range s.parts[:s.count] {
		part := &l.slots[n]
		share := s.shareOf(i)
		steps[i] = l.params.Gain * share / max(part.evidence+g.prior(part.row), .1)
		total += steps[i] * share * gain
	}
	return total
}

// stepped counts a step on a row, and brings it to the slab when there were enough.
func (l *Learner) stepped(n int32) {
	part := &l.slots[n]
	part.steps++
	part.total++
	if int(part.steps) >= l.params.SyncEvery {
		l.sync(n)
	}
}

// value is a row as trained.
func (l *Learner) value(n int32) []float32 {
	at := int(l.slots[n].moved) * l.params.Dim
	return l.values[at : at+l.params.Dim : at+l.params.Dim]
}

// base is a row as last seen in the slab.
func (l *Learner) base(n int32) []float32 {
	at := int(n) * l.params.Dim
	return l.bases[at : at+l.params.Dim : at+l.params.Dim]
}

// slotOf returns the slot of a song, with its artist, language and genres; any other row is made of itself.
func (l *Learner) slotOf(song Index) int32 {
	if n := l.where.get(song); n != 0 {
		return n
	}
	n, f := l.copyRow(song)
	s := slot{parts: [maxParts]int32{n}, count: 1, share: f.genreShare}
	add := func(i Index) {
		if i != None {
			s.parts[s.count] = l.rowSlot(i)
			s.count++
		}
	}
	add(f.artist)
	add(f.language)
	s.whole = s.count
	for _, g := range f.genres {
		add(g)
	}
	own := &l.slots[n]
	own.parts, own.count, own.whole, own.share = s.parts, s.count, s.whole, s.share
	return n
}

// rowSlot returns the slot of a row that songs share.
func (l *Learner) rowSlot(i Index) int32 {
	if n := l.where.get(i); n != 0 {
		return n
	}
	n, _ := l.copyRow(i)
	return n
}

// copyRow makes a slot for a row, made of itself, and returns the rows that it shares with others.
func (l *Learner) copyRow(i Index) (int32, features) {
	n := int32(len(l.slots)) //nolint:gosec // bounded by the rows one transaction looks at
	c, at := l.table.at(i)
	c.lock(at).RLock()
	l.bases = append(l.bases, c.vector(at, l.params.Dim)...)
	evidence, f := c.evidence[at], c.features[at]
	c.lock(at).RUnlock()
	l.slots = append(l.slots, slot{row: i, evidence: evidence, baseEvidence: evidence, parts: [maxParts]int32{n}, count: 1, whole: 1})
	l.where.put(i, n)
	return n, f
}
