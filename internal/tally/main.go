// Command tally reads the output of go test -json, shows what failed or was skipped and why, and counts.
//
//	go test -json ./... | tally -counts FILE   adds the counts to FILE; fails if a test or a package failed
//	tally -sum FILE                            prints the counts of all runs as one line: N passed, N failed, N skipped
//
// Invariant: every test that ran is counted once, subtests included, and a package that did not build counts as a failure.
// It refuses to hide: what it cannot parse it prints.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	counts := flag.String("counts", "", "file to add the counts to")
	sum := flag.String("sum", "", "file whose counts to print")
	flag.Parse()
	if *sum != "" {
		total, err := readCounts(*sum)
		_, _ = fmt.Fprintln(os.Stdout, total)
		exit(err)
	}
	total, err := read(os.Stdin, os.Stdout)
	if *counts != "" {
		err = errors.Join(err, appendCounts(*counts, total))
	}
	exit(err)
}

func exit(err error) {
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "tally:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// tally is what happened to the tests of some runs.
type tally struct{ Passed, Failed, Skipped int }

// String returns the line that CI reads.
func (t tally) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", t.Passed, t.Failed, t.Skipped)
}

// event is one line of go test -json; see go doc test2json.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build output
	Test        string
	Elapsed     float64
	Output      string
	FailedBuild string
}

// errFailed says that a test or a package failed; the output has told which.
var errFailed = errors.New("tests failed")

// maxLine bounds one line of the input, which holds one line of a test's output.
const maxLine = 16 << 20

// read counts the events of in and writes a line per package, and all output of what failed or was skipped, to out.
func read(in io.Reader, out io.Writer) (tally, error) {
	var total tally
	r := &reader{out: out, output: make(map[string][]string), total: &total, failedIn: make(map[string]bool)}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Action == "" {
			r.print(lines.Text() + "\n")
			continue
		}
		r.event(e)
	}
	if err := lines.Err(); err != nil {
		return total, fmt.Errorf("reading test output: %w", err)
	}
	if r.packages == 0 {
		return total, errors.New("no package was tested")
	}
	if total.Failed > 0 {
		return total, errFailed
	}
	return total, nil
}

type reader struct {
	out      io.Writer
	output   map[string][]string // by package and test, until it is known whether anybody wants to see it
	failedIn map[string]bool     // packages that have a failed test
	packages int
	total    *tally
}

func (r *reader) print(text string) { _, _ = io.WriteString(r.out, text) }

func (r *reader) event(e event) {
	key := e.Package + "\x00" + e.Test
	switch {
	case e.Action == "build-output":
		r.print(e.Output)
	case e.Action == "output":
		r.output[key] = append(r.output[key], e.Output)
	case e.Test == "":
		r.packageEvent(e, key)
	case e.Action == "pass":
		r.total.Passed++
		delete(r.output, key)
	case e.Action == "fail":
		r.total.Failed++
		r.failedIn[e.Package] = true
		r.flush(key)
	case e.Action == "skip":
		r.total.Skipped++
		r.flush(key)
	}
}

func (r *reader) packageEvent(e event, key string) {
	switch e.Action {
	case "pass":
		r.packages++
		r.print(fmt.Sprintf("ok    %s %.1fs\n", e.Package, e.Elapsed))
	case "skip":
		r.packages++
	case "fail":
		r.packages++
		if !r.failedIn[e.Package] {
			// No test of it failed: it did not build, panicked, ran out of time, or its TestMain complained.
			r.total.Failed++
			for name := range r.output {
				if strings.HasPrefix(name, e.Package+"\x00") && name != key {
					r.flush(name)
				}
			}
			r.flush(key)
		}
		r.print(fmt.Sprintf("FAIL  %s %.1fs\n", e.Package, e.Elapsed))
	default:
		return
	}
	delete(r.output, key)
}

func (r *reader) flush(key string) {
	for _, line := range r.output[key] {
		if !strings.HasPrefix(line, "=== ") {
			r.print(line)
		}
	}
	delete(r.output, key)
}

// appendCounts adds a line to the file at path.
func appendCounts(path string, t tally) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // The caller names the file.
	if err != nil {
		return fmt.Errorf("keeping the counts: %w", err)
	}
	_, err = fmt.Fprintln(f, t.Passed, t.Failed, t.Skipped)
	return errors.Join(err, f.Close())
}

// readCounts adds up the lines of the file at path.
func readCounts(path string) (tally, error) {
	var total tally
	f, err := os.Open(path) //nolint:gosec // The caller names the file.
	if err != nil {
		return total, fmt.Errorf("reading the counts: %w", err)
	}
	defer f.Close() //nolint:errcheck // Only read from.
	for {
		var t tally
		_, err := fmt.Fscanln(f, &t.Passed, &t.Failed, &t.Skipped)
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, fmt.Errorf("reading the counts: %w", err)
		}
		total.Passed += t.Passed
		total.Failed += t.Failed
		total.Skipped += t.Skipped
	}
}
