package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

const (
	// fileEnv names the configuration file when no flag does.
	fileEnv = EnvPrefix + "CONFIG"
	// testPrefix begins variables that steer tests; they are not settings.
	testPrefix = EnvPrefix + "TEST_"
	// maxFileBytes bounds the file and the secrets: a mistaken path must not fill the memory.
	maxFileBytes = 1 << 20
)

// Source is where settings are looked for.
type Source struct {
	File    string         // path of a YAML file; empty: the variable EARWORM_CONFIG, else none
	Environ []string       // as os.Environ returns it
	Flags   *pflag.FlagSet // flags that RegisterFlags made; nil: none
}

// Origins tells per key where its value comes from: flag, env, file or default.
type Origins map[string]string

// Load reads the settings. The error joins every problem found, in reading as in Validate; Problems takes it apart.
// The Config is usable only if the error is nil, but holds all that could be understood.
func Load(src Source) (Config, Origins, error) {
	cfg, origins := Default(), Origins{}
	merged := koanf.New(separator)
	var problem []error
	for _, layer := range []struct {
		name string
		read func() (*koanf.Koanf, error)
	}{{"file", src.file}, {"env", src.environ}, {"flag", src.flags}} {
		k, err := layer.read()
		problem = append(problem, err)
		if k == nil {
			continue
		}
		problem = append(problem, foldProperties(k))
		for _, f := range Fields() {
			if k.Exists(f.path()) {
				origins[f.Key] = layer.name
			}
		}
		problem = append(problem, merged.Merge(k))
	}
	for _, f := range Fields() {
		raw := merged.Get(f.path())
		if raw == nil {
			delete(origins, f.Key)
			continue
		}
		if err := assign(f.value(&cfg), raw); err != nil {
			problem = append(problem, &Problem{Key: f.Key, Text: err.Error()})
		}
	}
	if err := errors.Join(problem...); err != nil {
		return cfg, origins, errors.Join(err, cfg.Validate())
	}
	return cfg, origins, cfg.Validate()
}

// foldProperties replaces kafka.properties within one source by the settings it stands for. A setting that the same
// source gives in both spellings with different values is a problem, since neither can be meant to win.
func foldProperties(k *koanf.Koanf) error {
	path := strings.Join([]string{"kafka", "properties"}, separator)
	if !k.Exists(path) {
		return nil
	}
	props, err := toPairs(k.Get(path))
	k.Delete(path)
	if err != nil {
		return &Problem{Key: "kafka.properties", Text: err.Error()}
	}
	said, err := translateProperties(props)
	var p problems
	for key, value := range said {
		at := strings.ReplaceAll(key, ".", separator)
		if k.Exists(at) && !sameSetting(key, k.Get(at), value) {
			p.check(false, key, "is set here and, with another value, through kafka.properties")
			continue
		}
		if err := k.Set(at, value); err != nil {
			p = append(p, err)
		}
	}
	return errors.Join(err, p.err())
}

// sameSetting reports whether two spellings of the setting key mean the same value.
func sameSetting(key string, a, b any) bool {
	for _, f := range Fields() {
		if f.Key != key {
			continue
		}
		var left, right Config
		errLeft, errRight := assign(f.value(&left), a), assign(f.value(&right), b)
		return errLeft == nil && errRight == nil && reflect.DeepEqual(left, right)
	}
	return false
}

func (s Source) lookup(name string) (string, bool) {
	for _, entry := range slices.Backward(s.Environ) {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value, true
		}
	}
	return "", false
}

// file reads the YAML file.
func (s Source) file() (*koanf.Koanf, error) {
	path := s.File
	if path == "" {
		path, _ = s.lookup(fileEnv)
	}
	if path == "" {
		return nil, nil // No file is an answer.
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, &Problem{Key: "config", Text: err.Error()}
	}
	if info.Size() > maxFileBytes || info.IsDir() {
		return nil, &Problem{Key: "config", Text: fmt.Sprintf("%s is not a file of at most %d bytes", path, maxFileBytes)}
	}
	k := koanf.New(separator)
	if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
		return nil, &Problem{Key: "config", Text: fmt.Sprintf("reading %s: %v", path, err)}
	}
	return k, checkKeys(k, path)
}

// checkKeys reports keys that no field has and sections that hold a bare value; empty sections are dropped.
func checkKeys(k *koanf.Koanf, path string) error {
	var p problems
	keys := knownKeys()
	for _, leaf := range k.Keys() {
		key := strings.ReplaceAll(leaf, separator, ".")
		switch {
		case keys[leaf] == "leaf" || underMap(leaf, keys):
			if k.Get(leaf) == nil {
				k.Delete(leaf)
			}
		case keys[leaf] == "section" && isEmpty(k.Get(leaf)):
			k.Delete(leaf)
		case keys[leaf] == "section":
			p.check(false, key, "is a section, not a value, in %s", path)
		default:
			p.check(false, key, "unknown key in %s%s", path, suggestion(key, fieldKeys()))
			k.Delete(leaf) // Reported once is enough.
		}
	}
	return p.err()
}

