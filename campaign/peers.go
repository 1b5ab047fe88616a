package campaign

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"bela/agents/protocol"
	"bela/event"
	"bela/measure"
	"bela/nodes"
)

// Nodes that messages pass between read each other's clocks themselves: over a
// controller that is far away, a one-way latency inside one rack would be known
// no better than half the round trips to the controller add up to.

const (
	// watchLimit is how long the first probes may take.
	watchLimit = 20 * time.Second
	// maxPairs bounds the pairs of nodes, and with it the probes a second.
	maxPairs = 1024
)

// peerClocks is what a cell's nodes know of each other's clocks.
type peerClocks struct {
	watched []peerPair // by device node, then customer node
}

// peerPair is a node with devices that answers a node with customers.
type peerPair struct {
	device, customer string
	probes           []measure.ProbeSample
}

// watchPeers has each node with customers probe the nodes with devices, where
// they are not the same. What does not work costs only certainty: it is said,
// and the clocks are known over the controller alone.
func (c *cellRun) watchPeers(ctx context.Context) {
	token := make([]byte, protocol.PeerTokenSize)
	_, _ = rand.Read(token) // does not fail
	devices := c.devices
	if n := len(c.devices) * len(c.customers); n > maxPairs {
		devices = c.devices[:max(1, maxPairs/len(c.customers))]
		c.tellPeers(fmt.Sprintf("clocks are read directly between the first %d of %d nodes with devices and those with customers, not between all: more than %d pairs of nodes",
			len(devices), len(c.devices), maxPairs))
	}
	var mu sync.Mutex
	peers := make(map[string]protocol.Peer)
	err := c.each(ctx, devices, func(ctx context.Context, m *member) error {
		var at protocol.PeerAnswering
		address := c.wiring.address(m.name())
		if err := m.ask(ctx, askLimit, protocol.TypePeerAnswer, protocol.PeerAnswer{Bind: address, Token: token}, &at); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		peers[m.name()] = protocol.Peer{Node: m.name(), Address: net.JoinHostPort(address, strconv.Itoa(at.Port))}
		return nil
	})
	if context.Cause(ctx) != nil {
		return // the cell ends, and says why
	}
	if err != nil {
		c.tellPeers("not every node answers probes of its clock: " + err.Error())
	}
	silent := make(map[string][]string) // by customer node
	err = c.each(ctx, c.customers, func(ctx context.Context, m *member) error {
		watch := protocol.PeerWatch{Bind: loopbackOnly(c.wiring.address(m.name())), Token: token, Burst: probesAround, Every: probeInterval}
		for _, d := range devices {
			if p, ok := peers[d.name()]; ok && d != m {
				watch.Peers = append(watch.Peers, p)
			}
		}
		if len(watch.Peers) == 0 {
			return nil
		}
		var began protocol.PeerWatching
		if err := m.ask(ctx, watchLimit, protocol.TypePeerWatch, watch, &began); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, p := range watch.Peers {
			c.peers.watched = append(c.peers.watched, peerPair{device: p.Node, customer: m.name()})
		}
		silent[m.name()] = slices.DeleteFunc(began.Silent, func(name string) bool {
			return !slices.ContainsFunc(watch.Peers, func(p protocol.Peer) bool { return p.Node == name })
		})
		return nil
	})
	if context.Cause(ctx) != nil {
		return
	}
	if err != nil {
		c.tellPeers("not every node probes the others' clocks: " + err.Error())
	}
	c.tellSilent(silent)
}

// tellPeers says once what is missing, and what follows from it.
func (c *cellRun) tellPeers(what string) {
	c.emit(event.Message{Level: "info", Position: c.cell.Position, Text: what + "; where nodes do not read each other's clocks, latencies rest on the controller's probes, and clock_error_ms says how far they can be off"})
}

// tellSilent names the pairs of nodes that do not reach each other.
func (c *cellRun) tellSilent(silent map[string][]string) {
	const most = 3
	var pairs []string
	for customer, devices := range silent {
		for _, d := range devices {
			pairs = append(pairs, customer+" → "+d)
		}
	}
	if len(pairs) == 0 {
		return
	}
	slices.Sort(pairs)
	text := strings.Join(pairs[:min(most, len(pairs))], ", ")
	if len(pairs) > most {
		text += fmt.Sprintf(" and %d more", len(pairs)-most)
	}
	c.tellPeers("no answer over UDP, as behind a firewall: " + text)
}

// collectPeers fetches the probes, after some more of them, pair by pair so that
// no answer is large.
func (c *cellRun) collectPeers(ctx context.Context) {
	err := nodes.Each(ctx, indices(c.peers.watched), fanOut, func(ctx context.Context, i int) error {
		p := &c.peers.watched[i]
		var got protocol.PeerProbes
		if err := c.testbed.find(p.customer).ask(ctx, askLimit, protocol.TypePeerCollect, protocol.PeerCollect{Node: p.device}, &got); err != nil {
			return err
		}
		if len(got.Probes) > maxPeerProbes {
			return c.testbed.find(p.customer).refuse(fmt.Errorf("it has %d probes of one node's clock", len(got.Probes)))
		}
		p.probes = got.Probes
		return nil
	})
	if err != nil {
		c.tellPeers("not all probes between nodes could be fetched: " + err.Error())
	}
}

func indices[T any](s []T) []int {
	all := make([]int, len(s))
	for i := range all {
		all[i] = i
	}
	return all
}

// pairs are the clocks against each other, fitted.
func (p peerClocks) pairs() []measure.PairClock {
	var all []measure.PairClock
	for _, w := range p.watched {
		fit, _ := measure.FitClockPair(w.probes) // without a usable probe it has no samples
		all = append(all, measure.PairClock{Device: w.device, Customer: w.customer, Fit: fit, Probes: w.probes})
	}
	slices.SortFunc(all, func(a, b measure.PairClock) int {
		return strings.Compare(a.Device+"\x00"+a.Customer, b.Device+"\x00"+b.Customer)
	})
	return all
}
