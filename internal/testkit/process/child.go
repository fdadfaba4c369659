package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// ErrEnded reports that the child had already ended by itself when it was asked to do something.
var ErrEnded = errors.New("child has ended")

// Config says what to run and where its output goes.
type Config struct {
	Path string   // the executable
	Args []string // without the program name
	Env  []string // "NAME=value" lines added to, and overriding, this process's environment
	Dir  string   // working directory; empty: this process's
	Log  string   // file that both output streams are appended to; its folder is created
}

// Validate reports every problem of the configuration.
func (c Config) Validate() error {
	var errs []error
	if c.Path == "" {
		errs = append(errs, errors.New("path is empty"))
	}
	if c.Log == "" {
		errs = append(errs, errors.New("log is empty"))
	}
	return errors.Join(errs...)
}

// Exit is how a child ended: Code is its exit code, or -1 with the Signal that ended it.
type Exit struct {
	Code   int
	Signal syscall.Signal
}

// String gives the exit as a person would say it.
func (e Exit) String() string {
	if e.Code < 0 {
		return fmt.Sprintf("signal %v", e.Signal)
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// Child is one started process. Its methods may be called concurrently.
type Child struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	exit Exit // written once, before done is closed
}

// Start starts the child; it is killed when ctx ends. The caller must see it end (Kill, Terminate or Wait), or cancel ctx.
func Start(ctx context.Context, cfg Config) (*Child, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("checking the child's configuration: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(cfg.Log), 0o750); err != nil {
		return nil, fmt.Errorf("creating the log folder: %w", err)
	}
	// The child writes to the file itself: nothing it says is lost in a pipe when either side is killed.
	out, err := os.OpenFile(cfg.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	cmd := exec.CommandContext(ctx, cfg.Path, cfg.Args...) //nolint:gosec // running what the test names is this package's purpose
	cmd.Dir, cmd.Stdout, cmd.Stderr = cfg.Dir, out, out
	cmd.Env = append(os.Environ(), cfg.Env...)
	cmd.SysProcAttr = dieWithParent()
	c := &Child{cmd: cmd, log: cfg.Log, done: make(chan struct{})}
	started := make(chan error, 1)
	go c.own(out, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", filepath.Base(cfg.Path), err)
	}
	return c, nil
}

// own starts the child and waits for its end, all on one thread: Linux delivers the parent-death signal when the *thread* that
// forked the child ends. A goroutine elsewhere that exits while locked to its thread ends that thread; had it been the one that
// forked, the child would be killed in the middle of its test. A thread held here lives exactly as long as the child.
func (c *Child) own(out *os.File, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := c.cmd.Start()
	_ = out.Close() // the child has its own descriptor
	started <- err
	if err != nil {
		return
	}
	_ = c.cmd.Wait() // says no more than the process state does
	c.exit = exitOf(c.cmd.ProcessState)
	close(c.done)
}

// PID is the child's process id.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Log is the path of the file that holds the child's output.
func (c *Child) Log() string { return c.log }

// Done is closed when the child has ended and was reaped.
func (c *Child) Done() <-chan struct{} { return c.done }

// Running reports whether the child has not ended yet.
func (c *Child) Running() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// Wait waits for the child's own end, or for ctx, whose error it then returns.
func (c *Child) Wait(ctx context.Context) (Exit, error) {
	select {
	case <-c.done:
		return c.exit, nil
	case <-ctx.Done():
		return Exit{}, fmt.Errorf("waiting for process %d to end: %w", c.PID(), context.Cause(ctx))
	}
}

// Kill ends the child at once (SIGKILL) and returns when it is gone. It returns ErrEnded when the child had ended before:
// a crash test whose victim died by itself must not pass for a crash test.
func (c *Child) Kill() error {
	if err := c.signal(os.Kill); err != nil {
		return err
	}
	<-c.done
	return nil
}

// Terminate asks the child to end (SIGTERM) and waits for it. When it is still there after within, it is killed and the error
// says so. A paused child does not see the request before Resume.
func (c *Child) Terminate(within time.Duration) (Exit, error) {
	if err := c.signal(syscall.SIGTERM); err != nil {
		return Exit{}, err
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-c.done:
		return c.exit, nil
	case <-timer.C:
	}
	if err := c.Kill(); err != nil && !errors.Is(err, ErrEnded) {
		return Exit{}, err
	}
	return c.exit, fmt.Errorf("process %d did not end within %v of SIGTERM", c.PID(), within)
}

// signal sends sig to exactly the started process; ErrEnded when it is no more.
func (c *Child) signal(sig os.Signal) error {
	if !c.Running() {
		return fmt.Errorf("sending %v: %w (%v)", sig, ErrEnded, c.exit)
	}
	err := c.cmd.Process.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		<-c.done
		return fmt.Errorf("sending %v: %w (%v)", sig, ErrEnded, c.exit)
	}
	if err != nil {
		return fmt.Errorf("sending %v to process %d: %w", sig, c.PID(), err)
	}
	return nil
}
