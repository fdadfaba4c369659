package stream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// KafkaConfig says how to reach the brokers. Properties accepts the names of librdkafka and of the Java clients, so
// that what an operator has can be pasted; they override the other fields. An unknown name is an error.
type KafkaConfig struct {
	Brokers    []string
	ClientID   string
	TLS        TLSConfig
	SASL       SASLConfig
	Properties map[string]string
	// Compression of what is produced: none, lz4, snappy, zstd or gzip. Default lz4.
	Compression string
}

// TLSConfig turns TLS on and names its files (PEM).
type TLSConfig struct {
	Enabled            bool
	CAFile             string
	CertFile           string
	KeyFile            string
	InsecureSkipVerify bool
}

// SASLConfig is the login: mechanism PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; empty means none.
type SASLConfig struct {
	Mechanism string
	Username  string
	Password  string
}

// Sizes of the fetch path: bounded memory whatever the brokers hold.
const (
	fetchBytesMax          = 8 << 20
	fetchPartitionBytesMax = 1 << 20
	brokerReadBytesMax     = 64 << 20
	decompressedBytesMax   = 16 << 20
	fetchesMax             = 3
)

// ClientOptions translates the configuration for every client of the process, with bounded fetch sizes and a cap on
// decompression. It reports all problems at once and reads the certificate files.
func ClientOptions(c KafkaConfig) ([]kgo.Opt, error) {
	c, extra, errs := c.withProperties()
	if len(c.Brokers) == 0 {
		errs = append(errs, errors.New("no broker address"))
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.FetchMaxBytes(fetchBytesMax),
		kgo.FetchMaxPartitionBytes(fetchPartitionBytesMax),
		kgo.MaxConcurrentFetches(fetchesMax),
		kgo.BrokerMaxReadBytes(brokerReadBytesMax),
		kgo.MaxDecompressBatchBytes(decompressedBytesMax),
		kgo.DisableClientMetrics(),
	}
	if c.ClientID != "" {
		opts = append(opts, kgo.ClientID(c.ClientID))
	}
	compression, err := compressionOf(c.Compression)
	errs = append(errs, err)
	opts = append(opts, compression)
	if c.TLS.Enabled {
		t, err := c.TLS.load()
		errs = append(errs, err)
		opts = append(opts, kgo.DialTLSConfig(t))
	}
	login, err := c.SASL.option()
	errs = append(errs, err)
	if login != nil {
		opts = append(opts, login)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("kafka configuration: %w", err)
	}
	return append(opts, extra...), nil
}

// withProperties merges Properties into the fields and returns options for those that have no field.
func (c KafkaConfig) withProperties() (KafkaConfig, []kgo.Opt, []error) {
	var opts []kgo.Opt
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c.Properties)) {
		opt, err := c.property(name, c.Properties[name])
		if err != nil {
			errs = append(errs, err)
		}
		if opt != nil {
			opts = append(opts, opt)
		}
	}
	return c, opts, errs
}

// property applies one librdkafka or Java property.
func (c *KafkaConfig) property(name, value string) (kgo.Opt, error) {
	switch name {
	case "bootstrap.servers", "metadata.broker.list":
		c.Brokers = splitList(value)
	case "client.id":
		c.ClientID = value
	case "security.protocol":
		return nil, c.protocol(value)
	case "sasl.mechanism", "sasl.mechanisms":
		c.SASL.Mechanism = value
	case "sasl.username":
		c.SASL.Username = value
	case "sasl.password":
		c.SASL.Password = value
	case "ssl.ca.location":
		c.TLS.CAFile = value
	case "ssl.certificate.location":
		c.TLS.CertFile = value
	case "ssl.key.location":
		c.TLS.KeyFile = value
	case "ssl.endpoint.identification.algorithm":
		c.TLS.InsecureSkipVerify = value == "" || value == "none"
	case "enable.ssl.certificate.verification":
		c.TLS.InsecureSkipVerify = value == "false"
	case "compression.type", "compression.codec":
		c.Compression = value
	case "fetch.max.bytes", "max.partition.fetch.bytes", "fetch.message.max.bytes":
		n, err := strconv.ParseInt(value, 10, 32)
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("kafka property %s: not a positive number", name)
		}
		if name == "fetch.max.bytes" {
			return kgo.FetchMaxBytes(int32(n)), nil
		}
		return kgo.FetchMaxPartitionBytes(int32(n)), nil
	case "isolation.level":
		if value != "read_committed" {
			return nil, errors.New("kafka property isolation.level: only read_committed is exactly once")
		}
	default:
		return nil, fmt.Errorf("unknown kafka property %q", name)
	}
	return nil, nil //nolint:nilnil // most properties change a field and need no option
}

