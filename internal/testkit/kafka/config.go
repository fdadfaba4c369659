package kafka

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// DefaultVersion is the release the settings of this package were tested with.
const DefaultVersion = "4.3.1"

// refusedVersion must not be used (shared/kafka/README.md).
const refusedVersion = "4.2.0"

// Config says what cluster to start. The zero value of a field is its default.
type Config struct {
	// Dir holds the data and the settings; it must be empty or absent, and its path without white space.
	Dir string
	// LogDir receives node1.log, node2.log ...; default: Dir. It may outlive Dir.
	LogDir string
	// Nodes is 1 (the default) or 3; with 3, replication is 3 and two replicas must be in sync.
	Nodes int
	// Version is the release to run; default DefaultVersion.
	Version string
	// CacheDir is where fetched jars are kept; default: earworm-kafka in the user's cache folder.
	CacheDir string
	// HeapMiB is the Java heap of a node; default 512.
	HeapMiB int
	// Properties are server properties that add to or override this package's.
	Properties map[string]string
	// External are the addresses of a running cluster to use instead of starting one.
	External []string
	// Tries bounds how often a node that ends while starting is started; default 3: forming a quorum can time out on a loaded
	// machine.
	Tries int
	// RetryPause is the time between two such tries; default 1 s.
	RetryPause time.Duration
	// StartTimeout bounds a start or a restart, tries included; default 3 minutes.
	StartTimeout time.Duration
	// FetchTimeout bounds fetching the jars; default 10 minutes.
	FetchTimeout time.Duration
	// StopTimeout is how long a node may take to end by itself; default 30 s.
	StopTimeout time.Duration
}

// Default returns the configuration of one node. Dir is left for the caller to set.
func Default() Config { return Config{}.withDefaults() }

func (c Config) withDefaults() Config {
	setDefault(&c.LogDir, c.Dir)
	setDefault(&c.Nodes, 1)
	setDefault(&c.Version, DefaultVersion)
	setDefault(&c.HeapMiB, 512)
	setDefault(&c.Tries, 3)
	setDefault(&c.RetryPause, time.Second)
	setDefault(&c.StartTimeout, 3*time.Minute)
	setDefault(&c.FetchTimeout, 10*time.Minute)
	setDefault(&c.StopTimeout, 30*time.Second)
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate reports every problem of the configuration, taking zero values as their defaults.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.Nodes != 1 && c.Nodes != 3 {
		errs = append(errs, fmt.Errorf("nodes is %d: must be 1 or 3", c.Nodes))
	}
	if c.Dir == "" && len(c.External) == 0 {
		errs = append(errs, errors.New("dir is empty"))
	}
	// Kafka's properties and the log4j address have no quoting for it.
	if strings.ContainsFunc(c.Dir, unicode.IsSpace) {
		errs = append(errs, fmt.Errorf("dir %q holds white space", c.Dir))
	}
	if c.Version == refusedVersion {
		errs = append(errs, fmt.Errorf("version %s is refused: take 4.2.1 or newer", refusedVersion))
	}
	if strings.ContainsFunc(c.Version, func(r rune) bool { return r != '.' && r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		errs = append(errs, fmt.Errorf("version %q is not a version", c.Version))
	}
	if _, ok := c.Properties["controller.quorum.voters"]; ok {
		errs = append(errs, errors.New("controller.quorum.voters contradicts the bootstrap servers this package sets"))
	}
	if c.HeapMiB < 128 {
		errs = append(errs, fmt.Errorf("heap of %d MiB: a node needs 128", c.HeapMiB))
	}
	if c.Tries < 1 {
		errs = append(errs, fmt.Errorf("tries is %d: must be at least 1", c.Tries))
	}
	if c.RetryPause < 0 || c.StartTimeout < 0 || c.FetchTimeout < 0 || c.StopTimeout < 0 {
		errs = append(errs, errors.New("a timeout is negative"))
	}
	return errors.Join(errs...)
}
