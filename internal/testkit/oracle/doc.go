// Package oracle folds listening events naively, in plain maps, and says what a system that applied each event exactly once must
// hold: the judge of the crash, restart and restore tests.
//
// Invariant: it shares no code with what it judges, neither the codecs nor the tasks, so that one mistake cannot be made twice.
//
// It refuses to judge what the input does not determine: the order of a listener's events is compared only when the caller says
// that it was fixed, and time rules only when the caller gives them.
package oracle
