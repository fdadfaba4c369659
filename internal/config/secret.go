package config

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted stands for a secret wherever one would be shown.
const redacted = "[redacted]"

// Secret is a value that must not be shown. Every formatting and encoding path prints a placeholder; only Reveal
// returns the value. The zero Secret is unset and prints as nothing.
type Secret struct{ value string }

// NewSecret returns a Secret that holds value.
func NewSecret(value string) Secret { return Secret{value: value} }

// Reveal returns the value. Call it where the value is used, not where it is passed on.
func (s Secret) Reveal() string { return s.value }

// IsSet reports whether the secret has a value.
func (s Secret) IsSet() bool { return s.value != "" }

// String returns the placeholder.
func (s Secret) String() string {
	if s.value == "" {
		return ""
	}
	return redacted
}

// GoString returns the placeholder, so that %#v reveals nothing.
func (s Secret) GoString() string { return s.String() }

// Format writes the placeholder for every verb: without it %x or %d of the struct would print the bytes.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText returns the placeholder; encoding/json and every text encoder use it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON returns the placeholder as a JSON string.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// MarshalYAML returns the placeholder.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// LogValue returns the placeholder, so that slog reveals nothing.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

var (
	_ fmt.Formatter  = Secret{}
	_ slog.LogValuer = Secret{}
)
