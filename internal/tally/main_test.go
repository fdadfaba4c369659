package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

const (
	passing = `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"noise\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0.1}
{"Action":"run","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Test":"TestB","Output":"=== RUN   TestB\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b.go:1: SKIPPED: no Java\n"}
{"Action":"skip","Package":"p","Test":"TestB","Elapsed":0}
{"Action":"pass","Package":"p","Elapsed":0.5}
{"Action":"skip","Package":"empty","Elapsed":0}
`
	failing = `{"Action":"output","Package":"q","Test":"TestC","Output":"    c.go:1: wrong\n"}
{"Action":"fail","Package":"q","Test":"TestC","Elapsed":0}
{"Action":"output","Package":"q","Output":"FAIL\n"}
{"Action":"fail","Package":"q","Elapsed":0.1}
`
	unbuilt = `{"ImportPath":"r","Action":"build-output","Output":"r.go:1: undefined: x\n"}
{"ImportPath":"r","Action":"build-fail"}
{"Action":"output","Package":"r","Output":"FAIL\tr [build failed]\n"}
{"Action":"fail","Package":"r","Elapsed":0,"FailedBuild":"r"}
`
	panicked = `{"Action":"run","Package":"s","Test":"TestD"}
{"Action":"output","Package":"s","Test":"TestD","Output":"panic: test timed out\n"}
{"Action":"fail","Package":"s","Elapsed":0}
`
)

func TestRead(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		in    string
		want  tally
		fails bool
		shown []string
	}{
		"passing":  {passing, tally{Passed: 1, Skipped: 1}, false, []string{"SKIPPED: no Java", "ok    p 0.5s"}},
		"failing":  {passing + failing, tally{Passed: 1, Failed: 1, Skipped: 1}, true, []string{"c.go:1: wrong", "FAIL  q"}},
		"unbuilt":  {unbuilt, tally{Failed: 1}, true, []string{"undefined: x", "build failed", "FAIL  r"}},
		"panicked": {panicked, tally{Failed: 1}, true, []string{"test timed out", "FAIL  s"}},
		"nothing":  {"", tally{}, true, nil},
		"no JSON":  {"go: no such package\n", tally{}, true, []string{"go: no such package"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			got, err := read(strings.NewReader(test.in), &out)
			if got != test.want || (err != nil) != test.fails {
				t.Errorf("got %v and error %v, want %v, failing %t", got, err, test.want, test.fails)
			}
			for _, text := range test.shown {
				if !strings.Contains(out.String(), text) {
					t.Errorf("%q is not shown in:\n%s", text, out.String())
				}
			}
			if strings.Contains(out.String(), "noise") || strings.Contains(out.String(), "=== RUN") {
				t.Errorf("the output of passing tests is shown:\n%s", out.String())
			}
		})
	}
}

func TestCountsAddUp(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "counts")
	if _, err := readCounts(path); err == nil {
		t.Error("counts of no run: no error")
	}
	for _, part := range []tally{{1, 2, 3}, {10, 0, 0}} {
		if err := appendCounts(path, part); err != nil {
			t.Fatal(err)
		}
	}
	got, err := readCounts(path)
	if want := "11 passed, 2 failed, 3 skipped"; err != nil || got.String() != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}
