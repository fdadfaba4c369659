package kafka

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestJavaMajor(t *testing.T) {
	for output, want := range map[string]int{
		`openjdk version "17.0.15" 2025-04-15`:                       17,
		`java version "1.8.0_292"`:                                   8,
		`openjdk version "21" 2023-09-19`:                            21,
		"Picked up _JAVA_OPTIONS: -Xmx1g\nopenjdk version \"25-ea\"": 25,
	} {
		if got, err := javaMajor(output); err != nil || got != want {
			t.Errorf("javaMajor(%q) = %d, %v; want %d", output, got, err, want)
		}
	}
	if _, err := javaMajor("command not found"); err == nil {
		t.Error("no version, and no error")
	}
}

func TestValidateNamesEveryProblem(t *testing.T) {
	bad := Config{
		Dir: "/a b", Nodes: 2, Version: "4.2.0", HeapMiB: 1, Tries: -1, StopTimeout: -1,
		Properties: map[string]string{"controller.quorum.voters": "1@h:1"},
	}
	err := bad.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, word := range []string{"white space", "nodes is 2", "4.2.0", "heap", "tries", "timeout", "controller.quorum.voters"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not name %q", err, word)
		}
	}
	if err := (Config{}).Validate(); err == nil || err.Error() != "dir is empty" {
		t.Errorf("error = %v, want an empty dir only", err)
	}
	if err := (Config{Dir: "/x", Version: "../../4"}).Validate(); err == nil {
		t.Error("a version that is a path was accepted")
	}
	cfg := Default()
	cfg.Dir = "/x"
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
}

func TestProperties(t *testing.T) {
	l := layout{dir: "/d", id: "id", brokers: []int{1, 2, 3}, control: []int{4, 5, 6}}
	three := string(render(l.properties(2, map[string]string{"num.io.threads": "9"})))
	for _, line := range []string{
		"node.id=2\n", "listeners=PLAINTEXT://127.0.0.1:2,CONTROLLER://127.0.0.1:5\n", "log.dirs=/d/node2/data\n",
		"controller.quorum.bootstrap.servers=127.0.0.1:4,127.0.0.1:5,127.0.0.1:6\n", "num.io.threads=9\n",
		"transaction.state.log.replication.factor=3\n", "transaction.state.log.min.isr=2\n",
	} {
		if !strings.Contains("\n"+three, "\n"+line) {
			t.Errorf("three nodes: no line %q in\n%s", line, three)
		}
	}
	if strings.Contains(three, "quorum.voters") {
		t.Error("controller.quorum.voters is set")
	}
	// On one node, anything above 1 here hangs transactions or groups for ever.
	one := layout{dir: "/d", brokers: []int{1}, control: []int{2}}.properties(1, nil)
	for key, value := range one {
		if (strings.HasSuffix(key, "replication.factor") || strings.HasSuffix(key, "min.isr") || key == "min.insync.replicas") && value != "1" {
			t.Errorf("one node: %s=%s", key, value)
		}
	}
}

func TestNewID(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		id := newID()
		if len(id) != 22 || id[0] == '-' || seen[id] {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
}

func TestProbe(t *testing.T) {
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ClusterID("mine"))
	if err != nil {
		t.Fatal(err)
	}
	defer fake.Close()
	addrs := fake.ListenAddrs()
	if err := probe(t.Context(), target{addrs: addrs, cluster: "mine"}); err != nil {
		t.Errorf("usable cluster: %v", err)
	}
	if err := probe(t.Context(), target{addrs: addrs, cluster: "other"}); err == nil || !strings.Contains(err.Error(), "another cluster") {
		t.Errorf("foreign cluster: %v", err)
	}
	if err := probe(t.Context(), target{addrs: addrs, cluster: "mine", node: 77}); err == nil || !strings.Contains(err.Error(), "not registered") {
		t.Errorf("unregistered node: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := await(ctx, target{addrs: []string{"127.0.0.1:1"}}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no broker: %v, want the deadline", err)
	}
}

func TestExternalWithoutKafka(t *testing.T) {
	fake, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer fake.Close()
	t.Setenv(BrokersVar, strings.Join(fake.ListenAddrs(), ","))
	cluster := Start(t, Config{})
	if !cluster.External() || cluster.PID(1) != 0 {
		t.Errorf("external = %v, pid = %d", cluster.External(), cluster.PID(1))
	}
	for _, err := range []error{cluster.Kill(1), cluster.Stop(1), cluster.Pause(1), cluster.Resume(1), cluster.Restart(t.Context(), 1)} {
		if !errors.Is(err, ErrExternal) {
			t.Errorf("error = %v, want ErrExternal", err)
		}
	}
}

