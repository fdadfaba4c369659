package kafka

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"earworm/internal/testkit/process"
)

// host is an address, not a name: localhost may mean ::1 to one side and 127.0.0.1 to the other.
const host = "127.0.0.1"

// layout is where a cluster's nodes live: folders and ports.
type layout struct {
	dir     string // absolute
	id      string // cluster id
	brokers []int  // port of node i+1
	control []int  // controller port of node i+1
}

func newLayout(dir string, nodes int) (layout, error) {
	ports, err := process.FreePorts(2 * nodes)
	if err != nil {
		return layout{}, err
	}
	return layout{dir: dir, id: newID(), brokers: ports[:nodes], control: ports[nodes:]}, nil
}

// newID makes what Kafka calls a Uuid: 16 random bytes in the base64 of addresses. One that begins with a dash would look like an
// option to Kafka's tools.
func newID() string {
	for {
		var raw [16]byte
		_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the process first
		if id := base64.RawURLEncoding.EncodeToString(raw[:]); id[0] != '-' {
			return id
		}
	}
}

func address(port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

func addresses(ports []int) []string {
	all := make([]string, len(ports))
	for i, port := range ports {
		all[i] = address(port)
	}
	return all
}

func (l layout) node(id int) string   { return filepath.Join(l.dir, "node"+strconv.Itoa(id)) }
func (l layout) server(id int) string { return filepath.Join(l.node(id), "server.properties") }
func (l layout) log4j() string        { return filepath.Join(l.dir, "log4j2.properties") }

// properties are the server properties of one node, overridden by extra. Each deviation from Kafka's defaults makes a small,
// loaded, often killed cluster start or recover faster; none weakens a guarantee the tests rely on.
func (l layout) properties(id int, extra map[string]string) map[string]string {
	nodes := len(l.brokers)
	replicas, inSync := "1", "1"
	if nodes == 3 {
		replicas, inSync = "3", "2"
	}
	listeners := "PLAINTEXT://" + address(l.brokers[id-1]) + ",CONTROLLER://" + address(l.control[id-1])
	all := map[string]string{
		"process.roles":                         "broker,controller",
		"node.id":                               strconv.Itoa(id),
		"listeners":                             listeners,
		"advertised.listeners":                  listeners,
		"listener.security.protocol.map":        "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
		"inter.broker.listener.name":            "PLAINTEXT",
		"controller.listener.names":             "CONTROLLER",
		"controller.quorum.bootstrap.servers":   strings.Join(addresses(l.control), ","),
		"log.dirs":                              filepath.Join(l.node(id), "data"),
		"num.partitions":                        "1",
		"auto.create.topics.enable":             "false",
		"default.replication.factor":            replicas,
		"min.insync.replicas":                   inSync,
		"group.initial.rebalance.delay.ms":      "0",
		"group.min.session.timeout.ms":          "1000",
		"log.cleaner.backoff.ms":                "500",
		"log.cleaner.dedupe.buffer.size":        "16777216",
		"log.retention.check.interval.ms":       "1000",
		"num.network.threads":                   "2",
		"num.io.threads":                        "4",
		"num.recovery.threads.per.data.dir":     "2",
		"broker.heartbeat.interval.ms":          "500",
		"offsets.topic.replication.factor":      replicas,
		"transaction.state.log.min.isr":         inSync,
		"share.coordinator.state.topic.min.isr": inSync,
		// A killed node may register again only when its old session has ended: 9 s by default.
		"broker.session.timeout.ms": "3000",
		// 50 partitions each by default: they slow the first use.
		"offsets.topic.num.partitions":                 strconv.Itoa(coordinators),
		"transaction.state.log.num.partitions":         strconv.Itoa(coordinators),
		"share.coordinator.state.topic.num.partitions": strconv.Itoa(coordinators),
		// With the default of 3 a single node never has a transaction coordinator.
		"transaction.state.log.replication.factor":         replicas,
		"share.coordinator.state.topic.replication.factor": replicas,
		// Swept every 10 s by default; a dead instance's transaction would hold its readers back for that long.
		"transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
	}
	maps.Copy(all, extra)
	return all
}

func render(properties map[string]string) []byte {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		fmt.Fprintf(&b, "%s=%s\n", key, properties[key])
	}
	return []byte(b.String())
}

const log4jProperties = `status=warn
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=INFO
rootLogger.appenderRef.out.ref=out
`

// write makes every node's folder anew and writes its settings.
func (l layout) write(cfg Config) error {
	if err := os.MkdirAll(l.dir, 0o750); err != nil {
		return fmt.Errorf("creating the cluster's folder: %w", err)
	}
	if err := os.WriteFile(l.log4j(), []byte(log4jProperties), 0o600); err != nil {
		return fmt.Errorf("writing the log settings: %w", err)
	}
	for i := range l.brokers {
		id := i + 1
		if err := os.RemoveAll(l.node(id)); err != nil {
			return fmt.Errorf("clearing node %d: %w", id, err)
		}
		if err := os.Mkdir(l.node(id), 0o750); err != nil {
			return fmt.Errorf("creating node %d: %w", id, err)
		}
		if err := os.WriteFile(l.server(id), render(l.properties(id, cfg.Properties)), 0o600); err != nil {
			return fmt.Errorf("writing the settings of node %d: %w", id, err)
		}
	}
	return nil
}

// format prepares the nodes' data folders. All are given the same first controllers; a second cluster id on old data would fail.
func (l layout) format(ctx context.Context, java installation) error {
	how := []string{"--standalone"}
	if len(l.control) > 1 {
		first := make([]string, len(l.control))
		for i, port := range l.control {
			first[i] = strconv.Itoa(i+1) + "@" + address(port) + ":" + newID()
		}
		how = []string{"--initial-controllers", strings.Join(first, ",")}
	}
	group, ctx := errgroup.WithContext(ctx)
	for i := range l.brokers {
		id := i + 1
		group.Go(func() error {
			args := slices.Concat(
				[]string{"-Xmx192m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"}, java.common(l),
				[]string{"kafka.tools.StorageTool", "format"}, how, []string{"-t", l.id, "-c", l.server(id)},
			)
			child, err := process.Start(ctx, process.Config{Path: java.java, Args: args, Dir: l.node(id), Log: filepath.Join(l.node(id), "format.log")})
			if err != nil {
				return fmt.Errorf("formatting node %d: %w", id, err)
			}
			<-child.Done() // ctx ends it
			if exit, err := child.Wait(ctx); err != nil || exit.Code != 0 {
				return fmt.Errorf("formatting node %d: %v; the end of its log:\n%s", id, exit, child.Tail(15))
			}
			return nil
		})
	}
	return group.Wait()
}

// common are the Java options of every program: class path and logging. A log4j address without its scheme and root would be
// looked up on the class path, not found, and leave only errors in the log.
func (i installation) common(l layout) []string {
	return []string{
		"-Xshare:auto", "-Djava.awt.headless=true", "-Dlog4j2.configurationFile=file:" + l.log4j(),
		"-cp", filepath.Join(i.lib, "*"),
	}
}

// server is the command line of a node.
func (i installation) server(l layout, id, heapMiB int) []string {
	heap := strconv.Itoa(heapMiB) + "m"
	return slices.Concat(
		[]string{"-Xms" + heap, "-Xmx" + heap, "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:+ExitOnOutOfMemoryError"},
		i.common(l), []string{"kafka.Kafka", l.server(id)},
	)
}
