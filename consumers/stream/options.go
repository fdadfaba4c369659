package stream

import "github.com/twmb/franz-go/pkg/kgo"

// Options configure a Kafka client. Packages that only pass them on need not know the client library.
type Options = []kgo.Opt
