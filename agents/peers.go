package agents

import (
	"context"
	"net"
	"sync"

	"bela/agents/peer"
	"bela/agents/protocol"
)

// peers is an agent's share of the clock probes between nodes, of the cell in
// progress.
type peers struct {
	agent *agent

	mu        sync.Mutex
	responder *peer.Responder
	watcher   *peer.Watcher
}

func (p *peers) answer(a protocol.PeerAnswer) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.responder != nil {
		return nil, errPrepared
	}
	r, err := peer.Answer(listenAddress(a.Bind, net.InterfaceAddrs), a.Token, p.agent.Clock.Local)
	if err != nil {
		return nil, err
	}
	p.responder = r
	return protocol.PeerAnswering{Port: r.Port()}, nil
}

func (p *peers) watch(ctx context.Context, spec protocol.PeerWatch) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.watcher != nil {
		return nil, errPrepared
	}
	w, silent, err := peer.Watch(ctx, spec, p.agent.Clock.Local)
	if err != nil {
		return nil, err
	}
	p.watcher = w
	return protocol.PeerWatching{Silent: silent}, nil
}

func (p *peers) collect(ctx context.Context, of protocol.PeerCollect) (any, error) {
	p.mu.Lock()
	w := p.watcher
	p.mu.Unlock()
	if w == nil {
		return nil, &protocol.Error{Code: "bad_request", Text: "no clocks are probed from this node"}
	}
	return w.Collect(ctx, of.Node)
}

// halt ends what goes over the network, and keeps the probes for collection.
func (p *peers) halt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.watcher != nil {
		p.watcher.Close()
	}
	if p.responder != nil {
		p.responder.Close()
	}
}

// clear closes both ends and forgets the probes.
func (p *peers) clear() {
	p.halt()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.responder, p.watcher = nil, nil
}
