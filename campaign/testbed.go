package campaign

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"bela/agents/client"
	"bela/agents/protocol"
	"bela/event"
	"bela/nodes"
	"bela/provision"
	"bela/store"
)

// Deadlines of what is done to a node outside a cell.
const (
	openLimit    = 3 * time.Minute  // connect, push and start an agent
	releaseLimit = 60 * time.Second // stop and remove it
	askLimit     = 15 * time.Second // a short request to an agent
)

// fanOut bounds how many nodes are worked on at once.
const fanOut = 16

// releases bounds how many nodes are cleaned at once: they do the work, and one
// that does not answer should keep nobody.
const releases = 64

// member is a node of the testbed with its agent.
type member struct {
	target  nodes.Target
	pool    *nodes.Pool // what all members are dialled through
	facts   nodes.Facts
	agent   string // the path of the agent's binary on the node; its name tells its hash
	ours    bool   // an agent of this run was started here
	touched bool   // something may have been put there
	clock   clockKeeper
	meter   nodeMeter
	// generator is its load generator as it was calibrated; nil where it was not.
	generator *store.Generator
	// provisions are what it was given beyond the agent.
	provisions provisions

	mu      sync.Mutex
	node    *nodes.Node // the connection in use, or the last one
	client  *client.Client
	welcome protocol.Welcome // what the agent said of itself
}

func (m *member) name() string { return m.target.Name }

// testbed is all nodes of a run, open.
type testbed struct {
	run     string
	members []*member
	spares  []nodes.Target // not in use yet
	// retired are nodes that were lost and replaced, or left out; removed are the
	// names of those that were left out.
	retired []*member
	removed []string
	stream  *stream
	lease   time.Duration
	keep    time.Duration
	resumed bool // agents of this run may run already
	source  provision.Source
	// platform names the nodes that the built-in platform is brought to with the
	// agent: those that the plan has run built-in components.
	platform map[string]bool
	// onEvent takes the agents' events, onGap the numbers of those that are lost
	// and onLink the changes of the links, each from one goroutine a member.
	onEvent func(*member, protocol.Event)
	onGap   func(*member, uint64)
	onLink  func(*member, client.Link)

	absence absence
}

// open connects every node and brings up its agent, side by side: connections,
// checks and uploads each keep limits of their own, and every wait of a node has
// its own deadline, so that none waits for another that does not answer. On an
// error it reports every node that failed; the caller releases what is open.
func (t *testbed) open(ctx context.Context, source provision.Source) error {
	depot := provision.NewDepot(source)
	defer depot.Close()
	return nodes.Each(ctx, t.members, max(1, len(t.members)), func(ctx context.Context, m *member) error {
		err := t.openMember(ctx, m, depot, source)
		if nodes.KindOf(err) == nodes.LinkLost && ctx.Err() == nil {
			t.stream.emit(event.NodeState{Node: m.name(), State: event.NodeLinkLost, Detail: err.Error() + "; once more"})
			_ = m.ssh().Close()
			err = t.openMember(ctx, m, depot, source)
		}
		if err != nil {
			t.stream.emit(event.NodeState{Node: m.name(), State: event.NodeLost, Detail: err.Error()})
		}
		return err
	})
}

func (t *testbed) openMember(ctx context.Context, m *member, depot *provision.Depot, source provision.Source) (err error) {
	t.stream.emit(event.NodeState{Node: m.name(), State: event.NodeConnecting})
	node, err := m.pool.Dial(ctx, m.target)
	if err != nil {
		return err
	}
	m.setSSH(node)
	m.touched = true
	var detail string
	if t.resumed {
		detail, err = t.openAgain(ctx, m, depot, source)
	} else {
		detail, err = t.openFresh(ctx, m, depot)
	}
	if err != nil {
		return err
	}
	t.stream.emit(event.NodeState{Node: m.name(), State: event.NodeReady, Detail: detail})
	return nil
}

// openFresh goes from a connection to the agent's conversation in one session.
func (t *testbed) openFresh(ctx context.Context, m *member, depot *provision.Depot) (detail string, err error) {
	opened, err := depot.Open(ctx, m.ssh(), t.startOptions(m), t.watch(m))
	// Where another run holds the node, nothing on it is ours to stop.
	m.provisions.hasPlatform(opened.Platform.Path)
	m.facts, m.agent, m.ours = opened.Facts, opened.Agent.Path, opened.Begun && nodes.KindOf(err) != nodes.InUse
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, askLimit, fmt.Errorf("the agent of node %s said nothing for %v", m.name(), askLimit))
	defer cancel()
	if _, err := t.converseOver(ctx, m, opened.Conn, client.Options{}); err != nil {
		return "", err
	}
	detail = arrival("agent", opened.Agent)
	if opened.Platform.Path != "" {
		detail += ", " + arrival("platform", opened.Platform)
	}
	return detail, nil
}

// arrival says how a program got to a node.
func arrival(what string, b provision.Brought) string {
	switch {
	case b.Way == "":
		return what + " already there"
	case b.Moved == 0:
		return what + " from another node"
	}
	return fmt.Sprintf("%s pushed, %.1f MB (%s)", what, float64(b.Moved)/1e6, b.Way)
}

// watch tells what happens to a member on its way.
func (t *testbed) watch(m *member) provision.Watch {
	return provision.Watch{
		Looked: func(f nodes.Facts) {
			t.stream.emit(event.NodeState{Node: m.name(), State: event.NodeConnected, Detail: describe(f)})
		},
		Pushing: func(done, all int64) {
			t.stream.emit(event.NodeState{Node: m.name(), State: event.NodePushing, Detail: fmt.Sprintf("%d of %d MB", done/1e6, all/1e6)})
		},
		Feeding: func(text string) {
			t.stream.emit(event.NodeState{Node: m.name(), State: event.NodePushing, Detail: text})
		},
		Note: func(text string) {
			t.stream.emit(event.Message{Level: "warn", Node: m.name(), Text: text})
		},
	}
}

