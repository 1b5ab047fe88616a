package campaign

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"bela/agents/client"
	"bela/agents/protocol"
	"bela/event"
	"bela/nodes"
	"bela/provision"
)

// Limits of one attempt to reach a node again, and how many keepalives of
// silence on an agent's conversation are a lost link.
const (
	redialLimit  = 5 * time.Second
	silentBeats  = 5
	bootIDLimit  = 256 // bytes
	syncInterval = 10 * time.Millisecond
)

// link is the conversation with the agent; nil before and after.
func (m *member) link() *client.Client {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.client
}

// ssh is the connection to the node that is in use, or the last one.
func (m *member) ssh() *nodes.Node {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.node
}

func (m *member) setSSH(n *nodes.Node) {
	m.mu.Lock()
	m.node = n
	m.mu.Unlock()
}

// dialAgain replaces the connection to the node.
func (m *member) dialAgain(ctx context.Context, t nodes.Target) error {
	fresh, err := m.pool.Dial(ctx, t)
	if err != nil {
		return err
	}
	old := m.ssh()
	m.setSSH(fresh)
	return old.Close()
}

// once is a target that is tried a single time, and not for long.
func once(t nodes.Target) nodes.Target {
	t.SSH.Retries = -1
	t.SSH.ConnectTimeout = min(cmp.Or(t.SSH.ConnectTimeout, redialLimit), redialLimit)
	return t
}

// reconnect replaces the connection to the node between cells. One that was tried
// in vain for its whole lease is tried only once more.
func (m *member) reconnect(ctx context.Context) error {
	target := m.target
	if c := m.link(); c != nil {
		if _, away := errors.AsType[*client.AwayError](c.Err()); away {
			target = once(target)
		}
	}
	return m.dialAgain(ctx, target)
}

// lastEvent is the number of the last event that its agent told; 0 for none.
func (m *member) lastEvent() uint64 {
	if c := m.link(); c != nil {
		return c.LastEvent()
	}
	return 0
}

// ask sends the agent a request under a deadline and names the node in errors.
// While the link is lost, the deadline stands still.
func (m *member) ask(ctx context.Context, limit time.Duration, typ protocol.Type, req, resp any) error {
	return m.askLarge(ctx, limit, protocol.MaxEvent, typ, req, resp)
}

// askLarge is ask for a request whose answer may have so many bytes.
func (m *member) askLarge(ctx context.Context, limit time.Duration, most int, typ protocol.Type, req, resp any) error {
	c := m.link()
	if c == nil {
		return &lostError{node: m.name(), state: event.NodeLost, err: errors.New("its agent is not connected")}
	}
	err := c.CallLargeTimeout(ctx, limit, most, typ, req, resp)
	if err == nil {
		return nil
	}
	if c.Err() != nil {
		return m.lostBy(c)
	}
	return fmt.Errorf("node %s: %w", m.name(), err)
}

// lostError is a node whose agent can no longer be reached.
type lostError struct {
	node  string
	state string // agent_lost, rebooted or lost
	err   error
}

func (e *lostError) Error() string {
	switch e.state {
	case event.NodeAgentLost:
		return fmt.Sprintf("the agent of node %s is lost: %v", e.node, e.err)
	case event.NodeRebooted:
		return fmt.Sprintf("node %s was started anew: %v", e.node, e.err)
	}
	return fmt.Sprintf("node %s is lost: %v", e.node, e.err)
}
func (e *lostError) Unwrap() error { return e.err }

// named is the node and what became of it, for a reason that says itself that it
// was lost.
func (e *lostError) named() string {
	if e.state == event.NodeRebooted {
		return fmt.Sprintf("%s: it was started anew: %v", e.node, e.err)
	}
	return fmt.Sprintf("%s: %v", e.node, e.err)
}

// code is the reason's in a cell's verdict.
func (e *lostError) code() string {
	if e.state == event.NodeAgentLost {
		return "agent_lost"
	}
	return "node_lost"
}

// rebootError is a machine that started anew since it was opened.
type rebootError struct{ was, is string }

func (e *rebootError) Error() string {
	return fmt.Sprintf("its boot id is %s and was %s", cmp.Or(e.is, "unknown"), e.was)
}

// lostBy says what was lost when the conversation ended.
func (m *member) lostBy(c *client.Client) *lostError {
	return &lostError{node: m.name(), state: lostState(c.Err()), err: c.Err()}
}

// broken is why nothing that the node says is used any further; nil where it is.
func (m *member) broken() error {
	c := m.link()
	if c == nil {
		return nil
	}
	if _, ok := errors.AsType[*client.BrokenError](c.Err()); ok {
		return m.lostBy(c)
	}
	return nil
}

func lostState(err error) string {
	_, rebooted := errors.AsType[*rebootError](err)
	_, away := errors.AsType[*client.AwayError](err)
	switch {
	case rebooted:
		return event.NodeRebooted
	case errors.Is(err, provision.ErrNoAgent), errors.Is(err, client.ErrReplaced), away && errors.Is(err, client.ErrSilent):
		return event.NodeAgentLost
	}
	return event.NodeLost
}

// attach begins the conversation with the agent that runs on the node.
func (t *testbed) attach(ctx context.Context, m *member, after uint64) error {
	_, err := t.converse(ctx, m, client.Options{After: after})
	return err
}

// converse is attach with options that say which events to begin with. The
// welcome says whose the agent is also where it cannot be spoken to.
func (t *testbed) converse(ctx context.Context, m *member, from client.Options) (protocol.Welcome, error) {
	conn, err := provision.Attach(ctx, m.ssh())
	if err != nil {
		return protocol.Welcome{}, err
	}
	return t.converseOver(ctx, m, conn, from)
}

