package kafka

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"earworm/internal/testkit/process"
)

var (
	// ErrExternal reports that the cluster was not started by this package, which therefore does not kill or restart its nodes.
	ErrExternal = errors.New("the cluster is external")
	// ErrRunning reports a restart of a node that runs.
	ErrRunning = errors.New("the node is running")
	// ErrDown reports a kill or stop of a node that does not run.
	ErrDown = errors.New("the node is down")

	errPortTaken = errors.New("another process has taken a port")
)

// Cluster is a running Kafka. Methods for different nodes may be called concurrently; one node is for one goroutine at a time.
type Cluster struct {
	cfg  Config
	java installation
	at   layout

	mu    sync.Mutex
	nodes []*process.Child // of node i+1; nil when it is down
}

// Launch starts a cluster and returns when it is usable. ctx bounds the start only; the nodes live until Close, or until this
// process ends. It returns ErrUnavailable when this machine cannot run Kafka.
func Launch(ctx context.Context, cfg Config) (*Cluster, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("checking the cluster's configuration: %w", err)
	}
	cfg = cfg.withDefaults()
	if len(cfg.External) > 0 {
		return attach(ctx, cfg)
	}
	dir, err := emptyDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	java, err := install(ctx, cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.StartTimeout)
	defer cancel()
	for try := 1; ; try++ {
		cluster, err := create(ctx, cfg, java, dir)
		if !errors.Is(err, errPortTaken) || try == cfg.Tries {
			return cluster, err
		}
	}
}

// attach waits for an external cluster.
func attach(ctx context.Context, cfg Config) (*Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.StartTimeout)
	defer cancel()
	if err := await(ctx, target{addrs: cfg.External}, nil); err != nil {
		return nil, fmt.Errorf("waiting for the cluster at %s: %w", strings.Join(cfg.External, ","), err)
	}
	return &Cluster{cfg: cfg}, nil
}

// emptyDir makes the folder absolute: a node runs in its own.
func emptyDir(path string) (string, error) {
	dir, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("resolving the cluster's folder: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("reading the cluster's folder: %w", err)
	}
	if len(entries) > 0 {
		return "", fmt.Errorf("folder %s is not empty", dir)
	}
	return dir, nil
}