func (c *KafkaConfig) protocol(value string) error {
	switch strings.ToUpper(value) {
	case "PLAINTEXT", "SASL_PLAINTEXT":
		c.TLS.Enabled = false
	case "SSL", "SASL_SSL":
		c.TLS.Enabled = true
	default:
		return fmt.Errorf("kafka property security.protocol: unknown protocol %q", value)
	}
	return nil
}

func (t TLSConfig) load() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.InsecureSkipVerify} //nolint:gosec // the operator's choice, warned about at start
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading the CA certificate: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificate in %s", t.CAFile)
		}
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, errors.New("a client certificate needs both its certificate and its key file")
	}
	if t.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("loading the client certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{cert}
	}
	return conf, nil
}

func (s SASLConfig) option() (kgo.Opt, error) {
	switch strings.ToUpper(s.Mechanism) {
	case "":
		if s.Username != "" || s.Password != "" {
			return nil, errors.New("a SASL user without a mechanism")
		}
		return nil, nil //nolint:nilnil // no login is a valid choice
	case "PLAIN":
		return kgo.SASL(plain.Auth{User: s.Username, Pass: s.Password}.AsMechanism()), nil
	case "SCRAM-SHA-256":
		return kgo.SASL(scram.Auth{User: s.Username, Pass: s.Password}.AsSha256Mechanism()), nil
	case "SCRAM-SHA-512":
		return kgo.SASL(scram.Auth{User: s.Username, Pass: s.Password}.AsSha512Mechanism()), nil
	default:
		return nil, fmt.Errorf("unknown SASL mechanism %q: use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", s.Mechanism)
	}
}

// compressionOf returns an option that several clients may be made with at the same time. The list of codecs that
// kgo.ProducerBatchCompression holds is written to by every client that is made with it; a compressor is shared safely.
func compressionOf(name string) (kgo.Opt, error) {
	var codec kgo.CompressionCodec
	switch strings.ToLower(name) {
	case "", "lz4":
		codec = kgo.Lz4Compression()
	case "none":
		return kgo.ProducerBatchCompression(), nil
	case "snappy":
		codec = kgo.SnappyCompression()
	case "zstd":
		codec = kgo.ZstdCompression()
	case "gzip":
		codec = kgo.GzipCompression()
	default:
		return kgo.ProducerBatchCompression(), fmt.Errorf("unknown compression %q", name)
	}
	compressor, err := kgo.DefaultCompressor(codec)
	if err != nil {
		return nil, fmt.Errorf("compression %s: %w", name, err)
	}
	return kgo.WithCompressor(compressor), nil
}

func splitList(s string) []string {
	var list []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// Plaintext reports whether the configuration sends data unprotected to a broker that is not on this machine, which
// start-up warns about.
func (c KafkaConfig) Plaintext() bool {
	c, _, _ = c.withProperties()
	if c.TLS.Enabled {
		return false
	}
	return slices.ContainsFunc(c.Brokers, func(b string) bool {
		host, _, err := net.SplitHostPort(b)
		if err != nil {
			host = b
		}
		ip := net.ParseIP(host)
		return host != "localhost" && (ip == nil || !ip.IsLoopback())
	})
}
