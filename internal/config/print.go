package config

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Print writes cfg as a YAML file that Load reads back, secrets redacted. With origins each line tells where its value
// comes from; nil leaves that out.
func Print(w io.Writer, cfg Config, origins Origins) error {
	root := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range Fields() {
		if f.Key == "kafka.properties" {
			continue // Load has folded them into the settings they stand for.
		}
		parent := root
		parts := strings.Split(f.Key, ".")
		for _, part := range parts[:len(parts)-1] {
			parent = child(parent, part)
		}
		value := node(f.value(&cfg).Interface())
		if origins != nil {
			origin := origins[f.Key]
			if origin == "" {
				origin = "default"
			}
			value.LineComment = origin
		}
		parent.Content = append(parent.Content, text(parts[len(parts)-1]), value)
	}
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	return enc.Close()
}

// child returns the section name of parent, made if it is not there.
func child(parent *yaml.Node, name string) *yaml.Node {
	for i := 0; i < len(parent.Content); i += 2 {
		if parent.Content[i].Value == name {
			return parent.Content[i+1]
		}
	}
	section := &yaml.Node{Kind: yaml.MappingNode}
	parent.Content = append(parent.Content, text(name), section)
	return section
}

func node(v any) *yaml.Node {
	switch v := v.(type) {
	case []string:
		list := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, item := range v {
			list.Content = append(list.Content, text(item))
		}
		return list
	case map[string]string:
		pairs := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			pairs.Content = append(pairs.Content, text(name), text(v[name]))
		}
		return pairs
	case string, Secret:
		return text(Text(v))
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Value: Text(v)}
}

// text returns a scalar that reads back as a string: the encoder quotes it where it would not.
func text(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s} }

// Reference returns docs/configuration.md.
func Reference() string {
	var b strings.Builder
	b.WriteString("# Configuration\n\n" +
		"Generated from `internal/config` (`go test ./internal/config -update`); do not edit.\n\n" +
		"A value comes from the first of: flag, environment variable, file (`--config FILE` or `EARWORM_CONFIG`, YAML), default.\n" +
		"The three spellings of a setting follow from its key: key `kafka.client_id` is flag `--kafka.client-id`, variable\n" +
		"`EARWORM_KAFKA_CLIENT_ID` and, in a file, `client_id` in the section `kafka`. Unknown keys and unknown `EARWORM_*` variables are errors.\n" +
		"In flags and variables a list has commas between its items, and pairs are written `name=value,name=value`;\n" +
		"pairs of several sources are merged by name.\n" +
		"Durations take `ms`, `s`, `m`, `h` and `d`; sizes `KiB`, `MiB`, `GiB`.\n" +
		"A secret has no flag; `VARIABLE_FILE` names a file that holds it.\n\n" +
		"`earworm config check` reports every problem at once (exit code 78). `earworm config print` shows the values in force, secrets redacted;\n" +
		"`--origins` tells where each comes from.\n")
	section := "\x00"
	for _, f := range Fields() {
		if s := sectionOf(f.Key); s != section {
			section = s
			title := "`" + s + "`"
			if s == "" {
				title = "Top level"
			}
			b.WriteString("\n## " + title + "\n\n| key | type | default | meaning |\n|---|---|---|---|\n")
		}
		value := "`" + f.Default + "`"
		if f.Default == "" {
			value = ""
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Key, f.Type, value, strings.ReplaceAll(f.Help, "|", "\\|"))
	}
	b.WriteString("\n## Names accepted under `kafka.properties`\n\n")
	for _, name := range slices.Sorted(maps.Keys(propertyRules())) {
		b.WriteString("- `" + name + "`\n")
	}
	return b.String()
}

func sectionOf(key string) string {
	head, _, nested := strings.Cut(key, ".")
	if !nested {
		return ""
	}
	return head
}
