// Package archtest keeps the shape of the repository: who may import whom, where the clock may be read, and which files a
// package must have. Its tests run the rules over the whole module and over small trees that break each rule.
//
// Invariant: a rule that stands here holds for every file, whatever its build tags, because files are parsed, not built.
// It refuses to judge style; that is the linter's work. Nothing imports it.
package archtest