// converseOver begins the conversation over a connection to the agent.
func (t *testbed) converseOver(ctx context.Context, m *member, conn io.ReadWriteCloser, from client.Options) (protocol.Welcome, error) {
	c, welcome, err := client.Open(ctx, conn, client.Options{
		Run: t.run, After: from.After, New: from.New, Now: controllerClock,
		OnEvent: func(e protocol.Event) { t.onEvent(m, e) },
		OnGap:   func(n uint64) { t.onGap(m, n) },
		OnLink:  func(l client.Link) { t.changed(m, l) },
		Redial:  func(ctx context.Context) (io.ReadWriteCloser, error) { return t.redial(ctx, m) },
		Lease:   t.lease, Silence: silentBeats * cmp.Or(m.target.SSH.Keepalive, nodes.DefaultKeepalive),
	})
	if err != nil {
		return welcome, fmt.Errorf("node %s: %w", m.name(), err)
	}
	m.mu.Lock()
	m.client, m.welcome = c, welcome
	m.mu.Unlock()
	return welcome, nil
}

// redial makes one attempt to reach the agent again, over the SSH connection if
// that stands, and else over a new one.
func (t *testbed) redial(ctx context.Context, m *member) (io.ReadWriteCloser, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*redialLimit, fmt.Errorf("no answer within %v", 2*redialLimit))
	defer cancel()
	if m.ssh().Err() != nil {
		switch err := m.dialAgain(ctx, once(m.target)); {
		case nodes.KindOf(err) == nodes.HostKeyChanged:
			return nil, &client.GoneError{Err: err} // another machine
		case err != nil:
			return nil, err
		}
		if err := m.sameBoot(ctx); err != nil {
			return nil, err
		}
	}
	conn, err := provision.Attach(ctx, m.ssh())
	switch {
	case errors.Is(err, provision.ErrNoAgent):
		return nil, &client.GoneError{Err: err}
	case err != nil && ctx.Err() != nil:
		_ = m.ssh().Close() // it stands, and nothing comes over it
	}
	return conn, err
}

// sameBoot checks that the machine behind a new connection has been up all the
// time.
func (m *member) sameBoot(ctx context.Context) error {
	const file = "/proc/sys/kernel/random/boot_id"
	res, err := m.ssh().Run(ctx, nodes.Command{Name: "read the boot id", Args: []string{"cat", file}, MaxOutput: bootIDLimit})
	if err != nil {
		return err
	}
	return compareBoots(m.facts.BootID, strings.TrimSpace(string(res.Stdout)))
}

// compareBoots is an error where a boot id that is known has changed.
func compareBoots(was, is string) error {
	if was == "" || was == is {
		return nil
	}
	return &client.GoneError{Err: &rebootError{was, is}}
}

// overSSH works over the SSH connection, again over the next one where it is lost
// and the node comes back.
func (m *member) overSSH(ctx context.Context, do func(*nodes.Node) error) error {
	for {
		n := m.ssh()
		err := do(n)
		if err == nil || nodes.KindOf(err) != nodes.LinkLost || ctx.Err() != nil {
			return err
		}
		c := m.link()
		if c == nil {
			return err
		}
		// The agent's conversation runs over the same connection, and brings a new one.
		for m.ssh() == n {
			if c.Err() != nil {
				return m.lostBy(c)
			}
			if sleep(ctx, 100*time.Millisecond) != nil {
				return err
			}
		}
		if c.Await(ctx) != nil {
			return err
		}
	}
}

// settle waits until every event that the agent has by now has been taken.
func (m *member) settle(ctx context.Context) error {
	var now protocol.Synced
	if err := m.ask(ctx, askLimit, protocol.TypeSync, nil, &now); err != nil {
		return err
	}
	for m.lastEvent() < now.LastEvent {
		if err := sleep(ctx, syncInterval); err != nil {
			return fmt.Errorf("node %s: its samples: %w", m.name(), err)
		}
		if c := m.link(); c.Err() != nil {
			return m.lostBy(c)
		}
	}
	return nil
}

// changed tells of a link that is lost and of one that is back.
func (t *testbed) changed(m *member, l client.Link) {
	t.absence.set(m, !l.Up)
	s := event.NodeState{Node: m.name(), State: event.NodeLinkLost}
	if l.Up {
		s.State, s.Detail = event.NodeLinkBack, fmt.Sprintf("was away for %.1f s", l.Away.Seconds())
	} else {
		s.Detail = fmt.Sprintf("%v; trying again for %v more", l.Err, l.Left.Round(time.Second))
	}
	t.stream.emit(s)
	t.onLink(m, l)
}

// absence counts for how long any node of the testbed was out of reach.
type absence struct {
	mu    sync.Mutex
	gone  map[*member]bool
	since time.Time
	total time.Duration
}

func (a *absence) set(m *member, gone bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone == nil {
		a.gone = make(map[*member]bool)
	}
	before := len(a.gone)
	if gone {
		a.gone[m] = true
	} else {
		delete(a.gone, m)
	}
	switch now := len(a.gone); {
	case before == 0 && now > 0:
		a.since = time.Now()
	case before > 0 && now == 0:
		a.total += time.Since(a.since)
	}
}

// sum is how long it was in all, up to now.
func (a *absence) sum() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.gone) == 0 {
		return a.total
	}
	return a.total + time.Since(a.since)
}
