// Package deploy holds no code: its test keeps the files that containers mount in step with the program.
//
// Invariant: every metric that a dashboard or an alert asks for exists in the source, every alert has its entry in
// the runbook, and nothing is published beyond loopback.
//
// It refuses to need Docker; `make compose-check` asks the real parser.
package deploy
