package deploy

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"earworm/internal/config"
)

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

type service struct {
	Image       string
	Command     []string
	Ports       []string
	Environment map[string]string
	Volumes     []string
	Healthcheck struct{ Test []string }
}

type compose struct {
	Services map[string]service
	Volumes  map[string]any
}

func TestComposeServices(t *testing.T) {
	t.Parallel()
	var c compose
	readYAML(t, "../docker-compose.yml", &c)
	for _, name := range []string{"kafka", "earworm", "prometheus", "grafana"} {
		if _, ok := c.Services[name]; !ok {
			t.Errorf("service %s is missing", name)
		}
	}
	for name, s := range c.Services {
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s publishes %s beyond loopback", name, port)
			}
		}
		if len(s.Healthcheck.Test) < 2 {
			t.Errorf("%s has no health check", name)
		}
		if !strings.Contains(s.Image, ":") || strings.HasSuffix(s.Image, ":latest") {
			t.Errorf("%s has the image %q, want one with a version", name, s.Image)
		}
		for _, volume := range s.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			if strings.HasPrefix(source, "./") {
				if _, err := os.Stat(filepath.Join("..", source)); err != nil {
					t.Errorf("%s mounts %s: %v", name, source, err)
				}
			} else if _, ok := c.Volumes[source]; !ok {
				t.Errorf("%s mounts the volume %s, which is not declared", name, source)
			}
		}
	}
}

// TestComposeSettings reads the variables that compose and the image set as the program would.
func TestComposeSettings(t *testing.T) {
	t.Parallel()
	var c compose
	readYAML(t, "../docker-compose.yml", &c)
	dockerfile, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	var environ []string
	for _, m := range regexp.MustCompile(`(EARWORM_\w+)=(\S+)`).FindAllStringSubmatch(string(dockerfile), -1) {
		environ = append(environ, m[1]+"="+m[2])
	}
	for name, value := range c.Services["earworm"].Environment {
		environ = append(environ, name+"="+value)
	}
	cfg, _, err := config.Load(config.Source{Environ: environ})
	if err != nil {
		t.Fatalf("the program refuses what the image and compose set: %v", err)
	}
	if cfg.Kafka.Brokers[0] != "kafka:19092" || cfg.State.Dir != "/var/lib/earworm" || cfg.HTTP.Listen != "0.0.0.0:8080" {
		t.Errorf("brokers %v, state %s, HTTP %s", cfg.Kafka.Brokers, cfg.State.Dir, cfg.HTTP.Listen)
	}
	if !slices.ContainsFunc(c.Services["earworm"].Volumes, func(v string) bool { return strings.HasSuffix(v, ":"+cfg.State.Dir) }) {
		t.Errorf("no volume is mounted on %s", cfg.State.Dir)
	}
}

// outsiders are metrics of libraries and of Prometheus itself.
var outsiders = regexp.MustCompile(`^(up|process_|go_|scrape_)`)

// metricsIn returns the names of metrics in a PromQL expression.
func metricsIn(expression string) []string {
	bare := regexp.MustCompile(`\{[^}]*\}|"[^"]*"|\b(by|without|on|ignoring)\s*\([^)]*\)`).ReplaceAllString(expression, "")
	var names []string
	for _, m := range regexp.MustCompile(`\b[a-z][a-z0-9]*_[a-z0-9_]+\b|\bup\b`).FindAllString(bare, -1) {
		if m != "histogram_quantile" {
			names = append(names, m)
		}
	}
	return names
}

// packages maps the second word of a metric to the folder that must declare it.
var packages = map[string]string{
	"stream": "../consumers/stream", "listener": "../consumers/listener", "song": "../consumers/song",
	"table": "../consumers/table", "ingest": "../consumers/ingest", "state": "../state", "build": "../internal/obs",
}

