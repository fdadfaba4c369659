//go:build !shout

package main

const greeting = "hello"
