package main

import (
	"context"
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"earworm/consumers/feed"
	"earworm/consumers/listener"
	"earworm/consumers/stream"
	"earworm/internal/refit"
	"earworm/internal/run"
	"earworm/model/cooccur"
	"earworm/model/factor"
	"earworm/schemas"
	"earworm/state"
)

// refitOutput is what the command prints when there is a plan.
var refitOutput = regexp.MustCompile(`^refit (\d+) as of 2026-02-\d\dT[0-9:]+Z: (\d+) listeners, (\d+) songs, (\d+) rows, (\d+) pairs
loss ([0-9.]+), was ([0-9.]+) \(([-+][0-9.]+) %\); cosine of songs before and after ([0-9.]+)
of the top 30 of (\d+) listeners ([0-9.]+) % stay
(.*)\n$`)

// refit runs the command, and returns the epoch, the listeners, the rows and the last line of what it prints.
func (s *system) refit(args ...string) (epoch, listeners, rows int, last string) {
	s.tb.Helper()
	out := s.ok(append([]string{"refit"}, args...)...)
	m := refitOutput.FindStringSubmatch(out)
	if m == nil {
		s.tb.Fatalf("refit: %s", out)
	}
	number := func(n int) float64 {
		v, err := strconv.ParseFloat(m[n], 64)
		if err != nil {
			s.tb.Fatal(err)
		}
		return v
	}
	if now, was := number(6), number(7); now > was {
		s.tb.Errorf("the loss rises: %s", out)
	}
	if kept := number(11); kept < 50 {
		s.tb.Errorf("the lists jump: %s", out)
	}
	if m[10] != m[2] {
		s.tb.Errorf("lists of %s listeners were compared, there are %s", m[10], m[2])
	}
	return int(number(1)), int(number(2)), int(number(4)), m[12]
}

// TestRefit beside a running system: nothing is lost or counted twice, every row moves once, playlists say so, and who was erased is no
// longer fitted to.
func TestRefit(t *testing.T) {
	t.Parallel()
	s := startSystem(t)
	s.fails(run.CodeTemporary, "no listener has come to a song yet", "refit")
	s.fails(run.CodeUsage, "must be at least 1", "refit", "--sweeps", "0")
	s.ok("import", "csv", listens(t), "--columns", mapping, "--weekly")

	if epoch, listeners, rows, last := s.refit("--dry-run"); epoch != 1 || listeners != 8 || rows < 200 || last != "nothing was sent" {
		t.Fatalf("dry run: epoch %d of %d listeners and %d rows, %q", epoch, listeners, rows, last)
	}
	before := s.ok("inspect", "listener", "listener 3")
	for want := range 2 { // the dry run has not counted
		epoch, _, rows, last := s.refit()
		if all := strconv.Itoa(rows); epoch != want+1 || last != all+" of "+all+" rows are in force" {
			t.Fatalf("epoch %d with %d rows: %q", epoch, rows, last)
		}
	}
	if after := s.ok("inspect", "listener", "listener 3"); after != before {
		t.Errorf("a listener has changed:\n%s\nbefore\n%s", after, before)
	}
	if out := s.ok("verify"); !strings.HasSuffix(out, "0 lost, 0 duplicated, 0 wrong of 288\n") {
		t.Errorf("verify: %s", out)
	}
	s.ok("emit", "--week", "2026-W30")
	waitFor(s, "2026-07-20,listener 7,30,", "playlists", "export")
	var list schemas.Playlist
	if err := json.Unmarshal([]byte(s.ok("playlist", "listener 1", "--json", "--week", "2026-W30")), &list); err != nil || list.ModelEpoch != 3 {
		t.Errorf("a playlist after two refits is of epoch %d, %v", list.ModelEpoch, err)
	}

	s.ok("erase", "listener 3")
	code, _, problems := command(t, s.environ, "refit", "--wait", "1ns")
	if code != run.CodeTemporary || !strings.Contains(problems, "not yet in force") {
		t.Errorf("without waiting: code %d, %s", code, problems)
	}
	if epoch, listeners, _, last := s.refit("--wait", "0"); epoch < 3 || listeners != 7 || !strings.HasPrefix(last, "sent ") {
		t.Errorf("after an erasure: epoch %d of %d listeners, %q", epoch, listeners, last)
	}
}

