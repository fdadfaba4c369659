//go:build negativecontrol

package stream

// localFirstBuild breaks the order of commit on purpose, so that a crash test can prove that it sees the bug.
const localFirstBuild = true
