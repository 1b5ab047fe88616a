//go:build !linux

package nodes

import (
	"net"
	"time"
)

// tcpInfo knows nothing on this system.
func tcpInfo(net.Conn) (trip time.Duration, rate float64, ok bool) { return 0, 0, false }