// declared reports whether the source declares the metric: as a whole name, or as its last part.
func declared(t *testing.T, metric string) bool {
	t.Helper()
	word, rest, _ := strings.Cut(strings.TrimPrefix(metric, "earworm_"), "_")
	files, err := filepath.Glob(filepath.Join(packages[word], "*.go"))
	if err != nil || packages[word] == "" {
		return false
	}
	for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
		name, whole := strings.TrimSuffix(rest, suffix), strings.TrimSuffix(metric, suffix)
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if source := string(text); !strings.HasSuffix(file, "_test.go") &&
				(strings.Contains(source, `"`+name+`"`) || strings.Contains(source, `"`+whole+`"`)) {
				return true
			}
		}
	}
	return false
}

func expectDeclared(t *testing.T, where, expression string) {
	t.Helper()
	metrics := metricsIn(expression)
	if len(metrics) == 0 {
		t.Errorf("%s asks for no metric: %s", where, expression)
	}
	for _, metric := range metrics {
		if !outsiders.MatchString(metric) && !declared(t, metric) {
			t.Errorf("%s asks for %s, which no package declares", where, metric)
		}
	}
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr         string
				Labels, Annotations map[string]string
			}
		}
	}
	readYAML(t, "prometheus/alerts.yml", &file)
	runbook, err := os.ReadFile("../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			seen++
			expectDeclared(t, rule.Alert, rule.Expr)
			if !strings.Contains(string(runbook), "\n## "+rule.Alert+"\n") {
				t.Errorf("%s has no entry in the runbook", rule.Alert)
			}
			if want := "docs/runbook.md#" + strings.ToLower(rule.Alert); rule.Annotations["runbook"] != want {
				t.Errorf("%s names the entry %q, want %q", rule.Alert, rule.Annotations["runbook"], want)
			}
			if rule.Annotations["summary"] == "" || !slices.Contains([]string{"page", "ticket"}, rule.Labels["severity"]) {
				t.Errorf("%s lacks a summary or a severity", rule.Alert)
			}
		}
	}
	if entries := strings.Count(string(runbook), "\n## Earworm"); entries != seen || seen == 0 {
		t.Errorf("%d alerts, %d entries of alerts in the runbook", seen, entries)
	}
}

func TestDashboard(t *testing.T) {
	t.Parallel()
	var sources struct {
		Datasources []struct{ UID, URL string }
	}
	readYAML(t, "grafana/provisioning/datasources/prometheus.yml", &sources)
	text, err := os.ReadFile("grafana/dashboards/earworm.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			ID                       int
			Type, Title, Description string
			Datasource               struct{ UID string }
			GridPos                  struct{ X, Y, W, H int }
			Targets                  []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	ids := make(map[int]bool)
	for _, p := range dashboard.Panels {
		if ids[p.ID] || p.GridPos.X+p.GridPos.W > 24 || p.Title == "" {
			t.Errorf("panel %d %q: its id, place or title is wrong", p.ID, p.Title)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			continue
		}
		if p.Datasource.UID != sources.Datasources[0].UID || p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("panel %q lacks its data source, description or query", p.Title)
		}
		for _, target := range p.Targets {
			expectDeclared(t, p.Title, target.Expr)
		}
	}
	if len(dashboard.Panels) < 10 {
		t.Errorf("%d panels", len(dashboard.Panels))
	}
}

// TestRecallIsShownBySegment: an instance that has seen nobody of a segment reports no number, which must not hide the others'.
func TestRecallIsShownBySegment(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("grafana/dashboards/earworm.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"avg by (history) (earworm_listener_prequential_recall_at_30_by_history >= 0)",
		"avg by (song_age) (earworm_listener_prequential_recall_at_30_by_song_age >= 0)",
	} {
		if !strings.Contains(string(text), `"expr": "`+want+`"`) {
			t.Errorf("no panel asks for %s", want)
		}
	}
}

// TestMetricsAreSeen keeps the test above able to fail.
func TestMetricsAreSeen(t *testing.T) {
	t.Parallel()
	got := metricsIn(`sum by (role_a) (rate(earworm_x_total{a="b_c"}[5m])) > 0.1 and up{job="x_y"} == 0`)
	if want := []string{"earworm_x_total", "up"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, metric := range []string{"earworm_stream_nothing_total", "earworm_nobody_total"} {
		if declared(t, metric) {
			t.Errorf("%s is declared nowhere", metric)
		}
	}
}
