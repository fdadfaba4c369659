package archtest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// module is the path before every import of our own.
const module = "earworm/"

// mainLines bounds cmd/*/main.go: what is longer holds logic.
const mainLines = 100

// Packages outside the module that only some may import.
const (
	kafka      = "github.com/twmb/franz-go"
	fakeKafka  = "github.com/twmb/franz-go/pkg/kfake"
	messages   = "github.com/twmb/franz-go/pkg/kmsg"
	pebble     = "github.com/cockroachdb/pebble"
	prometheus = "github.com/prometheus"
)

// source is one parsed Go file.
type source struct {
	dir, name string // dir is relative to the module, "" for its root
	file      *ast.File
	positions *token.FileSet
	lines     int
}

func (s source) test() bool { return strings.HasSuffix(s.name, "_test.go") }

// at names a place for a message.
func (s source) at(pos token.Pos) string {
	return fmt.Sprintf("%s:%d", path.Join(s.dir, s.name), s.positions.Position(pos).Line)
}

// within says whether the package lies in the folder.
func within(dir, folder string) bool { return dir == folder || strings.HasPrefix(dir, folder+"/") }

func withinAny(dir string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return within(dir, f) })
}

// Check returns every breach of the rules in a tree, one line each, sorted.
func Check(tree fs.FS) ([]string, error) {
	sources, err := load(tree)
	if err != nil {
		return nil, err
	}
	found := checkPackages(sources)
	for _, s := range sources {
		found = append(found, checkImports(s)...)
		found = append(found, checkClock(s)...)
		if within(s.dir, "cmd") && s.name == "main.go" && s.lines >= mainLines {
			found = append(found, fmt.Sprintf("%s/main.go: has %d lines, the bound is %d", s.dir, s.lines, mainLines))
		}
	}
	slices.Sort(found)
	return found, nil
}

// load parses every Go file but those that the go tool ignores.
func load(tree fs.FS) ([]source, error) {
	var sources []source
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if entry.IsDir() {
			if name != "." && (base == "testdata" || base == "vendor" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")) {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		content, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		s := source{name: base, positions: token.NewFileSet(), lines: bytes.Count(content, []byte("\n"))}
		if dir := path.Dir(name); dir != "." {
			s.dir = dir
		}
		s.file, err = parser.ParseFile(s.positions, name, content, parser.ParseComments|parser.SkipObjectResolution)
		sources = append(sources, s)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the tree: %w", err)
	}
	return sources, nil
}

// checkImports applies the table of house-style.md, section 2, to one file. Tests may import more, except that no package of ours
// may reach into one that stands above it.
func checkImports(s source) []string {
	var found []string
	for _, spec := range s.file.Imports {
		target, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has refused it already
		}
		if why := forbidden(s, target); why != "" {
			found = append(found, fmt.Sprintf("%s: imports %s: %s", s.at(spec.Pos()), target, why))
		}
	}
	return found
}

// forbidden says why a file may not import a package, or "".
func forbidden(s source, target string) string {
	if own, ok := strings.CutPrefix(target, module); ok {
		return forbiddenOwn(s, own)
	}
	if target == "math/rand" {
		return "use math/rand/v2 with an injected source"
	}
	if s.test() {
		return ""
	}
	for _, r := range outside {
		if !within(target, r.pkg) {
			continue
		}
		if len(r.only) > 0 && !withinAny(s.dir, r.only) {
			return r.why
		}
		if withinAny(s.dir, r.never) {
			return r.why
		}
	}
	if within(target, kafka) && within(s.dir, "internal/broker") && !within(target, fakeKafka) && !within(target, messages) {
		return "the embedded broker is kfake, and the requests it answers, and nothing else of franz-go"
	}
	return ""
}

