package process

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are taken below 32768, where Linux begins its ephemeral range (macOS and Windows begin at 49152): a client that redials
// a killed child could otherwise be given the child's own port as its source port, connect to itself, and keep the child from
// binding it again.
const (
	portMin  = 15000
	portMax  = 32000
	portTrys = 200
)

// FreePorts returns n different TCP ports of 127.0.0.1 that nothing listens on now. Another process may take one before the
// child does: a caller that must not fail then tries again with other ports.
func FreePorts(n int) ([]int, error) {
	ports := make([]int, 0, n)
	var last error
	for range portTrys {
		if len(ports) == n {
			return ports, nil
		}
		port := portMin + rand.IntN(portMax-portMin)                                           //nolint:gosec // spreads test runs over the ports, protects nothing
		listener, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))) //nolint:noctx // binding a loopback port does not block
		if err != nil {
			last = err
			continue
		}
		// Held until all are found, so that no port comes twice.
		defer func() { _ = listener.Close() }()
		ports = append(ports, port)
	}
	if len(ports) == n {
		return ports, nil
	}
	return nil, fmt.Errorf("finding %d free ports in %d tries: %w", n, portTrys, last)
}
