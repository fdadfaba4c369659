package reshard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"earworm/consumers/layout"
	"earworm/consumers/stream"
	"earworm/schemas"
)

// receiptKey is the key of the receipt of the last move, progressPrefix that of how far a partition is copied.
const (
	receiptKey     = "receipt"
	progressPrefix = "copied/"
)

// pollEvery is the time between two looks at something that is waited for.
const pollEvery = 200 * time.Millisecond

// mover works on a move. The transactional id is its own: whoever else had it can commit nothing any more.
type mover struct {
	cfg     Config
	admin   *stream.Admin
	out     *stream.Transactor
	layout  schemas.Layout
	records map[string][]byte // the last ones of the layout topic
	split   stream.Split
	from    schemas.Topics // of the generation in force, to of the new one
	to      schemas.Topics
}

// open takes over and reads how far things are.
//
// First the id, then the records. The other way round, a run that has not ended could commit after they were read.
func open(ctx context.Context, cfg Config) (*mover, error) {
	m := &mover{cfg: cfg.withDefaults(), admin: stream.NewAdmin(cfg.ClientOptions)}
	if err := m.takeOver(ctx); err != nil {
		m.close()
		return nil, fmt.Errorf("reshard: %w", err)
	}
	return m, nil
}

func (m *mover) takeOver(ctx context.Context) error {
	for _, spec := range m.cfg.Specs(m.cfg.Topics, 1) {
		if spec.Name == m.cfg.Topics.Layout {
			if err := m.admin.EnsureTopics(ctx, []stream.TopicSpec{spec}); err != nil {
				return err
			}
		}
	}
	out, err := stream.NewTransactor(m.cfg.ClientOptions, m.cfg.App+"-reshard", m.cfg.TransactionTimeout)
	if err != nil {
		return err
	}
	m.out = out
	if err := out.Fence(ctx); err != nil {
		return err
	}
	where := layout.Config{Topics: m.cfg.Topics, ClientOptions: m.cfg.ClientOptions}
	if m.records, err = layout.ReadAll(ctx, where); err != nil {
		return err
	}
	m.layout, err = layout.Parse(where, m.records)
	return err
}

func (m *mover) close() {
	if m.out != nil {
		m.out.Close()
	}
}

// Run moves the application to a number of partitions, or goes on with a move that was begun, and returns its receipt. Asked again for the
// number that is in force it returns the receipt of the move that led there, or ErrNothing.
func Run(ctx context.Context, cfg Config, partitions int32) (*Receipt, error) {
	m, err := open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer m.close()
	receipt, err := m.run(ctx, partitions)
	if err != nil {
		// The brokers end what is left open after its timeout, or when the id is taken over, if this does not reach them.
		return nil, fmt.Errorf("reshard: %w", errors.Join(err, m.out.Abort(context.WithoutCancel(ctx))))
	}
	return receipt, nil
}

func (m *mover) run(ctx context.Context, partitions int32) (*Receipt, error) {
	current, err := m.current(ctx)
	if err != nil {
		return nil, err
	}
	if m.layout.Move == nil && current == partitions {
		return m.last()
	}
	if err := m.begin(ctx, current, partitions); err != nil {
		return nil, err
	}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"waiting until the topics stand still", m.freeze},
		{"creating topics", m.create},
		{"copying", m.copy},
	} {
		m.cfg.Step(step.what)
		if err := step.do(ctx); err != nil {
			return nil, err
		}
	}
	m.cfg.Step("comparing")
	receipt, starts, err := m.prove(ctx)
	if err != nil {
		return nil, err
	}
	m.cfg.Step("switching")
	return receipt, m.finish(ctx, receipt, starts)
}

// last returns the receipt of the move that led to the generation in force.
func (m *mover) last() (*Receipt, error) {
	value, ok := m.records[receiptKey]
	if !ok {
		return nil, fmt.Errorf("%w: the application has that many partitions", ErrNothing)
	}
	var receipt Receipt
	if err := json.Unmarshal(value, &receipt); err != nil {
		return nil, fmt.Errorf("reading the receipt: %w", err)
	}
	return &receipt, nil
}

