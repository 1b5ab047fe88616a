package transport

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Member is one connection of a group.
type Member struct {
	Name string // for messages: "device 17"
	// Dial opens the connection, and subscribes where that belongs to it.
	Dial func(ctx context.Context) (Conn, error)
}

// GroupOptions say how a group connects. The zero value has sensible defaults.
type GroupOptions struct {
	Ramp     time.Duration // the first attempts are spread over this
	AtOnce   int           // attempts at the same time; 0 is 64
	Attempt  time.Duration // the longest that one attempt may take; 0 is 10 s
	FirstGap time.Duration // the wait after a first failed attempt; 0 is 100 ms
	LastGap  time.Duration // the wait doubles up to this; 0 is 5 s
	// Lost is told of each connection that broke without having been closed. It
	// may be nil.
	Lost func(member int, err error)
}

// Group keeps a set of connections up: it dials them over a ramp, not too many
// at once, and dials each again that breaks, with growing and jittered waits.
type Group struct {
	o       GroupOptions
	members []member
	slots   chan struct{}
	// changed wakes Connect; one token is enough, since it looks again itself.
	changed    chan struct{}
	connected  atomic.Int64
	reconnects atomic.Int64

	start   sync.Once
	running sync.WaitGroup
	ctx     context.Context // of the keeping goroutines, which outlive any call
	stop    context.CancelFunc
}

type member struct {
	Member
	conn  atomic.Pointer[held]
	cause atomic.Pointer[error] // why the last attempt or connection ended
}

type held struct{ Conn }

// NewGroup prepares a group; Connect starts it.
func NewGroup(members []Member, o GroupOptions) *Group {
	o.AtOnce = orDefault(o.AtOnce, 64)
	o.Attempt = orDefault(o.Attempt, 10*time.Second)
	o.FirstGap = orDefault(o.FirstGap, 100*time.Millisecond)
	o.LastGap = orDefault(o.LastGap, 5*time.Second)
	g := &Group{
		o:       o,
		members: make([]member, len(members)),
		slots:   make(chan struct{}, o.AtOnce),
		changed: make(chan struct{}, 1),
	}
	for i, m := range members {
		g.members[i].Member = m
	}
	g.ctx, g.stop = context.WithCancel(context.Background())
	return g
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Connect returns when all members are connected, or with ctx's error. Trying
// goes on after it, until Close.
func (g *Group) Connect(ctx context.Context) error {
	g.start.Do(func() {
		for i := range g.members {
			g.running.Go(func() { g.keep(i) })
		}
	})
	for g.Connected() < len(g.members) {
		select {
		case <-g.changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-g.ctx.Done():
			return ErrClosed
		}
	}
	return nil
}

// Conn is a member's connection, nil while it has none.
func (g *Group) Conn(i int) Conn {
	if h := g.members[i].conn.Load(); h != nil {
		return h.Conn
	}
	return nil
}

// Connected is how many members are connected.
func (g *Group) Connected() int { return int(g.connected.Load()) }

// Reconnects is how often a member that was connected before connected again.
func (g *Group) Reconnects() int64 { return g.reconnects.Load() }

// Missing names at most n members that are not connected, each with the reason:
// "device 17: dial: connection refused".
func (g *Group) Missing(n int) []string {
	var missing []string
	for i := range g.members {
		if len(missing) == n {
			break
		}
		m := &g.members[i]
		if m.conn.Load() != nil {
			continue
		}
		cause := "no attempt yet"
		if err := m.cause.Load(); err != nil {
			cause = Cause(*err)
		}
		missing = append(missing, m.Name+": "+cause)
	}
	return missing
}

// Close closes all connections and waits for the last, or for ctx.
func (g *Group) Close(ctx context.Context) error {
	g.start.Do(func() {}) // nothing may start any more
	g.stop()
	done := make(chan struct{})
	go func() {
		g.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("closing connections: %d of %d are still open: %w", g.Connected(), len(g.members), ctx.Err())
	}
}

// keep holds one member's connection up until the group is closed.
func (g *Group) keep(i int) {
	m := &g.members[i]
	if !g.sleep(g.o.Ramp * time.Duration(i) / time.Duration(len(g.members))) {
		return
	}
	gap, connected := g.o.FirstGap, false
	for {
		conn, err := g.attempt(m)
		if err == nil {
			if connected {
				g.reconnects.Add(1)
			}
			connected = true
			since := time.Now()
			if !g.hold(i, conn) {
				return
			}
			// Only a connection that lasted makes the next wait short again: a
			// broker that accepts and hangs up must not be hammered.
			if time.Since(since) > g.o.LastGap {
				gap = g.o.FirstGap
			}
		} else {
			m.cause.Store(&err)
		}
		if !g.sleep(gap/2 + rand.N(gap/2+1)) {
			return
		}
		gap = min(2*gap, g.o.LastGap)
	}
}

// attempt dials once, when there is a slot.
func (g *Group) attempt(m *member) (Conn, error) {
	select {
	case g.slots <- struct{}{}:
		defer func() { <-g.slots }()
	case <-g.ctx.Done():
		return nil, ErrClosed
	}
	ctx, cancel := context.WithTimeout(g.ctx, g.o.Attempt)
	defer cancel()
	return m.Dial(ctx)
}

// hold shows a connection to the world until it ends; false when that is
// because the group was closed.
func (g *Group) hold(i int, conn Conn) bool {
	m := &g.members[i]
	m.conn.Store(&held{conn})
	g.connected.Add(1)
	g.notify()
	defer func() {
		m.conn.Store(nil)
		g.connected.Add(-1)
	}()
	select {
	case <-conn.Done():
		err := conn.Err()
		m.cause.Store(&err)
		if g.o.Lost != nil {
			g.o.Lost(i, err)
		}
		_ = conn.Close(g.ctx) // it is broken already; this frees what it holds
		return true
	case <-g.ctx.Done():
		ctx, cancel := context.WithTimeout(context.Background(), g.o.Attempt)
		defer cancel()
		_ = conn.Close(ctx) // nobody is left who could do something about it
		return false
	}
}

func (g *Group) notify() {
	select {
	case g.changed <- struct{}{}:
	default:
	}
}

// sleep waits; false when the group was closed meanwhile.
func (g *Group) sleep(d time.Duration) bool {
	if d <= 0 {
		return g.ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-g.ctx.Done():
		return false
	}
}
