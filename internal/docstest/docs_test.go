package docstest_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the top folder of the project.
const root = "../.."

// facts are what the documents may name.
type facts struct {
	packages map[string]string // name of a package: all its source, tests left out; packages of one name are joined
	source   string            // all of them
	tests    string            // all test files
	flags    map[string]bool   // of commands, without dashes
	commands map[string]bool
	targets  map[string]bool // of make
	settings map[string]bool // keys of the configuration
	alerts   string
}

func readFacts(t *testing.T) *facts {
	t.Helper()
	f := &facts{packages: map[string]string{}}
	var source, tests strings.Builder
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			if err == nil && (entry.Name() == ".git" || entry.Name() == "testdata") {
				return filepath.SkipDir
			}
			return err
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		text := read(t, name)
		if strings.HasSuffix(name, "_test.go") {
			tests.WriteString(text)
			return nil
		}
		source.WriteString(text)
		f.packages[filepath.Base(filepath.Dir(name))] += text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	f.source, f.tests = source.String(), tests.String()
	f.commands = captured(f.packages["earworm"], `Use:\s+"([a-z]+)`)
	for _, name := range []string{"listener", "song"} { // of inspect, which makes its commands in a loop
		f.commands[name] = strings.Contains(f.packages["earworm"], `{"`+name+`", "`)
	}
	f.flags = captured(f.packages["earworm"], `Var\(&[\w.]+, "([a-z-]+)"`)
	f.settings = captured(read(t, filepath.Join(root, "docs/configuration.md")), "(?m)^\\| `([a-z_.0-9]+)` \\|")
	for key := range f.settings {
		f.flags[strings.ReplaceAll(key, "_", "-")] = true
	}
	f.flags["config"], f.flags["help"] = true, true
	f.targets = captured(read(t, filepath.Join(root, "Makefile")), `(?m)^([a-z-]+):`)
	f.alerts = read(t, filepath.Join(root, "deploy/prometheus/alerts.yml"))
	for name, set := range map[string]map[string]bool{
		"commands": f.commands, "flags": f.flags, "settings": f.settings, "make targets": f.targets,
	} {
		if len(set) < 10 {
			t.Fatalf("found only %d %s: this test no longer reads the program", len(set), name)
		}
	}
	return f
}

func read(tb testing.TB, name string) string {
	tb.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// captured returns what the first group of an expression matches.
func captured(text, expression string) map[string]bool {
	set := map[string]bool{}
	for _, match := range regexp.MustCompile(expression).FindAllStringSubmatch(text, -1) {
		set[match[1]] = true
	}
	return set
}

// What a document can name. Code is what stands between backticks on one line, or in a fenced block.
var (
	fence      = regexp.MustCompile("(?ms)^```[a-z]*\n(.*?)^```")
	inline     = regexp.MustCompile("`([^`\n]+)`")
	link       = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	repoPath   = regexp.MustCompile(`^\.?(?:cmd|consumers|state|model|schemas|internal|docs|deploy|\.ci)(?:/[\w.-]+)+/?$|^[A-Z][\w.-]*\.(?:md|yml)$|^(?:Makefile|Dockerfile)$`)
	goName     = regexp.MustCompile(`^([a-z]+)\.([A-Z]\w*)(?:\.([A-Z]\w*))?$`)
	testName   = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark|Example)[A-Z]\w+`)
	metricName = regexp.MustCompile(`\bearworm_([a-z]+)_([a-z0-9_]+)\b`)
	setting    = regexp.MustCompile(`^[a-z]+\.[a-z_]+$`)
	makeTarget = regexp.MustCompile(`\bmake ([a-z-]+)`)
	command    = regexp.MustCompile(`(?:\./cmd/|^|[\s/])earworm ([a-z]+)((?:[ \t]+[^\n|&;#]+)?)`)
	flag       = regexp.MustCompile(`(?:^|\s)--([a-z][a-z0-9.-]*)`)
)

// problems lists what a document names and the program does not have. dir is the document's folder.
func (f *facts) problems(dir, text string) []string {
	var found []string
	report := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	for _, match := range link.FindAllStringSubmatch(text, -1) {
		if !exists(path.Join(dir, match[1])) {
			report("link to %s", match[1])
		}
	}
	for _, block := range fence.FindAllStringSubmatch(text, -1) {
		f.checkCommands(strings.ReplaceAll(block[1], "\\\n", " "), report)
	}
	for _, match := range inline.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		f.checkSpan(match[1], report)
	}
	for _, name := range testName.FindAllString(text, -1) {
		if !strings.Contains(f.tests, "func "+name+"(") {
			report("test %s", name)
		}
	}
	for _, match := range metricName.FindAllStringSubmatch(text, -1) {
		if source := f.packages[match[1]]; match[1] != "build" && !strings.Contains(source, `"`+match[2]+`"`) &&
			!strings.Contains(source, `"`+match[0]+`"`) {
			report("metric %s", match[0])
		}
	}
	return found
}

// checkSpan looks at one piece of inline code.
func (f *facts) checkSpan(span string, report func(string, ...any)) {
	if repoPath.MatchString(span) && !exists(span) {
		report("path %s", span)
	}
	if match := goName.FindStringSubmatch(span); match != nil {
		for _, name := range match[2:] {
			if name != "" && !regexp.MustCompile(`\b`+name+`\b`).MatchString(f.packages[match[1]]) {
				report("Go name %s", span)
			}
		}
	}
	section, _, _ := strings.Cut(span, ".")
	if setting.MatchString(span) && hasSection(f.settings, section) && !f.settings[span] && !repoFile(span) {
		report("setting %s", span)
	}
	f.checkCommands(span, report)
}

// repoFile says whether a name that looks like a setting is one of a file.
func repoFile(span string) bool {
	return slices.Contains([]string{".go", ".md", ".yml", ".txt"}, path.Ext(span))
}

func hasSection(settings map[string]bool, section string) bool {
	for key := range settings {
		if strings.HasPrefix(key, section+".") {
			return true
		}
	}
	return false
}

// checkCommands looks at command lines.
func (f *facts) checkCommands(lines string, report func(string, ...any)) {
	for line := range strings.Lines(lines) {
		for _, match := range makeTarget.FindAllStringSubmatch(line, -1) {
			if !f.targets[match[1]] {
				report("make %s", match[1])
			}
		}
		for _, match := range command.FindAllStringSubmatch(line, -1) {
			if !f.commands[match[1]] {
				report("earworm %s", match[1])
			}
			for _, given := range flag.FindAllStringSubmatch(match[2], -1) {
				if !f.flags[given[1]] {
					report("earworm %s --%s", match[1], given[1])
				}
			}
		}
	}
}

func exists(name string) bool {
	_, err := os.Stat(filepath.Join(root, filepath.FromSlash(name)))
	return err == nil
}

// documents lists every Markdown file by its path in the project.
func documents(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		names, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			short, err := filepath.Rel(root, name)
			if err != nil {
				t.Fatal(err)
			}
			found[filepath.ToSlash(short)] = read(t, name)
		}
	}
	for _, name := range []string{"README.md", "CHANGELOG.md", "docs/architecture.md", "docs/capabilities.md", "docs/runbook.md"} {
		if found[name] == "" {
			t.Errorf("%s is missing", name)
		}
	}
	return found
}

