package stream

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// fetchWaitMax is how long a broker holds a fetch that finds nothing. A fetch in hand keeps a resumed partition waiting, so it must not
// last long.
const fetchWaitMax = 250 * time.Millisecond

// keepAwake asks the client every so often to go on fetching, until ctx ends. One that fetches takes no notice.
//
// The client (v1.22.3, kgo/source.go) can lose the call to begin: its loop looks up the session of its consumer, is held up before it joins it,
// the offsets are set meanwhile, which replaces the session and calls the loop, and then the loop finds the session that it knew at its end and
// forgets all calls. From then on nothing is fetched from that broker until somebody calls again, and who could is waiting for a fetch.
func keepAwake(ctx context.Context, cl *kgo.Client) {
	for sleep(ctx, fetchWaitMax) {
		cl.ResumeFetchPartitions(nil)
	}
}