// create lays out, formats and starts a new cluster on ports that are free now.
func create(ctx context.Context, cfg Config, java installation, dir string) (*Cluster, error) {
	at, err := newLayout(dir, cfg.Nodes)
	if err != nil {
		return nil, err
	}
	if err := at.write(cfg); err != nil {
		return nil, err
	}
	if err := at.format(ctx, java); err != nil {
		return nil, err
	}
	c := &Cluster{cfg: cfg, java: java, at: at, nodes: make([]*process.Child, cfg.Nodes)}
	ids := make([]int, cfg.Nodes)
	for i := range ids {
		ids[i] = i + 1
	}
	if err := c.raiseAll(ctx, ids); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// raise starts a node, again when it ends while starting, and waits until it is usable.
func (c *Cluster) raise(ctx context.Context, id int) error {
	for try := 1; ; try++ {
		err := c.startNode(ctx, id)
		if err == nil {
			return nil
		}
		err = fmt.Errorf("starting node %d (try %d of %d): %w", id, try, c.cfg.Tries, err)
		if !errors.Is(err, process.ErrEnded) || errors.Is(err, errPortTaken) || try == c.cfg.Tries {
			return fmt.Errorf("%w\nthe end of its log:\n%s", err, c.Tail(id, 30))
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		case <-time.After(c.cfg.RetryPause):
		}
	}
}

func (c *Cluster) startNode(ctx context.Context, id int) error {
	child, err := process.Start(context.WithoutCancel(ctx), process.Config{
		Path: c.java.java, Args: c.java.server(c.at, id, c.cfg.HeapMiB), Dir: c.at.node(id), Log: c.Log(id),
	})
	if err != nil {
		return err
	}
	c.set(id, child)
	err = await(ctx, target{addrs: []string{address(c.at.brokers[id-1])}, cluster: c.at.id, node: int32(id)}, child) //nolint:gosec // 1..3
	if errors.Is(err, process.ErrEnded) {
		c.set(id, nil)
		if strings.Contains(child.Tail(60), "Address already in use") {
			return errors.Join(err, errPortTaken)
		}
	}
	return err
}

// await probes until the target is usable, its process (if it is ours) ends, or ctx does.
func await(ctx context.Context, t target, child *process.Child) error {
	probeCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	var ended <-chan struct{}
	if child != nil {
		ended = child.Done()
		go func() { // nobody answers any more: do not wait for the probe's own timeout
			select {
			case <-ended:
				cancel()
			case <-probeCtx.Done():
			}
		}()
	}
	var last error
	for {
		err := probe(probeCtx, t)
		if err == nil {
			return nil
		}
		if last == nil || probeCtx.Err() == nil {
			last = err
		}
		select {
		case <-ended:
			return fmt.Errorf("%w while starting; last probe: %w", process.ErrEnded, last)
		case <-ctx.Done():
			return fmt.Errorf("not usable: %w; last probe: %w", context.Cause(ctx), last)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// External reports whether the cluster runs outside this process, so that its nodes cannot be killed, stopped or restarted.
func (c *Cluster) External() bool { return len(c.cfg.External) > 0 }

// Addrs are the addresses of all nodes, also of those that are down: the seed brokers for a client.
func (c *Cluster) Addrs() []string {
	if c.External() {
		return slices.Clone(c.cfg.External)
	}
	return addresses(c.at.brokers)
}

// Bootstrap is Addrs separated by commas, as Kafka's tools and earworm's --brokers take it.
func (c *Cluster) Bootstrap() string { return strings.Join(c.Addrs(), ",") }

// Log is the path of the log of a node, which spans its restarts.
func (c *Cluster) Log(id int) string {
	return filepath.Join(c.cfg.LogDir, "node"+strconv.Itoa(id)+".log")
}

// Tail returns the last lines a node logged.
func (c *Cluster) Tail(id, lines int) string { return process.TailFile(c.Log(id), lines) }

// PID is the process id of a node, 0 when it is down.
func (c *Cluster) PID(id int) int {
	child, err := c.running(id)
	if err != nil {
		return 0
	}
	return child.PID()
}

// Kill ends node id (1 is the first) with SIGKILL and returns when it is gone. It returns ErrDown when the node was not running.
func (c *Cluster) Kill(id int) error {
	child, err := c.running(id)
	if err != nil {
		return err
	}
	if err := child.Kill(); err != nil {
		return fmt.Errorf("killing node %d: %w", id, err)
	}
	c.set(id, nil)
	return nil
}

// Stop ends node id gracefully; a node that has not left after the stop timeout is killed, which is an error. The last node of
// three cannot leave in peace: its controlled shutdown needs the quorum that left before it.
func (c *Cluster) Stop(id int) error {
	child, err := c.running(id)
	if err != nil {
		return err
	}
	if _, err := child.Terminate(c.cfg.StopTimeout); err != nil {
		if !child.Running() {
			c.set(id, nil)
		}
		return fmt.Errorf("stopping node %d: %w", id, err)
	}
	c.set(id, nil)
	return nil
}

// Pause freezes a node (SIGSTOP) until Resume: to the others it looks like a lost machine that comes back.
func (c *Cluster) Pause(id int) error {
	child, err := c.running(id)
	if err != nil {
		return err
	}
	return child.Pause()
}

// Resume lets a paused node go on.
func (c *Cluster) Resume(id int) error {
	child, err := c.running(id)
	if err != nil {
		return err
	}
	return child.Resume()
}

// Restart starts killed or stopped nodes on their own data and ports, all at once, and returns when they are usable; without ids
// it starts every node that is down. Nodes that need each other for a quorum must be started by one call. After a kill this takes
// the rest of the node's old session, about 5 s in all.
func (c *Cluster) Restart(ctx context.Context, ids ...int) error {
	if c.External() {
		return ErrExternal
	}
	if len(ids) == 0 {
		for id := 1; id <= c.cfg.Nodes; id++ {
			if _, err := c.running(id); errors.Is(err, ErrDown) {
				ids = append(ids, id)
			}
		}
	}
	for _, id := range ids {
		if _, err := c.running(id); err == nil {
			return fmt.Errorf("restarting node %d: %w", id, ErrRunning)
		} else if !errors.Is(err, ErrDown) {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.StartTimeout)
	defer cancel()
	return c.raiseAll(ctx, ids)
}

func (c *Cluster) raiseAll(ctx context.Context, ids []int) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, id := range ids {
		group.Go(func() error { return c.raise(ctx, id) })
	}
	return group.Wait()
}

// Close kills every node that runs; the data stays. It is idempotent, and does nothing to an external cluster.
func (c *Cluster) Close() error {
	c.mu.Lock()
	nodes := slices.Clone(c.nodes)
	clear(c.nodes)
	c.mu.Unlock()
	var errs []error
	for _, child := range nodes {
		if child == nil {
			continue
		}
		if err := child.Kill(); err != nil && !errors.Is(err, process.ErrEnded) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (c *Cluster) set(id int, child *process.Child) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[id-1] = child
}

func (c *Cluster) running(id int) (*process.Child, error) {
	if c.External() {
		return nil, ErrExternal
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if id < 1 || id > len(c.nodes) {
		return nil, fmt.Errorf("no node %d: the cluster has 1..%d", id, len(c.nodes))
	}
	child := c.nodes[id-1]
	if child == nil || !child.Running() {
		return nil, fmt.Errorf("node %d: %w", id, ErrDown)
	}
	return child, nil
}