func TestDocumentsNameWhatExists(t *testing.T) {
	t.Parallel()
	f, all := readFacts(t), documents(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for _, problem := range f.problems(path.Dir(name), all[name]) {
			t.Errorf("%s names something that does not exist: %s", name, problem)
		}
	}
}

// TestProblemsAreSeen keeps the test above able to fail.
func TestProblemsAreSeen(t *testing.T) {
	t.Parallel()
	f := readFacts(t)
	for text, want := range map[string]string{
		"see `internal/nothing/here.go`":                    "path internal/nothing/here.go",
		"see [this](nowhere.md#there)":                      "link to nowhere.md",
		"the `factor.Nonsense` learns":                      "Go name factor.Nonsense",
		"shown by TestOfNothingAtAll":                       "test TestOfNothingAtAll",
		"the metric `earworm_stream_nothing_total`":         "metric earworm_stream_nothing_total",
		"set `emit.nothing` to 3":                           "setting emit.nothing",
		"`make nothing` does it":                            "make nothing",
		"`earworm nothing` does it":                         "earworm nothing",
		"```sh\ngo run ./cmd/earworm demo --nothing 3\n```": "earworm demo --nothing",
		"```sh\nearworm demo \\\n  --nothing 3\n```":        "earworm demo --nothing",
		"`internal/docstest`, [a](../README.md), `factor.Table`, TestProblemsAreSeen, `earworm_stream_tasks`, `emit.hour`, `make test`, " +
			"`earworm config check --kafka.client-id x`": "",
	} {
		got := f.problems("docs", text)
		if (want == "") != (len(got) == 0) || (want != "" && !slices.Equal(got, []string{want})) {
			t.Errorf("%q: found %q, want %q", text, got, want)
		}
	}
}

// TestReadmeCommands: .ci/run runs the README's two commands, so they must be the same.
func TestReadmeCommands(t *testing.T) {
	t.Parallel()
	readme, ci := read(t, filepath.Join(root, "README.md")), read(t, filepath.Join(root, ".ci/run"))
	match := regexp.MustCompile(`(?m)^readme='(.+)'$`).FindStringSubmatch(ci)
	if match == nil {
		t.Fatal(".ci/run no longer names the README's test command")
	}
	for _, line := range []string{"go run ./cmd/earworm demo", match[1]} {
		if !slices.Contains(strings.Split(readme, "\n"), line) {
			t.Errorf("README.md has no line %q", line)
		}
	}
}

// TestDecisionsAreNumbered: each record has a number of its own, and its title begins with it.
func TestDecisionsAreNumbered(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for name, text := range documents(t) {
		if path.Dir(name) != "docs/adr" || path.Base(name) == "README.md" {
			continue
		}
		number, _, _ := strings.Cut(path.Base(name), "-")
		if other, twice := seen[number]; twice {
			t.Errorf("%s and %s have one number", name, other)
		}
		seen[number] = name
		title, _, _ := strings.Cut(text, "\n")
		if !strings.HasPrefix(title, "# ") || !strings.Contains(title, strings.TrimLeft(number, "0")) {
			t.Errorf("%s: the title is %q, want it to begin with the number", name, title)
		}
	}
	if len(seen) == 0 {
		t.Error("no decisions found")
	}
}
