package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Roles that a process can run.
const (
	RoleAll      = "all"
	RoleIngest   = "ingest"
	RoleListener = "listener"
	RoleSong     = "song"
)

// Config holds every setting of a process. The zero value of a field that says so means the default of the package
// that uses it; everything else has its default from Default.
type Config struct {
	App            string        `koanf:"app" main:"1" help:"Prefix of the internal and output topics, of the consumer groups and of the transactional ids."`
	Roles          []string      `koanf:"roles" main:"1" help:"Roles of this process: all, or some of ingest, listener, song."`
	Instance       string        `koanf:"instance" main:"1" help:"Stable id of this instance, unique per application; a restart with the same id moves no partition. Empty: the host name."`
	CommitInterval time.Duration `koanf:"commit_interval" help:"Longest time between two transactions: the floor of the latency from event to visible state."`
	Kafka          Kafka         `koanf:"kafka"`
	Topics         Topics        `koanf:"topics"`
	State          State         `koanf:"state"`
	Ingest         Ingest        `koanf:"ingest"`
	DLQ            DLQ           `koanf:"dlq"`
	Listener       Listener      `koanf:"listener"`
	Emit           Emit          `koanf:"emit"`
	Learn          Learn         `koanf:"learn"`
	Trend          Trend         `koanf:"trend"`
	HTTP           HTTP          `koanf:"http"`
	Log            Log           `koanf:"log"`
}

// Default returns the settings of a process to which nothing was said.
func Default() Config {
	return Config{
		App:            "earworm",
		Roles:          []string{RoleAll},
		CommitInterval: 200 * time.Millisecond,
		Kafka:          DefaultKafka(),
		Topics:         DefaultTopics(),
		State:          DefaultState(),
		Ingest:         DefaultIngest(),
		DLQ:            DefaultDLQ(),
		Listener:       DefaultListener(),
		Emit:           DefaultEmit(),
		Learn:          DefaultLearn(),
		Trend:          DefaultTrend(),
		HTTP:           DefaultHTTP(),
		Log:            DefaultLog(),
	}
}

// Validate reports every setting that makes no sense, each by its key.
func (c Config) Validate() error {
	var p problems
	p.check(isName(c.App), "app", "%q must be 1 to 64 of a–z, 0–9, '.', '_' and '-', and start with a letter", c.App)
	p.check(len(c.Roles) > 0, "roles", "is empty")
	for _, role := range c.Roles {
		p.check(slices.Contains([]string{RoleAll, RoleIngest, RoleListener, RoleSong}, role), "roles",
			"%q is not one of all, ingest, listener, song", role)
	}
	p.check(c.Instance == "" || isName(strings.ToLower("i"+c.Instance)), "instance",
		"%q must be at most 63 letters, digits, '.', '_' and '-'", c.Instance)
	p.within("commit_interval", c.CommitInterval, time.Millisecond, time.Minute)
	p.check(c.CommitInterval < c.Kafka.TransactionTimeout, "commit_interval",
		"%s must be shorter than kafka.transaction_timeout %s", c.CommitInterval, c.Kafka.TransactionTimeout)
	return errors.Join(p.err(), c.Kafka.Validate(), c.Topics.Validate(), c.State.Validate(), c.Ingest.Validate(),
		c.DLQ.Validate(), c.Listener.Validate(), c.Emit.Validate(), c.Learn.Validate(), c.Trend.Validate(), c.HTTP.Validate(),
		c.Log.Validate())
}

// HasRole reports whether this process runs role.
func (c Config) HasRole(role string) bool {
	return slices.Contains(c.Roles, RoleAll) || slices.Contains(c.Roles, role)
}

func isName(s string) bool {
	if len(s) == 0 || len(s) > 64 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// A Problem is one setting that cannot be used.
type Problem struct {
	Key  string // as in the file, or the name of the variable
	Text string
}

// Error returns the key and what is wrong with it.
func (p *Problem) Error() string { return p.Key + ": " + p.Text }

// Problems returns every error within err as a Problem, in order; one that is not about a setting has no key.
func Problems(err error) []Problem {
	switch e := err.(type) { //nolint:errorlint // The tree is walked here, node by node.
	case nil:
		return nil
	case *Problem:
		return []Problem{*e}
	case interface{ Unwrap() []error }:
		var all []Problem
		for _, part := range e.Unwrap() {
			all = append(all, Problems(part)...)
		}
		return all
	case interface{ Unwrap() error }:
		// A wrapper that adds no words, such as one that carries an exit code, is transparent.
		if inner := e.Unwrap(); inner != nil && inner.Error() == err.Error() {
			return Problems(inner)
		}
	}
	return []Problem{{Text: err.Error()}}
}

// problems collects what a section finds wrong with itself.
type problems []error

func (p *problems) check(ok bool, key, format string, args ...any) {
	if !ok {
		*p = append(*p, &Problem{Key: key, Text: fmt.Sprintf(format, args...)})
	}
}

func (p *problems) within(key string, d, low, high time.Duration) {
	p.check(d >= low && d <= high, key, "%s must be from %s to %s", formatDuration(d), formatDuration(low), formatDuration(high))
}

func (p *problems) err() error { return errors.Join(*p...) }

// number is what between can compare.
type number interface {
	~int | ~int32 | ~int64 | ~float64
}

// between reports a number outside [low, high]; NaN is outside of everything.
func between[T number](p *problems, key string, v, low, high T) {
	p.check(v >= low && v <= high, key, "%v must be from %v to %v", v, low, high)
}
