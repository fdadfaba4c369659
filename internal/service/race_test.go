//go:build race

package service_test

// raced says that the race detector is at work.
const raced = true