// outside says which packages of others only some of ours may import (only), or some may not (never).
var outside = []struct {
	pkg         string
	only, never []string
	why         string
}{
	// internal/bench measures the broker and the pipeline from outside, as a producer and a reader.
	{pkg: kafka, only: []string{"consumers", "internal/broker", "internal/bench", "internal/testkit"}, why: "only consumers talks to Kafka"},
	{pkg: pebble, only: []string{"state"}, why: "only state talks to Pebble"},
	{pkg: prometheus, never: []string{"schemas", "model"}, why: "schemas and model do not observe themselves"},
	{pkg: "log", never: []string{"schemas", "model"}, why: "schemas and model do not log"},
	{pkg: "net", never: []string{"schemas", "model"}, why: "schemas and model do no I/O"},
}

// layer says what the packages of a folder may import from us. The first folder that fits counts.
type layer struct {
	folder  string
	allowed []string
}

var layers = []layer{
	{"schemas", []string{"schemas", "internal/invariant"}},
	{"model", []string{"model", "internal/invariant"}},
	{"state", []string{"state", "model", "internal/invariant"}},
	{"consumers/stream", []string{"consumers/stream", "internal"}},
	{"consumers", []string{"schemas", "model", "state", "consumers/stream", "internal"}}, // and itself, not a sibling
	{"internal/invariant", nil},
}

// forbiddenOwn says why a file may not import a package of ours, or "".
func forbiddenOwn(s source, target string) string {
	if within(target, "cmd") {
		return "nothing imports a command"
	}
	if within(target, "internal/archtest") {
		return "nothing imports the rules"
	}
	if within(target, "internal/testkit") && !s.test() && !within(s.dir, "internal/testkit") {
		return "testkit is for tests"
	}
	if s.test() && within(target, "internal") {
		return "" // tests may use any tool of ours
	}
	for _, l := range layers {
		if !within(s.dir, l.folder) {
			continue
		}
		if withinAny(target, l.allowed) || within(target, s.dir) {
			return ""
		}
		return "the layer " + l.folder + " stands below it or beside it"
	}
	return ""
}

// clock lists the functions that read the wall clock.
var clock = []string{"Now", "Since", "Until"}

// checkClock finds readings of the wall clock in packages whose time is a parameter.
func checkClock(s source) []string {
	if s.test() || !withinAny(s.dir, []string{"model", "state", "schemas"}) {
		return nil
	}
	var found []string
	ast.Inspect(s.file, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if pkg, ok := selector.X.(*ast.Ident); ok && pkg.Name == "time" && slices.Contains(clock, selector.Sel.Name) {
			found = append(found, fmt.Sprintf("%s: reads the clock with time.%s: pass the time in", s.at(n.Pos()), selector.Sel.Name))
		}
		return true
	})
	return found
}

// folders are the ones that may stand at the top of the repository; another needs an ADR.
var folders = []string{"cmd", "consumers", "deploy", "docs", "internal", "model", "schemas", "state"}

// emptyNames say nothing about what a package is.
var emptyNames = []string{"util", "utils", "common", "helper", "helpers", "misc", "pkg"}

// checkPackages checks the names of folders and that each package says what it is.
func checkPackages(sources []source) []string {
	documented := map[string]bool{}
	for _, s := range sources {
		documented[s.dir] = documented[s.dir] || documents(s)
	}
	var found []string
	for dir, ok := range documented {
		if !ok {
			found = append(found, dir+": has no doc.go that begins with its name (a command may say it in main.go)")
		}
		parts := strings.Split(dir, "/")
		if !slices.Contains(folders, parts[0]) {
			found = append(found, fmt.Sprintf("%q: a new top-level folder needs an ADR", parts[0]))
		}
		for _, part := range parts {
			if slices.Contains(emptyNames, part) {
				found = append(found, fmt.Sprintf("%s: %q says nothing about what is inside", dir, part))
			}
		}
	}
	return found
}

// documents says whether a file tells what its package is: doc.go, or for a command also main.go.
func documents(s source) bool {
	name := s.file.Name.Name
	comment := s.file.Doc.Text()
	switch {
	case s.name == "doc.go" && name != "main":
		return strings.HasPrefix(comment, "Package "+name+" ")
	case name == "main" && (s.name == "doc.go" || s.name == "main.go"):
		return strings.HasPrefix(comment, "Command "+path.Base(s.dir)+" ")
	}
	return false
}
