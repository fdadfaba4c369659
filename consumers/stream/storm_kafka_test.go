//go:build kafka

package stream_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"earworm/consumers/stream"
	"earworm/internal/testkit/kafka"
)

// TestKafkaRebalanceStorm is TestRebalanceStorm on a real Kafka, where the markers of a transaction come after its end: each take-over
// restores while the former owner's last commit may be under way.
func TestKafkaRebalanceStorm(t *testing.T) {
	cluster := kafka.Start(t, kafka.Config{})
	cluster.NeedsNodes(t) // the topics must be new
	w := &world{
		tb: t, partitions: stormPartitions, addrs: cluster.Addrs(), sent: make(map[string]int64), total: make(map[stream.TopicPartition]int64),
	}
	w.producer = w.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	created, err := kadm.NewClient(w.producer).CreateTopics(t.Context(), stormPartitions, 1, nil, topicIn, topicTicks, topicOut, topicLog, topicLetters)
	if err != nil || created.Error() != nil {
		t.Fatal(err, created.Error())
	}
	weather(t, w)
}
