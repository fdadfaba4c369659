package broker

import (
	"math"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Repair makes a cluster hide aborted records from readers of committed ones, whatever they fetch. Start does it; whoever uses kfake by
// itself may.
//
// An answer to a fetch says which transactions were aborted, partition by partition. When an answer reaches the size that the client asked
// for, kfake leaves out what it would have said of the partition at which that happens, though it has added records of it: a
// client that reads many partitions at once then takes aborted records for committed. So the size of an answer is bounded by what
// the client asked for each partition alone: with ours, a mebibyte.
func Repair(cluster *kfake.Cluster) {
	cluster.ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if fetch, ok := request.(*kmsg.FetchRequest); ok {
			fetch.MaxBytes = math.MaxInt32
		}
		return nil, nil, false
	})
}
