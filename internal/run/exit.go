package run

import (
	"context"
	"errors"
)

// Exit codes of the process, as in sysexits.h.
const (
	CodeOK        = 0
	CodeBug       = 70 // an error that nobody classified
	CodeUsage     = 64 // wrong flags or arguments
	CodeIO        = 74 // disk or state directory
	CodeTemporary = 75 // broker away, lost ownership, unknown outcome: try again
	CodeConfig    = 78 // settings or topics that must be changed first
)

// codedError carries the exit code of the process beside an error.
type codedError struct {
	code int
	err  error
}

// Error returns the message of the error alone.
func (e *codedError) Error() string { return e.err.Error() }

// Unwrap returns the error.
func (e *codedError) Unwrap() error { return e.err }

// WithCode returns err with the exit code that the process shall end with, or nil for nil. The innermost code wins,
// because it was given by who knew the reason.
func WithCode(code int, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*codedError](err); ok {
		return err
	}
	return &codedError{code: code, err: err}
}

// ExitCode returns the exit code for the error that ended the process: CodeOK for nil and for cancellation, that of
// WithCode if there is one, else CodeBug.
func ExitCode(err error) int {
	if coded, ok := errors.AsType[*codedError](err); ok {
		return coded.code
	}
	if err == nil || isCancellation(err) {
		return CodeOK
	}
	return CodeBug
}

// isCancellation reports whether err says nothing but that a context was cancelled. An error that joins a
// cancellation with something else is not one: the something else must not be lost.
func isCancellation(err error) bool {
	switch e := err.(type) { //nolint:errorlint // The tree is walked here, node by node.
	case nil, *codedError:
		return false
	case interface{ Unwrap() []error }:
		parts := e.Unwrap()
		for _, part := range parts {
			if !isCancellation(part) {
				return false
			}
		}
		return len(parts) > 0
	case interface{ Unwrap() error }:
		return isCancellation(e.Unwrap())
	}
	return err == context.Canceled //nolint:errorlint // As above.
}
