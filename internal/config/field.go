package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// EnvPrefix begins the name of every variable that sets a field.
const EnvPrefix = "EARWORM_"

// separator parts the keys of nested maps inside koanf. It is a control character because the names of
// kafka.properties contain dots.
const separator = "\x1f"

// Field describes one setting.
type Field struct {
	Key     string // as in the file: kafka.brokers
	Type    string // list, duration, size, secret, text, number, integer, true/false, name=value pairs
	Default string // as one would write it
	Help    string
	Main    bool // shown by --help
	index   []int
}

// Env returns the name of the variable that sets the field.
func (f Field) Env() string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(f.Key, ".", "_"))
}

// Flag returns the name of the flag that sets the field, without dashes.
func (f Field) Flag() string { return strings.ReplaceAll(f.Key, "_", "-") }

// Secret reports whether the field is a secret: it has no flag, because other users see command lines, and a
// second variable, Env()+"_FILE", that names a file with the value.
func (f Field) Secret() bool { return f.Type == "secret" }

func (f Field) path() string { return strings.ReplaceAll(f.Key, ".", separator) }

func (f Field) value(cfg *Config) reflect.Value {
	return reflect.ValueOf(cfg).Elem().FieldByIndex(f.index)
}

// Fields returns every setting in the order of Config.
func Fields() []Field {
	defaults := Default()
	return fieldsOf(reflect.ValueOf(defaults), "", nil)
}

func fieldsOf(v reflect.Value, prefix string, index []int) []Field {
	var fields []Field
	for i := range v.NumField() {
		at := append(slices.Clone(index), i)
		tag, key := v.Type().Field(i).Tag, prefix+v.Type().Field(i).Tag.Get("koanf")
		value := v.Field(i)
		name := typeName(value.Interface())
		if name == "" {
			fields = append(fields, fieldsOf(value, key+".", at)...)
			continue
		}
		fields = append(fields, Field{
			Key: key, Type: name, Default: Text(value.Interface()), Help: tag.Get("help"), Main: tag.Get("main") != "", index: at,
		})
	}
	return fields
}

// typeName says in a reader's words what v holds; empty for a section.
func typeName(v any) string {
	switch v.(type) {
	case Secret:
		return "secret"
	case Bytes:
		return "size"
	case time.Duration:
		return "duration"
	case string:
		return "text"
	case bool:
		return "true/false"
	case int, int64:
		return "integer"
	case float64:
		return "number"
	case []string:
		return "list"
	case map[string]string, Properties:
		return "name=value pairs"
	}
	return ""
}

// Text returns v as one would write it in a variable or a flag; secrets are redacted.
func Text(v any) string {
	switch v := v.(type) {
	case time.Duration:
		return formatDuration(v)
	case []string:
		return strings.Join(v, ",")
	case map[string]string:
		var pairs []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			pairs = append(pairs, name+"="+v[name])
		}
		return strings.Join(pairs, ",")
	}
	return fmt.Sprint(v)
}

// assign sets the field to raw, which is a string or what YAML makes of a scalar, a list or a map.
func assign(field reflect.Value, raw any) error {
	switch target := field.Addr().Interface().(type) {
	case *Secret:
		text, err := scalar(raw)
		*target = NewSecret(text)
		return err
	case *string:
		return assignParsed(target, raw, func(s string) (string, error) { return s, nil })
	case *Bytes:
		return assignParsed(target, raw, ParseBytes)
	case *time.Duration:
		return assignParsed(target, raw, ParseDuration)
	case *bool:
		return assignParsed(target, raw, parseBool)
	case *int:
		return assignParsed(target, raw, parseInt[int])
	case *int64:
		return assignParsed(target, raw, parseInt[int64])
	case *float64:
		return assignParsed(target, raw, parseFloat)
	case *[]string:
		list, err := toList(raw)
		*target = list
		return err
	case *map[string]string:
		pairs, err := toPairs(raw)
		*target = pairs
		return err
	}
	return nil
}

func assignParsed[T any](target *T, raw any, parse func(string) (T, error)) error {
	text, err := scalar(raw)
	if err != nil {
		return err
	}
	value, err := parse(text)
	if err == nil {
		*target = value
	}
	return err
}

func parseBool(text string) (bool, error) {
	b, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("%q is not true or false", text)
	}
	return b, nil
}

func parseInt[T int | int64](text string) (T, error) {
	n, err := strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not an integer", text)
	}
	return T(n), nil
}

func parseFloat(text string) (float64, error) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	return f, nil
}

// scalar returns the text of a scalar.
func scalar(raw any) (string, error) {
	switch v := raw.(type) {
	case string:
		return v, nil
	case bool, int, int64, uint64, float64:
		return fmt.Sprint(v), nil
	}
	return "", errors.New("must be a single value, not a list or a section")
}

func toList(raw any) ([]string, error) {
	items, ok := raw.([]any)
	if !ok {
		text, err := scalar(raw)
		if err != nil {
			return nil, errors.New("must be a list or text with commas")
		}
		return parseList(text), nil
	}
	list := make([]string, 0, len(items))
	for _, item := range items {
		text, err := scalar(item)
		if err != nil {
			return nil, fmt.Errorf("item %d %w", len(list)+1, err)
		}
		list = append(list, text)
	}
	return list, nil
}

func toPairs(raw any) (map[string]string, error) {
	items, ok := raw.(map[string]any)
	if !ok {
		return nil, errors.New("must be a section of name: value lines")
	}
	pairs := make(map[string]string, len(items))
	for name, item := range items {
		text, err := scalar(item)
		if err != nil {
			return nil, fmt.Errorf("%s %w", name, err)
		}
		pairs[name] = text
	}
	return pairs, nil
}

// suggestion returns ", did you mean X?" when one of known is close to name, else nothing.
func suggestion(name string, known []string) string {
	best, distance := "", 3
	for _, candidate := range slices.Sorted(slices.Values(known)) {
		if d := editDistance(name, candidate); d < distance {
			best, distance = candidate, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// editDistance is Levenshtein's, in one row.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
