package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Build says which binary to make.
type Build struct {
	Package string   // import path, for example "earworm/cmd/earworm"
	Race    bool     // with the race detector; the child then ends with code 66 after a race
	Tags    []string // build tags, in any order
}

func (b Build) key() string {
	return b.Package + " race=" + strconv.FormatBool(b.Race) + " tags=" + strings.Join(b.tags(), ",")
}

func (b Build) tags() []string {
	tags := slices.Clone(b.Tags)
	slices.Sort(tags)
	return slices.Compact(tags)
}

// Builder builds each binary once, however many tests ask for it. Make one in TestMain and close it there. Its methods may be
// called concurrently.
type Builder struct {
	mu    sync.Mutex
	dir   string
	built map[string]func() (string, error)
}

// NewBuilder returns a Builder that has made nothing yet.
func NewBuilder() *Builder { return &Builder{built: make(map[string]func() (string, error))} }

// Path returns the built binary's path, building it on the first call for these options. A failed build stays failed: its error,
// with the compiler's output, is what every later call gets.
func (b *Builder) Path(ctx context.Context, build Build) (string, error) {
	b.mu.Lock()
	once, ok := b.built[build.key()]
	if !ok {
		once = sync.OnceValues(func() (string, error) { return b.build(ctx, build) })
		b.built[build.key()] = once
	}
	b.mu.Unlock()
	return once() // outside the lock: a build takes seconds
}

// Binary is Path for tests: it ends the test when the build does not succeed.
func (b *Builder) Binary(tb testing.TB, build Build) string {
	tb.Helper()
	// The first asker's end must not spoil the build for the others.
	path, err := b.Path(context.WithoutCancel(tb.Context()), build)
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// Close removes every binary. It is idempotent; nothing may be built afterwards with paths from before.
func (b *Builder) Close() error {
	b.mu.Lock()
	dir := b.dir
	b.dir = ""
	clear(b.built)
	b.mu.Unlock()
	if dir == "" {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing the built binaries: %w", err)
	}
	return nil
}

func (b *Builder) build(ctx context.Context, build Build) (string, error) {
	dir, err := b.folder()
	if err != nil {
		return "", err
	}
	sub, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return "", fmt.Errorf("creating a folder for the binary: %w", err)
	}
	path := filepath.Join(sub, filepath.Base(build.Package)+exeSuffix())
	args := []string{"build", "-o", path}
	if build.Race {
		args = append(args, "-race")
	}
	if tags := build.tags(); len(tags) > 0 {
		args = append(args, "-tags", strings.Join(tags, ","))
	}
	args = append(args, build.Package)
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // the package and the tags are the test's own
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("running go %s: %w\n%s", strings.Join(args, " "), err, output)
	}
	return path, nil
}

func (b *Builder) folder() (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dir == "" {
		dir, err := os.MkdirTemp("", "earworm-test-")
		if err != nil {
			return "", fmt.Errorf("creating the folder of binaries: %w", err)
		}
		b.dir = dir
	}
	return b.dir, nil
}

func exeSuffix() string {
	if os.PathSeparator == '\\' {
		return ".exe"
	}
	return ""
}
