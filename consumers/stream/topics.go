package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TopicSpec is a topic as it must be.
type TopicSpec struct {
	Name string
	// Partitions is the exact count; 0 accepts any, and creates with the broker's default.
	Partitions int32
	// Any accepts whatever count an existing topic has; Partitions is then for creating it only.
	Any bool
	// Grow is the command that gives an existing topic more partitions; default is the one of Kafka, which moves no records.
	Grow string
	// Replication is the factor for a new topic; 0 means the broker's default.
	Replication int16
	// Cleanup is the cleanup.policy, "delete", "compact" or "compact,delete"; empty accepts any.
	Cleanup string
	// Configs are further settings of a new topic; an existing one keeps its own.
	Configs map[string]string
}

// ErrTopicMismatch means that a topic exists and is not as it must be; the text names the fix.
var ErrTopicMismatch = errors.New("topic does not fit")

// EnsureTopics creates what is missing and checks what exists. A topic with another partition count or cleanup policy
// is ErrTopicMismatch, all of them joined, one line each with the command that repairs it.
func EnsureTopics(ctx context.Context, cl *kgo.Client, specs []TopicSpec) error {
	return reconcile(ctx, cl, specs, true)
}

// CheckTopics is EnsureTopics for a process that may not create topics: a missing one is ErrTopicMismatch.
func CheckTopics(ctx context.Context, cl *kgo.Client, specs []TopicSpec) error {
	return reconcile(ctx, cl, specs, false)
}

func reconcile(ctx context.Context, cl *kgo.Client, specs []TopicSpec, create bool) error {
	admin := kadm.NewClient(cl)
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = s.Name
	}
	have, err := admin.ListTopics(ctx, names...)
	if err != nil {
		return fmt.Errorf("listing topics: %w", err)
	}
	var errs []error
	var check []TopicSpec
	for _, s := range specs {
		if d, ok := have[s.Name]; ok && d.Err == nil {
			if s.Partitions > 0 && !s.Any && len(d.Partitions) != int(s.Partitions) {
				errs = append(errs, partitionMismatch(s, len(d.Partitions)))
			}
			check = append(check, s)
			continue
		} else if ok && !errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
			errs = append(errs, fmt.Errorf("describing topic %s: %w", s.Name, d.Err))
			continue
		}
		if !create {
			errs = append(errs, fmt.Errorf("%w: %s does not exist; fix: create it, or set topics.create", ErrTopicMismatch, s.Name))
			continue
		}
		if err := createTopic(ctx, admin, s); errors.Is(err, kerr.TopicAlreadyExists) {
			check = append(check, s) // another instance was faster
		} else if err != nil {
			errs = append(errs, fmt.Errorf("creating topic %s: %w", s.Name, err))
		}
	}
	return errors.Join(append(errs, checkCleanup(ctx, admin, check))...)
}

func partitionMismatch(s TopicSpec, have int) error {
	fix := cmp.Or(s.Grow, fmt.Sprintf("kafka-topics.sh --alter --topic %s --partitions %d", s.Name, s.Partitions))
	if have > int(s.Partitions) {
		fix = fmt.Sprintf("delete the topic, or configure %d partitions", have)
	}
	return fmt.Errorf("%w: %s has %d partitions, not %d; fix: %s", ErrTopicMismatch, s.Name, have, s.Partitions, fix)
}

func createTopic(ctx context.Context, admin *kadm.Client, s TopicSpec) error {
	configs := make(map[string]*string, len(s.Configs)+1)
	for _, k := range slices.Sorted(maps.Keys(s.Configs)) {
		configs[k] = new(s.Configs[k])
	}
	if s.Cleanup != "" {
		configs["cleanup.policy"] = new(s.Cleanup)
	}
	partitions, replication := s.Partitions, s.Replication
	if partitions == 0 {
		partitions = -1
	}
	if replication == 0 {
		replication = -1
	}
	_, err := admin.CreateTopic(ctx, partitions, replication, configs, s.Name)
	return err //nolint:wrapcheck // the caller names the topic
}

func checkCleanup(ctx context.Context, admin *kadm.Client, specs []TopicSpec) error {
	specs = slices.DeleteFunc(slices.Clone(specs), func(s TopicSpec) bool { return s.Cleanup == "" })
	if len(specs) == 0 {
		return nil
	}
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = s.Name
	}
	described, err := admin.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return fmt.Errorf("describing topic configs: %w", err)
	}
	var errs []error
	for _, s := range specs {
		rc, err := described.On(s.Name, nil)
		if err == nil {
			err = rc.Err
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("describing configs of topic %s: %w", s.Name, err))
			continue
		}
		have := "delete" // Kafka's default
		for _, c := range rc.Configs {
			if c.Key == "cleanup.policy" && c.Value != nil && *c.Value != "" {
				have = *c.Value
			}
		}
		if !samePolicy(have, s.Cleanup) {
			errs = append(errs, fmt.Errorf("%w: %s has cleanup.policy=%s, not %s; fix: kafka-configs.sh --alter --topic %s --add-config cleanup.policy=[%s]",
				ErrTopicMismatch, s.Name, have, s.Cleanup, s.Name, s.Cleanup))
		}
	}
	return errors.Join(errs...)
}

func samePolicy(a, b string) bool {
	split := func(s string) []string {
		parts := strings.Split(strings.ReplaceAll(s, " ", ""), ",")
		slices.Sort(parts)
		return parts
	}
	return slices.Equal(split(a), split(b))
}

// TopicConfigs returns the settings of topics in force, those that were not set included. A topic that does not exist is left out.
func TopicConfigs(ctx context.Context, cl *kgo.Client, topics ...string) (map[string]map[string]string, error) {
	described, err := kadm.NewClient(cl).DescribeTopicConfigs(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("describing topic configs: %w", err)
	}
	configs := make(map[string]map[string]string, len(described))
	for _, d := range described {
		if errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
			continue
		}
		if d.Err != nil {
			return nil, fmt.Errorf("describing configs of topic %s: %w", d.Name, d.Err)
		}
		configs[d.Name] = map[string]string{}
		for _, c := range d.Configs {
			if c.Value != nil {
				configs[d.Name][c.Key] = *c.Value
			}
		}
	}
	return configs, nil
}
