package process

import (
	"bytes"
	"io"
	"os"
	"strings"
)

// tailBytesMax bounds what Tail reads: a day's log must not end up in a test report.
const tailBytesMax = 64 << 10

// raceMark is how the race detector begins a report.
const raceMark = "WARNING: DATA RACE"

// Tail returns the last lines of the child's output, at most 64 KiB of them. It may be called while the child runs.
func (c *Child) Tail(lines int) string { return TailFile(c.log, lines) }

// Logged reports whether text occurs in the child's whole output so far.
func (c *Child) Logged(text string) bool {
	raw, err := os.ReadFile(c.log)
	return err == nil && bytes.Contains(raw, []byte(text))
}

// TailFile returns the last lines of a file, at most 64 KiB of them; of a file that cannot be read it returns the reason.
func TailFile(path string, lines int) string {
	file, err := os.Open(path) //nolint:gosec // a log this package made
	if err != nil {
		return "(" + err.Error() + ")"
	}
	defer func() { _ = file.Close() }()
	if size, err := file.Seek(0, io.SeekEnd); err == nil {
		if _, err := file.Seek(max(0, size-tailBytesMax), io.SeekStart); err != nil {
			return "(" + err.Error() + ")"
		}
	}
	raw, err := io.ReadAll(io.LimitReader(file, tailBytesMax))
	if err != nil {
		return "(" + err.Error() + ")"
	}
	all := strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