// current returns the number of partitions of the generation in force.
func (m *mover) current(ctx context.Context) (int32, error) {
	m.from = m.cfg.Topics.Generation(m.layout.Number())
	counts, err := m.admin.PartitionCounts(ctx, m.from.Moving()...)
	if err != nil {
		return 0, err
	}
	have := counts[m.from.Listens]
	for _, topic := range m.from.Moving() {
		if counts[topic] == 0 || counts[topic] != have {
			return 0, fmt.Errorf("%w: topic %s has %d partitions, %s has %d", ErrTarget, topic, counts[topic], m.from.Listens, have)
		}
	}
	return have, nil
}

// begin says that a move is under way, and only then looks whether anybody works: who joins a group after that look reads what was said.
func (m *mover) begin(ctx context.Context, current, partitions int32) error {
	m.split = stream.Split{From: current, To: partitions}
	if move := m.layout.Move; move != nil {
		if move.To.Partitions != partitions {
			return fmt.Errorf("%w: a move to %d partitions is under way; run it to its end, or give it up with --abort", ErrTarget, move.To.Partitions)
		}
		move.Runs++
		if err := m.save(ctx); err != nil {
			return err
		}
		return m.alone(ctx)
	}
	if err := m.split.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrTarget, err)
	}
	if partitions > partitionsMax || partitions&(partitions-1) != 0 {
		return fmt.Errorf("%w: %d must be a power of two up to %d", ErrTarget, partitions, partitionsMax)
	}
	if err := m.alone(ctx); err != nil { // most often found out here, before anything is said
		return err
	}
	before := m.layout
	m.layout.Current = schemas.Generation{Number: m.layout.Number(), Partitions: current}
	m.layout.Newest = max(m.layout.Newest, m.layout.Number()) + 1
	m.layout.Move = &schemas.Move{
		To:        schemas.Generation{Number: m.layout.Newest, Partitions: partitions},
		StartedAt: m.cfg.Now().UnixMilli(), WaitingOnly: m.cfg.WaitingOnly, Runs: 1,
	}
	if err := m.save(ctx); err != nil {
		return err
	}
	if err := m.alone(ctx); err != nil {
		m.layout = before
		return errors.Join(err, m.save(context.WithoutCancel(ctx)))
	}
	return nil
}

