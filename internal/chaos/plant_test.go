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
	more         []string // arguments of its own
	// busy says that a fault is at work on it which outlasts the call: nobody else strikes it or starts it again meanwhile.
	busy bool
}

// errStill says that a plant took longer than all that can happen to it excuses.
var errStill = errors.New("the plant stands still")

// build starts the workers against the brokers of cfg. They end with the test, which must be done with them within the limit: after
// it everything that waits for the plant fails, and the test says what the plant was waiting for. The first worker has its state on the
// disk, if there is one.
func build(t *testing.T, cfg config.Config, binary string, instances int, limit time.Duration, small *disk) *plant {
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
		if i == 0 && small != nil {
			w.dir, w.more = filepath.Join(small.dir, "state"), []string{"--state.low-disk-bytes", "16MiB"}
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
func (p *plant) child(n int) *process.Child { return p.childOf(p.workers[n]) }

func (p *plant) childOf(w *worker) *process.Child {
	p.mu.Lock()
	defer p.mu.Unlock()
	return w.child
}

// arguments of one process: the settings of the plant as flags.
func (p *plant) arguments(command string, more ...string) []string {
	c := p.cfg
	args := []string{
		command, "--app", c.App, "--kafka.brokers", strings.Join(c.Kafka.Brokers, ","),
		"--kafka.session-timeout", c.Kafka.SessionTimeout.String(), "--kafka.transaction-timeout", c.Kafka.TransactionTimeout.String(),
		"--commit-interval", c.CommitInterval.String(), "--topics.partitions", strconv.Itoa(c.Topics.Partitions),
		"--topics.replication-factor", strconv.Itoa(c.Topics.ReplicationFactor),
		"--topics.events", c.Topics.Events, "--topics.catalog", c.Topics.Catalog, "--topics.users", c.Topics.Users,
		"--emit.chunk", strconv.Itoa(c.Emit.Chunk), "--http.listen", "",
	}
	return append(args, more...)
}

func (p *plant) start(w *worker) error {
	child, err := process.Start(context.Background(), process.Config{
		Path: p.binary, Log: w.log,
		Args: p.arguments("serve", append([]string{
			"--clock=false", "--instance", w.id, "--state.dir", w.dir,
			"--http.listen", "127.0.0.1:" + strconv.Itoa(w.port),
		}, w.more...)...),
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
			if !p.closed && !w.busy && !w.child.Running() {
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

// free returns the first worker from the n-th on that no fault is at work on.
func (p *plant) free(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.workers {
		if at := (n + i) % len(p.workers); !p.workers[at].busy {
			return at
		}
	}
	return n
}

// workPatience is how long a fault that is for a worker at work waits for one: a loaded machine takes its time to start them.
const workPatience = 5 * time.Second

// working waits until one of these is ready, and returns the first one from the n-th on; when the patience is over, any free one.
func (p *plant) working(n int, patience time.Duration) int {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && p.ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		p.mu.Lock()
		for i := range p.workers {
			at := (n + i) % len(p.workers)
			if !p.workers[at].busy && p.workers[at].ready() {
				p.mu.Unlock()
				return at
			}
		}
		p.mu.Unlock()
	}
	return p.free(n)
}

// seize keeps everybody else off a worker until release.
func (p *plant) seize(n int) *worker {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.workers[n].busy = true
	return p.workers[n]
}

func (p *plant) release(w *worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.busy = false
}

// pause stops a seized worker for a while: to the others it looks dead, and then it comes back. It reports whether it was there to be
// stopped.
func (p *plant) pause(w *worker, d time.Duration) (stopped bool, err error) {
	defer p.release(w)
	child := p.childOf(w)
	if err := child.Pause(); errors.Is(err, process.ErrEnded) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	select {
	case <-time.After(d):
	case <-p.ctx.Done():
	}
	if err := child.Resume(); !errors.Is(err, process.ErrEnded) {
		return true, err
	}
	return true, nil // killed meanwhile, as everybody else was paused, too
}

// errLivesOn says that a process did not end although it was denied what it needs.
var errLivesOn = errors.New("the process lives on")

// want is something that a worker cannot do without: how it is taken away and given back, and the exit code of whoever misses it.
type want struct {
	take     func(*process.Child) error
	giveBack func() error
	code     int
}

// deny takes it from a worker, waits until the worker has ended for it, gives it back and starts the worker again. It returns how long
// the end took; after the patience it kills, and returns errLivesOn.
func (p *plant) deny(n int, what want, patience time.Duration) (took time.Duration, err error) {
	w := p.seize(n)
	defer p.release(w)
	child, began := p.childOf(w), time.Now()
	if err := what.take(child); err != nil && !errors.Is(err, process.ErrEnded) {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	exit, err := child.Wait(ctx)
	took = time.Since(began)
	switch {
	case err != nil:
		err = fmt.Errorf("%w: %s, for %v", errLivesOn, w.id, took)
		if kill := child.Kill(); !errors.Is(kill, process.ErrEnded) {
			err = errors.Join(err, kill)
		}
	case exit.Code != what.code && exit.Code != temporary:
		return took, fmt.Errorf("%s ended with %v, want exit code %d:\n%s", w.id, exit, what.code, child.Tail(30))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if give := what.giveBack(); give != nil {
		return took, give
	}
	if p.closed {
		return took, err
	}
	return took, errors.Join(err, p.start(w))
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
	children := make([]*process.Child, len(p.workers)) // side by side: each reads all topics
	for i, w := range p.workers {
		children[i] = process.Run(t, process.Config{Path: p.binary, Args: p.arguments("verify", "--state", w.dir, "--wait", "1m")})
	}
	for i, w := range p.workers {
		exit, err := children[i].Wait(p.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if exit.Code != 0 {
			t.Errorf("earworm verify --state of %s: exit code %d", w.id, exit.Code)
		}
		t.Logf("earworm verify --state of %s:\n%s", w.id, children[i].Tail(10))
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
