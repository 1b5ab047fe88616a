package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"sync"
	"time"

	"bela/agents/payload"
)

// action is one line of the report: what was done to which message, or to all.
type action struct {
	Did      string `json:"did"` // drop, double, swap, swallow, stall, cut, pass
	N        int64  `json:"n"`   // messages seen so far; 0 for pass
	Cell     uint32 `json:"cell"`
	Device   uint32 `json:"device"`
	Sequence uint32 `json:"sequence"`
	Intended int64  `json:"intended"` // testbed time, ns
}

// relay is the wire.
type relay struct {
	orders orders
	broker string
	now    func() time.Time

	mu     sync.Mutex
	report *json.Encoder
	failed error
	seen   int64 // scheduled messages
	until  time.Time
	links  map[*link]bool
}

func newRelay(o orders, broker string, report io.Writer) *relay {
	return &relay{orders: o, broker: broker, now: time.Now, report: json.NewEncoder(report), links: make(map[*link]bool)}
}

// serve passes connections on until ctx ends; the error is that of the report.
func (r *relay) serve(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	var running sync.WaitGroup
	for {
		client, err := l.Accept()
		if err != nil {
			break // closed, or out of files: nothing more is passed on
		}
		running.Go(func() { r.connect(client) })
	}
	r.mu.Lock()
	for k := range r.links {
		k.cut()
	}
	err := r.failed
	r.mu.Unlock()
	running.Wait()
	return err
}

// connect runs one client's connection to its end.
func (r *relay) connect(client net.Conn) {
	broker, err := net.DialTimeout("tcp", r.broker, 5*time.Second)
	if err != nil {
		_ = client.Close()
		return
	}
	k := &link{relay: r, client: client, broker: broker, held: make(map[uint32]*packet), gone: make(chan struct{})}
	size := queue
	if r.orders.slow > 0 {
		size = 1 // a slow wire holds nothing: what waits, waits at its sender
	}
	k.toBroker, k.toClient = make(chan *packet, size), make(chan *packet, size)
	r.mu.Lock()
	r.links[k] = true
	r.mu.Unlock()
	var running sync.WaitGroup
	running.Go(func() { k.read(client, k.toBroker, true) })
	running.Go(func() { k.read(broker, k.toClient, false) })
	running.Go(func() { k.write(broker, k.toBroker, r.orders.up) })
	running.Go(func() { k.write(client, k.toClient, !r.orders.up) })
	running.Wait()
	k.cut()
	_ = broker.Close()
	r.mu.Lock()
	delete(r.links, k)
	r.mu.Unlock()
}

// note writes an action down. The caller holds the lock.
func (r *relay) note(did string, e payload.Envelope) {
	a := action{did, r.seen, e.Cell, e.Device, e.Sequence, e.Intended}
	if err := r.report.Encode(a); err != nil {
		r.failed = err
	}
}

// queue is how many packets may be on the way in one direction.
const queue = 1 << 14

// packet is one on the way.
type packet struct {
	data    []byte
	due     time.Time
	message *payload.Envelope // nil where it is none
}

// link is one client's connection and the one to the broker that belongs to it.
type link struct {
	relay              *relay
	client, broker     net.Conn
	toBroker, toClient chan *packet
	held               map[uint32]*packet // by device, to be swapped; under the relay's lock
	once               sync.Once
	gone               chan struct{}
}

// cut ends the link with what is on the way. The broker gets a proper end, so
// that it reads what was passed on to it.
func (k *link) cut() {
	k.once.Do(func() {
		close(k.gone)
		_ = k.client.Close()
		_ = k.broker.(*net.TCPConn).CloseWrite()
		_ = k.broker.SetReadDeadline(k.relay.now().Add(time.Second))
	})
}

// read takes packets from one end until it closes.
func (k *link) read(from net.Conn, to chan *packet, up bool) {
	defer k.cut()
	in := bufio.NewReader(from)
	for {
		data, err := readPacket(in)
		if err != nil {
			return
		}
		for _, s := range k.take(data, to, up) {
			k.send(s)
		}
	}
}

// sending is a packet and where it is to go.
type sending struct {
	to chan *packet
	*packet
}