// Without Java, a test must be seen to skip, and a tool must get ErrUnavailable.
func TestUnavailable(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("JAVA_HOME", "")
	t.Setenv(BrokersVar, "")
	_, err := Launch(t.Context(), Config{Dir: filepath.Join(t.TempDir(), "k")})
	if !errors.Is(err, ErrUnavailable) || !strings.HasPrefix(err.Error(), "no Java 17+/Maven: ") {
		t.Errorf("error = %v, want ErrUnavailable", err)
	}
	t.Run("skip", func(t *testing.T) {
		defer func() {
			if !t.Skipped() {
				t.Error("the test was not skipped")
			}
		}()
		Start(t, Config{})
	})
}

// fakeJava installs a shell script as Java and empty files as jars. The server it plays writes its process id to a file in the
// cache folder and then says the given words and ends.
func fakeJava(t *testing.T, version, words string) (cache string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("needs a shell script as Java")
	}
	home, cache := t.TempDir(), t.TempDir()
	script := "#!/bin/sh\ncase \"$*\" in\n" +
		"-version) echo 'openjdk version \"" + version + "\"' >&2 ;;\n" +
		"*StorageTool*) ;;\n" +
		"*) echo started >>" + cache + "/starts; echo '" + words + "'; exit 1 ;;\nesac\n"
	write := func(path, content string) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(home, "bin", "java"), script)
	for _, jar := range []string{"kafka_2.13-9.9.9.jar", "kafka-server-9.9.9.jar", "kafka-tools-9.9.9.jar", "log4j-slf4j-impl-1.jar", completeMark} {
		write(filepath.Join(cache, "9.9.9", "lib", jar), "")
	}
	t.Setenv("JAVA_HOME", home)
	return cache
}

func TestStartIsTriedAgain(t *testing.T) {
	for words, tell := range map[string]string{
		"Timed out waiting for a quorum": "try 2 of 2",
		"Address already in use":         errPortTaken.Error(),
	} {
		t.Run(strings.ReplaceAll(words, " ", "_"), func(t *testing.T) {
			cache := fakeJava(t, "21.0.1", words)
			cfg := Config{Dir: filepath.Join(t.TempDir(), "k"), CacheDir: cache, Version: "9.9.9", Tries: 2, RetryPause: time.Millisecond, StartTimeout: 30 * time.Second}
			cluster, err := Launch(t.Context(), cfg)
			if cluster != nil || err == nil || !strings.Contains(err.Error(), tell) || !strings.Contains(err.Error(), words) {
				t.Errorf("error = %v, want %q and the log", err, tell)
			}
			starts, err := os.ReadFile(filepath.Join(cache, "starts"))
			if got := strings.Count(string(starts), "started"); err != nil || got != 2 {
				t.Errorf("started %d times, %v; want 2", got, err)
			}
		})
	}
}

func TestOldJava(t *testing.T) {
	cache := fakeJava(t, "11.0.2", "")
	_, err := Launch(t.Context(), Config{Dir: filepath.Join(t.TempDir(), "k"), CacheDir: cache, Version: "9.9.9"})
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "Java 11") {
		t.Errorf("error = %v, want ErrUnavailable for Java 11", err)
	}
}

func TestUsedFolderIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Launch(t.Context(), Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("error = %v, want a refusal", err)
	}
}

func TestIncompleteCache(t *testing.T) {
	cache := fakeJava(t, "21", "")
	lib := filepath.Join(cache, "9.9.9", "lib")
	if !complete(lib) {
		t.Fatal("a complete folder is not seen as one")
	}
	if err := os.Remove(filepath.Join(lib, "kafka-tools-9.9.9.jar")); err != nil {
		t.Fatal(err)
	}
	if complete(lib) {
		t.Error("a folder without a jar is complete")
	}
	t.Setenv("PATH", t.TempDir())
	_, err := Launch(t.Context(), Config{Dir: filepath.Join(t.TempDir(), "k"), CacheDir: cache, Version: "9.9.9"})
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "mvn") {
		t.Errorf("error = %v, want ErrUnavailable for Maven", err)
	}
}
