package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progressInterval is the time between two plain lines.
const progressInterval = 2 * time.Second

// progress shows how far long work is: a bar with rate and time left on a terminal, else a plain line every two
// seconds; and one final line in both cases. Its methods may be called concurrently.
type progress struct {
	w          io.Writer
	now        func() time.Time
	what, unit string
	total      int64 // 0: unknown

	mu    sync.Mutex
	bar   *progressbar.ProgressBar // nil: plain lines
	count int64
	began time.Time
	shown time.Time
	ended bool
}

// newProgress starts to show work of total units; total 0 means that nobody knows.
func newProgress(w io.Writer, what, unit string, total int64) *progress {
	p := &progress{w: w, now: time.Now, what: what, unit: unit, total: max(total, 0)}
	p.began = p.now()
	p.shown = p.began
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		length := total
		if total <= 0 {
			length = -1
		}
		p.bar = progressbar.NewOptions64(length,
			progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what), progressbar.OptionShowCount(),
			progressbar.OptionShowIts(), progressbar.OptionSetItsString(unit), progressbar.OptionSetPredictTime(total > 0),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(),
			progressbar.OptionSetSpinnerChangeInterval(0), // No goroutine of its own: Add moves the spinner.
		)
	}
	return p
}

// Add records that n more units are done.
func (p *progress) Add(n int64) { p.update(func() { p.count += n }) }

// Total tells, or corrects, how much there is to do.
func (p *progress) Total(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total = n
	if p.bar != nil {
		p.bar.ChangeMax64(n)
	}
}

// Set records that n units are done in all.
func (p *progress) Set(n int64) { p.update(func() { p.count = n }) }

func (p *progress) update(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	change()
	if p.bar != nil {
		_ = p.bar.Set64(p.count) // Past the total: the bar stays full, the final line tells the truth.
		return
	}
	if now := p.now(); now.Sub(p.shown) >= progressInterval {
		p.shown = now
		_, _ = fmt.Fprintln(p.w, p.lineLocked(now))
	}
}

// Done writes the final line. Further calls do nothing.
func (p *progress) Done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	p.ended = true
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	took := p.now().Sub(p.began)
	_, _ = fmt.Fprintf(p.w, "%s: %s %s in %s (%s)\n", p.what, thousands(p.count), p.unit,
		took.Round(100*time.Millisecond), p.rateLocked(took))
}

func (p *progress) lineLocked(now time.Time) string {
	took := now.Sub(p.began)
	if p.total == 0 || p.count == 0 {
		return fmt.Sprintf("%s: %s %s, %s", p.what, thousands(p.count), p.unit, p.rateLocked(took))
	}
	left := time.Duration(float64(took) * float64(max(p.total-p.count, 0)) / float64(p.count))
	return fmt.Sprintf("%s: %d %% (%s of %s %s), %s, %s left", p.what, 100*p.count/p.total, thousands(p.count),
		thousands(p.total), p.unit, p.rateLocked(took), left.Round(time.Second))
}

func (p *progress) rateLocked(took time.Duration) string {
	if took <= 0 {
		return "0/s"
	}
	return thousands(int64(float64(p.count)/took.Seconds())) + "/s"
}

// thousands writes n with commas: 1,234,567.
func thousands(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	var b strings.Builder
	for i, digit := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(digit)
	}
	return sign + b.String()
}
