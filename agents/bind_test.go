package agents

import (
	"errors"
	"net"
	"testing"
)

// A node behind address translation must still serve its components, and any
// other must not open them to networks that have no part in the experiment.
func TestListenAddress(t *testing.T) {
	own := func() ([]net.Addr, error) {
		return []net.Addr{&net.IPNet{IP: net.IPv4(10, 2, 0, 11), Mask: net.CIDRMask(24, 32)}}, nil
	}
	for _, tc := range []struct{ name, address, want string }{
		{"its own address", "10.2.0.11", "10.2.0.11"},
		{"an address that a router translates", "192.0.2.7", "0.0.0.0"},
		{"a lab node's address, which no interface lists", "127.9.8.7", "127.9.8.7"},
		{"a name, resolved on the node", "worker-1.testbed", "worker-1.testbed"},
	} {
		if got := listenAddress(tc.address, own); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
	failing := func() ([]net.Addr, error) { return nil, errors.New("no") }
	if got := listenAddress("192.0.2.7", failing); got != "192.0.2.7" {
		t.Errorf("without a list of addresses: %s", got)
	}
}
