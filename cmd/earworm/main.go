package main

import (
	"context"
	"os"
	_ "time/tzdata" // Time zones are needed where no zoneinfo is installed: in the distroless image.

	"earworm/internal/run"
)

func main() {
	osMemory()
	ctx, stop := run.Signals(context.Background(), os.Exit)
	code := execute(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}, os.Environ())
	stop()
	os.Exit(code)
}
