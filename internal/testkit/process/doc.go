// Package process builds the binary under test and runs it as a real child process that tests may kill, stop, pause and end.
//
// Invariant: a child never outlives its test. On Linux the kernel kills it when the test process dies, however that happens;
// everywhere else it dies with the context given to Start or in the cleanup of Run. A signal goes to the exact process this package
// started (Go holds a pidfd where the kernel has them), never to a name or a group.
//
// It refuses to keep package-level state (a Builder belongs to the TestMain that made it), to guess readiness from a sleep or
// from a line in a log, and to be imported outside tests.
package process
