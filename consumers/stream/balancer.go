package stream

import (
	"bytes"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// coBalancer assigns partition numbers instead of partitions: whoever owns number p owns partition p of every input.
// Cooperative-sticky would not do, because it spreads the partitions of two topics independently.
//
// It is sticky (a member keeps what it has up to its fair share) and cooperative: a number that some partition of is
// still held by another member is given to nobody in this round; its holder revokes it and joins again, and the next
// round hands it out. Members that do not subscribe to every input (during an upgrade that adds one) get no number,
// because two members would otherwise keep the state of the same number.
//
// A round that withholds a number needs another round, and the member that must ask for it may be killed before it does.
// If it comes back within its session timeout, brokers give a static member its old assignment without a new round:
// nobody would own the number any more, and nobody would complain. So the assignment itself, which the coordinator keeps,
// says that it is not complete, and every member that has got such a one asks for the next round if it does not come
// (session.completeRounds).
type coBalancer struct {
	kgo.GroupBalancer // cooperative-sticky: the join metadata with owned partitions and generation

	latest atomic.Pointer[assignment]
	news   chan struct{} // holds one signal when latest has changed
}

// assignment is what a member was given in a round. Joining means that the member has asked for the next one.
type assignment struct {
	owned               map[TopicPartition]struct{}
	incomplete, joining bool
}

// incompleteMark is the user data of an assignment whose round left something out.
var incompleteMark = []byte{1} //nolint:gochecknoglobals // a constant that Go cannot spell

func newCoBalancer() *coBalancer {
	return &coBalancer{GroupBalancer: kgo.CooperativeStickyBalancer(), news: make(chan struct{}, 1)}
}

func (b *coBalancer) set(a *assignment) {
	b.latest.Store(a)
	select {
	case b.news <- struct{}{}:
	default:
	}
}

// JoinGroupMetadata implements kgo.GroupBalancer; it is called when a member joins or joins again.
func (b *coBalancer) JoinGroupMetadata(topics []string, owned map[string][]int32, generation int32) []byte {
	next := assignment{joining: true}
	if last := b.latest.Load(); last != nil {
		next.owned, next.incomplete = last.owned, last.incomplete
	}
	b.set(&next)
	return b.GroupBalancer.JoinGroupMetadata(topics, owned, generation)
}

// ProtocolName differs from cooperative-sticky, so that no other kind of member can join the group.
func (*coBalancer) ProtocolName() string { return "earworm-copartition" }

// ParseSyncAssignment notes the whole assignment, see session.onAssigned.
func (b *coBalancer) ParseSyncAssignment(raw []byte) (map[string][]int32, error) {
	parsed, err := b.GroupBalancer.ParseSyncAssignment(raw)
	if err != nil {
		return nil, err //nolint:wrapcheck // kgo logs it under its own words
	}
	var whole kmsg.ConsumerMemberAssignment
	if err := whole.ReadFrom(raw); err != nil {
		return nil, fmt.Errorf("reading an assignment: %w", err)
	}
	set := make(map[TopicPartition]struct{})
	for topic, partitions := range parsed {
		for _, p := range partitions {
			set[TopicPartition{Topic: topic, Partition: p}] = struct{}{}
		}
	}
	b.set(&assignment{owned: set, incomplete: bytes.Equal(whole.UserData, incompleteMark)})
	return parsed, nil
}

// assigned returns the newest assignment, nil before the first.
func (b *coBalancer) assigned() map[TopicPartition]struct{} {
	if a := b.latest.Load(); a != nil {
		return a.owned
	}
	return nil
}

// waiting reports whether the newest assignment is incomplete and this member has not joined again since.
func (b *coBalancer) waiting() bool {
	a := b.latest.Load()
	return a != nil && a.incomplete && !a.joining
}

// settled reports whether the newest assignment is complete.
func (b *coBalancer) settled() bool {
	a := b.latest.Load()
	return a != nil && !a.incomplete && !a.joining
}

// round is the plan of one round.
type round struct {
	*kgo.BalancePlan
	incomplete bool
}

// IntoSyncAssignment implements kgo.IntoSyncAssignment: it marks the assignments of a round that left something out.
func (r round) IntoSyncAssignment() []kmsg.SyncGroupRequestGroupAssignment {
	assignments := r.BalancePlan.IntoSyncAssignment()
	if !r.incomplete {
		return assignments
	}
	for i := range assignments {
		var whole kmsg.ConsumerMemberAssignment
		if err := whole.ReadFrom(assignments[i].MemberAssignment); err != nil {
			continue // what kgo has just written it can read
		}
		whole.UserData = incompleteMark
		assignments[i].MemberAssignment = whole.AppendTo(nil)
	}
	return assignments
}

// MemberBalancer implements kgo.GroupBalancer.
func (b *coBalancer) MemberBalancer(members []kmsg.JoinGroupResponseMember) (kgo.GroupMemberBalancer, map[string]struct{}, error) {
	cb, err := kgo.NewConsumerBalancer(b, members)
	return cb, cb.MemberTopics(), err //nolint:wrapcheck // kgo logs it under its own words
}

// Balance implements kgo.ConsumerBalancerBalance.
func (*coBalancer) Balance(b *kgo.ConsumerBalancer, topics map[string]int32) kgo.IntoSyncAssignment {
	plan := round{BalancePlan: b.NewPlan(), incomplete: missing(b, topics)}
	members := eligible(b, topics)
	if len(members) == 0 {
		plan.incomplete = true
		return plan
	}
	owners, claims := claimed(b, members)
	var numbers int32
	for _, n := range topics {
		numbers = max(numbers, n)
	}
	target := spread(owners, len(members), numbers)
	for p, m := range target {
		member := members[m]
		if heldByOther(claims[int32(p)], member.MemberID) {
			plan.incomplete = true
			continue
		}
		for topic, n := range topics {
			if int32(p) < n {
				plan.AddPartition(member, topic, int32(p))
			}
		}
	}
	return plan
}

// missing reports whether a member subscribes to a topic that the leader knows no partition of: it may be too early
// after the start of a broker.
func missing(b *kgo.ConsumerBalancer, topics map[string]int32) bool {
	found := false
	b.EachMember(func(_ *kmsg.JoinGroupResponseMember, meta *kmsg.ConsumerMemberMetadata) {
		for _, topic := range meta.Topics {
			found = found || topics[topic] == 0
		}
	})
	return found
}

// eligible returns the members that subscribe to every topic of the group, in the group's order.
func eligible(b *kgo.ConsumerBalancer, topics map[string]int32) []*kmsg.JoinGroupResponseMember {
	var members []*kmsg.JoinGroupResponseMember
	b.EachMember(func(m *kmsg.JoinGroupResponseMember, meta *kmsg.ConsumerMemberMetadata) {
		subscribed := 0
		for _, topic := range meta.Topics {
			if _, ok := topics[topic]; ok {
				subscribed++
			}
		}
		if subscribed == len(topics) {
			members = append(members, m)
		}
	})
	return members
}

// claimed returns, per number, the index of the member whose claim is the newest (a member that missed a generation
// may claim what another one owns since), and the ids of all members that claim any partition of it.
func claimed(b *kgo.ConsumerBalancer, members []*kmsg.JoinGroupResponseMember) (map[int32]int, map[int32][]string) {
	index := make(map[string]int, len(members))
	for i, m := range members {
		index[m.MemberID] = i
	}
	owners := make(map[int32]int)
	generations := make(map[int32]int32)
	claims := make(map[int32][]string)
	b.EachMember(func(m *kmsg.JoinGroupResponseMember, meta *kmsg.ConsumerMemberMetadata) {
		i, ok := index[m.MemberID]
		for _, owned := range meta.OwnedPartitions {
			for _, p := range owned.Partitions {
				if !slices.Contains(claims[p], m.MemberID) {
					claims[p] = append(claims[p], m.MemberID)
				}
				if _, taken := owners[p]; ok && (!taken || meta.Generation > generations[p]) {
					owners[p], generations[p] = i, meta.Generation
				}
			}
		}
	})
	return owners, claims
}

// heldByOther reports whether a member other than this one claims the number. Every claim counts, also a stale one:
// waiting one more round is cheap and two holders are not.
func heldByOther(claims []string, member string) bool {
	return slices.ContainsFunc(claims, func(id string) bool { return id != member })
}

// spread gives each of the numbers to one of n members: at most ceil and at least floor of the fair share each,
// members keep what they own up to that, and the rest goes to whoever has least.
func spread(owners map[int32]int, n int, numbers int32) []int {
	load := make([]int, n)
	owned := make([]int, n)
	for p, m := range owners {
		if p < numbers {
			owned[m]++
		}
	}
	share, extra := int(numbers)/n, int(numbers)%n
	// The members with most get the odd ones, so that nothing moves that need not.
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return owned[b] - owned[a] })
	quota := make([]int, n)
	for rank, m := range order {
		quota[m] = share
		if rank < extra {
			quota[m]++
		}
	}
	target := make([]int, numbers)
	for p := range target {
		target[p] = -1
		if m, ok := owners[int32(p)]; ok && load[m] < quota[m] {
			target[p] = m
			load[m]++
		}
	}
	for p := range target {
		if target[p] >= 0 {
			continue
		}
		least := -1
		for m := range load {
			if load[m] < quota[m] && (least < 0 || load[m] < load[least]) {
				least = m
			}
		}
		target[p] = least
		load[least]++
	}
	return target
}
