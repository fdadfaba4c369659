//go:build crash || kafka

package chaos_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"earworm/consumers/feed"
	"earworm/consumers/stream"
	"earworm/internal/service"
	"earworm/internal/testkit/process"
)

// diagnoseTime bounds how long it takes to find out why nothing moves.
const diagnoseTime = 30 * time.Second

// diagnose logs why a plant stands still: what the workers say of themselves and last logged, who owns which partition and how far
// behind it is, which transactions are open, and what every goroutine of every process waits for. It ends the workers.
func (p *plant) diagnose(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true // nobody is to be started again
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), diagnoseTime)
	defer cancel()
	for _, w := range p.workers {
		t.Logf("%s is ready: %s", w.id, w.answer(ctx))
		t.Logf("the end of %s:\n%s", w.log, process.TailFile(w.log, 60))
	}
	t.Log(p.brokersView(ctx))
	for _, w := range p.workers {
		stacks, err := w.child.Stacks(10 * time.Second)
		t.Logf("goroutines of %s (%v):\n%s", w.id, err, stacks)
	}
	own := make([]byte, 4<<20)
	t.Logf("goroutines of the test:\n%s", process.Summarise(string(own[:runtime.Stack(own, true)])))
}

// answer is what a worker says about being ready.
func (w *worker) answer(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.readyURL(), http.NoBody)
	if err != nil {
		return err.Error()
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	return fmt.Sprintf("%s %s (%v)", response.Status, text, err)
}

// brokersView is what the brokers know of groups and transactions.
func (p *plant) brokersView(ctx context.Context) string {
	options, err := service.KafkaOptions(p.cfg)
	if err != nil {
		return err.Error()
	}
	client, err := stream.OpenClient(options)
	if err != nil {
		return err.Error()
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	var b strings.Builder
	topics := service.Topics(p.cfg)
	for role, inputs := range map[string][]string{
		feed.RoleIngest:   {topics.Events, topics.Users},
		feed.RoleListener: {topics.Listens, topics.Ticks},
		feed.RoleSong:     {topics.SongUpdates},
	} {
		viewGroup(ctx, &b, admin, p.cfg.App+"-"+role, inputs)
	}
	fmt.Fprintln(&b, "open transactions:")
	listed, err := admin.ListTransactions(ctx, nil, nil)
	if err != nil {
		fmt.Fprintln(&b, " ", err)
	}
	described, err := admin.DescribeTransactions(ctx, listed.TransactionalIDs()...)
	if err != nil {
		fmt.Fprintln(&b, " ", err)
	}
	for _, x := range described.Sorted() {
		fmt.Fprintf(&b, "  %s: %s, producer %d epoch %d, started %v, timeout %d ms, %v %v\n", x.TxnID, x.State, x.ProducerID, x.ProducerEpoch,
			time.UnixMilli(x.StartTimestamp).UTC().Format(time.TimeOnly), x.TimeoutMillis, x.Topics.Sorted(), x.Err)
	}
	fmt.Fprintln(&b, "partitions whose last stable offset is behind:")
	all := []string{
		topics.Events, topics.Catalog, topics.Users, topics.Listens, topics.ListenerChangelog, topics.SongUpdates, topics.SongFactors,
		topics.Ticks, topics.Playlists, topics.Trends, topics.DeadLetters,
	}
	stable, err := admin.ListCommittedOffsets(ctx, all...)
	if err != nil {
		fmt.Fprintln(&b, " ", err)
	}
	ends, err := admin.ListEndOffsets(ctx, all...)
	if err != nil {
		fmt.Fprintln(&b, " ", err)
	}
	ends.Each(func(end kadm.ListedOffset) {
		if s, ok := stable.Lookup(end.Topic, end.Partition); !ok || s.Offset < end.Offset {
			fmt.Fprintf(&b, "  %s/%d: stable %d (%v), end %d (%v)\n", end.Topic, end.Partition, s.Offset, s.Err, end.Offset, end.Err)
		}
	})
	return b.String()
}

func viewGroup(ctx context.Context, b *strings.Builder, admin *kadm.Client, name string, inputs []string) {
	groups, err := admin.DescribeGroups(ctx, name)
	if err != nil {
		fmt.Fprintln(b, err)
	}
	owners := map[stream.TopicPartition][]string{}
	for _, g := range groups.Sorted() {
		fmt.Fprintf(b, "group %s: %s, protocol %s, coordinator %d, %v\n", g.Group, g.State, g.Protocol, g.Coordinator.NodeID, g.Err)
		for _, m := range g.Members {
			fmt.Fprintf(b, "  member %s at %s\n", m.MemberID, m.ClientHost)
			if c, ok := m.Assigned.AsConsumer(); ok {
				for _, t := range c.Topics {
					for _, partition := range t.Partitions {
						at := stream.TopicPartition{Topic: t.Topic, Partition: partition}
						owners[at] = append(owners[at], m.MemberID)
					}
				}
			}
		}
	}
	committed, err := admin.FetchOffsets(ctx, name)
	if err != nil {
		fmt.Fprintln(b, " ", err)
	}
	ends, err := admin.ListEndOffsets(ctx, inputs...)
	if err != nil {
		fmt.Fprintln(b, " ", err)
	}
	sorted := ends.Offsets().Sorted()
	slices.SortFunc(sorted, func(x, y kadm.Offset) int {
		return strings.Compare(x.Topic, y.Topic)*1000 + int(x.Partition-y.Partition)
	})
	for _, end := range sorted {
		c, _ := committed.Lookup(end.Topic, end.Partition)
		fmt.Fprintf(b, "  %s/%d: committed %d of %d, owned by %v\n", end.Topic, end.Partition, c.At, end.At,
			owners[stream.TopicPartition{Topic: end.Topic, Partition: end.Partition}])
	}
}
