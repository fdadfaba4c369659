package kafka

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"earworm/internal/testkit/process"
)

// ErrUnavailable reports that no broker can be run here: Java 17 or newer is missing, or the jars are and Maven cannot fetch them.
var ErrUnavailable = errors.New("no Java 17+/Maven")

const (
	javaMin = 17
	// The broker's POM brings no SLF4J binding, and it speaks SLF4J 1.7: without this one it is silent.
	log4jVersion = "2.25.4"
	mavenGoal    = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
	completeMark = ".complete"
)

// installation is what a node needs to run.
type installation struct {
	java string // executable
	lib  string // folder of jars
}

// install finds Java and the jars, and fetches the jars with Maven when no cache has them all.
func install(ctx context.Context, cfg Config) (installation, error) {
	java, err := findJava(ctx)
	if err != nil {
		return installation{}, err
	}
	cache := cfg.CacheDir
	user, err := os.UserCacheDir()
	if err != nil && cache == "" {
		return installation{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if cache == "" {
		cache = filepath.Join(user, "earworm-kafka")
	}
	// The second is filled by the project's shared script; with the same layout, and the same mark of completeness.
	for _, root := range []string{cache, filepath.Join(user, "kafka-local")} {
		if lib := filepath.Join(root, cfg.Version, "lib"); complete(lib) {
			return installation{java: java, lib: lib}, nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.FetchTimeout)
	defer cancel()
	lib, err := fetch(ctx, cache, cfg.Version)
	if err != nil {
		return installation{}, err
	}
	return installation{java: java, lib: lib}, nil
}

// findJava returns the Java of JAVA_HOME, else of PATH, when it is new enough.
func findJava(ctx context.Context) (string, error) {
	path := filepath.Join(os.Getenv("JAVA_HOME"), "bin", "java")
	if os.Getenv("JAVA_HOME") == "" {
		found, err := exec.LookPath("java")
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		path = found
	}
	// -version writes to standard error, on every Java.
	output, err := exec.CommandContext(ctx, path, "-version").CombinedOutput() //nolint:gosec // the user's own Java
	if err != nil {
		return "", fmt.Errorf("%w: running %s -version: %w", ErrUnavailable, path, err)
	}
	major, err := javaMajor(string(output))
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w", ErrUnavailable, path, err)
	}
	if major < javaMin {
		return "", fmt.Errorf("%w: %s is Java %d", ErrUnavailable, path, major)
	}
	return path, nil
}

// javaMajor reads `openjdk version "17.0.15" 2025-04-15`, and the older `java version "1.8.0_292"`.
func javaMajor(output string) (int, error) {
	match := regexp.MustCompile(` version "(?:1\.)?(\d+)`).FindStringSubmatch(output)
	if match == nil {
		return 0, fmt.Errorf("no version in %q", output)
	}
	major, err := strconv.Atoi(match[1])
	if err != nil {
		return 0, fmt.Errorf("reading the Java version: %w", err)
	}
	return major, nil
}

// complete reports whether a folder holds every jar: the mark is written last, and the jars that matter most are looked for.
func complete(lib string) bool {
	if _, err := os.Stat(filepath.Join(lib, completeMark)); err != nil {
		return false
	}
	for _, pattern := range []string{"kafka_2.13-*.jar", "kafka-server-[0-9]*.jar", "kafka-tools-[0-9]*.jar", "log4j-slf4j-impl-*.jar"} {
		if found, err := filepath.Glob(filepath.Join(lib, pattern)); err != nil || len(found) == 0 {
			return false
		}
	}
	return true
}

// fetch has Maven put the jars into cache/version/lib. One process fetches at a time; whoever waited finds the jars.
func fetch(ctx context.Context, cache, version string) (string, error) {
	maven, err := exec.LookPath("mvn")
	if err != nil {
		return "", fmt.Errorf("%w: the jars of Kafka %s are in no cache: %w", ErrUnavailable, version, err)
	}
	if err := os.MkdirAll(cache, 0o750); err != nil {
		return "", fmt.Errorf("creating the cache: %w", err)
	}
	lock := flock.New(filepath.Join(cache, "fetch.lock"))
	if _, err := lock.TryLockContext(ctx, 200*time.Millisecond); err != nil {
		return "", fmt.Errorf("waiting for another fetch: %w", err)
	}
	defer func() { _ = lock.Close() }()
	lib := filepath.Join(cache, version, "lib")
	if complete(lib) {
		return lib, nil
	}
	work, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return "", fmt.Errorf("creating a folder for the jars: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := runMaven(ctx, maven, work, version); err != nil {
		return "", err
	}
	if err := os.RemoveAll(lib); err != nil {
		return "", fmt.Errorf("removing an incomplete cache: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(lib), 0o750); err != nil {
		return "", fmt.Errorf("creating the cache: %w", err)
	}
	if err := os.Rename(filepath.Join(work, "lib"), lib); err != nil {
		return "", fmt.Errorf("keeping the jars: %w", err)
	}
	return lib, nil
}

// runMaven fills work/lib and marks it complete.
func runMaven(ctx context.Context, maven, work, version string) error {
	pom, lib := filepath.Join(work, "pom.xml"), filepath.Join(work, "lib")
	if err := os.WriteFile(pom, []byte(projectFor(version)), 0o600); err != nil {
		return fmt.Errorf("writing the Maven project: %w", err)
	}
	child, err := process.Start(ctx, process.Config{
		Path: maven,
		Args: []string{"-B", "-ntp", "-f", pom, mavenGoal, "-DincludeScope=runtime", "-DoutputDirectory=" + lib},
		Dir:  work,
		Log:  filepath.Join(work, "mvn.log"),
	})
	if err != nil {
		return fmt.Errorf("fetching Kafka %s: %w", version, err)
	}
	<-child.Done() // ctx ends it
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: fetching Kafka %s: %w\n%s", ErrUnavailable, version, err, child.Tail(25))
	}
	if exit, err := child.Wait(ctx); err != nil || exit.Code != 0 {
		return fmt.Errorf("%w: fetching Kafka %s: Maven ended with %v\n%s", ErrUnavailable, version, exit, child.Tail(25))
	}
	if err := os.WriteFile(filepath.Join(lib, completeMark), nil, 0o600); err != nil {
		return fmt.Errorf("marking the jars complete: %w", err)
	}
	if !complete(lib) {
		return fmt.Errorf("%w: Maven succeeded, but a jar of Kafka %s is missing", ErrUnavailable, version)
	}
	return nil
}

func projectFor(version string) string {
	var b strings.Builder
	b.WriteString("<project><modelVersion>4.0.0</modelVersion><groupId>earworm</groupId><artifactId>kafka-for-tests</artifactId>" +
		"<version>1</version><packaging>pom</packaging><dependencies>\n")
	for _, dependency := range [][3]string{
		{"org.apache.kafka", "kafka_2.13", version},
		{"org.apache.kafka", "kafka-tools", version},
		{"org.apache.logging.log4j", "log4j-slf4j-impl", log4jVersion},
	} {
		fmt.Fprintf(&b, "<dependency><groupId>%s</groupId><artifactId>%s</artifactId><version>%s</version></dependency>\n",
			dependency[0], dependency[1], dependency[2])
	}
	b.WriteString("</dependencies></project>\n")
	return b.String()
}
