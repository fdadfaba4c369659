package archtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// root finds the folder of go.mod.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if filepath.Dir(dir) == dir {
			t.Fatal("there is no go.mod above this package")
		}
		dir = filepath.Dir(dir)
	}
}

func TestTheRepositoryKeepsTheRules(t *testing.T) {
	tree := os.DirFS(root(t))
	sources, err := load(tree)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, s := range sources {
		seen[s.dir] = true
	}
	for _, dir := range []string{"cmd/earworm", "consumers/stream", "state", "schemas", "model/factor", "internal/archtest"} {
		if !seen[dir] {
			t.Errorf("%s was not looked at", dir)
		}
	}
	found, err := Check(tree)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Error(f)
	}
}

// TestEachRuleBites gives each rule a tree that breaks it once, and its nearest neighbours that do not.
func TestEachRuleBites(t *testing.T) {
	imports := func(paths ...string) string {
		var b strings.Builder
		b.WriteString("package x\n")
		for _, p := range paths {
			fmt.Fprintf(&b, "import _ %q\n", p)
		}
		return b.String()
	}
	tests := []struct {
		name, file, content string
		want                string // part of the one breach, "" for none
	}{
		{"schemas may use invariant", "schemas/a.go", imports("earworm/internal/invariant"), ""},
		{"schemas knows no model", "schemas/a.go", imports("earworm/model/factor"), "the layer schemas"},
		{"schemas does not log", "schemas/a.go", imports("log/slog"), "do not log"},
		{"model does no I/O", "model/x/a.go", imports("net/http"), "do no I/O"},
		{"model may parse addresses' neighbours", "model/x/a.go", imports("network"), ""},
		{"model is not observed", "model/x/a.go", imports("github.com/prometheus/client_golang/prometheus"), "do not observe"},
		{"model knows no schemas", "model/x/a.go", imports("earworm/schemas"), "the layer model"},
		{"model may use model", "model/x/a.go", imports("earworm/model/decay"), ""},
		{"tests of model stay in their layer", "model/x/a_test.go", imports("earworm/schemas"), "the layer model"},
		{"tests may use tools", "model/x/a_test.go", imports("earworm/internal/testkit/oracle", "log/slog"), ""},
		{"state may use Pebble", "state/a.go", imports("github.com/cockroachdb/pebble/v2", "earworm/model/decay"), ""},
		{"state knows no schemas", "state/a.go", imports("earworm/schemas"), "the layer state"},
		{"state talks to no broker", "state/a.go", imports("github.com/twmb/franz-go/pkg/kgo"), "only consumers talks to Kafka"},
		{"the runtime knows no music", "consumers/stream/a.go", imports("earworm/model/decay"), "the layer consumers/stream"},
		{"the runtime knows no store", "consumers/stream/a.go", imports("earworm/state"), "the layer consumers/stream"},
		{"the runtime talks to Kafka", "consumers/stream/a.go", imports("github.com/twmb/franz-go/pkg/kgo", "earworm/internal/obs"), ""},
		{"roles use what is below", "consumers/song/a.go", imports("earworm/state", "earworm/schemas", "earworm/consumers/stream"), ""},
		{"roles know no sibling", "consumers/song/a.go", imports("earworm/consumers/listener"), "the layer consumers"},
		{"roles do not open Pebble", "consumers/song/a.go", imports("github.com/cockroachdb/pebble/v2/vfs"), "only state talks to Pebble"},
		{"commands do not open Pebble", "cmd/x/a.go", imports("github.com/cockroachdb/pebble/v2"), "only state talks to Pebble"},
		{"the broker is kfake", "internal/broker/a.go", imports("github.com/twmb/franz-go/pkg/kfake"), ""},
		{"the broker sees the requests it answers", "internal/broker/a.go", imports("github.com/twmb/franz-go/pkg/kmsg"), ""},
		{"the broker is kfake only", "internal/broker/a.go", imports("github.com/twmb/franz-go/pkg/kgo"), "the embedded broker"},
		{"tools do not talk to Kafka", "internal/obs/a.go", imports("github.com/twmb/franz-go/pkg/kgo"), "only consumers talks to Kafka"},
		{"tests may talk to Kafka", "internal/obs/a_test.go", imports("github.com/twmb/franz-go/pkg/kgo"), ""},
		{"testkit is for tests", "internal/service/a.go", imports("earworm/internal/testkit/oracle"), "testkit is for tests"},
		{"build tags hide nothing", "internal/service/a.go", "//go:build never\n\n" + imports("earworm/internal/testkit"), "testkit is for tests"},
		{"invariant knows nobody", "internal/invariant/a.go", imports("earworm/schemas"), "the layer internal/invariant"},
		{"nothing imports a command", "internal/service/a.go", imports("earworm/cmd/earworm"), "nothing imports a command"},
		{"the old random source", "internal/service/a.go", imports("math/rand"), "math/rand/v2"},
		{"the new random source", "internal/service/a.go", imports("math/rand/v2"), ""},
		{"the clock in state", "state/a.go", "package x\nimport \"time\"\nvar t = time.Now\n", "reads the clock with time.Now"},
		{"the clock by way of Since", "model/x/a.go", "package x\nimport \"time\"\nfunc f(t time.Time) { _ = time.Since(t) }\n", "time.Since"},
		{"the clock in a test", "state/a_test.go", "package x\nimport \"time\"\nvar t = time.Now\n", ""},
		{"the clock at the edge", "internal/service/a.go", "package x\nimport \"time\"\nvar t = time.Now\n", ""},
		{"a long main", "cmd/x/main.go", "// Command x does.\npackage main\n" + strings.Repeat("\n", mainLines-2), "the bound is"},
		{"a short main", "cmd/x/main.go", "// Command x does.\npackage main\n" + strings.Repeat("\n", mainLines-3), ""},
		{"a package without words", "internal/mute/a.go", "package mute\n", "has no doc.go"},
		{"a doc of another package", "internal/mute/doc.go", "// Package other is.\npackage mute\n", "has no doc.go"},
		{"a doc in the wrong file", "internal/mute/mute.go", "// Package mute is.\npackage mute\n", "has no doc.go"},
		{"a name that says nothing", "internal/util/doc.go", "// Package util is.\npackage util\n", "says nothing"},
		{"a new folder", "extra/doc.go", "// Package extra is.\npackage extra\n", "needs an ADR"},
		{"testdata is not looked at", "state/testdata/a.go", "package broken; import \"earworm/schemas\"", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tree := fstest.MapFS{test.file: {Data: []byte(test.content)}}
			if strings.HasPrefix(test.content, "package x") || strings.HasPrefix(test.content, "//go:build") {
				tree[filepath.Dir(test.file)+"/doc.go"] = &fstest.MapFile{Data: []byte("// Package x is.\npackage x\n")}
			}
			found, err := Check(tree)
			if err != nil {
				t.Fatal(err)
			}
			if test.want == "" && len(found) > 0 || test.want != "" && (len(found) != 1 || !strings.Contains(found[0], test.want)) {
				t.Errorf("found %q, want %q", found, test.want)
			}
		})
	}
}

func TestAFileThatDoesNotParseIsAnError(t *testing.T) {
	if _, err := Check(fstest.MapFS{"state/a.go": {Data: []byte("package")}}); err == nil {
		t.Error("no error")
	}
}
