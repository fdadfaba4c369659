//go:build crash

package reshard_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"earworm/consumers/feed"
	"earworm/internal/reshard"
	"earworm/internal/testkit/process"
)

var (
	seedFlag   = flag.Uint64("seed", 0, "seed of the moments; 0 takes one from the clock")
	peopleFlag = flag.Int("people", 120, "listeners of the world")
)

// moment is when a run is killed: some time after it has said what it does.
type moment struct {
	step string
	wait time.Duration // at most
}

// moments are those of at least killsMin kills, over all that a run does. Those of the end come last, because a move that has come so far
// goes on from there, and the last of them may come too late.
func moments() []moment {
	var all []moment
	add := func(n int, step string, wait time.Duration) {
		for range n {
			all = append(all, moment{step, wait})
		}
	}
	add(2, "waiting until", 30*time.Millisecond)
	add(1, "creating", 50*time.Millisecond)
	add(11, "copying", 400*time.Millisecond)
	add(3, "comparing", 60*time.Millisecond)
	add(3, "switching", 2*commitDelay)
	add(1, "switching", 4*commitDelay)
	return all
}

const (
	killsMin = 20
	// commitDelay is what replication over slow disks costs a real broker. It makes the moments between the last record, the offsets and the
	// switch long enough to be hit: offsets are committed twice before it.
	commitDelay = 100 * time.Millisecond
	// endDelay is the same for the transactions of the copy, shorter because there are many.
	endDelay = 15 * time.Millisecond
)

// slow delays commits.
func (r *rig) slow() {
	cluster := r.broker.Cluster()
	for key, delay := range map[kmsg.Key]time.Duration{kmsg.EndTxn: endDelay, kmsg.OffsetCommit: commitDelay} {
		cluster.ControlKey(key.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
			cluster.KeepControl()
			cluster.SleepControl(func() { time.Sleep(delay) })
			return nil, nil, false
		})
	}
}

// TestKilledInTheMiddle kills each of two moves, 4 to 8 and 8 to 16, twenty times with SIGKILL, and compares every row.
func TestKilledInTheMiddle(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	builder := process.NewBuilder()
	t.Cleanup(func() {
		if err := builder.Close(); err != nil {
			t.Error(err)
		}
	})
	binary := builder.Binary(t, process.Build{Package: "earworm/cmd/earworm"})
	r := newRigOf(t, *peopleFlag, 4, filepath.Join(t.TempDir(), "broker"))
	r.begin()
	r.slow()
	for _, partitions := range []int{8, 16} {
		before := r.rows()
		receipt, kills := r.killed(binary, partitions, rng)
		same(t, before, r.rows())
		if kills < killsMin || !receipt.Equal() || receipt.To.Partitions != int32(partitions) {
			t.Errorf("%d kills; receipt %+v", kills, receipt)
		}
		rows, _ := receipt.Rows()
		t.Logf("%d to %d partitions: %d kills, %d runs, %d rows and listens with equal sums in %d families, %d orphans, waiting %+v, %.1f s",
			receipt.From.Partitions, partitions, kills, receipt.Runs, rows, len(receipt.Families), receipt.Orphans, receipt.Waiting, receipt.Seconds)
		for _, f := range receipt.Families {
			t.Logf("%-20s %7d = %7d  %v = %v", f.Family, f.Before.Rows, f.After.Rows, f.Before.Checksum, f.After.Checksum)
		}
		r.serve(allRoles(), func(ctx context.Context, c *feed.Client) { r.drain(ctx, c) })
		if r.listens.Consumed != receipt.Waiting.Listens {
			t.Errorf("%d listens waited, %d were processed", receipt.Waiting.Listens, r.listens.Consumed)
		}
		t.Logf("earworm verify: %v", r.verify())
		if partitions == 8 {
			r.serve(allRoles(), func(ctx context.Context, c *feed.Client) { // lists of a week: more families
				r.monday(ctx, c)
				r.drain(ctx, c)
			})
			r.leaveWaiting()
		}
	}
}

// killed moves the application with a process that is killed at every moment, and then with one that is not.
func (r *rig) killed(binary string, partitions int, rng *rand.Rand) (receipt *reshard.Receipt, kills int) {
	r.t.Helper()
	file := filepath.Join(r.t.TempDir(), "receipt.json")
	begin := func(n int) *process.Child {
		return process.Run(r.t, process.Config{
			Path: binary, Log: filepath.Join(r.t.ArtifactDir(), fmt.Sprintf("reshard-%d-%d.log", partitions, n)),
			Args: []string{
				"reshard", "--to", strconv.Itoa(partitions), "--receipt", file, "--chunk", "100", "--app", r.cfg.App,
				"--kafka.brokers", strings.Join(r.cfg.Kafka.Brokers, ","), "--kafka.session-timeout", r.cfg.Kafka.SessionTimeout.String(),
				"--kafka.transaction-timeout", r.cfg.Kafka.TransactionTimeout.String(), "--topics.partitions", strconv.Itoa(r.cfg.Topics.Partitions),
			},
		})
	}
	for n, m := range moments() {
		child := begin(n)
		for deadline := time.Now().Add(patience); child.Running() && !child.Logged(m.step); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				r.t.Fatalf("run %d never came to %q:\n%s", n, m.step, child.Tail(20))
			}
		}
		time.Sleep(time.Duration(rng.Int64N(int64(m.wait))))
		if !child.Running() { // it was done with what it says first
			r.t.Logf("run %d ended before it was killed:\n%s", n, child.Tail(5))
			break
		}
		child.MustKill(r.t)
		kills++
	}
	_ = os.Remove(file) // of a run that was killed, or ended, after it had written it
	child := begin(100)
	if exit, err := child.Wait(r.bounded()); err != nil || exit.Code != 0 {
		r.t.Fatalf("the last run: %v, %v:\n%s", exit, err, child.Tail(20))
	}
	text, err := os.ReadFile(file)
	if err != nil {
		r.t.Fatal(err)
	}
	receipt = &reshard.Receipt{}
	if err := json.Unmarshal(text, receipt); err != nil {
		r.t.Fatal(err)
	}
	r.cfg.Topics.Partitions = partitions
	return receipt, kills
}
