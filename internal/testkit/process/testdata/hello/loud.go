//go:build shout

package main

const greeting = "HELLO"
