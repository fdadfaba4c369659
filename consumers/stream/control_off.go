//go:build !negativecontrol

package stream

const localFirstBuild = false
