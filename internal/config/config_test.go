package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "rewrite docs/configuration.md")

const reference = "../../docs/configuration.md"

func TestReferenceIsCurrent(t *testing.T) {
	t.Parallel()
	want := Reference()
	if *update {
		if err := os.WriteFile(reference, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is stale: run go test ./internal/config -update", reference)
	}
}

func TestFieldsAreComplete(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, f := range Fields() {
		if f.Help == "" || f.Type == "" || strings.HasSuffix(f.Key, ".") {
			t.Errorf("field %+v lacks its key, type or help", f)
		}
		for _, name := range []string{f.Key, f.Env(), f.Flag()} {
			if seen[name] && name != f.Key {
				t.Errorf("%s names two settings", name)
			}
			seen[name] = true
		}
	}
	if !seen["kafka.sasl.password"] || !seen["EARWORM_LISTENER_DEDUPE_WINDOW"] {
		t.Error("nested settings are missing")
	}
}

func TestDefaultIsValid(t *testing.T) {
	t.Parallel()
	cfg, origins, err := Load(Source{})
	if err != nil || len(origins) != 0 {
		t.Fatalf("Load of nothing: origins %v, error %v", origins, err)
	}
	if !reflect.DeepEqual(cfg, Default()) {
		t.Errorf("Load of nothing is not Default: %+v", cfg)
	}
}

// source writes yaml to a file and parses args as flags.
func source(t *testing.T, yaml string, environ, args []string) Source {
	t.Helper()
	src := Source{Environ: environ, Flags: pflag.NewFlagSet("test", pflag.ContinueOnError)}
	if yaml != "" {
		src.File = filepath.Join(t.TempDir(), "earworm.yaml")
		if err := os.WriteFile(src.File, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	RegisterFlags(src.Flags)
	if err := src.Flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return src
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	yaml := "kafka: {brokers: ['file:1'], client_id: file, transaction_timeout: 1s}\nemit:\n"
	environ := []string{"EARWORM_KAFKA_BROKERS=env:1,env:2", "EARWORM_KAFKA_CLIENT_ID=env"}
	cfg, origins, err := Load(source(t, yaml, environ, []string{"--kafka.brokers=flag:1"}))
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(cfg.Kafka.Brokers, cfg.Kafka.ClientID, cfg.Kafka.TransactionTimeout, cfg.Kafka.SessionTimeout)
	if want := "[flag:1]env1s15s"; strings.ReplaceAll(got, " ", "") != want {
		t.Errorf("got %s, want %s", got, want)
	}
	want := Origins{"kafka.brokers": "flag", "kafka.client_id": "env", "kafka.transaction_timeout": "file"}
	if !reflect.DeepEqual(origins, want) {
		t.Errorf("origins %v, want %v", origins, want)
	}
}

func TestLoadValues(t *testing.T) {
	t.Parallel()
	yaml := `
roles: [ingest, song]
kafka:
  properties: {bootstrap.servers: 'a:1,b:2', security.protocol: SASL_SSL, sasl.mechanism: scram-sha-512,
    sasl.username: u, sasl.password: hunter2, session.timeout.ms: 20000, isolation.level: read_committed}
ingest:
  aliases: {track_id: song_id, "user.name": user_id}
state: {cache_bytes: 1GiB, low_disk_bytes: 5}
listener: {active_for: 30d, dedupe_window: 1d12h}
emit: {discovery: 1}
`
	environ := []string{
		"EARWORM_INGEST_ALIASES=uid=user_id", "EARWORM_TEST_SEED=1", "EARWORM_SERVICE_HOST=10.0.0.1",
		"EARWORM_PORT_8080_TCP_ADDR=10.0.0.1", "EARWORM_PORT=tcp://10.0.0.1:8080", "HOME=/root",
	}
	cfg, origins, err := Load(source(t, yaml, environ, []string{"--http.pprof=false", "--learn.negatives", "0.25"}))
	if err != nil {
		t.Fatal(err)
	}
	k := cfg.Kafka
	if fmt.Sprint(k.Brokers) != "[a:1 b:2]" || !k.TLS.Enabled || k.SASL.Mechanism != "SCRAM-SHA-512" ||
		k.SASL.Password.Reveal() != "hunter2" || k.SessionTimeout != 20*time.Second {
		t.Errorf("kafka.properties were not understood: %+v", k)
	}
	if origins["kafka.sasl.password"] != "file" {
		t.Errorf("a property has origin %q, want file", origins["kafka.sasl.password"])
	}
	want := map[string]string{"track_id": "song_id", "user.name": "user_id", "uid": "user_id"}
	if !reflect.DeepEqual(cfg.Ingest.Aliases, want) {
		t.Errorf("aliases %v, want %v", cfg.Ingest.Aliases, want)
	}
	if cfg.State.CacheBytes != GiB || cfg.State.LowDiskBytes != 5 || cfg.Listener.ActiveFor != 30*day ||
		cfg.Listener.DedupeWindow != 36*time.Hour || cfg.Emit.Discovery != 1 || cfg.Learn.Negatives != 0.25 {
		t.Errorf("values were not understood: %+v", cfg)
	}
	if !cfg.HasRole(RoleSong) || cfg.HasRole(RoleListener) || !Default().HasRole(RoleListener) {
		t.Error("roles were not understood")
	}
}

// TestProblems states every kind of mistake and the words that must name it.
func TestProblems(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		yaml    string
		environ []string
		args    []string
		want    []string // "key: part of the text"
	}{
		"unknown keys":        {yaml: "kafka: {broker: x}\nfoo: {bar: 1}\n", want: []string{"kafka.broker: did you mean kafka.brokers", "foo.bar: unknown key"}},
		"unknown variable":    {environ: []string{"EARWORM_KAFKA_BROKER=x"}, want: []string{"EARWORM_KAFKA_BROKER: did you mean EARWORM_KAFKA_BROKERS"}},
		"section as a value":  {yaml: "kafka: localhost\n", want: []string{"kafka: is a section"}},
		"value as a section":  {yaml: "app: {name: x}\n", want: []string{"app.name: unknown key"}},
		"list as a value":     {yaml: "app: [a]\n", want: []string{"app: single value"}},
		"number as duration":  {yaml: "commit_interval: 200\n", want: []string{"commit_interval: not a duration"}},
		"several at once":     {yaml: "emit: {hour: 25, zone: Mars}\n", environ: []string{"EARWORM_TOPICS_PARTITIONS=3"}, want: []string{"topics.partitions: power of two", "emit.hour: must be from 0 to 23", "emit.zone: Mars"}},
		"header style":        {yaml: "dlq: {header_style: camel}\n", want: []string{`dlq.header_style: "camel" is not one of streams, connect, spring`}},
		"read and validate":   {yaml: "nope: 1\nemit: {hour: -1}\n", want: []string{"nope: unknown", "emit.hour: must be"}},
		"NaN":                 {yaml: "emit: {discovery: .nan}\n", want: []string{"emit.discovery: not a number"}},
		"unknown property":    {yaml: "kafka: {properties: {bootstrap.server: x}}\n", want: []string{"kafka.properties.bootstrap.server: did you mean bootstrap.servers"}},
		"refused property":    {yaml: "kafka: {properties: {group.id: x}}\n", want: []string{"kafka.properties.group.id: set app"}},
		"fixed property":      {yaml: "kafka: {properties: {isolation.level: read_uncommitted}}\n", want: []string{"isolation.level: committed"}},
		"bad property":        {yaml: "kafka: {properties: {session.timeout.ms: soon, security.protocol: TLS}}\n", want: []string{"security.protocol: not one of", "session.timeout.ms: milliseconds"}},
		"two spellings":       {yaml: "kafka: {brokers: ['a:1'], properties: {bootstrap.servers: 'b:1'}}\n", want: []string{"kafka.brokers: through kafka.properties"}},
		"timeouts":            {environ: []string{"EARWORM_KAFKA_SESSION_TIMEOUT=5s"}, want: []string{"kafka.session_timeout: longer than"}},
		"pairs":               {args: []string{"--ingest.aliases=x"}, want: []string{"--ingest.aliases: name=value"}},
		"secret twice":        {environ: []string{"EARWORM_HTTP_ADMIN_TOKEN=a", "EARWORM_HTTP_ADMIN_TOKEN_FILE=/x"}, want: []string{"EARWORM_HTTP_ADMIN_TOKEN_FILE: both set", "EARWORM_HTTP_ADMIN_TOKEN_FILE: no such file"}},
		"file of no secret":   {environ: []string{"EARWORM_APP_FILE=/x"}, want: []string{"EARWORM_APP_FILE: unknown variable"}},
		"public admin":        {yaml: "http: {admin_listen: '0.0.0.0:1', admin_token: short}\n", want: []string{"http.admin_listen: loopback", "http.admin_token: at least 16"}},
		"sasl without a name": {yaml: "kafka: {sasl: {mechanism: PLAIN}}\n", want: []string{"kafka.sasl.username: empty", "kafka.sasl.password: empty"}},
		"idle TLS":            {yaml: "kafka: {tls: {ca_file: x}}\n", want: []string{"kafka.tls.enabled: is false"}},
		"one topic twice":     {yaml: "topics: {events: a, users: a}\n", want: []string{"topics.users: is also topics.events"}},
		"not YAML":            {yaml: "a: [", want: []string{"config: reading"}},
		"key given twice":     {yaml: "app: a\napp: b\n", want: []string{"config: already defined"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := Load(source(t, test.yaml, test.environ, test.args))
			got := Problems(err)
			if len(got) != len(test.want) {
				t.Errorf("%d problems, want %d: %v", len(got), len(test.want), got)
			}
			for _, want := range test.want {
				key, text, _ := strings.Cut(want, ": ")
				found := false
				for _, p := range got {
					found = found || (strings.HasSuffix(p.Key, key) && strings.Contains(p.Text, text))
				}
				if !found {
					t.Errorf("no problem %q in %v", want, got)
				}
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	t.Parallel()
	_, _, err := Load(Source{Environ: []string{"EARWORM_CONFIG=/does/not/exist.yaml"}})
	if got := Problems(err); len(got) != 1 || !strings.Contains(got[0].Text, "/does/not/exist.yaml") {
		t.Errorf("got %v, want one problem that names the file", got)
	}
	if _, _, err := Load(Source{File: t.TempDir()}); len(Problems(err)) != 1 {
		t.Errorf("a directory as the file: %v, want one problem", err)
	}
}

const canary = "canary-4711-canary"

func TestSecretFromFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte(canary+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, origins, err := Load(Source{Environ: []string{"EARWORM_INGEST_PSEUDONYM_KEY_FILE=" + path}})
	if err != nil || cfg.Ingest.PseudonymKey.Reveal() != canary || origins["ingest.pseudonym_key"] != "env" {
		t.Errorf("got %q from %q, error %v", cfg.Ingest.PseudonymKey.Reveal(), origins["ingest.pseudonym_key"], err)
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	t.Parallel()
	cfg := Default()
	cfg.HTTP.AdminToken = NewSecret(canary)
	cfg.Kafka.Properties = Properties{"sasl.password": canary}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&out, verb, cfg.HTTP.AdminToken)
		fmt.Fprintf(&out, verb, &cfg.HTTP.AdminToken)
		fmt.Fprintf(&out, verb, cfg.HTTP)
	}
	fmt.Fprintln(&out, cfg.Kafka.Properties)
	for _, logger := range []*slog.Logger{slog.New(slog.NewTextHandler(&out, nil)), slog.New(slog.NewJSONHandler(&out, nil))} {
		logger.Info("config", "secret", cfg.HTTP.AdminToken, "http", cfg.HTTP)
	}
	if err := json.NewEncoder(&out).Encode(cfg.HTTP); err != nil {
		t.Fatal(err)
	}
	if err := yaml.NewEncoder(&out).Encode(cfg.HTTP); err != nil {
		t.Fatal(err)
	}
	if err := Print(&out, cfg, Origins{"http.admin_token": "env"}); err != nil {
		t.Fatal(err)
	}
	hex := fmt.Sprintf("%x", canary)
	if text := strings.ToLower(out.String()); strings.Contains(text, canary) || strings.Contains(text, hex) {
		t.Errorf("the secret is shown in:\n%s", out.String())
	}
	if !strings.Contains(out.String(), "admin_token: '[redacted]' # env") {
		t.Errorf("Print does not say that the secret is set:\n%s", out.String())
	}
}

// TestPrintReadsBack holds Print and Load together: what one writes the other reads.
func TestPrintReadsBack(t *testing.T) {
	t.Parallel()
	cfg := Default()
	cfg.App, cfg.Instance, cfg.Roles = "true", "7", []string{RoleIngest, RoleSong}
	cfg.Ingest.Aliases = map[string]string{"a.b": "null", "x": "1"}
	cfg.Emit.Discovery, cfg.Learn.Seed = 0.125, -3
	cfg.Listener.DedupeWindow, cfg.State.LowDiskBytes = 90*time.Minute, 1500
	var out bytes.Buffer
	if err := Print(&out, cfg, Origins{}); err != nil {
		t.Fatal(err)
	}
	got, _, err := Load(source(t, out.String(), nil, nil))
	if err != nil || !reflect.DeepEqual(got, cfg) {
		t.Errorf("read back, error %v:\n%+v\nwant\n%+v", err, got, cfg)
	}
}

func TestParseSizesAndDurations(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Bytes{"0": 0, "7": 7, "7B": 7, "256KiB": 256 * KiB, "3 GiB": 3 * GiB} {
		if got, err := ParseBytes(text); err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1", "1.5KiB", "12KB", "99999999TiB", "KiB"} {
		if got, err := ParseBytes(text); err == nil {
			t.Errorf("ParseBytes(%q) = %d, want an error", text, got)
		}
	}
	for text, want := range map[string]time.Duration{"0s": 0, "200ms": 200 * time.Millisecond, "2d": 2 * day, "1d12h": 36 * time.Hour, "0": 0} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "1", "1d-1h", "-1d", "999999d", "1dd", "106751d24h"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %s, want an error", text, got)
		}
	}
	for _, d := range []time.Duration{0, 1, time.Second, 90 * time.Second, time.Hour, 36 * time.Hour, 7 * day, math.MaxInt64} {
		if got, err := ParseDuration(formatDuration(d)); err != nil || got != d {
			t.Errorf("%d as %q reads back as %d, %v", d, formatDuration(d), got, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	k := DefaultKafka()
	if got := k.Warnings(); got != nil {
		t.Errorf("loopback: %v, want no warnings", got)
	}
	k.Brokers = append(k.Brokers, "kafka.example:9092")
	if got := k.Warnings(); len(got) != 1 {
		t.Errorf("plain text to another machine: %v, want one warning", got)
	}
	k.TLS = TLS{Enabled: true, InsecureSkipVerify: true}
	if got := k.Warnings(); len(got) != 1 {
		t.Errorf("unchecked certificates: %v, want one warning", got)
	}
}

// FuzzLoad feeds arbitrary files: Load must neither panic nor accept settings that Validate refuses.
func FuzzLoad(f *testing.F) {
	f.Add("kafka: {brokers: ['a:1']}\n")
	f.Add("ingest: {aliases: {a: b}}\nkafka: {properties: {client.id: x}}\n")
	f.Add("kafka: {properties: 3}\nroles: {}\n")
	f.Add("? [a]\n: b\n")
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "f.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, _, err := Load(Source{File: path})
		if err == nil && cfg.Validate() != nil {
			t.Errorf("accepted %q", text)
		}
	})
}
