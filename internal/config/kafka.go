package config

import (
	"errors"
	"net"
	"slices"
	"strconv"
	"time"
)

// Kafka says how to reach the brokers.
type Kafka struct {
	Brokers            []string      `koanf:"brokers" main:"1" help:"Addresses to bootstrap from, host:port."`
	ClientID           string        `koanf:"client_id" help:"Name that the brokers see in their logs and quotas."`
	TLS                TLS           `koanf:"tls"`
	SASL               SASL          `koanf:"sasl"`
	SessionTimeout     time.Duration `koanf:"session_timeout" help:"A member that is silent for this long loses its partitions. Longer than the transaction timeout."`
	TransactionTimeout time.Duration `koanf:"transaction_timeout" help:"The broker aborts a transaction that is open for this long."`
	FetchMaxBytes      Bytes         `koanf:"fetch_max_bytes" help:"Largest answer to one fetch."`
	MaxPollRecords     int           `koanf:"max_poll_records" help:"Most records handled between two looks at the clock."`
	Compression        string        `koanf:"compression" help:"Codec of produced batches: none, gzip, snappy, lz4 or zstd."`
	Properties         Properties    `koanf:"properties" help:"Settings under the names of librdkafka and the Java client (bootstrap.servers, sasl.username ...); each is an alias of the setting it maps to, unknown names are rejected."`
}

// TLS says how connections to the brokers are encrypted.
type TLS struct {
	Enabled            bool   `koanf:"enabled" help:"Encrypt connections, TLS 1.2 or later."`
	CAFile             string `koanf:"ca_file" help:"PEM file with the authorities to trust. Empty: those of the system."`
	CertFile           string `koanf:"cert_file" help:"PEM file with the client certificate."`
	KeyFile            string `koanf:"key_file" help:"PEM file with the client key, not encrypted."`
	InsecureSkipVerify bool   `koanf:"insecure_skip_verify" help:"Accept any certificate. For tests only: start-up warns."`
}

// SASL says how to authenticate.
type SASL struct {
	Mechanism string `koanf:"mechanism" help:"PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512. Empty: none."`
	Username  string `koanf:"username" help:"User name."`
	Password  Secret `koanf:"password" help:"Password."`
}

// DefaultKafka returns a broker on this machine, without encryption.
func DefaultKafka() Kafka {
	return Kafka{
		Brokers:            []string{"127.0.0.1:9092"},
		ClientID:           "earworm",
		SessionTimeout:     15 * time.Second,
		TransactionTimeout: 10 * time.Second,
		FetchMaxBytes:      8 * MiB,
		MaxPollRecords:     10_000,
		Compression:        "lz4",
	}
}

// Validate reports every setting that makes no sense.
func (k Kafka) Validate() error {
	var p problems
	p.check(len(k.Brokers) > 0, "kafka.brokers", "is empty")
	for _, broker := range k.Brokers {
		p.check(isAddress(broker), "kafka.brokers", "%q is not of the form host:port", broker)
	}
	p.within("kafka.transaction_timeout", k.TransactionTimeout, time.Second, 15*time.Minute)
	p.within("kafka.session_timeout", k.SessionTimeout, time.Second, 30*time.Minute)
	p.check(k.SessionTimeout > k.TransactionTimeout, "kafka.session_timeout",
		"%s must be longer than kafka.transaction_timeout %s, or a member could be replaced inside its transaction",
		k.SessionTimeout, k.TransactionTimeout)
	between(&p, "kafka.fetch_max_bytes", k.FetchMaxBytes, 64*KiB, GiB)
	between(&p, "kafka.max_poll_records", k.MaxPollRecords, 1, 1_000_000)
	p.check(slices.Contains([]string{"none", "gzip", "snappy", "lz4", "zstd"}, k.Compression), "kafka.compression",
		"%q is not one of none, gzip, snappy, lz4, zstd", k.Compression)
	k.SASL.validate(&p)
	k.TLS.validate(&p)
	return p.err()
}

func (s SASL) validate(p *problems) {
	mechanisms := []string{"", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}
	p.check(slices.Contains(mechanisms, s.Mechanism), "kafka.sasl.mechanism",
		"%q is not one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512", s.Mechanism)
	if s.Mechanism == "" {
		p.check(s.Username == "" && !s.Password.IsSet(), "kafka.sasl.mechanism", "is empty though a user name or password is set")
		return
	}
	p.check(s.Username != "", "kafka.sasl.username", "is empty")
	p.check(s.Password.IsSet(), "kafka.sasl.password", "is empty")
}

func (t TLS) validate(p *problems) {
	p.check((t.CertFile == "") == (t.KeyFile == ""), "kafka.tls.cert_file", "must be set together with kafka.tls.key_file")
	if t.Enabled {
		return
	}
	idle := t
	idle.Enabled = false
	p.check(idle == TLS{}, "kafka.tls.enabled", "is false though other settings of kafka.tls are set")
}

// Warnings returns what is allowed but dangerous about the connection: the caller logs it at start-up.
func (k Kafka) Warnings() []string {
	var warnings []string
	if k.TLS.Enabled && k.TLS.InsecureSkipVerify {
		warnings = append(warnings, "kafka.tls.insecure_skip_verify is on: anybody can pose as the broker")
	}
	if !k.TLS.Enabled && slices.ContainsFunc(k.Brokers, func(b string) bool { return !isLoopback(b) }) {
		warnings = append(warnings, "connections to brokers on other machines are not encrypted: set kafka.tls.enabled")
	}
	return warnings
}

func isAddress(address string) bool {
	host, port, err := net.SplitHostPort(address)
	n, errPort := strconv.Atoi(port)
	return errors.Join(err, errPort) == nil && host != "" && n > 0 && n < 1<<16
}

// isListenAddress is isAddress for our own listeners: no host means every interface, port 0 any free port.
func isListenAddress(address string) bool {
	_, port, err := net.SplitHostPort(address)
	n, errPort := strconv.Atoi(port)
	return errors.Join(err, errPort) == nil && n >= 0 && n < 1<<16
}

// isLoopback reports whether address can be reached from this machine only.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
