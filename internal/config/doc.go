// Package config turns flags, the environment and one file into the settings of a process.
//
// A value comes from the first of: flag, environment variable, file, default. The three spellings are derived from
// one struct, so they cannot drift apart, and docs/configuration.md is generated from it.
//
// Invariant: a setting that is not understood is never ignored. Unknown keys of the file, unknown EARWORM_*
// variables and values of the wrong shape are errors that name the culprit, and all problems are reported together.
//
// The package refuses to reveal a Secret through any formatting, encoding or logging path, and it knows no model and
// no consumer: it holds plain values that cmd hands on.
package config
