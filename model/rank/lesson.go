package rank

import (
	"slices"

	"earworm/model/factor"
)

// lesson is what one listener task has learnt of the blend in one transaction, and the published blend does not hold yet.
type lesson struct {
	origin factor.Origin
	open   bool // the transaction still adds to it
	learnt Blend
}

// Join says that one of so many listener tasks learns here from now on, Leave that it does so no longer.
func (r *Ranker) Join(partition, of int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tasks == nil {
		r.tasks = map[int32]struct{}{}
	}
	r.tasks[partition], r.tasksOf = struct{}{}, of
}

// Leave ends what Join began.
func (r *Ranker) Leave(partition int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.tasks, partition)
}

// shareLocked is this process's part of all listener tasks, 1 where nobody has joined.
func (r *Ranker) shareLocked() float32 {
	if len(r.tasks) == 0 || int(r.tasksOf) <= len(r.tasks) {
		return 1
	}
	return float32(len(r.tasks)) / float32(r.tasksOf)
}

// Blend returns what the sources are worth: as published, and what this process has learnt since.
func (r *Ranker) Blend() Blend {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.blend
}

// SetBlend takes in a published blend, from the next ranking on. acks says up to where the changes of each partition are part of it.
func (r *Ranker) SetBlend(b Blend, acks []factor.Origin) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lessons = slices.DeleteFunc(r.lessons, func(l lesson) bool {
		return !l.open && slices.ContainsFunc(acks, func(a factor.Origin) bool {
			return a.Partition == l.origin.Partition && a.Seq >= l.origin.Seq
		})
	})
	r.published = b
	r.recomposeLocked()
}

// LearnBlend takes one step for a listener task, as Blend.Learn says.
func (r *Ranker) LearnBlend(partition int32, rows []float32, chosen []int) bool {
	return r.learn(partition, func(b *Blend) bool { return b.Learn(r.params.Learn, rows, chosen) })
}

// LearnOutcomes takes one step for a listener task, as Blend.LearnOutcomes says.
func (r *Ranker) LearnOutcomes(partition int32, rows []float32, outcomes []Outcome) bool {
	return r.learn(partition, func(b *Blend) bool { return b.LearnOutcomes(r.params.Learn, rows, outcomes) })
}

// learn takes one step for a listener task.
//
// The tasks of a process learn on one blend, each step where the one before has led. Had every transaction of every task begun at the
// published blend, thousands of listeners of a Monday would all have pulled it in the same direction from the same place, far past
// where they agree.
func (r *Ranker) learn(partition int32, step func(*Blend) bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.blend
	if !step(&r.blend) {
		return false
	}
	n := slices.IndexFunc(r.lessons, func(l lesson) bool { return l.open && l.origin.Partition == partition })
	if n < 0 {
		n = len(r.lessons)
		r.lessons = append(r.lessons, lesson{origin: factor.Origin{Partition: partition}, open: true})
	}
	taken := r.blend.Minus(&before)
	r.lessons[n].learnt.Add(&taken)
	return true
}

// CloseBlend ends what a task has learnt in a transaction, tags it with (partition, seq), and returns it; ok is false if that is nothing.
//
// Other processes learn at the same time from where this one began. What each has learnt counts by its share of the tasks, so that
// together they come to the mean of where each would lead (iterative parameter mixing: R. McDonald, K. Hall, G. Mann,
// "Distributed training strategies for the structured perceptron", NAACL 2010), and not as many times as far.
func (r *Ranker) CloseBlend(partition int32, seq int64) (learnt Blend, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := range r.lessons {
		if l := &r.lessons[n]; l.open && l.origin.Partition == partition {
			l.open, l.origin.Seq = false, seq
			l.learnt.scale(r.shareLocked())
			r.recomposeLocked()
			return r.lessons[n].learnt, true
		}
	}
	return Blend{}, false
}

// WithdrawBlend takes back what a task has learnt and never committed.
func (r *Ranker) WithdrawBlend(partition int32, committed int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lessons = slices.DeleteFunc(r.lessons, func(l lesson) bool {
		return l.origin.Partition == partition && (l.open || l.origin.Seq > committed)
	})
	r.recomposeLocked()
}

func (r *Ranker) recomposeLocked() {
	r.blend = r.published
	for n := range r.lessons {
		r.blend.Add(&r.lessons[n].learnt)
	}
}
