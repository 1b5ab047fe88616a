package agents

import (
	"net"
)

// listenAddress is where a component listens so that others reach it at
// address: on that address alone where this machine has it, and on all where
// it has not, because something in between translates addresses.
func listenAddress(address string, own func() ([]net.Addr, error)) string {
	ip := net.ParseIP(address)
	if ip == nil || ip.IsLoopback() {
		return address // a name is resolved here; all of 127.0.0.0/8 is this machine's
	}
	addresses, err := own()
	if err != nil {
		return address
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.Equal(ip) {
			return address
		}
	}
	return "0.0.0.0"
}

// ListenAddress is where a component of this node listens so that others reach
// it at address; whoever tries the way beforehand must listen there as well.
func ListenAddress(address string) string { return listenAddress(address, net.InterfaceAddrs) }
