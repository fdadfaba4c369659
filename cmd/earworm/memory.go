package main

import (
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// Settings of the garbage collector when the environment has none. Twice Go's usual room halves the collector's share of
// the processors, and the limit takes the room back before the container's end would.
const (
	gcPercent   = 200
	limitShare  = .75
	cgroupLimit = "/sys/fs/cgroup/memory.max"
	memInfo     = "/proc/meminfo"
)

// tuneMemory applies them. GOGC and GOMEMLIMIT win.
func tuneMemory(getenv func(string) string, readFile func(string) ([]byte, error)) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit(readFile))
	}
}

// memoryLimit is a share of what the container, or else the machine, has; no limit where that is unknown.
func memoryLimit(readFile func(string) ([]byte, error)) int64 {
	have := int64(math.MaxInt64)
	if text, err := readFile(cgroupLimit); err == nil {
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 {
			have = n
		}
	}
	if text, err := readFile(memInfo); err == nil {
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line) // MemTotal: 24605088 kB
			if len(fields) == 3 && fields[0] == "MemTotal:" {
				if n, err := strconv.ParseInt(fields[1], 10, 64); err == nil && n > 0 {
					have = min(have, n<<10)
				}
			}
		}
	}
	if have == math.MaxInt64 {
		return have
	}
	return int64(float64(have) * limitShare)
}

// osMemory is tuneMemory on this machine.
func osMemory() { tuneMemory(os.Getenv, os.ReadFile) }
