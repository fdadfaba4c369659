package reshard_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"earworm/consumers/feed"
	"earworm/consumers/layout"
	"earworm/consumers/stream"
	"earworm/internal/broker"
	"earworm/internal/config"
	"earworm/internal/listeners"
	"earworm/internal/obs"
	"earworm/internal/reshard"
	"earworm/internal/service"
	"earworm/internal/verify"
	"earworm/schemas"
	"earworm/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of a test.
const patience = 2 * time.Minute

// rig is an application on an embedded broker, without instances.
type rig struct {
	t      *testing.T
	broker *broker.Broker
	cfg    config.Config
	world  *listeners.World
	next   int // week of the world that comes next
	// listens are the outcomes of the listens that the last service processed.
	listens stream.Counts
}

func newRig(t *testing.T, partitions int, dir string) *rig {
	t.Helper()
	return newRigOf(t, 60, partitions, dir)
}

// newRigOf is newRig with so many listeners.
func newRigOf(t *testing.T, people, partitions int, dir string) *rig {
	t.Helper()
	b, err := broker.Start(t.Context(), broker.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	r := newRigAt(t, b.Addrs(), people, partitions)
	r.broker = b
	return r
}

// newRigAt is newRigOf on brokers that run.
func newRigAt(t *testing.T, addrs []string, people, partitions int) *rig {
	t.Helper()
	cfg := config.Default()
	cfg.Kafka.Brokers, cfg.Kafka.SessionTimeout, cfg.Kafka.TransactionTimeout = addrs, 2*time.Second, time.Second
	cfg.Topics.Partitions, cfg.HTTP.Listen, cfg.Instance, cfg.Learn.Dim = partitions, "", "one", 8
	cfg.CommitInterval, cfg.State.Dir, cfg.State.LowDiskBytes = 20*time.Millisecond, t.TempDir(), 0
	w := listeners.SmallTest()
	w.Weeks, w.Listeners, w.Songs, w.Artists, w.Virals, w.BotCampaigns = 6, people, 300, 60, 2, 0
	w.DuplicateShare, w.LateShare, w.BadShare = .05, .1, .01
	world, err := listeners.New(w)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, cfg: cfg, world: world}
}

func (r *rig) bounded() context.Context {
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	r.t.Cleanup(cancel)
	return ctx
}

