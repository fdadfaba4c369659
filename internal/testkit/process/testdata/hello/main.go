// Command hello is what the builder's test builds.
package main

import "os"

func main() { _, _ = os.Stdout.WriteString(greeting + "\n") }
