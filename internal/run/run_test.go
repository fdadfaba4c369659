package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestExitCode(t *testing.T) {
	t.Parallel()
	plain := errors.New("plain")
	disk := WithCode(CodeIO, plain)
	for name, test := range map[string]struct {
		err  error
		want int
	}{
		"nil":                 {nil, CodeOK},
		"cancelled":           {fmt.Errorf("polling: %w", context.Canceled), CodeOK},
		"unclassified":        {plain, CodeBug},
		"deadline":            {context.DeadlineExceeded, CodeBug},
		"classified":          {disk, CodeIO},
		"wrapped":             {fmt.Errorf("opening: %w", disk), CodeIO},
		"joined":              {errors.Join(plain, disk), CodeIO},
		"innermost code wins": {WithCode(CodeTemporary, fmt.Errorf("opening: %w", disk)), CodeIO},
		"joined cancellation": {errors.Join(context.Canceled, plain), CodeBug},
		"two cancellations":   {errors.Join(context.Canceled, fmt.Errorf("x: %w", context.Canceled)), CodeOK},
		"coded cancellation":  {WithCode(CodeConfig, context.Canceled), CodeConfig},
	} {
		if got := ExitCode(test.err); got != test.want {
			t.Errorf("%s: code %d, want %d", name, got, test.want)
		}
	}
	if WithCode(CodeIO, nil) != nil {
		t.Error("WithCode made an error of nil")
	}
	if !errors.Is(disk, plain) || disk.Error() != "plain" {
		t.Errorf("WithCode changed the error: %v", disk)
	}
}

// journal records what happens, from several goroutines.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

// component runs until it is stopped, takes delay to stop and then returns err.
func (j *journal) component(name string, delay time.Duration, err error) Component {
	return Func(func(ctx context.Context) error {
		<-ctx.Done()
		j.add(name + " stopping")
		time.Sleep(delay)
		j.add(name + " stopped")
		return errors.Join(ctx.Err(), err) // One joined error, as after a last flush that went wrong.
	})
}

func newGroup() (*Group, *bytes.Buffer) {
	var out bytes.Buffer
	return NewGroup(GroupConfig{}, slog.New(slog.NewTextHandler(&out, nil))), &out
}

func TestGroupStopsInReverse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var j journal
		g, out := newGroup()
		g.Add("store", j.component("store", time.Second, nil))
		g.Add("consumer", j.component("consumer", 2*time.Second, nil))
		g.Add("server", j.component("server", time.Second, nil))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Hour, cancel)
		if err := g.Run(ctx); err != nil {
			t.Errorf("cancellation gave the error %v", err)
		}
		want := []string{
			"server stopping", "server stopped", "consumer stopping", "consumer stopped", "store stopping", "store stopped",
		}
		if !reflect.DeepEqual(j.lines, want) {
			t.Errorf("got %q, want %q", j.lines, want)
		}
		if out.Len() > 0 {
			t.Errorf("normal running is not silent: %s", out)
		}
	})
}

func TestGroupReturnsEveryError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var j journal
		disk, late := errors.New("disk"), errors.New("late")
		g, _ := newGroup()
		g.Add("store", j.component("store", 0, late))
		g.Add("broken", Func(func(context.Context) error { return WithCode(CodeIO, disk) }))
		g.Add("consumer", j.component("consumer", 0, nil))
		err := g.Run(t.Context())
		// The store joins its error with the cancellation: neither may hide the other's.
		if !errors.Is(err, disk) || !errors.Is(err, late) || ExitCode(err) != CodeIO {
			t.Errorf("got %v", err)
		}
		if len(j.lines) != 4 {
			t.Errorf("the others were not stopped: %q", j.lines)
		}
	})
}

// TestTheCauseIsNotLostWhenOthersCannotStop: a disk that hangs ends the group, and keeps those that come later from stopping.
func TestTheCauseIsNotLostWhenOthersCannotStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk := errors.New("disk")
		g, _ := newGroup()
		hung := make(chan struct{})
		g.Add("watch", Func(func(context.Context) error { return WithCode(CodeIO, disk) }))
		g.Add("roles", Func(func(context.Context) error { <-hung; return nil }))
		err := g.Run(t.Context())
		if !errors.Is(err, disk) || !errors.Is(err, ErrStopTimeout) || ExitCode(err) != CodeIO {
			t.Errorf("got %v, code %d", err, ExitCode(err))
		}
		close(hung)
	})
}

func TestGroupEndsWithAComponent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var j journal
		g, out := newGroup()
		g.Add("store", j.component("store", 0, nil))
		g.Add("work", Func(func(context.Context) error { return nil }))
		if err := g.Run(t.Context()); err != nil {
			t.Errorf("got %v", err)
		}
		if len(j.lines) != 2 || !bytes.Contains(out.Bytes(), []byte("component=work")) {
			t.Errorf("journal %q, log %s", j.lines, out)
		}
	})
}

func TestGroupGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var j journal
		g, _ := newGroup()
		g.Add("store", j.component("store", 0, nil))
		g.Add("stuck", j.component("stuck", time.Minute, nil))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		err := g.Run(ctx)
		if !errors.Is(err, ErrStopTimeout) || ExitCode(err) != CodeTemporary {
			t.Errorf("got %v with code %d", err, ExitCode(err))
		}
		if waited := time.Since(began); waited != 10*time.Second {
			t.Errorf("waited %s, want 10s", waited)
		}
		time.Sleep(time.Minute) // Virtual: lets the stuck component end, so that nothing leaks.
	})
}

func TestEmptyGroupEnds(t *testing.T) {
	t.Parallel()
	g, _ := newGroup()
	if err := g.Run(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWatchSignals(t *testing.T) {
	t.Parallel()
	signals := make(chan os.Signal, 2)
	var cancelled, code int
	signals <- syscall.SIGTERM
	signals <- syscall.SIGINT
	watch(signals, nil, func() { cancelled++ }, func(c int) { code = c })
	if cancelled != 1 || code != 130 {
		t.Errorf("cancelled %d times, exit code %d; want 1 and 130", cancelled, code)
	}
}

func TestSignalEndsTheContext(t *testing.T) {
	ctx, stop := Signals(t.Context(), func(int) { t.Error("exit on the first signal") })
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	stop()
	stop() // Idempotent.
}
