// Package docstest holds no code: its test keeps the documents in step with the program.
//
// Invariant: every path, Go name, test, command, flag, setting, metric and make target that a document names exists.
//
// It refuses to judge prose, and to run what the documents tell to run: .ci/run does that with the README's commands.
package docstest
