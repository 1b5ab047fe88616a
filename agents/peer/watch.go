package peer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"bela/agents/protocol"
	"bela/measure"
)

const (
	// patience is how long an answer is waited for: two nodes that are farther
	// apart gain nothing over the controller.
	patience = 200 * time.Millisecond
	// giveUp is after how many unanswered probes a burst ends.
	giveUp = 3
	// atOnce bounds how many peers are probed side by side in a burst: more would
	// queue behind each other.
	atOnce = 16
	// MaxPeers is how many nodes one agent probes.
	MaxPeers = 256
	// probesKept bounds the probes of one peer: an hour's, and its ends.
	probesKept = 4096
)

// Watcher probes peers until it is closed.
type Watcher struct {
	conn   *net.UDPConn
	token  []byte
	local  func() int64
	burst  int
	peers  []*watched
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu      sync.Mutex
	waiting map[uint64]chan reply // by number of the exchange
}

// watched is one peer. Its mutex keeps its probes in order.
type watched struct {
	node    string
	address netip.AddrPort

	mu   sync.Mutex
	log  measure.ProbeLog
	sent int
	done bool
}

// reply is an answer's two times and when it came, in nanoseconds.
type reply struct{ received, sent, at int64 }

// Watch begins to probe: each peer in quick succession before it returns, and
// then once Every until its probes are collected. local is the node's own clock
// in nanoseconds. silent are the peers that answered nothing yet.
func Watch(ctx context.Context, spec protocol.PeerWatch, local func() int64) (w *Watcher, silent []string, err error) {
	if len(spec.Token) != protocol.PeerTokenSize || len(spec.Peers) > MaxPeers || spec.Burst < 1 || spec.Burst > 1000 || spec.Every < 10*time.Millisecond {
		return nil, nil, &protocol.Error{Code: "bad_request", Text: fmt.Sprintf(
			"clock probes: a token of %d bytes, %d peers, bursts of %d, one each %v: want %d bytes, at most %d peers, 1 to 1000, 10 ms or more",
			len(spec.Token), len(spec.Peers), spec.Burst, spec.Every, protocol.PeerTokenSize, MaxPeers)}
	}
	bind, err := net.ResolveUDPAddr("udp", net.JoinHostPort(spec.Bind, "0"))
	if err != nil {
		return nil, nil, fmt.Errorf("probe clocks: %w", err)
	}
	w = &Watcher{token: spec.Token, local: local, burst: spec.Burst, waiting: make(map[uint64]chan reply)}
	for _, p := range spec.Peers {
		address, err := net.ResolveUDPAddr("udp", p.Address)
		if err != nil {
			return nil, nil, fmt.Errorf("probe the clock of node %s: %w", p.Node, err)
		}
		w.peers = append(w.peers, &watched{node: p.Node, address: address.AddrPort(), log: measure.NewProbeLog(probesKept)})
	}
	if w.conn, err = net.ListenUDP("udp", bind); err != nil {
		return nil, nil, fmt.Errorf("probe clocks: %w", err)
	}
	// What is watched outlives the request.
	background, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	w.work.Go(w.listen)
	w.bursts(ctx)
	for _, p := range w.peers {
		if p.log.Len() == 0 {
			silent = append(silent, p.node)
		}
	}
	for i, p := range w.peers {
		first := spec.Every * time.Duration(i) / time.Duration(len(w.peers)) // not all at once
		w.work.Go(func() { w.follow(background, p, first, spec.Every) })
	}
	return w, silent, nil
}

// bursts probes all peers in quick succession.
func (w *Watcher) bursts(ctx context.Context) {
	var tasks sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, p := range w.peers {
		slots <- struct{}{}
		tasks.Go(func() {
			defer func() { <-slots }()
			p.mu.Lock()
			defer p.mu.Unlock()
			w.rush(ctx, p)
		})
	}
	tasks.Wait()
}

// rush probes one peer in quick succession. The caller holds its lock.
func (w *Watcher) rush(ctx context.Context, p *watched) {
	lost := 0
	for range w.burst {
		if w.exchange(ctx, p) {
			lost = 0
		} else if lost++; lost == giveUp {
			return
		}
	}
}

// follow probes a peer once every so often.
func (w *Watcher) follow(ctx context.Context, p *watched, first, every time.Duration) {
	timer := time.NewTimer(first)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		p.mu.Lock()
		if p.done {
			p.mu.Unlock()
			return
		}
		w.exchange(ctx, p)
		p.mu.Unlock()
		timer.Reset(every)
	}
}

// exchange is one question and its answer; false where none came in time. The
// caller holds the peer's lock.
func (w *Watcher) exchange(ctx context.Context, p *watched) bool {
	number := rand.Uint64()
	came := make(chan reply, 1)
	w.mu.Lock()
	w.waiting[number] = came
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.waiting, number)
		w.mu.Unlock()
	}()
	var b [datagramSize]byte
	copy(b[:], magic)
	b[len(magic)] = question
	copy(b[atToken:], w.token)
	binary.BigEndian.PutUint64(b[atNumber:], number)
	p.sent++
	t1 := w.local()
	if _, err := w.conn.WriteToUDPAddrPort(b[:], p.address); err != nil {
		return false
	}
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case r := <-came:
		p.log.Add(measure.ProbeSample{T1: t1, T2: r.received, T3: r.sent, T4: r.at})
		return true
	case <-limit.C:
	case <-ctx.Done():
	}
	return false
}

// listen hands answers to who waits for them. An answer may come from another
// address than was asked: only its number counts.
func (w *Watcher) listen() {
	buf := make([]byte, datagramSize+1)
	for {
		n, err := w.conn.Read(buf)
		at := w.local()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		if !valid(buf[:n], answered, w.token) {
			continue
		}
		number := binary.BigEndian.Uint64(buf[atNumber:])
		w.mu.Lock()
		came := w.waiting[number]
		delete(w.waiting, number)
		w.mu.Unlock()
		if came != nil {
			came <- reply{
				received: int64(binary.BigEndian.Uint64(buf[atReceived:])),
				sent:     int64(binary.BigEndian.Uint64(buf[atSent:])),
				at:       at,
			}
		}
	}
}

// Collect probes a peer once more in quick succession, stops probing it, and
// returns all that is known. Collecting again returns the same.
func (w *Watcher) Collect(ctx context.Context, node string) (protocol.PeerProbes, error) {
	i := slices.IndexFunc(w.peers, func(p *watched) bool { return p.node == node })
	if i < 0 {
		return protocol.PeerProbes{}, &protocol.Error{Code: "bad_request", Text: "clock probes: node " + node + " is not probed"}
	}
	p := w.peers[i]
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.done {
		p.done = true
		if p.log.Len() > 0 { // a peer that never answered will not now
			w.rush(ctx, p)
		}
	}
	return protocol.PeerProbes{Probes: p.log.Samples(), Sent: p.sent}, nil
}

// Close ends all probing.
func (w *Watcher) Close() {
	w.cancel()
	_ = w.conn.Close()
	w.work.Wait()
}
