package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Properties are client settings under the names of librdkafka and the Java client. Load translates them to the
// settings they stand for, source by source, so that precedence holds across both spellings; a loaded Config has none.
type Properties map[string]string

// String returns the names without the values, which may be secret.
func (p Properties) String() string {
	return strings.Join(slices.Sorted(maps.Keys(p)), ", ")
}

// translated is a property in our own words: key → value, as a file would say it.
type translated map[string]any

// propertyRules maps the name of a property to its translation. A rule may return an error that says what to do instead.
func propertyRules() map[string]func(value string) (translated, error) {
	text := func(key string) func(string) (translated, error) {
		return func(value string) (translated, error) { return translated{key: value}, nil }
	}
	millis := func(key string) func(string) (translated, error) {
		return func(value string) (translated, error) {
			n, err := strconv.ParseInt(value, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("%q is not a number of milliseconds", value)
			}
			return translated{key: (time.Duration(n) * time.Millisecond).String()}, nil
		}
	}
	refuse := func(why string) func(string) (translated, error) {
		return func(string) (translated, error) { return nil, fmt.Errorf("%s", why) }
	}
	only := func(allowed, why string) func(string) (translated, error) {
		return func(value string) (translated, error) {
			if !strings.EqualFold(value, allowed) {
				return nil, fmt.Errorf("%q: %s", value, why)
			}
			return translated{}, nil
		}
	}
	mechanism := func(value string) (translated, error) {
		return translated{"kafka.sasl.mechanism": strings.ToUpper(value)}, nil
	}
	return map[string]func(string) (translated, error){
		"bootstrap.servers":                     text("kafka.brokers"),
		"client.id":                             text("kafka.client_id"),
		"compression.type":                      text("kafka.compression"),
		"enable.auto.commit":                    only("false", "offsets are committed inside transactions"),
		"fetch.max.bytes":                       text("kafka.fetch_max_bytes"),
		"group.id":                              refuse("group names follow from app: set app instead"),
		"group.instance.id":                     text("instance"),
		"isolation.level":                       only("read_committed", "earworm reads committed records only"),
		"max.poll.records":                      text("kafka.max_poll_records"),
		"sasl.mechanism":                        mechanism,
		"sasl.mechanisms":                       mechanism,
		"sasl.password":                         text("kafka.sasl.password"),
		"sasl.username":                         text("kafka.sasl.username"),
		"security.protocol":                     securityProtocol,
		"session.timeout.ms":                    millis("kafka.session_timeout"),
		"ssl.ca.location":                       text("kafka.tls.ca_file"),
		"ssl.certificate.location":              text("kafka.tls.cert_file"),
		"ssl.endpoint.identification.algorithm": endpointIdentification,
		"ssl.key.location":                      text("kafka.tls.key_file"),
		"ssl.key.password":                      refuse("encrypted keys are not supported: give a plain PEM key with mode 0400"),
		"transaction.timeout.ms":                millis("kafka.transaction_timeout"),
		"transactional.id":                      refuse("transactional ids follow from app and instance"),
	}
}

func securityProtocol(value string) (translated, error) {
	switch strings.ToUpper(value) {
	case "PLAINTEXT", "SASL_PLAINTEXT":
		return translated{"kafka.tls.enabled": "false"}, nil
	case "SSL", "SASL_SSL":
		return translated{"kafka.tls.enabled": "true"}, nil
	}
	return nil, fmt.Errorf("%q is not one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL", value)
}

func endpointIdentification(value string) (translated, error) {
	switch strings.ToLower(value) {
	case "https":
		return translated{"kafka.tls.insecure_skip_verify": "false"}, nil
	case "", "none":
		return nil, fmt.Errorf("%q: host names are checked always; kafka.tls.insecure_skip_verify gives up every check", value)
	}
	return nil, fmt.Errorf("%q is not https", value)
}

// translateProperties returns what props say in our own words; each property that it cannot translate is a Problem.
func translateProperties(props map[string]string) (translated, error) {
	rules := propertyRules()
	result := translated{}
	var p problems
	for _, name := range slices.Sorted(maps.Keys(props)) {
		rule, ok := rules[name]
		if !ok {
			p.check(false, "kafka.properties."+name, "unknown property%s", suggestion(name, slices.Collect(maps.Keys(rules))))
			continue
		}
		said, err := rule(props[name])
		if err != nil {
			p.check(false, "kafka.properties."+name, "%s", err)
			continue
		}
		for key, value := range said {
			if earlier, twice := result[key]; twice && earlier != value {
				p.check(false, "kafka.properties."+name, "says another value for %s than a property before it", key)
			}
			result[key] = value
		}
	}
	return result, p.err()
}