// alone waits until the groups have no members. Members are static: the group knows one that was stopped until its session ends.
func (m *mover) alone(ctx context.Context) error {
	deadline := m.cfg.Now().Add(m.cfg.MembersWait)
	for told := false; ; {
		members, err := m.admin.Members(ctx, m.cfg.Groups...)
		if err != nil {
			return err
		}
		if len(members) == 0 {
			return nil
		}
		if !m.cfg.Now().Before(deadline) {
			return fmt.Errorf("%w: stop every instance first; %s", ErrMembers, strings.Join(members, ", "))
		}
		if !told {
			m.cfg.Step("waiting for members to leave: " + strings.Join(members, ", "))
			told = true
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// freeze notes where the old topics stand once nobody can change them any more. If that is not where they stood when the copy was begun,
// the copy begins anew, in a generation of its own: names are never used twice.
func (m *mover) freeze(ctx context.Context) error {
	frozen, err := m.frozen(ctx)
	if err != nil {
		return err
	}
	move := m.layout.Move
	if move.Frozen != nil && !unchanged(move.Frozen, frozen) {
		abandoned := m.cfg.Topics.Generation(move.To.Number)
		if err := m.admin.DeleteTopics(ctx, abandoned.Moving()...); err != nil {
			return err
		}
		m.layout.Newest++
		move.To.Number, move.Frozen = m.layout.Newest, nil
		if err := m.forgetProgress(ctx); err != nil {
			return err
		}
	}
	m.to = m.cfg.Topics.Generation(move.To.Number)
	if move.Frozen != nil {
		return nil
	}
	move.Frozen = frozen
	return m.save(ctx)
}

// stable returns what topics hold once no transaction is open in them: also our own last one, whose end the brokers may still have to write.
func (m *mover) stable(ctx context.Context, topics []string) (map[stream.TopicPartition]stream.Span, error) {
	for deadline := m.cfg.Now().Add(m.cfg.OpenWait); ; {
		spans, err := m.admin.StableSpans(ctx, topics...)
		if !errors.Is(err, stream.ErrOpenTransaction) || !m.cfg.Now().Before(deadline) {
			return spans, err
		}
		if err := pause(ctx); err != nil {
			return nil, err
		}
	}
}

func (m *mover) frozen(ctx context.Context) ([]schemas.Frozen, error) {
	spans, err := m.stable(ctx, m.from.Moving())
	if err != nil {
		return nil, err
	}
	committed, err := m.admin.Offsets(ctx, m.cfg.ListenerGroup, m.from.Listens, m.from.Ticks)
	if err != nil {
		return nil, err
	}
	updates, err := m.admin.Offsets(ctx, m.cfg.SongGroup, m.from.SongUpdates)
	if err != nil {
		return nil, err
	}
	var frozen []schemas.Frozen
	for _, topic := range m.from.Moving() {
		for p := range m.split.From {
			tp := stream.TopicPartition{Topic: topic, Partition: p}
			at := max(committed[tp], updates[tp], spans[tp].Start)
			frozen = append(frozen, schemas.Frozen{Topic: topic, Partition: p, Start: spans[tp].Start, End: spans[tp].End, Committed: at})
		}
	}
	return frozen, nil
}

// unchanged compares what only somebody who works could have moved. Brokers move the first offsets up when records are old enough, and
// with them what counts as committed where nobody ever committed more.
func unchanged(a, b []schemas.Frozen) bool {
	return slices.EqualFunc(a, b, func(x, y schemas.Frozen) bool {
		first := max(x.Start, y.Start)
		return x.Topic == y.Topic && x.Partition == y.Partition && x.End == y.End && max(x.Committed, first) == max(y.Committed, first)
	})
}

// at returns where a partition of the old generation stands.
func (m *mover) at(topic string, partition int32) schemas.Frozen {
	i := slices.IndexFunc(m.layout.Move.Frozen, func(f schemas.Frozen) bool { return f.Topic == topic && f.Partition == partition })
	return m.layout.Move.Frozen[i]
}

// forever keeps records of the new topics until the switch: they have their old timestamps, so some would be due at once, and the
// copy could not be compared.
const forever = "-1"

// create makes the new topics. What deletes by age does not do so yet.
func (m *mover) create(ctx context.Context) error {
	specs := m.specs()
	for i := range specs {
		if _, deletes := specs[i].Configs[retention]; deletes {
			specs[i].Configs[retention] = forever
		}
	}
	return m.admin.EnsureTopics(ctx, specs)
}

const retention = "retention.ms"

func (m *mover) specs() []stream.TopicSpec {
	return slices.DeleteFunc(m.cfg.Specs(m.to, m.split.To), func(s stream.TopicSpec) bool {
		return !slices.Contains(m.to.Moving(), s.Name)
	})
}

// finish switches: what has no effect on the generation in force comes first, then one transaction.
func (m *mover) finish(ctx context.Context, receipt *Receipt, starts *starts) error {
	if err := m.still(ctx); err != nil {
		return err
	}
	if err := m.admin.DeleteRecordsBefore(ctx, starts.firsts); err != nil {
		return err
	}
	if err := m.admin.SetOffsets(ctx, m.cfg.ListenerGroup, starts.listener); err != nil {
		return err
	}
	if err := m.admin.SetOffsets(ctx, m.cfg.SongGroup, starts.song); err != nil {
		return err
	}
	for _, spec := range m.specs() {
		if value, deletes := spec.Configs[retention]; deletes {
			if err := m.admin.SetTopicConfig(ctx, spec.Name, retention, value); err != nil {
				return err
			}
		}
	}
	m.layout.Kept = append(m.layout.Kept, m.layout.Current)
	m.layout.Current, m.layout.Move = m.layout.Move.To, nil
	receipt.FinishedAt = m.cfg.Now().UTC()
	receipt.Seconds = receipt.FinishedAt.Sub(receipt.StartedAt).Seconds()
	receipt.Kept = m.from.Moving()
	value, err := json.Marshal(receipt)
	if err != nil {
		return fmt.Errorf("encoding the receipt: %w", err)
	}
	if err := m.note(ctx, receiptKey, value); err != nil {
		return err
	}
	return m.forgetProgress(ctx)
}

// still looks once more whether anybody was at work.
func (m *mover) still(ctx context.Context) error {
	if err := m.alone(ctx); err != nil {
		return err
	}
	now, err := m.frozen(ctx)
	if err != nil {
		return err
	}
	if !unchanged(m.layout.Move.Frozen, now) {
		return fmt.Errorf("%w: somebody wrote to them during the move; find out who, then run it again: the copy begins anew", ErrChanged)
	}
	return nil
}

// Abort gives up a move that has not switched: its new topics go, and the generation in force is free again.
func Abort(ctx context.Context, cfg Config) error {
	m, err := open(ctx, cfg)
	if err != nil {
		return err
	}
	defer m.close()
	if m.layout.Move == nil {
		return fmt.Errorf("reshard: %w: no move is under way", ErrNothing)
	}
	topics := m.cfg.Topics.Generation(m.layout.Move.To.Number)
	if err := m.admin.DeleteTopics(ctx, topics.Moving()...); err != nil {
		return fmt.Errorf("reshard: %w", err)
	}
	m.layout.Move = nil
	if err := m.forgetProgress(ctx); err != nil {
		return fmt.Errorf("reshard: %w", err)
	}
	return nil
}

// DropOld deletes the topics of generations that are no longer in force, and returns their names.
func DropOld(ctx context.Context, cfg Config) ([]string, error) {
	m, err := open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer m.close()
	var dropped []string
	for _, g := range m.layout.Kept {
		topics := m.cfg.Topics.Generation(g.Number)
		dropped = append(dropped, topics.Moving()...)
	}
	if len(dropped) == 0 {
		return nil, fmt.Errorf("reshard: %w: no topics of an earlier generation are kept", ErrNothing)
	}
	if err := m.admin.DeleteTopics(ctx, dropped...); err != nil {
		return nil, fmt.Errorf("reshard: %w", err)
	}
	m.layout.Kept = nil
	if err := m.save(ctx); err != nil {
		return nil, fmt.Errorf("reshard: %w", err)
	}
	return dropped, nil
}

// save commits the layout, with what is in the transaction already.
func (m *mover) save(ctx context.Context) error {
	value, err := m.layout.AppendJSON(nil)
	if err != nil {
		return err
	}
	if err := m.note(ctx, schemas.LayoutKey, value); err != nil {
		return err
	}
	return m.out.Commit(ctx)
}

// forgetProgress commits the layout, and that nothing is copied.
func (m *mover) forgetProgress(ctx context.Context) error {
	for key := range m.records {
		if strings.HasPrefix(key, progressPrefix) {
			if err := m.note(ctx, key, nil); err != nil {
				return err
			}
		}
	}
	return m.save(ctx)
}

// note adds a record of the layout topic to the transaction; nil takes one away.
func (m *mover) note(ctx context.Context, key string, value []byte) error {
	if value == nil {
		delete(m.records, key)
	} else {
		m.records[key] = value
	}
	return m.out.Send(ctx, stream.Message{Topic: m.cfg.Topics.Layout, Partition: -1, Key: []byte(key), Value: value})
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // the caller says what was waited for
	case <-time.After(pollEvery):
		return nil
	}
}
