// Package obs is what a process shows of itself: its log, its metrics, its probes and its profiles.
//
// Invariant: what can be reached by others tells nothing about listeners and changes nothing; what can profile or
// change sits on a loopback address behind a token.
//
// The package refuses the default mux, the default registry and the default logger, and liveness never depends on
// Kafka: a broker that is away must not get the process restarted.
package obs
