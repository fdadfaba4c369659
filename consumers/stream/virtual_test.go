//go:build synctests

package stream_test

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var seedFlag = flag.Uint64("seed", 1, "seed of the fault plan")

// TestVirtualShift runs three members through eight virtual hours of joins, leaves, lost disks and broker faults, with the
// timeouts of production.
func TestVirtualShift(t *testing.T) {
	t.Logf("seed %d", *seedFlag)
	synctest.Test(t, func(t *testing.T) {
		network := &kfake.VirtualNetwork{}
		w := newWorldOn(t, 6, []kgo.Opt{kgo.Dialer(network.DialContext)},
			kfake.ListenFn(network.Listen), kfake.NumBrokers(2), kfake.Ports(9092, 9093))
		answerLeaderEpochs(w.cluster)
		rng := rand.New(rand.NewPCG(*seedFlag, 0))
		disks := []*disk{newDisk(), newDisk(), newDisk()}
		members := make([]*member, 3)
		start := func(i int) {
			cfg := w.config(fmt.Sprintf("m%d", i), disks[i])
			cfg.CommitInterval, cfg.HeartbeatInterval = 200*time.Millisecond, 3*time.Second
			cfg.SessionTimeout, cfg.TransactionTimeout, cfg.RebalanceTimeout = 15*time.Second, 10*time.Second, 30*time.Second
			members[i] = w.start(cfg)
		}
		start(0)
		faults := []kfake.Fault{
			{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.UnknownServerError, TopLevel: true},
			{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.UnknownMemberID},
			{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.UnknownMemberID, TopLevel: true},
			{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotLeaderForPartition},
		}
		for began := time.Now(); time.Since(began) < 8*time.Hour; time.Sleep(time.Duration(1+rng.IntN(20)) * time.Minute) {
			switch i := rng.IntN(3); {
			case members[i] == nil:
				if rng.IntN(2) == 0 {
					disks[i] = newDisk()
				}
				start(i)
			case rng.IntN(3) == 0:
				if err := members[i].wait(); err != nil {
					t.Fatal(err)
				}
				members[i] = nil
			}
			if rng.IntN(2) == 0 {
				w.cluster.Fault(faults[rng.IntN(len(faults))])
			}
			if rng.IntN(6) == 0 {
				w.cluster.ShufflePartitionLeaders()
			}
			w.send(topicIn, "k", 60, 100)
			w.send(topicTicks, "k", 60, 10)
		}
		for i := range members {
			if members[i] == nil {
				start(i)
			}
		}
		w.drained()
		for _, m := range members {
			if err := m.wait(); err != nil {
				t.Fatal(err)
			}
		}
		w.checkState()
		if n := len(w.letters()); n != 0 {
			t.Errorf("%d dead letters of good records", n)
		}
	})
}

// answerLeaderEpochs says that no log was ever truncated, which is true of kfake. Its own answer for an epoch that has
// no successor with records yet, as just after a move of leaders, is "unknown", where a broker gives the end of the
// log; the client takes that for lost records and reads the topic again from its start.
func answerLeaderEpochs(c *kfake.Cluster) {
	c.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := kreq.(*kmsg.OffsetForLeaderEpochRequest)
		resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
		for _, rt := range req.Topics {
			t := kmsg.NewOffsetForLeaderEpochResponseTopic()
			t.Topic = rt.Topic
			for _, rp := range rt.Partitions {
				p := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
				p.Partition, p.LeaderEpoch, p.EndOffset = rp.Partition, rp.LeaderEpoch, math.MaxInt64
				t.Partitions = append(t.Partitions, p)
			}
			resp.Topics = append(resp.Topics, t)
		}
		return resp, nil, true
	})
}
