package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ErrOpenTransaction means that somebody's transaction is not ended yet, or that its end is not yet written everywhere.
var ErrOpenTransaction = errors.New("an open transaction")

// Admin looks after topics and groups while nobody works with them. It is safe for concurrent use.
//
// Each call connects anew: a client remembers for a while that a topic was missing, and here topics come and go.
type Admin struct{ options []kgo.Opt }

// NewAdmin connects to nobody yet.
func NewAdmin(options []kgo.Opt) *Admin { return &Admin{options: options} }

// with gives a new client to fn.
func (a *Admin) with(fn func(*kadm.Client, *kgo.Client) error) error {
	cl, err := OpenClient(a.options)
	if err != nil {
		return err
	}
	defer cl.Close()
	return fn(kadm.NewClient(cl), cl)
}

// EnsureTopics is the function of that name.
func (a *Admin) EnsureTopics(ctx context.Context, specs []TopicSpec) error {
	return a.with(func(_ *kadm.Client, cl *kgo.Client) error { return EnsureTopics(ctx, cl, specs) })
}

// PartitionCounts is the function of that name.
func (a *Admin) PartitionCounts(ctx context.Context, topics ...string) (counts map[string]int32, err error) {
	err = a.with(func(_ *kadm.Client, cl *kgo.Client) error {
		counts, err = PartitionCounts(ctx, cl, topics...)
		return err
	})
	return counts, err
}

// Members names the members of groups, sorted: group/instance, or group/member where there is no instance id. A group that does not exist
// has none.
func (a *Admin) Members(ctx context.Context, groups ...string) (members []string, err error) {
	var described kadm.DescribedGroups
	err = a.with(func(admin *kadm.Client, _ *kgo.Client) error {
		described, err = admin.DescribeGroups(ctx, groups...)
		return err //nolint:wrapcheck // below
	})
	if err != nil {
		return nil, fmt.Errorf("describing groups: %w", err)
	}
	for _, g := range described {
		if g.Err != nil && !errors.Is(g.Err, kerr.GroupIDNotFound) {
			return nil, fmt.Errorf("describing group %s: %w", g.Group, g.Err)
		}
		for _, m := range g.Members {
			name := m.MemberID
			if m.InstanceID != nil {
				name = *m.InstanceID
			}
			members = append(members, g.Group+"/"+name)
		}
	}
	slices.Sort(members)
	return members, nil
}

// Offsets returns what a group has committed for some topics. It waits for commits that are part of a transaction which is being ended.
func (a *Admin) Offsets(ctx context.Context, group string, topics ...string) (map[TopicPartition]int64, error) {
	offsets := make(map[TopicPartition]int64)
	err := a.with(func(admin *kadm.Client, _ *kgo.Client) error {
		committed, err := admin.FetchOffsets(kadm.RequireStable(ctx), group)
		if errors.Is(err, kerr.GroupIDNotFound) {
			return nil
		}
		committed.Each(func(o kadm.OffsetResponse) {
			err = errors.Join(err, o.Err)
			if slices.Contains(topics, o.Topic) && o.At >= 0 {
				offsets[TopicPartition{Topic: o.Topic, Partition: o.Partition}] = o.At
			}
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("fetching offsets of group %s: %w", group, err)
	}
	return offsets, nil
}

// SetOffsets commits offsets for a group without members; one with members refuses.
func (a *Admin) SetOffsets(ctx context.Context, group string, offsets map[TopicPartition]int64) error {
	commit := make(kadm.Offsets)
	for tp, at := range offsets {
		commit.AddOffset(tp.Topic, tp.Partition, at, -1)
	}
	err := a.with(func(admin *kadm.Client, _ *kgo.Client) error { return admin.CommitAllOffsets(ctx, group, commit) })
	if err != nil {
		return fmt.Errorf("committing offsets of group %s: %w", group, err)
	}
	return nil
}

// StableSpans is Spans for topics that nobody writes to any more; ErrOpenTransaction says that it is not so yet.
func (a *Admin) StableSpans(ctx context.Context, topics ...string) (map[TopicPartition]Span, error) {
	spans, err := Spans(ctx, a.options, topics...)
	if err != nil {
		return nil, err
	}
	var stable kadm.ListedOffsets
	err = a.with(func(admin *kadm.Client, _ *kgo.Client) error {
		stable, err = admin.ListCommittedOffsets(ctx, topics...)
		return errors.Join(err, stable.Error())
	})
	if err != nil {
		return nil, fmt.Errorf("listing stable offsets: %w", err)
	}
	for tp, span := range spans {
		if o, ok := stable.Lookup(tp.Topic, tp.Partition); !ok || o.Offset < span.End {
			return nil, fmt.Errorf("%w: %s/%d ends at %d and is stable up to %d", ErrOpenTransaction, tp.Topic, tp.Partition, span.End, o.Offset)
		}
	}
	return spans, nil
}

// SetTopicConfig changes one setting of a topic.
func (a *Admin) SetTopicConfig(ctx context.Context, topic, name, value string) error {
	err := a.with(func(admin *kadm.Client, _ *kgo.Client) error {
		altered, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: &value}}, topic)
		for _, answer := range altered {
			err = errors.Join(err, answer.Err)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("setting %s of topic %s: %w", name, topic, err)
	}
	return nil
}

// DeleteTopics deletes topics; one that does not exist is no error.
func (a *Admin) DeleteTopics(ctx context.Context, topics ...string) error {
	return a.with(func(admin *kadm.Client, _ *kgo.Client) error {
		deleted, err := admin.DeleteTopics(ctx, topics...)
		if err != nil {
			return fmt.Errorf("deleting topics: %w", err)
		}
		for _, d := range deleted {
			if d.Err != nil && !errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
				err = errors.Join(err, fmt.Errorf("deleting topic %s: %w", d.Topic, d.Err))
			}
		}
		return err
	})
}

// DeleteRecordsBefore moves the first offsets of partitions up.
func (a *Admin) DeleteRecordsBefore(ctx context.Context, firsts map[TopicPartition]int64) error {
	if len(firsts) == 0 {
		return nil
	}
	offsets := make(kadm.Offsets)
	for tp, at := range firsts {
		offsets.AddOffset(tp.Topic, tp.Partition, at, -1)
	}
	err := a.with(func(admin *kadm.Client, _ *kgo.Client) error {
		answers, err := admin.DeleteRecords(ctx, offsets)
		return errors.Join(err, answers.Error())
	})
	if err != nil {
		return fmt.Errorf("deleting records: %w", err)
	}
	return nil
}
