package stream

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// fetchWaitMax is how long a broker holds a fetch that finds nothing. A fetch in hand keeps a resumed partition waiting, so it must not
// last long.
const fetchWaitMax = 250 * time.Millisecond

// waker asks a client a few times to go on fetching after it was told what to fetch. One that fetches takes no notice.
//
// The client (franz-go v1.22.2 and v1.22.3, kgo/source.go) can lose the call to begin: its loop looks up the session of its consumer, is held up
// before it joins it, the offsets are set meanwhile, which replaces the session and calls the loop, and then the loop finds the session that
// it knew at its end and forgets all calls. From then on nothing is fetched from that broker until somebody calls again, and who could is waiting
// for a fetch.
type waker struct{ told chan struct{} }

func newWaker() waker { return waker{told: make(chan struct{}, 1)} }

// tell says that the client was told what to fetch, or is about to be.
func (w waker) tell() {
	select {
	case w.told <- struct{}{}:
	default: // it knows
	}
}

// The first and the last wait before the client is asked; each is twice the one before. A loop that is held up longer than all of them together is
// left to the watch.
const (
	wakeFirst = 100 * time.Millisecond
	wakeLast  = 1600 * time.Millisecond
)

// run asks until ctx ends.
func (w waker) run(ctx context.Context, cl *kgo.Client) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.told:
		}
		for wait := wakeFirst; wait <= wakeLast; wait *= 2 {
			if !sleep(ctx, wait) {
				return
			}
			cl.ResumeFetchPartitions(nil)
		}
	}
}
