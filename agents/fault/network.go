package fault

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"bela/agents/protocol"
)

// addresses are this node's and its peers' as IP addresses.
func addresses(ctx context.Context, spec protocol.NetworkFault) (net.IP, []net.IP, error) {
	local, err := address(ctx, spec.Local)
	if err != nil {
		return nil, nil, err
	}
	if len(spec.Peers) == 0 {
		return nil, nil, errors.New("there is nobody at the other end")
	}
	var peers []net.IP
	for _, p := range spec.Peers {
		ip, err := address(ctx, p)
		if err != nil {
			return nil, nil, err
		}
		if ip.IsUnspecified() || ip.Equal(local) {
			return nil, nil, fmt.Errorf("the two ends have one address, %s: there is no network between them", ip)
		}
		peers = append(peers, ip)
	}
	return local, peers, nil
}

func address(ctx context.Context, host string) (net.IP, error) {
	if ip := net.ParseIP(host); ip != nil {
		return ip, nil
	}
	ctx, cancel := context.WithTimeout(ctx, toolLimit)
	defer cancel()
	found, err := net.DefaultResolver.LookupIP(ctx, "ip", host)
	if err != nil || len(found) == 0 {
		return nil, fmt.Errorf("the address of %s is not known on this node: %w", host, err)
	}
	return found[0], nil
}

// sameMachine says that both ends of a link are on this machine, as in the lab.
func sameMachine(local, peer net.IP) bool {
	if local.IsLoopback() || peer.IsLoopback() {
		return true
	}
	own, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(own, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(peer)
	})
}

// networkReport measures the round trip to the peers before and during a fault.
type networkReport struct {
	local net.IP
	peers []net.IP
	slow  time.Duration // added to a round trip, at the most
}

// How the round trip is measured: a few connections to a port on which nobody
// listens, which the peer refuses at once.
const (
	probePort  = "9"
	probes     = 5
	probeLimit = time.Second
	probePause = 20 * time.Millisecond
)

func (r networkReport) measureBefore(ctx context.Context) string {
	return "round trip before: " + r.roundTrips(ctx, probes)
}

// measureDuring measures once, and then waits for the end of ctx.
func (r networkReport) measureDuring(ctx context.Context) string {
	text := "round trip during: " + r.roundTrips(ctx, probes)
	<-ctx.Done()
	return text
}

// roundTrips is the median round trip to at most three peers, in words.
func (r networkReport) roundTrips(ctx context.Context, n int) string {
	var all []string
	for _, p := range r.peers[:min(len(r.peers), 3)] {
		var trips []time.Duration
		for range n {
			if d, ok := r.roundTrip(ctx, p); ok {
				trips = append(trips, d)
			} else if len(trips) == 0 {
				break // nobody answers: one wait is enough
			}
			select {
			case <-ctx.Done():
			case <-time.After(probePause):
			}
		}
		text := p.String() + " no answer"
		if len(trips) > 0 {
			slices.Sort(trips)
			text = fmt.Sprintf("%s %.3g ms", p, float64(trips[len(trips)/2])/1e6)
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

func (r networkReport) roundTrip(ctx context.Context, peer net.IP) (time.Duration, bool) {
	d := net.Dialer{Timeout: probeLimit + r.slow}
	if r.local.IsLoopback() {
		d.LocalAddr = &net.TCPAddr{IP: r.local}
	}
	began := time.Now()
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(peer.String(), probePort))
	took := time.Since(began)
	if err == nil {
		_ = conn.Close()
		return took, true
	}
	return took, errors.Is(err, syscall.ECONNREFUSED)
}
