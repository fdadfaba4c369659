//go:build crash || kafka

package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"earworm/consumers/feed"
	"earworm/internal/config"
	"earworm/internal/service"
	"earworm/internal/testkit/process"
)

var builder = process.NewBuilder()

func TestMain(m *testing.M) {
	code := m.Run()
	if err := errors.Join(builder.Close(), goleak.Find()); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// plant is the system under test: processes of the real binary, and a client of theirs.
type plant struct {
	binary string
	cfg    config.Config
	client *feed.Client

	ctx    context.Context //nolint:containedctx // ends when something is broken for good, which every step must know
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	workers []*worker
	closed  bool
	ended   int // children that ended by themselves with the code for "try again"
}

// worker is one instance: it is started again whenever it has ended, as a service manager would.
type worker struct {
	id, dir, log string
	port         int
	child        *process.Child
}

// errStill says that a plant took longer than all that can happen to it excuses.
var errStill = errors.New("the plant stands still")

// build starts the workers against the brokers of cfg. They end with the test, which must be done with them within the limit: after
// it everything that waits for the plant fails, and the test says what the plant was waiting for.
func build(t *testing.T, cfg config.Config, binary string, instances int, limit time.Duration) *plant {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	options, err := service.KafkaOptions(cfg)
	if err != nil {
		t.Fatal(err)
	}
	client, err := feed.New(feed.Config{
		App: cfg.App, Topics: service.Topics(cfg), Partitions: service.Partitions(cfg), ClientOptions: options,
	})
	if err != nil {
		t.Fatal(err)
	}
	ports, err := process.FreePorts(instances)
	if err != nil {
		t.Fatal(err)
	}
	p := &plant{binary: binary, cfg: cfg, client: client}
	bounded, release := context.WithTimeoutCause(context.WithoutCancel(t.Context()), limit, fmt.Errorf("%w after %v", errStill, limit))
	t.Cleanup(release)
	p.ctx, p.cancel = context.WithCancelCause(bounded)
	for i, port := range ports {
		id := "w" + strconv.Itoa(i)
		w := &worker{
			id: id, port: port, dir: filepath.Join(t.TempDir(), "state-"+id), log: filepath.Join(t.ArtifactDir(), id+".log"),
		}
		p.workers = append(p.workers, w)
		if err := p.start(w); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.supervise()
	}()
	t.Cleanup(func() {
		cause := context.Cause(p.ctx)
		p.cancel(nil)
		<-done
		if cause != nil {
			t.Error(cause)
		}
		if errors.Is(cause, errStill) {
			p.diagnose(t)
		}
		p.close(t)
	})
	for i, w := range p.workers { // a producer gives up on topics that nobody has created yet
		p.child(i).MustReady(t, w.readyURL(), 2*time.Minute)
	}
	return p
}

// child is the process of a worker that runs now.
func (p *plant) child(n int) *process.Child {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.workers[n].child
}

// arguments of one process: the settings of the plant as flags.
func (p *plant) arguments(command string, more ...string) []string {
	c := p.cfg
	args := []string{
		command, "--app", c.App, "--kafka.brokers", strings.Join(c.Kafka.Brokers, ","),
		"--kafka.session-timeout", c.Kafka.SessionTimeout.String(), "--kafka.transaction-timeout", c.Kafka.TransactionTimeout.String(),
		"--commit-interval", c.CommitInterval.String(), "--topics.partitions", strconv.Itoa(c.Topics.Partitions),
		"--topics.events", c.Topics.Events, "--topics.catalog", c.Topics.Catalog, "--topics.users", c.Topics.Users,
		"--emit.chunk", strconv.Itoa(c.Emit.Chunk), "--http.listen", "",
	}
	return append(args, more...)
}

func (p *plant) start(w *worker) error {
	child, err := process.Start(context.Background(), process.Config{
		Path: p.binary, Log: w.log,
		Args: p.arguments("serve", "--clock=false", "--instance", w.id, "--state.dir", w.dir,
			"--http.listen", "127.0.0.1:"+strconv.Itoa(w.port)),
	})
	if err != nil {
		return fmt.Errorf("starting %s: %w", w.id, err)
	}
	w.child = child
	return nil
}

// supervise starts what has ended by itself, which only "try again" excuses.
func (p *plant) supervise() {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-ticker.C:
		}
		p.mu.Lock()
		for _, w := range p.workers {
			if !p.closed && !w.child.Running() {
				p.revive(w)
			}
		}
		p.mu.Unlock()
	}
}

// temporary is the exit code with which a process asks to be started again.
const temporary = 75

func (p *plant) revive(w *worker) {
	exit, _ := w.child.Wait(context.Background())
	if exit.Code != temporary {
		p.cancel(fmt.Errorf("%s ended with %v:\n%s", w.id, exit, w.child.Tail(30)))
		return
	}
	p.ended++
	if err := p.start(w); err != nil {
		p.cancel(err)
	}
}

// kill ends a worker with SIGKILL, perhaps takes its disk away, and starts it again. It reports whether the worker was at work.
func (p *plant) kill(n int, wipe bool) (working bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.workers[n]
	working = w.ready()
	if err := w.child.Kill(); errors.Is(err, process.ErrEnded) {
		p.revive(w)
		return false, nil
	} else if err != nil {
		return false, err
	}
	if wipe {
		if err := os.RemoveAll(w.dir); err != nil {
			return false, err
		}
	}
	return working, p.start(w)
}

// pause stops a worker for a while: to the others it looks dead, and then it comes back.
func (p *plant) pause(n int, d time.Duration) error {
	child := p.child(n)
	if err := child.Pause(); errors.Is(err, process.ErrEnded) {
		return nil
	} else if err != nil {
		return err
	}
	time.Sleep(d)
	return child.Resume()
}

func (w *worker) readyURL() string { return "http://127.0.0.1:" + strconv.Itoa(w.port) + "/readyz" }

// ready asks the worker; one that does not answer at once is not.
func (w *worker) ready() bool {
	client := &http.Client{Timeout: 100 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(w.readyURL())
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// retire ends every worker gracefully, and lets the command judge what they leave.
func (p *plant) retire(t *testing.T) {
	t.Helper()
	p.stop(t)
	for _, w := range p.workers {
		code, out := p.verify(t, w)
		if code != 0 {
			t.Errorf("earworm verify --state of %s: exit code %d", w.id, code)
		}
		t.Logf("earworm verify --state of %s:\n%s", w.id, out)
	}
}

// stop ends every worker gracefully.
func (p *plant) stop(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, w := range p.workers {
		w.child.MustTerminate(t, 20*time.Second, 0)
	}
}

// verify runs the command on the stores of a stopped worker and returns its output.
func (p *plant) verify(t *testing.T, w *worker) (code int, out string) {
	t.Helper()
	child := process.Run(t, process.Config{Path: p.binary, Args: p.arguments("verify", "--state", w.dir, "--wait", "1m")})
	exit, err := child.Wait(p.ctx)
	if err != nil {
		t.Fatal(err)
	}
	return exit.Code, child.Tail(10)
}

func (p *plant) close(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.client.Close()
	for _, w := range p.workers {
		if err := w.child.Kill(); err != nil && !errors.Is(err, process.ErrEnded) {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the end of %s:\n%s", w.log, w.child.Tail(40))
		}
	}
}