func (t *testbed) startOptions(m *member) provision.StartOptions {
	return provision.StartOptions{Agent: m.agent, Run: t.run, Lease: t.lease, Keep: t.keep, Platform: t.platform[m.name()]}
}

// recoverMember connects anew where the link died, and takes up the agent that
// still runs or starts another.
func (t *testbed) recoverMember(ctx context.Context, m *member) error {
	after := m.lastEvent()
	if c := m.link(); c != nil {
		c.Close()
	}
	if m.ssh().Err() != nil {
		if err := m.reconnect(ctx); err != nil {
			return err
		}
	}
	err := t.attachSoon(ctx, m, after, redialLimit)
	if refused, ok := errors.AsType[*protocol.Error](err); err == nil || ok && refused.Code == "busy" {
		return err // there again, or another's
	}
	if m.ssh().Err() != nil {
		return err
	}
	// There is none, or one that does not answer. A new agent has a new clock.
	m.clock.forget()
	m.meter = nodeMeter{node: m.name()}
	if err := provision.Stop(ctx, m.ssh()); err != nil { // what the dead one left
		return err
	}
	// A machine that was set up anew, or whose disk is memory, has no agent any more,
	// and no platform: that is looked for when it is needed.
	m.provisions.hasPlatform("")
	if _, m.agent, err = provision.Push(ctx, m.ssh(), m.facts, t.source); err != nil {
		return err
	}
	if err := provision.Start(ctx, m.ssh(), t.startOptions(m)); err != nil {
		return err
	}
	return t.attachSoon(ctx, m, after, askLimit)
}

// attachSoon is attach for an agent that may hang.
func (t *testbed) attachSoon(ctx context.Context, m *member, after uint64, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w for %v", client.ErrSilent, limit))
	defer cancel()
	return t.attach(ctx, m, after)
}

// release stops and removes every agent and closes the connections. It does all
// it can for each node, whatever happened before.
func (t *testbed) release(ctx context.Context, keepAgent bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, releaseLimit, fmt.Errorf("cleaning the nodes took longer than %v", releaseLimit))
	defer cancel()
	return nodes.Each(ctx, slices.Concat(t.members, t.retired), releases, func(ctx context.Context, m *member) error {
		err := t.releaseMember(ctx, m, keepAgent)
		if slices.Contains(t.retired, m) {
			return nil // it was told, and the run was made without it
		}
		return err
	})
}

func (t *testbed) releaseMember(ctx context.Context, m *member, keepAgent bool) error {
	if m.ssh() == nil {
		return nil
	}
	defer func() { _ = m.ssh().Close() }()
	if !m.ours && !m.touched {
		return nil
	}
	if c := m.link(); c != nil {
		if c.Err() == nil {
			// A polite end; what it does not do, provision.Stop does.
			_ = c.CallTimeout(ctx, askLimit, protocol.TypeShutdown, nil, nil)
		}
		c.Close()
	}
	var left provision.RemoveOptions
	if keepAgent {
		left.Keep = append(left.Keep, m.agent)
		if platform, _ := m.provisions.platformPath(); platform != "" {
			left.Keep = append(left.Keep, platform)
		}
	}
	err := m.removeFrom(ctx, left)
	if errors.Is(err, errOthers) {
		return nil
	}
	if err != nil {
		t.stream.emit(event.Message{Level: "error", Node: m.name(), Text: "not clean: " + err.Error(), Next: fmt.Sprintf("run `bela clean` with this experiment when the node is back; an agent that still lives there removes itself %v after it was last heard of", t.lease+t.keep)})
		return err
	}
	t.stream.emit(event.NodeState{Node: m.name(), State: event.NodeClean})
	return nil
}

// removeFrom takes bela off the node, over a new connection where the one in use
// is lost.
func (m *member) removeFrom(ctx context.Context, o provision.RemoveOptions) error {
	if m.ssh().Err() == nil {
		err := m.remove(ctx, o)
		if nodes.KindOf(err) != nodes.LinkLost {
			return err
		}
	}
	if err := m.reconnect(ctx); err != nil {
		return err
	}
	return m.remove(ctx, o)
}

// errOthers says that the agent on a node is another run's.
var errOthers = errors.New("another run has the node")

// remove takes bela off the node, unless an agent runs there that was not started
// here.
func (m *member) remove(ctx context.Context, o provision.RemoveOptions) error {
	if !m.ours {
		_, err := provision.Running(ctx, m.ssh())
		if err == nil {
			return errOthers
		}
		if !errors.Is(err, provision.ErrNoAgent) {
			return err
		}
	}
	return provision.Remove(ctx, m.ssh(), o)
}

// find gives the member of a name; the plan guarantees that there is one.
func (t *testbed) find(name string) *member {
	i := slices.IndexFunc(t.members, func(m *member) bool { return m.name() == name })
	if i < 0 {
		panic("campaign: the plan names a node that the testbed does not have: " + name)
	}
	return t.members[i]
}

// lost names the members whose agent is gone.
func (t *testbed) lost() []*member {
	var gone []*member
	for _, m := range t.members {
		if c := m.link(); c == nil || c.Err() != nil {
			gone = append(gone, m)
		}
	}
	return gone
}

func describe(f nodes.Facts) string {
	return fmt.Sprintf("%s, %s, kernel %s, %d CPUs, %d MiB", f.Distribution, f.GOARCH, f.Kernel, f.CPUs, f.Memory/mib)
}
