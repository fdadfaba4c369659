// Package table is the role every instance plays: it follows the published factor rows and the song catalogue and keeps
// the process's factor table up to date.
//
// Invariant it protects: the table holds what song tasks published plus this process's own changes that they have not yet
// acknowledged; no record of either topic is skipped silently.
//
// It refuses to learn, to keep state on disk and to take part in transactions: what it builds can always be read again.
package table
