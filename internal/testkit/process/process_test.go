package process_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"earworm/internal/testkit/process"
)

// helperVar makes the re-executed test binary play a role instead of running tests.
const helperVar = "EARWORM_PROCESS_HELPER"

func TestMain(m *testing.M) {
	switch os.Getenv(helperVar) {
	case "server":
		os.Exit(serve())
	case "quitter":
		fmt.Fprintln(os.Stderr, "cannot open the store")
		os.Exit(3)
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ignoring")
		select {} // ends by SIGKILL only
	case "parent":
		parent()
	}
	goleak.VerifyTestMain(m)
}

// serve answers /readyz with 503 twice and then 200, and leaves with code 7 on SIGTERM.
func serve() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var asked atomic.Int32
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) <= 2 {
			http.Error(w, "restoring task 3", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/never", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "restoring task 3", http.StatusServiceUnavailable)
	})
	server := &http.Server{Addr: os.Args[1], Handler: mux, ReadHeaderTimeout: time.Second}
	go func() { _ = server.ListenAndServe() }()
	fmt.Println("hello", os.Getenv("EARWORM_PROCESS_EXTRA"))
	<-ctx.Done()
	fmt.Println("bye")
	return 7
}

// parent starts a child, tells its process id and then waits to be killed.
func parent() {
	child, err := process.Start(context.Background(), config("deaf", os.Args[1]))
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("child", child.PID())
	select {}
}

func config(role, log string, args ...string) process.Config {
	exe, _ := os.Executable()
	return process.Config{Path: exe, Args: args, Env: []string{helperVar + "=" + role, "EARWORM_PROCESS_EXTRA=there"}, Log: log}
}

func server(t *testing.T) (child *process.Child, url string) {
	t.Helper()
	ports, err := process.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))
	child = process.Run(t, config("server", "", addr))
	child.MustReady(t, "http://"+addr+"/readyz", 20*time.Second)
	return child, "http://" + addr
}

func TestTerminateGivesExitCodeAndLog(t *testing.T) {
	child, _ := server(t)
	child.MustTerminate(t, 10*time.Second, 7)
	if got, want := child.Tail(5), "hello there\nbye"; got != want {
		t.Errorf("log = %q, want %q", got, want)
	}
	if child.Tail(1) != "bye" || child.Tail(0) != "" || !child.Logged("hello") || child.Logged("hallo") {
		t.Errorf("Tail or Logged misreads %q", child.Tail(5))
	}
	if _, err := child.Terminate(time.Second); !errors.Is(err, process.ErrEnded) {
		t.Errorf("second Terminate: %v, want ErrEnded", err)
	}
}

func TestKill(t *testing.T) {
	child, url := server(t)
	child.MustKill(t)
	exit, err := child.Wait(t.Context())
	if err != nil || exit.Code != -1 || exit.Signal != syscall.SIGKILL {
		t.Errorf("exit = %+v, %v; want SIGKILL", exit, err)
	}
	if child.Running() || child.Logged("bye") {
		t.Error("the killed child went on")
	}
	if err := child.Kill(); !errors.Is(err, process.ErrEnded) {
		t.Errorf("Kill of the dead: %v, want ErrEnded", err)
	}
	if err := child.WaitReady(t.Context(), url+"/readyz"); !errors.Is(err, process.ErrEnded) {
		t.Errorf("WaitReady of the dead: %v, want ErrEnded", err)
	}
}

func TestWaitReadyNamesTheReason(t *testing.T) {
	child, url := server(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := child.WaitReady(ctx, url+"/never")
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "restoring task 3") {
		t.Errorf("error = %v, want the deadline and the reason", err)
	}
}

func TestWaitReadySeesAnEndedChild(t *testing.T) {
	child := process.Run(t, config("quitter", ""))
	err := child.WaitReady(t.Context(), "http://127.0.0.1:1/readyz")
	if !errors.Is(err, process.ErrEnded) || !strings.Contains(err.Error(), "exit code 3") || !strings.Contains(err.Error(), "cannot open the store") {
		t.Errorf("error = %v, want ErrEnded with the exit code and the log", err)
	}
}

func TestPauseStopsAndResumeContinues(t *testing.T) {
	child, url := server(t)
	if err := child.Pause(); errors.Is(err, errors.ErrUnsupported) {
		t.Skip("no SIGSTOP here")
	} else if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := child.WaitReady(ctx, url+"/readyz"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a paused child answered: %v", err)
	}
	if err := child.Resume(); err != nil {
		t.Fatal(err)
	}
	child.MustReady(t, url+"/readyz", 10*time.Second)
	// A paused child can still be killed.
	if err := child.Pause(); err != nil {
		t.Fatal(err)
	}
	child.MustKill(t)
}

func TestTerminateKillsTheDeaf(t *testing.T) {
	child := process.Run(t, config("deaf", ""))
	for !child.Logged("ignoring") {
		runtime.Gosched()
	}
	exit, err := child.Terminate(100 * time.Millisecond)
	if err == nil || exit.Signal != syscall.SIGKILL {
		t.Errorf("exit = %v, error = %v; want a kill and an error", exit, err)
	}
}

func TestContextEndsTheChild(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	child, err := process.Start(ctx, config("deaf", filepath.Join(t.TempDir(), "log")))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if exit, err := child.Wait(t.Context()); err != nil || exit.Signal != syscall.SIGKILL {
		t.Errorf("exit = %v, %v; want SIGKILL", exit, err)
	}
}