// refitConfig is what the command makes of the system's variables.
func (s *system) refitConfig() (refit.Config, *feed.Client) {
	s.tb.Helper()
	options := []kgo.Opt{kgo.SeedBrokers(s.broker.Addrs()...)}
	cfg := refit.Config{
		Topics: schemas.NewTopics("earworm"), Partitions: 2, ClientOptions: options, Listener: listener.Default(), Near: cooccur.DefaultParams(),
		Fit: refit.DefaultFit(), Sample: 8, Wait: time.Minute,
	}
	t := cfg.Topics
	l := &cfg.Listener
	l.Listens, l.Ticks, l.SongUpdates, l.Playlists, l.DeadLetters = t.Listens, t.Ticks, t.SongUpdates, t.Playlists, t.DeadLetters
	l.Learn.Dim = 8
	client, err := feed.New(feed.Config{App: "earworm", Topics: t, Partitions: 2, ClientOptions: options})
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(client.Close)
	return cfg, client
}

// factorRows are the published rows of factors.
func (s *system) factorRows(topic string) map[string]schemas.FactorRow {
	s.tb.Helper()
	out := map[string]schemas.FactorRow{}
	err := stream.ReadAll(s.tb.(*testing.T).Context(), []kgo.Opt{kgo.SeedBrokers(s.broker.Addrs()...)}, []string{topic}, func(rec *stream.Record) error {
		kind, _, err := state.ParseFactorKey(rec.Key)
		if err != nil || factor.Kind(kind) == factor.KindBlend {
			return nil //nolint:nilerr // another family of keys
		}
		var row schemas.FactorRow
		if err := row.UnmarshalBinary(rec.Value); err != nil {
			return err
		}
		out[string(rec.Key)] = row
		return nil
	})
	if err != nil {
		s.tb.Fatal(err)
	}
	return out
}

// TestRefitIsTriedAgain: one that dies between two records leaves rows of two epochs, which the next one brings together; and all that was
// ever sent, sent again, changes nothing.
func TestRefitIsTriedAgain(t *testing.T) {
	t.Parallel()
	s := startSystem(t)
	s.ok("import", "csv", listens(t), "--columns", mapping, "--weekly")
	cfg, client := s.refitConfig()

	ctx, kill := context.WithCancel(t.Context())
	sending := false
	cfg.Begin = func(stage refit.Stage, _ int64) { sending = stage == refit.StageSend }
	cfg.Done = func(int64) {
		if sending && ctx.Err() == nil {
			if err := client.Flush(t.Context()); err != nil {
				t.Error(err)
			}
			kill()
		}
	}
	if report, err := refit.Run(ctx, cfg, client); err == nil {
		t.Fatalf("a killed refit ends well: %+v", report)
	}
	if err := client.Passed(t.Context(), feed.RoleSong, cfg.Topics.SongUpdates); err != nil {
		t.Fatal(err)
	}
	epochs := map[uint32]int{}
	for _, row := range s.factorRows(cfg.Topics.SongFactors) {
		epochs[row.Epoch]++
	}
	if epochs[0] == 0 || epochs[1] == 0 || len(epochs) != 2 {
		t.Fatalf("rows by epoch after a killed refit: %v", epochs)
	}

	cfg, client = s.refitConfig()
	report, err := refit.Run(t.Context(), cfg, client)
	if err != nil || report.Epoch != 2 || report.InForce != report.Rows || report.Kept < .5 {
		t.Fatalf("the next refit: %+v, %v", report, err)
	}

	before := s.factorRows(cfg.Topics.SongFactors)
	again := 0
	err = stream.ReadAll(t.Context(), cfg.ClientOptions, []string{cfg.Topics.SongUpdates}, func(rec *stream.Record) error {
		var u schemas.SongUpdates
		if err := u.UnmarshalBinary(rec.Value); err != nil {
			return err
		}
		if u.Mark.Partition == schemas.NoPartition {
			again++
			client.SongUpdates(t.Context(), rec.Partition, slices.Clone(rec.Value))
		}
		return nil
	})
	if err != nil || again < 3 {
		t.Fatalf("%d records of refits, %v", again, err)
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := client.Passed(t.Context(), feed.RoleSong, cfg.Topics.SongUpdates); err != nil {
		t.Fatal(err)
	}
	if after := s.factorRows(cfg.Topics.SongFactors); !reflect.DeepEqual(after, before) {
		t.Error("sent again, a refit changes rows")
	}
	if out := s.ok("verify"); !strings.HasSuffix(out, "0 lost, 0 duplicated, 0 wrong of 288\n") {
		t.Errorf("verify: %s", out)
	}
	if out := s.ok("dlq", "list"); strings.Contains(out, cfg.Topics.SongUpdates) {
		t.Errorf("dead letters: %s", out)
	}
}
