// Package run starts the components of a process, waits for the end and stops them in reverse.
//
// Invariant: a component is stopped only after everything that was added after it has returned, so nothing runs on a
// leaf that is gone; and every way to end has one exit code.
//
// The package refuses to restart components: a component that returns an error ends the process, and start-up
// replays the log.
package run
