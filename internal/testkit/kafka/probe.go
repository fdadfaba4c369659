package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// coordinators is the number of partitions of each internal topic, and so of group and of transaction coordinators.
const coordinators = 4

// probeTimeout bounds one attempt; a node that is still starting answers with retriable errors, which the client retries inside.
const probeTimeout = 5 * time.Second

// target is the node a probe asks, and what it must say about itself. An empty cluster id and node 0 are not compared.
type target struct {
	addrs   []string
	cluster string
	node    int32
}

// probe returns nil when the cluster is usable through the target: it is the expected node of the expected cluster and registered
// with it, and every group and transaction coordinator has loaded its state.
func probe(ctx context.Context, t target) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(t.addrs...),
		kgo.ClientID("earworm-probe"),
		kgo.MetadataMinAge(100*time.Millisecond), // 5 s by default, which the first use of a new cluster would take
		kgo.DialTimeout(time.Second),
		kgo.RetryTimeout(probeTimeout),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
	)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	defer client.Close()
	if err := probeMembership(ctx, client, t); err != nil {
		return err
	}
	// Kafka takes Java's string hash of the id modulo the partitions. Ids that differ by one in their last character hash to
	// successive numbers, so as many of them as there are partitions meet every coordinator.
	for i := range coordinators {
		id := "earworm-probe-" + strconv.Itoa(i)
		if err := probeGroup(ctx, client, id); err != nil {
			return fmt.Errorf("asking the coordinator of group %s: %w", id, err)
		}
		if err := probeProducer(ctx, client, id); err != nil {
			return fmt.Errorf("asking the coordinator of transactional id %s: %w", id, err)
		}
	}
	return nil
}

func probeMembership(ctx context.Context, client *kgo.Client, t target) error {
	request := kmsg.NewPtrMetadataRequest()
	request.Topics = []kmsg.MetadataRequestTopic{}
	// The seed itself, not any broker the client may learn of: another node knows the cluster long before a restarted one does.
	response, err := client.SeedBrokers()[0].RetriableRequest(ctx, request)
	if err != nil {
		return fmt.Errorf("asking for metadata: %w", err)
	}
	metadata, ok := response.(*kmsg.MetadataResponse)
	if !ok {
		return fmt.Errorf("asking for metadata: answer of type %T", response)
	}
	if t.cluster != "" && (metadata.ClusterID == nil || *metadata.ClusterID != t.cluster) {
		return fmt.Errorf("%s belongs to another cluster", t.addrs[0])
	}
	if t.node == 0 {
		return nil
	}
	for _, broker := range metadata.Brokers {
		if broker.NodeID == t.node {
			return nil
		}
	}
	return fmt.Errorf("node %d is not registered yet", t.node)
}

// probeGroup asks for a group that does not exist: a coordinator that has not loaded its partition cannot say so.
func probeGroup(ctx context.Context, client *kgo.Client, id string) error {
	request := kmsg.NewPtrDescribeGroupsRequest()
	request.Groups = []string{id}
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	for _, group := range response.Groups {
		if err := kerr.ErrorForCode(group.ErrorCode); err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return err
		}
	}
	return nil
}

func probeProducer(ctx context.Context, client *kgo.Client, id string) error {
	request := kmsg.NewPtrInitProducerIDRequest()
	request.TransactionalID = new(id)
	request.TransactionTimeoutMillis = 60_000
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(response.ErrorCode)
}
