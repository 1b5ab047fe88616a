package nodes

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// tcpInfo is what the kernel knows of a connection from the acknowledgements that
// it saw: the shortest round trip, and the rate at which data went lately in bytes
// a second, which is too low where there was little to send. The programs at both
// ends may be as busy as they like.
func tcpInfo(conn net.Conn) (trip time.Duration, rate float64, ok bool) {
	tcp, isTCP := conn.(*net.TCPConn)
	if !isTCP {
		return 0, 0, false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0, 0, false
	}
	var info *unix.TCPInfo
	var refused error
	err = raw.Control(func(fd uintptr) { info, refused = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if err != nil || refused != nil {
		return 0, 0, false
	}
	return time.Duration(info.Min_rtt) * time.Microsecond, float64(info.Delivery_rate), true
}
