package process

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// dumpMark is how the Go runtime begins what it prints on SIGQUIT.
const dumpMark = "SIGQUIT: quit"

// stacksBytesMax bounds what Stacks reads of a dump.
const stacksBytesMax = 16 << 20

// Stacks ends a child written in Go with SIGQUIT and returns what its goroutines were doing, summarised by Summarise. A child that
// is still there after within is killed, which is an error; so is one that left no dump.
func (c *Child) Stacks(within time.Duration) (string, error) {
	before := int64(0)
	if info, err := os.Stat(c.log); err == nil {
		before = info.Size()
	}
	if err := c.signal(syscall.SIGQUIT); err != nil {
		return "", err
	}
	select {
	case <-c.done:
	case <-time.After(within):
		return "", errors.Join(fmt.Errorf("process %d did not end within %v of SIGQUIT", c.PID(), within), c.Kill())
	}
	raw, err := os.ReadFile(c.log)
	if err != nil {
		return "", fmt.Errorf("reading a goroutine dump: %w", err)
	}
	raw = raw[min(before, int64(len(raw))):]
	_, dump, found := strings.Cut(string(raw[:min(len(raw), stacksBytesMax)]), dumpMark)
	if !found {
		return "", fmt.Errorf("process %d left no goroutine dump", c.PID())
	}
	return Summarise(dump), nil
}

// Patterns of a goroutine dump that differ between goroutines that do the same.
var (
	goroutineHead = regexp.MustCompile(`^goroutine \d+ (?:gp=\S+ m=\S+ (?:mp=\S+ )?)?\[(.*)\]:$`) //nolint:gochecknoglobals // compiled once
	waiting       = regexp.MustCompile(`, (\d+) minutes`)                                         //nolint:gochecknoglobals // compiled once
	arguments     = regexp.MustCompile(`\((?:0x|\{|\.\.\.|nil|0)[^()]*\)$`)                       //nolint:gochecknoglobals // compiled once
	createdBy     = regexp.MustCompile(` in goroutine \d+$`)                                      //nolint:gochecknoglobals // compiled once
	addresses     = regexp.MustCompile(` \+0x[0-9a-f]+.*$`)                                       //nolint:gochecknoglobals // compiled once
)

// Summarise puts the goroutines of a dump that stand at the same place into one entry with their number, most numerous last: what is
// rare is what one looks for. A dump of several hundred goroutines becomes readable in a test's output.
func Summarise(dump string) string {
	type group struct {
		text    string
		count   int
		longest string
	}
	groups := map[string]*group{}
	for block := range strings.SplitSeq(dump, "\n\n") {
		lines := strings.Split(strings.TrimSpace(block), "\n")
		head := goroutineHead.FindStringSubmatch(lines[0])
		if head == nil {
			continue
		}
		longest := ""
		if m := waiting.FindStringSubmatch(head[1]); m != nil {
			longest = m[1]
		}
		var b strings.Builder
		fmt.Fprintf(&b, "[%s]\n", waiting.ReplaceAllString(head[1], ""))
		for _, line := range lines[1:] {
			line = addresses.ReplaceAllString(line, "")
			b.WriteString(createdBy.ReplaceAllString(arguments.ReplaceAllString(line, ""), ""))
			b.WriteByte('\n')
		}
		g := groups[b.String()]
		if g == nil {
			g = &group{text: b.String()}
			groups[g.text] = g
		}
		g.count++
		if len(longest) > len(g.longest) || len(longest) == len(g.longest) && longest > g.longest {
			g.longest = longest
		}
	}
	sorted := make([]*group, 0, len(groups))
	for _, g := range groups {
		sorted = append(sorted, g)
	}
	slices.SortFunc(sorted, func(a, b *group) int { return cmp.Or(a.count-b.count, strings.Compare(a.text, b.text)) })
	var b strings.Builder
	for _, g := range sorted {
		age := ""
		if g.longest != "" {
			age = ", for up to " + g.longest + " minutes"
		}
		fmt.Fprintf(&b, "%d × %s%s", g.count, strings.Replace(g.text, "]", age+"]", 1), "\n")
	}
	return b.String()
}
