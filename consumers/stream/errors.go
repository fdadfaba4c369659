package stream

import (
	"errors"
	"fmt"
)

var (
	// ErrUnknownOutcome means that ending a transaction failed without telling whether it committed. The runtime
	// abandons every task, leaves and restores from the changelog; Run does not return it, Ready shows it meanwhile.
	ErrUnknownOutcome = errors.New("the outcome of a transaction is unknown")
	// ErrFenced means that another process uses this instance id, or took over after a long pause.
	ErrFenced = errors.New("fenced by another member with the same instance id")
	// ErrNotAdmitted is what Config.Admit returns for no.
	ErrNotAdmitted = errors.New("this process may not work")
	// ErrNotOwned means that this process does not own the partition, or is still restoring it.
	ErrNotOwned = errors.New("the partition is not owned by this process, or is being restored")
)

// Poison is the error of a record that can never be processed; the record goes to the dead-letter topic.
type Poison struct {
	// Code is a short name out of a closed set; it becomes a header of the dead letter.
	Code string
	// Err is the cause; its text becomes a header of the dead letter, bounded in length.
	Err error
}

// Error returns the code and the cause.
func (p *Poison) Error() string {
	if p.Err == nil {
		return p.Code
	}
	return fmt.Sprintf("%s: %v", p.Code, p.Err)
}

// Unwrap returns the cause.
func (p *Poison) Unwrap() error { return p.Err }

// fatalError is an error that a new session cannot mend.
type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }
func (e *fatalError) Unwrap() error { return e.err }

func fatal(err error) error { return &fatalError{err} }

func isFatal(err error) bool {
	var f *fatalError
	return errors.As(err, &f)
}
