package nodes

import (
	"net"
	"time"
)

// RoundTrip is the shortest time that the network took to the node and back, and
// 0 where that is not known.
func (n *Node) RoundTrip() time.Duration {
	trip, _ := n.network()
	return trip
}

// LinkRate is the rate in bytes a second at which the network carried lately what
// was sent to the node, as the kernel saw it. It is 0 where that is not known, and
// too low where little was sent.
func (n *Node) LinkRate() float64 {
	_, rate := n.network()
	return rate
}

// network asks the kernel. It knows nothing of what is behind a jump host, nor
// behind a forwarded port of this machine.
func (n *Node) network() (trip time.Duration, rate float64) {
	if n.via != nil {
		return 0, 0
	}
	if tcp, ok := n.conn.RemoteAddr().(*net.TCPAddr); !ok || tcp.IP.IsLoopback() {
		return 0, 0
	}
	trip, rate, _ = tcpInfo(n.conn.Conn)
	return trip, rate
}