func TestStartErrors(t *testing.T) {
	if _, err := process.Start(t.Context(), process.Config{}); err == nil || !strings.Contains(err.Error(), "path") || !strings.Contains(err.Error(), "log") {
		t.Errorf("error = %v, want both problems named", err)
	}
	missing := filepath.Join(t.TempDir(), "missing")
	if _, err := process.Start(t.Context(), process.Config{Path: missing, Log: missing + ".log"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error = %v, want not exist", err)
	}
}

// A test process that is killed takes its children with it: no cleanup runs then.
func TestChildDiesWithItsParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs the parent-death signal of Linux")
	}
	cfg := config("parent", "", filepath.Join(t.TempDir(), "grandchild.log"))
	cmd := exec.CommandContext(t.Context(), cfg.Path, cfg.Args...)
	cmd.Env = append(os.Environ(), cfg.Env...)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(pipe).ReadString('\n')
	pid, convErr := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "child ")))
	if err != nil || convErr != nil {
		t.Fatalf("parent said %q, %v", line, err)
	}
	if !alive(t, pid) {
		t.Fatal("the grandchild never ran")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	deadline := time.Now().Add(10 * time.Second)
	for alive(t, pid) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d outlived its parent", pid)
		}
		runtime.Gosched()
	}
}

// alive reads /proc: a zombie that nobody reaps is dead for our purpose.
func alive(t *testing.T, pid int) bool {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	_, rest, ok := strings.Cut(string(raw), ") ")
	return ok && rest[0] != 'Z' && rest[0] != 'X'
}

func TestBuilderBuildsOnce(t *testing.T) {
	builder := process.NewBuilder()
	build := process.Build{Package: "earworm/internal/testkit/process/testdata/hello", Tags: []string{"b", "shout", "b"}}
	paths := make([]string, 4)
	var group sync.WaitGroup
	for i := range paths {
		group.Go(func() { paths[i] = builder.Binary(t, build) })
	}
	group.Wait()
	for _, path := range paths {
		if path == "" || path != paths[0] {
			t.Fatalf("paths differ: %q", paths)
		}
	}
	plain := builder.Binary(t, process.Build{Package: build.Package})
	for path, want := range map[string]string{paths[0]: "HELLO", plain: "hello"} {
		child := process.Run(t, process.Config{Path: path})
		exit, err := child.Wait(t.Context())
		if err != nil || exit.Code != 0 || child.Tail(1) != want {
			t.Errorf("%v, %v, said %q, want %q", exit, err, child.Tail(1), want)
		}
	}
	if _, err := builder.Path(t.Context(), process.Build{Package: "earworm/no/such/package"}); err == nil {
		t.Error("a package that does not exist was built")
	}
	for range 2 {
		if err := builder.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(plain); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("binary after Close: %v", err)
	}
}

func TestFreePorts(t *testing.T) {
	ports, err := process.FreePorts(8)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[int]bool)
	for _, port := range ports {
		if seen[port] || port < 15000 || port >= 32000 {
			t.Errorf("ports %v: doubles or out of range", ports)
		}
		seen[port] = true
		listener, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		_ = listener.Close()
	}
}

func TestTailFileOfNothing(t *testing.T) {
	if got := process.TailFile(filepath.Join(t.TempDir(), "none"), 3); !strings.Contains(got, "none") {
		t.Errorf("Tail of a missing file = %q, want the reason", got)
	}
}

func TestStacksSaysWhatGoroutinesWaitFor(t *testing.T) {
	child, _ := server(t)
	stacks, err := child.Stacks(10 * time.Second)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("no SIGQUIT here")
	}
	if err != nil || !strings.Contains(stacks, "process_test.serve") || strings.Contains(stacks, "hello") {
		t.Errorf("%v; the goroutines:\n%s", err, stacks)
	}
	if _, err := child.Stacks(time.Second); !errors.Is(err, process.ErrEnded) {
		t.Errorf("Stacks of the dead: %v, want ErrEnded", err)
	}
	quitter := process.Run(t, config("deaf", ""))
	for !quitter.Logged("ignoring") {
		runtime.Gosched()
	}
	if err := quitter.Pause(); err != nil {
		t.Skip("no SIGSTOP here")
	}
	if _, err := quitter.Stacks(100 * time.Millisecond); err == nil || quitter.Running() {
		t.Errorf("a child that does not answer: %v, running: %v", err, quitter.Running())
	}
}

func TestSummarisePutsEqualGoroutinesTogether(t *testing.T) {
	const dump = `SIGQUIT: quit

goroutine 7 gp=0xc000 m=nil [select, 12 minutes]:
main.wait(0xc0001, {0x1, 0x2})
	/src/main.go:10 +0x1d fp=0x1 sp=0x2 pc=0x3
created by main.main in goroutine 1
	/src/main.go:5 +0x2

goroutine 8 [select, 2 minutes]:
main.wait(0xc0002, {0x3, 0x4})
	/src/main.go:10 +0x1d
created by main.main in goroutine 3
	/src/main.go:5 +0x2

goroutine 1 [running]:
main.main()
	/src/main.go:6 +0x9

rax 0x0
`
	const want = `1 × [running]
main.main()
	/src/main.go:6

2 × [select, for up to 12 minutes]
main.wait
	/src/main.go:10
created by main.main
	/src/main.go:5

`
	if got := process.Summarise(dump); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
