package nodes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// The limits of a Pool, below what OpenSSH allows with its default settings.
const (
	// maxLogins is how many logins one SSH server has under way at once. From
	// ten on it drops some (MaxStartups 10:30:100), and others log in as well.
	maxLogins = 8
	// maxHandshakes is the same over all servers, for the controller's own CPU.
	maxHandshakes = 64
	// maxSeats is how many nodes share one connection to a jump host. OpenSSH
	// counts sessions only (MaxSessions 10), other servers count every channel.
	maxSeats = 10
)

// Pool dials nodes under common limits, and lets those behind the same jump
// host share its connections. Dial through one Pool what belongs together.
type Pool struct {
	handshakes chan struct{}

	mu    sync.Mutex
	doors map[string]chan struct{} // logins under way, by the server's address
	links map[string][]*link       // connections to jump hosts, by the route there
}

// NewPool makes a Pool without connections. It needs no closing: a jump host's
// connection ends with the last node behind it.
func NewPool() *Pool {
	return &Pool{handshakes: make(chan struct{}, maxHandshakes), doors: map[string]chan struct{}{}, links: map[string][]*link{}}
}

// Dial connects to a node as the function Dial does, within the Pool's limits.
// Waiting for a turn does not count as a part of an attempt.
func (p *Pool) Dial(ctx context.Context, t Target) (*Node, error) {
	d, err := newDialer(t)
	if err != nil {
		return nil, err
	}
	var n *Node
	err = retry(ctx, t.SSH.retries(), func(attempt int, cause error, wait time.Duration) {
		t.SSH.log().Info("connecting again", "node", t.Name, "attempt", attempt, "after", wait.Round(time.Millisecond), "cause", cause)
	}, func() error {
		n, err = d.connect(ctx, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	return n, nil
}

// turn waits until one more login at a server may begin; the caller calls the
// returned function when it is over.
func (p *Pool) turn(ctx context.Context, server string) (func(), error) {
	p.mu.Lock()
	door := p.doors[server]
	if door == nil {
		door = make(chan struct{}, maxLogins)
		p.doors[server] = door
	}
	p.mu.Unlock()
	// The server's own limit first: who waits for a full server must not hold
	// a place that another server's login could use.
	select {
	case door <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case p.handshakes <- struct{}{}:
		return func() { <-p.handshakes; <-door }, nil
	case <-ctx.Done():
		<-door
		return nil, ctx.Err()
	}
}

// link is a connection to a jump host, shared by the nodes behind it.
type link struct {
	pool  *Pool
	route string
	seats int // in use; held by pool.mu

	ready  chan struct{} // closed when the fields below are set
	client *ssh.Client
	conn   *pulse
	outer  *link // the jump host before this one; nil for the first
	err    error // it could not be opened

	cancel context.CancelFunc
}

// seat gives a connection to the last of the first depth hops, which must be
// given back with leave; nil where depth is 0.
func (p *Pool) seat(ctx context.Context, d *dialer, depth int) (*link, error) {
	if depth == 0 {
		return nil, nil
	}
	l := p.pick(d, depth)
	select {
	case <-l.ready:
	case <-ctx.Done():
		l.leave()
		return nil, d.failed(ctx, ctx, depth-1, stageConnect, "", ctx.Err())
	}
	if l.err == nil {
		return l, nil
	}
	l.leave()
	if e, ok := errors.AsType[*Error](l.err); ok {
		own := *e
		own.Node = d.target.Name
		return nil, &own
	}
	return nil, l.err
}

// pick takes a seat on a connection that has one left, or begins another.
func (p *Pool) pick(d *dialer, depth int) *link {
	route := d.route(depth)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.links[route] {
		if l.seats < maxSeats {
			l.seats++
			return l
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &link{pool: p, route: route, seats: 1, ready: make(chan struct{}), cancel: cancel}
	p.links[route] = append(p.links[route], l)
	own := *d // the host key it notes is the jump host's
	go l.open(ctx, &own, depth)
	return l
}

// open connects for all who wait; it goes on until the last of them has left.
func (l *link) open(ctx context.Context, d *dialer, depth int) {
	defer close(l.ready)
	l.outer, l.err = l.pool.seat(ctx, d, depth-1)
	if l.err == nil {
		l.client, l.conn, l.err = d.reach(ctx, l.pool, depth-1, l.outer)
	}
	if l.err != nil {
		l.retire()
		return
	}
	// No further node takes a seat on a connection that has died; those on it
	// notice by themselves.
	client, conn, interval := l.client, l.conn, d.target.SSH.keepalive()
	go func() {
		ended := make(chan struct{})
		go func() {
			_ = client.Wait()
			close(ended)
		}()
		watch(client, conn, interval, ended)
		_ = conn.Close()
		l.retire()
	}()
}

// watch asks for a sign of life now and then, until the connection has ended
// or nothing has come over it for too long.
func watch(client *ssh.Client, conn *pulse, interval time.Duration, ended <-chan struct{}) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var asking atomic.Bool
	for {
		select {
		case <-ended:
			return
		case <-ticker.C:
		}
		if conn.silence() >= keepaliveMissed*interval {
			return
		}
		if asking.CompareAndSwap(false, true) {
			go func() {
				defer asking.Store(false)
				_, _, _ = client.SendRequest(aliveRequest, true, nil)
			}()
		}
	}
}

// retire takes the link off the list of those that have seats to give.
func (l *link) retire() {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	l.retireLocked()
}

func (l *link) retireLocked() {
	list := l.pool.links[l.route]
	for i, other := range list {
		if other == l {
			l.pool.links[l.route] = append(list[:i:i], list[i+1:]...)
		}
	}
	if len(l.pool.links[l.route]) == 0 {
		delete(l.pool.links, l.route)
	}
}

// leave gives a seat back; the last one closes the connection.
func (l *link) leave() {
	l.pool.mu.Lock()
	l.seats--
	last := l.seats == 0
	if last {
		l.retireLocked()
	}
	l.pool.mu.Unlock()
	if !last {
		return
	}
	l.cancel()
	go func() { // opening may only be about to notice
		<-l.ready
		if l.conn != nil {
			_ = l.conn.Close()
			_ = l.client.Close()
		}
		if l.outer != nil {
			l.outer.leave()
		}
	}()
}

// route names the way to a jump host together with all that its login depends
// on: nodes share a connection only where both are the same.
func (d *dialer) route(depth int) string {
	var b strings.Builder
	for _, h := range d.hops[:depth] {
		fmt.Fprintf(&b, "%s@%s %s>", h.user, h.address(), h.keyAlias)
	}
	o := d.target.SSH
	for _, s := range o.Signers {
		b.WriteString(ssh.FingerprintSHA256(s.PublicKey()))
	}
	fmt.Fprintf(&b, "%q %q %q %q %q %q", o.KeyFiles, o.Agent, o.HostKeys, o.KnownHosts, o.Fingerprints, o.Config)
	return b.String()
}