func isEmpty(v any) bool {
	m, isMap := v.(map[string]any)
	return v == nil || (isMap && len(m) == 0)
}

// knownKeys returns leaf, map or section for every path of the schema.
func knownKeys() map[string]string {
	keys := make(map[string]string)
	for _, f := range Fields() {
		path := f.path()
		for i, c := range path {
			if string(c) == separator {
				keys[path[:i]] = "section"
			}
		}
		keys[path] = "leaf"
		if f.Type == "name=value pairs" {
			keys[path] = "map"
		}
	}
	return keys
}

// underMap reports whether leaf is a map of the schema or an entry of one.
func underMap(leaf string, keys map[string]string) bool {
	for path, kind := range keys {
		if kind == "map" && (leaf == path || strings.HasPrefix(leaf, path+separator)) {
			return true
		}
	}
	return false
}

func fieldKeys() []string {
	var keys []string
	for _, f := range Fields() {
		keys = append(keys, f.Key)
	}
	return keys
}

// serviceLink matches the variables that Kubernetes injects for a service named earworm: nobody set them.
var serviceLink = regexp.MustCompile(`^EARWORM(_[A-Z0-9_]+)?_(SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// environ reads the EARWORM_ variables.
func (s Source) environ() (*koanf.Koanf, error) {
	byName, secrets := make(map[string]Field), make(map[string]Field)
	var names []string
	for _, f := range Fields() {
		byName[f.Env()] = f
		names = append(names, f.Env())
		if f.Secret() {
			secrets[f.Env()+"_FILE"] = f
		}
	}
	var p problems
	given := make(map[string]string)
	read := func(name, value string) (string, any) {
		f, isField := byName[name]
		secret, isFile := secrets[name]
		switch {
		case name == fileEnv || strings.HasPrefix(name, testPrefix):
			return "", nil
		case isField && f.Type == "name=value pairs":
			pairs, err := parsePairs(value)
			p.check(err == nil, name, "%v", err)
			return f.path(), pairs
		case isField:
			p.check(given[f.Key] == "", name, "and %s are both set", given[f.Key])
			given[f.Key] = name
			return f.path(), value
		case isFile:
			p.check(given[secret.Key] == "", name, "and %s are both set", given[secret.Key])
			given[secret.Key] = name
			text, err := readSecret(value)
			p.check(err == nil, name, "%v", err)
			return secret.path(), text
		case serviceLink.MatchString(name):
			return "", nil
		}
		p.check(false, name, "unknown variable%s", suggestion(name, names))
		return "", nil
	}
	k := koanf.New(separator)
	err := k.Load(env.Provider(separator, env.Opt{
		Prefix: EnvPrefix, TransformFunc: read, EnvironFunc: func() []string { return s.Environ },
	}), nil)
	return k, errors.Join(err, p.err())
}

// readSecret reads a value from a file, without the line break that editors append.
func readSecret(path string) (string, error) {
	f, err := os.Open(path) //nolint:gosec // The operator names the file: that is what the variable is for.
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // Only read from.
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxFileBytes {
		return "", fmt.Errorf("%s is larger than %d bytes", path, maxFileBytes)
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}

// flags reads the flags that were given.
func (s Source) flags() (*koanf.Koanf, error) {
	if s.Flags == nil {
		return nil, nil // No flags is an answer.
	}
	byName := make(map[string]Field)
	for _, f := range Fields() {
		byName[f.Flag()] = f
	}
	var p problems
	k := koanf.New(separator)
	err := k.Load(posflag.ProviderWithFlag(s.Flags, separator, nil, func(flag *pflag.Flag) (string, any) {
		f, ok := byName[flag.Name]
		if !ok || !flag.Changed || f.Secret() {
			return "", nil
		}
		if f.Type != "name=value pairs" {
			return f.path(), flag.Value.String()
		}
		pairs, err := parsePairs(flag.Value.String())
		p.check(err == nil, "--"+flag.Name, "%v", err)
		return f.path(), pairs
	}), nil)
	return k, errors.Join(err, p.err())
}

// RegisterFlags adds a flag for every setting but the secrets. Only the main ones are shown by --help.
func RegisterFlags(flags *pflag.FlagSet) {
	for _, f := range Fields() {
		if f.Secret() {
			continue
		}
		value := &flagValue{text: f.Default, kind: f.Type}
		flag := flags.VarPF(value, f.Flag(), "", f.Help)
		flag.Hidden = !f.Main
		if f.Type == "true/false" {
			flag.NoOptDefVal = "true"
		}
	}
}

// flagValue keeps the text of a flag; Load parses it, as it does that of a variable.
type flagValue struct{ text, kind string }

// String returns the text.
func (v *flagValue) String() string { return v.text }

// Set keeps text.
func (v *flagValue) Set(text string) error {
	v.text = text
	return nil
}

// Type names the kind of value for --help.
func (v *flagValue) Type() string { return v.kind }

var _ pflag.Value = (*flagValue)(nil)
