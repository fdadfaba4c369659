package run

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Signals returns a context that ends at the first SIGINT or SIGTERM. A second one calls exit with the code that a
// shell reports for the signal (130 or 143): the operator wants the process gone now, and committed state is safe at
// any moment. Call stop to release the signals.
func Signals(parent context.Context, exit func(code int)) (ctx context.Context, stop func()) {
	signals := make(chan os.Signal, 2) // Bound: the two signals that matter.
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithCancel(parent)
	over, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		watch(signals, over, cancel, exit)
	}()
	var stopped bool
	return ctx, func() {
		if stopped {
			return
		}
		stopped = true
		signal.Stop(signals)
		close(over)
		<-gone
		cancel()
	}
}

// watch cancels at the first signal and exits at the second.
func watch(signals <-chan os.Signal, over <-chan struct{}, cancel func(), exit func(code int)) {
	for range 2 {
		select {
		case <-over:
			return
		case s := <-signals:
			if cancel != nil {
				cancel()
				cancel = nil
				continue
			}
			const shellBase = 128
			if number, ok := s.(syscall.Signal); ok {
				exit(shellBase + int(number))
			}
		}
	}
}
