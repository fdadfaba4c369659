package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"earworm/internal/obs"
	"earworm/internal/run"
)

// command runs one command line with the variables of environ.
func command(t *testing.T, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = execute(t.Context(), args, streams{in: strings.NewReader(""), out: &out, err: &err}, environ)
	return code, out.String(), err.String()
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		environ []string
		args    []string
		code    int
		out     string // what is found in the standard output
		err     string // what is found in the standard error; empty: it must be empty
	}{
		"help":               {args: []string{"--help"}, out: "Available Commands"},
		"no command":         {out: "Available Commands"},
		"help hides most":    {args: []string{"--help"}, out: "--kafka.brokers"},
		"unknown command":    {args: []string{"sreve"}, code: run.CodeUsage, err: `unknown command "sreve"`},
		"unknown flag":       {args: []string{"version", "--nope"}, code: run.CodeUsage, err: "--nope"},
		"unknown subcommand": {args: []string{"config", "chekc"}, code: run.CodeUsage, err: "config chekc"},
		"extra argument":     {args: []string{"version", "x"}, code: run.CodeUsage, err: `unexpected argument "x"`},
		"version":            {args: []string{"version"}, out: "earworm "},
		"check":              {args: []string{"config", "check"}, out: "valid"},
		"check warns":        {environ: []string{"EARWORM_KAFKA_BROKERS=10.0.0.1:9092"}, args: []string{"config", "check"}, out: "valid", err: "not encrypted"},
		"check fails":        {environ: []string{"EARWORM_EMIT_HOUR=99", "EARWORM_NOPE=1"}, args: []string{"config", "check"}, code: run.CodeConfig, err: "earworm: EARWORM_NOPE: unknown variable\nearworm: emit.hour: 99 must be from 0 to 23\n"},
		"print":              {args: []string{"config", "print", "--app", "other"}, out: "app: other\n"},
		"print origins":      {environ: []string{"EARWORM_LOG_LEVEL=warn"}, args: []string{"config", "print", "--origins"}, out: "level: warn # env\n"},
		"print fails":        {args: []string{"config", "print", "--log.level", "loud"}, code: run.CodeConfig, err: `log.level: "loud"`},
		"missing file":       {args: []string{"config", "check", "--config", "/missing"}, code: run.CodeConfig, err: "/missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, out, err := command(t, test.environ, test.args...)
			if code != test.code || !strings.Contains(out, test.out) || !strings.Contains(err, test.err) || (test.err == "") != (err == "") {
				t.Errorf("code %d, out %.300q, err %q; want %d, %q, %q", code, out, err, test.code, test.out, test.err)
			}
			if code != 0 && out != "" {
				t.Errorf("an error wrote to the standard output: %.300q", out)
			}
		})
	}
}

func TestHelpHidesRareFlags(t *testing.T) {
	t.Parallel()
	if _, out, _ := command(t, nil, "--help"); strings.Contains(out, "--learn.dim") || strings.Contains(out, "password") {
		t.Errorf("help shows rare or secret flags:\n%s", out)
	}
	if code, out, _ := command(t, nil, "config", "print", "--learn.dim", "16"); code != 0 || !strings.Contains(out, "dim: 16\n") {
		t.Errorf("a hidden flag does not work: code %d\n%s", code, out)
	}
}

func TestVersionAsJSON(t *testing.T) {
	t.Parallel()
	_, out, _ := command(t, nil, "version", "--json")
	var build obs.Build
	if err := json.Unmarshal([]byte(out), &build); err != nil || build.Go == "" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestReportIsOneLineAProblem(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"":                               context.Canceled,
		"earworm: disk\n":                run.WithCode(run.CodeIO, errors.New("disk")),
		"earworm: a: x\nearworm: b: y\n": errors.Join(errors.New("a: x"), errors.New("b: y")),
	} {
		var out bytes.Buffer
		report(&out, err)
		if out.String() != want {
			t.Errorf("%v gave %q, want %q", err, out.String(), want)
		}
	}
}

func TestInstanceIsTheHostByDefault(t *testing.T) {
	t.Parallel()
	host, err := os.Hostname()
	if err != nil {
		t.Skip("this machine has no name")
	}
	a := &app{}
	if got, err := a.instance(); err != nil || got != host {
		t.Errorf("got %q, %v; want %q", got, err, host)
	}
	a.config.Instance = "7"
	if got, err := a.instance(); err != nil || got != "7" {
		t.Errorf("got %q, %v; want 7", got, err)
	}
}

func TestProgressLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := newProgress(&out, "import", "events", 4000)
	now := p.began
	p.now = func() time.Time { return now }
	now = now.Add(time.Second)
	p.Add(500) // Too early for a line.
	now = now.Add(time.Second)
	p.Add(500)
	now = now.Add(2 * time.Second)
	p.Set(4000)
	p.Done()
	p.Done()
	p.Add(1)
	want := "import: 25 % (1,000 of 4,000 events), 500/s, 6s left\n" +
		"import: 100 % (4,000 of 4,000 events), 1,000/s, 0s left\n" +
		"import: 4,000 events in 4s (1,000/s)\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestProgressOfUnknownLength(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := newProgress(&out, "produce", "records", 0)
	now := p.began
	p.now = func() time.Time { return now }
	p.Done()
	if want := "produce: 0 records in 0s (0/s)\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	out.Reset()
	p = newProgress(&out, "produce", "records", -1)
	p.now = func() time.Time { return p.began.Add(progressInterval) }
	p.Add(1_234_567)
	if want := "produce: 1,234,567 records, 617,283/s\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestThousands(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567", 123456: "123,456"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}

func TestHealthAsksTheProbes(t *testing.T) {
	t.Parallel()
	health := obs.NewHealth(0, time.Now)
	server := httptest.NewServer(obs.PublicHandler(obs.Build{}, health, prometheus.NewPedanticRegistry()))
	t.Cleanup(server.Close)
	listen := "--http.listen=" + strings.TrimPrefix(server.URL, "http://")
	everywhere := "--http.listen=" + strings.Replace(strings.TrimPrefix(server.URL, "http://"), "127.0.0.1", "0.0.0.0", 1)
	expect := func(code int, out, problem string, args ...string) {
		t.Helper()
		gotCode, gotOut, gotErr := command(t, nil, append([]string{"health"}, args...)...)
		if gotCode != code || gotOut != out || !strings.Contains(gotErr, problem) {
			t.Errorf("%q: code %d, out %q, err %q; want %d, %q, %q", args, gotCode, gotOut, gotErr, code, out, problem)
		}
	}
	expect(0, "ok\n", "", listen)
	expect(0, "ok\n", "", everywhere)
	health.AddCheck("tasks", func() (bool, string) { return false, "restoring" })
	health.AddCheck("disk", func() (bool, string) { return false, "full" })
	expect(run.CodeTemporary, "", "no: tasks: restoring; disk: full", listen)
	expect(0, "ok\n", "", listen, "--live")
	server.Close()
	expect(run.CodeTemporary, "", "refused", listen)
	expect(run.CodeTemporary, "", "nobody to ask", "--http.listen=")
}

// TestMainIsShort keeps logic out of main.go.
func TestMainIsShort(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(".", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	if lines := bytes.Count(text, []byte("\n")); lines >= 100 {
		t.Errorf("main.go has %d lines, want fewer than 100", lines)
	}
}
