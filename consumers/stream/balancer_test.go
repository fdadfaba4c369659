package stream

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fakeGroup plays the coordinator and the members of a group.
type fakeGroup struct {
	topics     map[string]int32
	generation int32
	owned      map[string]map[string][]int32
	since      map[string]int32 // generation of a member's claims
}

func (g *fakeGroup) members() []kmsg.JoinGroupResponseMember {
	var members []kmsg.JoinGroupResponseMember
	for id, owned := range g.owned {
		meta := kmsg.NewConsumerMemberMetadata()
		meta.Version = 3
		meta.Generation = g.since[id]
		for topic := range g.topics {
			meta.Topics = append(meta.Topics, topic)
			if ps := owned[topic]; len(ps) > 0 {
				o := kmsg.NewConsumerMemberMetadataOwnedPartition()
				o.Topic, o.Partitions = topic, ps
				meta.OwnedPartitions = append(meta.OwnedPartitions, o)
			}
		}
		slices.Sort(meta.Topics)
		m := kmsg.NewJoinGroupResponseMember()
		m.MemberID, m.InstanceID, m.ProtocolMetadata = id, new(id), meta.AppendTo(nil)
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b kmsg.JoinGroupResponseMember) int {
		if a.MemberID < b.MemberID {
			return -1
		}
		return 1
	})
	return members
}

// round runs one rebalance and returns whether any member lost something, which makes it join again.
//
// A round that gives a number to nobody must say so in every assignment, and no other round may.
func (g *fakeGroup) round(t *testing.T) bool {
	t.Helper()
	g.generation++
	mb, _, err := newCoBalancer().MemberBalancer(g.members())
	if err != nil {
		t.Fatal(err)
	}
	into, err := mb.(kgo.GroupMemberBalancerOrError).BalanceOrError(g.topics)
	if err != nil {
		t.Fatal(err)
	}
	plan := into.(round).AsMemberIDMap()
	g.check(t, plan)
	given, all := 0, 0
	for _, topics := range plan {
		for _, ps := range topics {
			given += len(ps)
		}
	}
	for _, n := range g.topics {
		all += int(n)
	}
	for _, a := range into.IntoSyncAssignment() {
		b := newCoBalancer()
		if _, err := b.ParseSyncAssignment(a.MemberAssignment); err != nil {
			t.Fatal(err)
		}
		if b.waiting() != (given < all) || b.settled() != (given == all) {
			t.Fatalf("%d of %d partitions were given away, and %s waits for another round: %v", given, all, a.MemberID, b.waiting())
		}
	}
	lost := false
	for id := range g.owned {
		for topic, ps := range g.owned[id] {
			for _, p := range ps {
				lost = lost || !slices.Contains(plan[id][topic], p)
			}
		}
		g.owned[id] = plan[id]
		g.since[id] = g.generation
	}
	return lost
}

// check asserts what no plan may violate: nothing is given away that another member holds, and nothing twice.
func (g *fakeGroup) check(t *testing.T, plan map[string]map[string][]int32) {
	t.Helper()
	given := make(map[string]string)
	for id, topics := range plan {
		for topic, ps := range topics {
			for _, p := range ps {
				key := fmt.Sprintf("%s/%d", topic, p)
				if other, ok := given[key]; ok {
					t.Fatalf("%s is given to %s and %s", key, id, other)
				}
				given[key] = id
				for other, owned := range g.owned {
					if other != id && slices.Contains(owned[topic], p) {
						t.Fatalf("%s is given to %s while %s holds it", key, id, other)
					}
				}
			}
		}
	}
}