// send puts a packet on its way. The relay's lock is not held: the way may be
// full.
func (k *link) send(s sending) {
	select {
	case <-k.gone:
	case s.to <- s.packet:
	}
}

// take decides what becomes of a packet. One lock for all connections: they
// share the count and the report.
func (k *link) take(data []byte, to chan *packet, up bool) []sending {
	r := k.relay
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &packet{data: data, due: r.now()}
	if typeOf(data) == typePuback && up != r.orders.up {
		p.due = p.due.Add(r.orders.ackDelay)
	}
	e, id, ok := message(data)
	if !ok || up != r.orders.up {
		return []sending{{to, p}}
	}
	p.message = &e
	p.due = p.due.Add(r.orders.delay)
	r.seen++
	r.strike(e)
	every := func(n int64) bool { return n > 0 && r.seen%n == 0 }
	var out []sending
	switch {
	case every(r.orders.swallow):
		r.note("swallow", e)
		return []sending{{k.other(to), &packet{data: puback(id), due: p.due}}}
	case every(r.orders.drop):
		r.note("drop", e)
		return nil
	case every(r.orders.double):
		r.note("double", e)
		out = append(out, sending{to, p})
	case every(r.orders.swap) && k.held[e.Device] == nil:
		k.hold(e.Device, sending{to, p})
		return nil
	}
	out = append(out, sending{to, p})
	if held := k.held[e.Device]; held != nil {
		delete(k.held, e.Device)
		r.note("swap", *held.message)
		held.due = p.due
		out = append(out, sending{to, held})
	}
	return out
}

// strike does what happens once, to all connections. The caller holds the lock.
func (r *relay) strike(e payload.Envelope) {
	if r.seen == r.orders.stallAfter {
		r.until = r.now().Add(r.orders.stall)
		r.note("stall", e)
	}
	if r.seen == r.orders.cutAfter {
		r.note("cut", e)
		for k := range r.links {
			k.cut()
		}
	}
}

// hold keeps a message until the next one of its device has passed. Where none
// comes it is passed on as it is. The caller holds the lock.
func (k *link) hold(device uint32, s sending) {
	k.held[device] = s.packet
	time.AfterFunc(time.Second, func() {
		k.relay.mu.Lock()
		mine := k.held[device] == s.packet
		if mine {
			delete(k.held, device)
		}
		k.relay.mu.Unlock()
		if mine {
			k.send(s)
		}
	})
}

func (k *link) other(to chan *packet) chan *packet {
	if to == k.toClient {
		return k.toBroker
	}
	return k.toClient
}

// write passes packets on in their order, each when it is due.
func (k *link) write(to net.Conn, from chan *packet, ordered bool) {
	defer k.cut()
	var free time.Time // when a slow wire has passed on what it had
	for {
		var p *packet
		select {
		case <-k.gone:
			return
		case p = <-from:
		}
		due := p.due
		if ordered && p.message != nil {
			k.relay.mu.Lock()
			if k.relay.until.After(due) {
				due = k.relay.until
			}
			k.relay.mu.Unlock()
		}
		if slow := k.relay.orders.slow; slow > 0 && p.message != nil {
			// In virtual time, so that late wake-ups do not add up.
			if free.Before(due) {
				free = due
			}
			free = free.Add(time.Duration(int64(len(p.data)) * int64(time.Second) / slow))
			due = free
		}
		if !k.wait(due.Sub(k.relay.now())) || !k.pass(to, p) {
			return // cut: what is on the way is lost
		}
	}
}

// pass writes a packet and notes it; false when the link was cut.
func (k *link) pass(to net.Conn, p *packet) bool {
	r := k.relay
	traced := r.orders.trace && p.message != nil
	if traced {
		// Under the lock a cut comes before or after, so the report is true.
		r.mu.Lock()
		defer r.mu.Unlock()
	}
	select {
	case <-k.gone:
		return false
	default:
	}
	if _, err := to.Write(p.data); err != nil {
		k.cut()
		return false
	}
	if traced {
		r.note("pass", *p.message)
	}
	return true
}

// wait lets time pass; false when the link was cut.
func (k *link) wait(d time.Duration) bool {
	if d <= 0 {
		select {
		case <-k.gone:
			return false
		default:
			return true
		}
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-k.gone:
		return false
	case <-t.C:
		return true
	}
}