// serve runs some roles while fn does something, and stops them as a signal would.
func (r *rig) serve(roles []string, fn func(ctx context.Context, c *feed.Client)) {
	r.t.Helper()
	cfg := r.cfg
	cfg.Roles = roles
	svc, err := service.New(cfg, service.Deps{
		Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Build: obs.ReadBuild(""), Now: time.Now, FS: state.MemoryFS(),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.bounded())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- svc.Run(ctx) }()
	for {
		if ready, _ := svc.Health().Ready(); ready {
			break
		}
		select {
		case err := <-ended:
			r.t.Fatalf("serve ended with %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	client, err := svc.Feed()
	if err != nil {
		r.t.Fatal(err)
	}
	defer client.Close()
	fn(ctx, client)
	r.listens = stream.Counts{}
	for from, c := range svc.Accounting()[feed.RoleListener] {
		if from.Topic == svc.Topics().Listens {
			r.listens = r.listens.Add(c)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		r.t.Fatal(err)
	}
}

func allRoles() []string { return config.Default().Roles }

// live sends the next week of the world.
func (r *rig) live(ctx context.Context, c *feed.Client) {
	r.t.Helper()
	if r.next == 0 {
		for song := range r.world.Songs() {
			if err := c.Song(ctx, schemas.Song{ID: schemas.SongID(song.ID), Artist: song.Artist}); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	for event := range r.world.Week(r.next) {
		c.Event(ctx, []byte(event.User), event.AppendJSON(nil))
	}
	r.next++
	if err := c.Flush(ctx); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) drain(ctx context.Context, c *feed.Client) {
	r.t.Helper()
	if err := c.Drain(ctx); err != nil {
		r.t.Fatal(err)
	}
}

// monday says that the Monday has come on which the week before is over.
func (r *rig) monday(ctx context.Context, c *feed.Client) {
	r.t.Helper()
	if err := c.Tick(ctx, schemas.Tick{At: r.world.WeekStart(r.next).Add(36 * time.Hour).UnixMilli()}); err != nil {
		r.t.Fatal(err)
	}
}

// place is where the application is now.
func (r *rig) place() schemas.Topics {
	r.t.Helper()
	place, err := service.Locate(r.bounded(), r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return place.Topics
}

func (r *rig) options() stream.Options {
	r.t.Helper()
	options, err := service.KafkaOptions(r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return options
}

func (r *rig) config() reshard.Config {
	r.t.Helper()
	cfg, err := service.ReshardConfig(r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	cfg.Now, cfg.ChunkRecords = time.Now, 500
	cfg.Step = func(what string) { r.t.Log(what) }
	return cfg
}

// reshard moves the application, and tells its settings so.
func (r *rig) reshard(partitions int) *reshard.Receipt {
	r.t.Helper()
	receipt, err := reshard.Run(r.bounded(), r.config(), int32(partitions))
	if err != nil {
		r.t.Fatal(err)
	}
	r.cfg.Topics.Partitions = partitions
	return receipt
}

// rows reads the live rows of all listener and song tasks, without the code that moves them: those with one place by their key, and, by
// partition, those that each task has. Values are as in the topic, factor rows without their acknowledgements.
type rows struct {
	placed map[string]string
	own    map[string]map[int32]string
}

func (r *rig) rows() rows {
	r.t.Helper()
	topics := r.place()
	out := rows{placed: map[string]string{}, own: map[string]map[int32]string{}}
	where := map[string]int32{}
	err := stream.ReadAll(r.bounded(), r.options(), []string{topics.ListenerChangelog, topics.SongFactors}, func(rec *stream.Record) error {
		key := string(rec.Key)
		switch key[0] {
		case 'u', 'z', 'f', 'n':
			if at, seen := where[key]; seen && at != rec.Partition {
				r.t.Errorf("%q is in partitions %d and %d", key, at, rec.Partition)
			}
			where[key] = rec.Partition
			if rec.Value == nil {
				delete(out.placed, key)
				return nil
			}
			value := string(rec.Value)
			if key[0] == 'f' {
				var row schemas.FactorRow
				if err := row.UnmarshalBinary(rec.Value); err != nil {
					return err
				}
				row.Acks = nil
				value = string(row.AppendBinary(nil))
			}
			out.placed[key] = value
		default:
			if out.own[key] == nil {
				out.own[key] = map[int32]string{}
			}
			if rec.Value == nil {
				delete(out.own[key], rec.Partition)
				return nil
			}
			out.own[key][rec.Partition] = string(rec.Value)
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

func (r *rig) verify() *verify.Report {
	r.t.Helper()
	topics := r.place()
	client, err := feed.New(feed.Config{
		App: r.cfg.App, Topics: topics, Partitions: service.Partitions(r.cfg), ClientOptions: r.options(),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	defer client.Close()
	report, err := verify.Run(r.bounded(), verify.Config{
		App: r.cfg.App, Topics: topics, Partitions: service.Partitions(r.cfg), ClientOptions: r.options(), DedupeWindow: r.cfg.Listener.DedupeWindow,
	}, client)
	if err != nil {
		r.t.Fatal(err)
	}
	if !report.OK() {
		r.t.Errorf("with %d partitions: %v; first: %s", r.cfg.Topics.Partitions, report, report.First)
	}
	return report
}

// lists reads the tracks of the playlists by listener and week, each once.
func (r *rig) lists() map[string][]schemas.Track {
	r.t.Helper()
	out := map[string][]schemas.Track{}
	client, err := feed.New(feed.Config{App: r.cfg.App, Topics: r.place(), Partitions: 1, ClientOptions: r.options()})
	if err != nil {
		r.t.Fatal(err)
	}
	defer client.Close()
	err = client.Playlists(r.bounded(), func(user string, list *schemas.Playlist) error {
		if list == nil {
			return nil
		}
		key := user + " " + list.Week
		if _, twice := out[key]; twice {
			r.t.Errorf("%s has two playlists", key)
		}
		out[key] = list.Tracks
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// same compares two sets of rows, and says which family differs.
func same(t *testing.T, want, got rows) {
	t.Helper()
	if len(want.placed) < 1000 {
		t.Fatalf("only %d rows: this world shows nothing", len(want.placed))
	}
	if len(want.placed) != len(got.placed) {
		t.Errorf("%d rows, want %d", len(got.placed), len(want.placed))
	}
	wrong := map[byte]int{}
	for key, value := range want.placed {
		if got.placed[key] != value {
			wrong[key[0]]++
		}
	}
	for key := range got.placed {
		if _, there := want.placed[key]; !there {
			wrong[key[0]]++
		}
	}
	for family, n := range wrong {
		t.Errorf("%d rows of family %c differ", n, family)
	}
}

// TestVerifyKnowsLettersOfEarlierTopics: a dead letter names the topic that it came from, which is another one after a move.
func TestVerifyKnowsLettersOfEarlierTopics(t *testing.T) {
	t.Parallel()
	r := newRig(t, 4, "")
	for _, partitions := range []int{8, 16} {
		r.serve(allRoles(), func(ctx context.Context, c *feed.Client) {
			r.live(ctx, c)
			r.drain(ctx, c)
			r.write(stream.Message{Topic: r.place().Listens, Partition: -1, Key: []byte("somebody"), Value: []byte("no event")})
			r.drain(ctx, c)
		})
		r.verify()
		r.reshard(partitions)
	}
	if report := r.verify(); report.Outcomes.DeadLettered != 2 {
		t.Errorf("outcomes %+v, want two dead letters", report.Outcomes)
	}
}

// write sends a message.
func (r *rig) write(m stream.Message) {
	r.t.Helper()
	producer, err := stream.NewProducer(r.options())
	if err != nil {
		r.t.Fatal(err)
	}
	defer producer.Close()
	producer.Send(r.bounded(), m)
	if err := producer.Flush(r.bounded()); err != nil {
		r.t.Fatal(err)
	}
}

// TestFourEightSixteen moves an application with everything in flight that can be, twice, and lets it live on.
func TestFourEightSixteen(t *testing.T) {
	t.Parallel()
	r := newRig(t, 4, "")
	r.serve(allRoles(), func(ctx context.Context, c *feed.Client) {
		r.live(ctx, c)
		r.drain(ctx, c)
		r.monday(ctx, c)
		r.drain(ctx, c)
	})
	lists := len(r.lists())
	for _, partitions := range []int{8, 16} {
		r.leaveWaiting()
		before, from := r.rows(), r.cfg.Topics.Partitions
		receipt := r.reshard(partitions)
		same(t, before, r.rows())
		r.receipt(receipt, from, partitions, len(before.placed))
		r.serve(allRoles(), func(ctx context.Context, c *feed.Client) {
			r.drain(ctx, c)
			r.monday(ctx, c)
			r.drain(ctx, c)
		})
		report := r.verify()
		t.Logf("%d partitions: %v, %d listeners, %d songs, %d playlists", partitions, report, report.Listeners, report.Songs, report.Playlists)
		now := len(r.lists())
		if now < lists+50 {
			t.Errorf("%d playlists after the move, %d before: who lives on gets one", now, lists)
		}
		lists = now
	}
	dropped, err := reshard.DropOld(r.bounded(), r.config())
	if err != nil || len(dropped) != 10 {
		t.Errorf("dropped %v, %v; want the topics of two generations", dropped, err)
	}
	r.verify()
}

func (r *rig) passed(ctx context.Context, c *feed.Client, role, topic string) {
	r.t.Helper()
	if err := c.Passed(ctx, role, topic); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) receipt(receipt *reshard.Receipt, from, to, placed int) {
	r.t.Helper()
	if !receipt.Equal() || receipt.From.Partitions != int32(from) || receipt.To.Partitions != int32(to) {
		r.t.Errorf("receipt %+v", receipt)
	}
	w := receipt.Waiting
	if w.Listens == 0 || w.Ticks == 0 || w.Updates == 0 {
		r.t.Errorf("in flight were %+v: this test is about all of them", w)
	}
	families := map[string]int64{}
	for _, f := range receipt.Families {
		families[f.Family] = f.After.Rows
	}
	one := families["listeners"] + families["history entries"] + families["remembered playlists"] + families["frozen candidates"] +
		families["tracks that wait for outcomes"] + families["index by zone"] + families["factor rows"] + families["neighbours"]
	if one != int64(placed) {
		r.t.Errorf("the receipt has %d rows with one place, the changelogs had %d", one, placed)
	}
	if families["clocks"] != int64(to) || families["traffic of regions"] < int64(to) || families["weeks done"] < int64(to) {
		r.t.Errorf("families %v", families)
	}
	// Asked again, it says the same.
	again, err := reshard.Run(r.bounded(), r.config(), int32(to))
	if err != nil || fmt.Sprint(again) != fmt.Sprint(receipt) {
		r.t.Errorf("again %+v, %v; first %+v", again, err, receipt)
	}
}

// TestListsDoNotDependOnPartitions copies the broker of an application, moves one of the two, and lets both write the same week: the same
// tracks with the same scores, seeds and chances.
func TestListsDoNotDependOnPartitions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	original := t.TempDir()
	ok := t.Run("live", func(t *testing.T) {
		r := newRig(t, 4, original)
		r.serve(allRoles(), func(ctx context.Context, c *feed.Client) {
			r.live(ctx, c)
			r.live(ctx, c)
			r.drain(ctx, c)
		})
	})
	if !ok {
		return
	}
	if err := os.CopyFS(dir+"/copy", os.DirFS(original)); err != nil {
		t.Fatal(err)
	}
	lists := func(t *testing.T, dir string, partitions int) map[string][]schemas.Track {
		t.Helper()
		r := newRig(t, 4, dir)
		r.next = 2
		if partitions != 4 {
			r.reshard(partitions)
		}
		r.serve(allRoles(), func(ctx context.Context, c *feed.Client) {
			r.monday(ctx, c)
			r.drain(ctx, c)
		})
		return r.lists()
	}
	want, got := lists(t, original, 4), lists(t, dir+"/copy", 16)
	if len(want) < 50 || len(got) != len(want) {
		t.Fatalf("%d lists with 4 partitions, %d with 16", len(want), len(got))
	}
	for key := range want {
		if !reflect.DeepEqual(want[key], got[key]) {
			t.Fatalf("%s: %v and %v", key, want[key], got[key])
		}
	}
}

// TestRefusals: what is not done, and that it leaves nothing behind.
func TestRefusals(t *testing.T) {
	t.Parallel()
	r := newRig(t, 4, "")
	refused := func(partitions int32, want error, text string) {
		t.Helper()
		_, err := reshard.Run(r.bounded(), r.config(), partitions)
		if !errors.Is(err, want) || !strings.Contains(fmt.Sprint(err), text) {
			t.Errorf("to %d: %v, want %v, %q", partitions, err, want, text)
		}
	}
	refused(8, reshard.ErrTarget, "earworm-listens")
	r.serve(allRoles(), func(ctx context.Context, c *feed.Client) {
		r.live(ctx, c)
		r.drain(ctx, c)
		refused(2, reshard.ErrTarget, "from 4 to 2")
		refused(12, reshard.ErrTarget, "power of two")
		refused(8192, reshard.ErrTarget, "power of two")
		refused(4, reshard.ErrNothing, "")
		refused(8, reshard.ErrMembers, "earworm-listener/one")
		if err := reshard.Abort(ctx, r.config()); !errors.Is(err, reshard.ErrNothing) {
			t.Errorf("abort without a move: %v", err)
		}
		if _, err := reshard.DropOld(ctx, r.config()); !errors.Is(err, reshard.ErrNothing) {
			t.Errorf("dropping without a move: %v", err)
		}
	})
	r.serve(allRoles(), func(context.Context, *feed.Client) {}) // still works
}

// inFlight is an application that has lived for a week, with listens and ticks that nobody has read.
func inFlight(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, 4, "")
	r.begin()
	return r
}

// begin lets an application live for a week and then has everything in flight that can be.
func (r *rig) begin() {
	r.t.Helper()
	r.serve(allRoles(), func(ctx context.Context, c *feed.Client) {
		r.live(ctx, c)
		r.drain(ctx, c)
	})
	r.leaveWaiting()
}

// leaveWaiting brings two weeks in: song updates that nobody reads, then listens and ticks that nobody reads.
func (r *rig) leaveWaiting() {
	r.t.Helper()
	r.serve([]string{config.RoleIngest, config.RoleListener}, func(ctx context.Context, c *feed.Client) {
		r.live(ctx, c)
		r.passed(ctx, c, feed.RoleIngest, r.place().Events)
		r.passed(ctx, c, feed.RoleListener, r.place().Listens)
	})
	r.serve([]string{config.RoleIngest}, func(ctx context.Context, c *feed.Client) {
		r.live(ctx, c)
		r.passed(ctx, c, feed.RoleIngest, r.place().Events)
		r.monday(ctx, c)
	})
}

// interrupted runs a move that ends after some records were read.
func (r *rig) interrupted(partitions int32, after int64) error {
	ctx, cancel := context.WithCancel(r.bounded())
	defer cancel()
	cfg, read := r.config(), int64(0)
	cfg.Progress = func(n int64) {
		if read += n; read > after {
			cancel()
		}
	}
	_, err := reshard.Run(ctx, cfg, partitions)
	return err
}

func (r *rig) layout() schemas.Layout {
	r.t.Helper()
	l, err := layout.Read(r.bounded(), layout.Config{Topics: service.Topics(r.cfg), ClientOptions: r.options()})
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

// TestGoesOnWhereItStopped: a move that is interrupted again and again comes to its end, and nothing is there twice.
func TestGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	r := inFlight(t)
	before := r.rows()
	runs := 1
	for after := int64(0); ; after += 2_500 {
		if err := r.interrupted(8, after); err == nil {
			break
		} else if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		runs++
		if _, err := service.Locate(t.Context(), r.cfg); !errors.Is(err, layout.ErrMoving) {
			t.Fatalf("between two runs: %v", err)
		}
		_, err := reshard.Run(t.Context(), r.config(), 16)
		if !errors.Is(err, reshard.ErrTarget) || !strings.Contains(err.Error(), "8 partitions is under way") {
			t.Fatalf("another target between two runs: %v", err)
		}
	}
	receipt := r.reshard(8)
	if runs < 5 || receipt.Runs != runs || !receipt.Equal() {
		t.Errorf("%d runs, receipt %+v", runs, receipt)
	}
	same(t, before, r.rows())
	r.serve(allRoles(), func(ctx context.Context, c *feed.Client) { r.drain(ctx, c) })
	r.verify()
}

// TestBeginsAnewWhenTheOldTopicsChange: whoever wrote to them during a move is not lost, whether it is found out by the next run or at the end.
func TestBeginsAnewWhenTheOldTopicsChange(t *testing.T) {
	t.Parallel()
	r := inFlight(t)
	write := func() {
		t.Helper()
		event := schemas.Event{Kind: schemas.KindPlay, At: r.world.WeekStart(1).UnixMilli(), Song: []byte("written meanwhile")}
		r.write(stream.Message{
			Topic: service.Topics(r.cfg).Listens, Partition: stream.PartitionOf([]byte("late"), 4), Key: []byte("late"), Value: event.AppendBinary(nil),
		})
	}
	if err := r.interrupted(8, 10_000); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	write()
	cfg := r.config()
	cfg.Step = func(what string) {
		if what == "comparing" {
			write()
		}
	}
	if _, err := reshard.Run(r.bounded(), cfg, 8); !errors.Is(err, reshard.ErrChanged) {
		t.Errorf("written to while it was copied: %v", err)
	}
	before := len(r.layout().Move.Frozen)
	receipt := r.reshard(8)
	if l := r.layout(); before != 20 || l.Current.Number != 4 || receipt.To.Number != 4 {
		t.Errorf("%d partitions were frozen; layout %+v", before, l)
	}
	counts, err := stream.NewAdmin(r.options()).PartitionCounts(t.Context(), service.Topics(r.cfg).Generation(2).Listens, service.Topics(r.cfg).Generation(3).Listens)
	if err != nil || len(counts) != 0 {
		t.Errorf("what was given up is still there: %v, %v", counts, err)
	}
	r.serve(allRoles(), func(ctx context.Context, c *feed.Client) { r.drain(ctx, c) })
	if r.listens.Consumed != receipt.Waiting.Listens {
		t.Errorf("%d listens waited, %d were processed", receipt.Waiting.Listens, r.listens.Consumed)
	}
	r.verify()
}

// TestAbort gives up in the middle: the application goes on as if nothing had been, and can be moved later.
func TestAbort(t *testing.T) {
	t.Parallel()
	r := inFlight(t)
	before := r.rows()
	if err := r.interrupted(8, 10_000); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := reshard.Abort(t.Context(), r.config()); err != nil {
		t.Fatal(err)
	}
	same(t, before, r.rows())
	r.serve(allRoles(), func(ctx context.Context, c *feed.Client) { r.drain(ctx, c) })
	r.verify()
	before = r.rows()
	r.reshard(8)
	same(t, before, r.rows())
	r.serve(allRoles(), func(ctx context.Context, c *feed.Client) { r.drain(ctx, c) })
	r.verify()
}

// events adds the events that the listeners have had.
func (r *rig) events() (events int64) {
	r.t.Helper()
	for key, value := range r.rows().placed {
		if k, err := state.ParseUserKey([]byte(key)); err == nil && k.Row == state.RowCore {
			var core state.ListenerCore
			if err := core.UnmarshalBinary([]byte(value)); err != nil {
				r.t.Fatal(err)
			}
			events += int64(core.Events)
		}
	}
	return events
}

// TestListensWithoutTheirBeginning: what was left behind, or had expired, is not taken for nothing; what waited is processed, once.
func TestListensWithoutTheirBeginning(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*testing.T, *rig, *reshard.Config){
		"waiting only": func(_ *testing.T, _ *rig, cfg *reshard.Config) { cfg.WaitingOnly = true },
		"expired": func(t *testing.T, r *rig, _ *reshard.Config) {
			t.Helper()
			firsts := map[stream.TopicPartition]int64{}
			for p := range int32(4) {
				firsts[stream.TopicPartition{Topic: r.place().Listens, Partition: p}] = 50
			}
			if err := stream.NewAdmin(r.options()).DeleteRecordsBefore(t.Context(), firsts); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := inFlight(t)
			cfg := r.config()
			prepare(t, r, &cfg)
			receipt, err := reshard.Run(r.bounded(), cfg, 8)
			if err != nil {
				t.Fatal(err)
			}
			r.cfg.Topics.Partitions = 8
			spans, err := stream.Spans(t.Context(), r.options(), r.place().Listens)
			if err != nil || len(spans) != 8 {
				t.Fatal(spans, err)
			}
			for tp, span := range spans {
				if span.Start < 1 {
					t.Errorf("%v begins at %d, as if nothing were missing", tp, span.Start)
				}
			}
			before := r.events()
			r.serve(allRoles(), func(ctx context.Context, c *feed.Client) { r.drain(ctx, c) })
			if r.listens.Consumed != receipt.Waiting.Listens || r.listens.Applied == 0 || r.events() != before+r.listens.Applied {
				t.Errorf("%d listens waited; of %+v the listeners have %d", receipt.Waiting.Listens, r.listens, r.events()-before)
			}
		})
	}
}