// settle rebalances until nothing moves and checks the result; it returns how many numbers changed their owner.
func (g *fakeGroup) settle(t *testing.T) int {
	t.Helper()
	before := g.byNumber()
	for round := 0; g.round(t); round++ {
		if round > 3 {
			t.Fatal("the group does not settle")
		}
	}
	after := g.byNumber()
	moved, numbers := 0, int32(0)
	for _, n := range g.topics {
		numbers = max(numbers, n)
	}
	load := make(map[string]int)
	for p := range numbers {
		owner := ""
		for topic, n := range g.topics {
			if p >= n {
				continue
			}
			got := ""
			for id, owned := range g.owned {
				if slices.Contains(owned[topic], p) {
					got = id
				}
			}
			if got == "" {
				t.Fatalf("%s/%d belongs to nobody", topic, p)
			}
			if owner != "" && owner != got {
				t.Fatalf("number %d is split between %s and %s", p, owner, got)
			}
			owner = got
		}
		load[owner]++
		if was, ok := before[p]; ok && was != after[p] {
			moved++
		}
	}
	for id := range g.owned {
		if n := load[id]; n < int(numbers)/len(g.owned) || n > int(numbers)/len(g.owned)+1 {
			t.Fatalf("%s has %d of %d numbers among %d members", id, n, numbers, len(g.owned))
		}
	}
	return moved
}

func (g *fakeGroup) byNumber() map[int32]string {
	m := make(map[int32]string)
	for id, owned := range g.owned {
		for _, ps := range owned {
			for _, p := range ps {
				m[p] = id
			}
		}
	}
	return m
}

func TestBalancerKeepsNumbersTogether(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		n := 1 + rng.Int32N(40)
		g := &fakeGroup{
			topics: map[string]int32{"listens": n, "ticks": n, "other": 1 + rng.Int32N(n)},
			owned:  map[string]map[string][]int32{"m0": nil},
			since:  map[string]int32{},
		}
		g.settle(t)
		for step := range 30 {
			id := fmt.Sprintf("m%d", rng.IntN(6))
			if _, ok := g.owned[id]; ok && len(g.owned) > 1 {
				gone := len(g.byNumber()) / len(g.owned)
				delete(g.owned, id)
				if moved := g.settle(t); moved > gone+len(g.owned)+1 {
					t.Fatalf("seed %d step %d: a leaving member moved %d numbers of others", seed, step, moved)
				}
			} else if !ok {
				g.owned[id] = nil
				if moved, fair := g.settle(t), int(n)/len(g.owned)+1; moved > fair+len(g.owned) {
					t.Fatalf("seed %d step %d: a joining member moved %d numbers, its share is %d", seed, step, moved, fair)
				}
			}
			if moved := g.settle(t); moved != 0 {
				t.Fatalf("seed %d step %d: a rebalance without a cause moved %d numbers", seed, step, moved)
			}
		}
	}
}

func TestBalancerIgnoresStaleClaims(t *testing.T) {
	g := &fakeGroup{
		topics: map[string]int32{"a": 4, "b": 4},
		owned: map[string]map[string][]int32{
			"old": {"a": {0, 1, 2, 3}, "b": {0, 1, 2, 3}},
			"new": {"a": {0, 1}, "b": {0, 1}},
		},
		since: map[string]int32{"old": 3, "new": 5}, generation: 5,
	}
	// check holds in every round although both claim 0 and 1; afterwards each has its share.
	g.settle(t)
	if g.byNumber()[0] != "new" || g.byNumber()[1] != "new" {
		t.Errorf("the newer owner lost its numbers: %v", g.byNumber())
	}
}

func TestBalancerLeavesOutPartialSubscribers(t *testing.T) {
	g := &fakeGroup{topics: map[string]int32{"a": 2, "b": 2}, owned: map[string]map[string][]int32{"m": nil, "n": nil}, since: map[string]int32{}}
	members := g.members()
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Version, meta.Topics = 3, []string{"a"}
	members[0].ProtocolMetadata = meta.AppendTo(nil)
	mb, _, err := newCoBalancer().MemberBalancer(members)
	if err != nil {
		t.Fatal(err)
	}
	into, _ := mb.(kgo.GroupMemberBalancerOrError).BalanceOrError(g.topics)
	plan := into.(round).AsMemberIDMap()
	if len(plan["m"]) != 0 || len(plan["n"]["a"]) != 2 || len(plan["n"]["b"]) != 2 {
		t.Errorf("plan %v", plan)
	}
}
