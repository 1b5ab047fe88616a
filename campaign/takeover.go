package campaign

import (
	"context"
	"errors"
	"fmt"

	"bela/agents/client"
	"bela/agents/protocol"
	"bela/event"
	"bela/nodes"
	"bela/provision"
)

// openAgain opens a node that may still have an agent of this run: that is taken
// over. One that has none, or whose agent had to be stopped, is opened as at the
// start, within the same limits.
func (t *testbed) openAgain(ctx context.Context, m *member, depot *provision.Depot, source provision.Source) (detail string, err error) {
	taken, err := t.lookForOurs(ctx, m, source)
	if err != nil {
		return "", err
	}
	if taken {
		return "agent already there", nil
	}
	return t.openFresh(ctx, m, depot)
}

// lookForOurs takes this run's agent over where it still runs, and stops what is
// left of one otherwise.
func (t *testbed) lookForOurs(ctx context.Context, m *member, source provision.Source) (taken bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, openLimit, fmt.Errorf("looking for this run's agent on node %s took longer than %v", m.name(), openLimit))
	defer cancel()
	running, err := provision.Running(ctx, m.ssh())
	if errors.Is(err, provision.ErrNoAgent) {
		return false, provision.Stop(ctx, m.ssh())
	}
	if err != nil {
		return false, err
	}
	if m.facts, err = m.ssh().Facts(ctx); err != nil {
		return false, err
	}
	t.stream.emit(event.NodeState{Node: m.name(), State: event.NodeConnected, Detail: describe(m.facts)})
	if m.agent, err = provision.AgentPath(ctx, m.ssh(), m.facts, source); err != nil {
		return false, err
	}
	return t.takeOver(ctx, m, running)
}

// takeOver takes over the agent that runs: what it runs is ended, and it is asked
// for nothing that it measured, for that belongs to the attempt that the
// controller's end broke off. One of another build is stopped. An agent of another
// run is an error, and left alone.
func (t *testbed) takeOver(ctx context.Context, m *member, running string) (taken bool, err error) {
	welcome, err := t.greet(ctx, m)
	if err != nil && welcome.Run != t.run {
		return false, err
	}
	m.ours = true
	if err == nil && running == m.agent {
		if err := m.ask(ctx, cleanLimit, protocol.TypeReset, nil, nil); err != nil {
			return false, err
		}
		t.tell(m, fmt.Sprintf("this run's agent still runs there, as process %d: taken over", welcome.PID))
		return true, nil
	}
	why := "it is of another build"
	if err != nil {
		why = err.Error()
	}
	t.tell(m, fmt.Sprintf("this run's agent still runs there, as process %d: stopped, for %s", welcome.PID, why))
	t.forget(m)
	return false, provision.Stop(ctx, m.ssh())
}

// greet begins the conversation with the agent that runs on the node, and leaves
// out what it tells of the time before.
func (t *testbed) greet(ctx context.Context, m *member) (protocol.Welcome, error) {
	welcome, err := t.converse(ctx, m, client.Options{New: true})
	if refused, ok := errors.AsType[*protocol.Error](err); ok && refused.Code == "busy" {
		return welcome, &nodes.Error{Node: m.name(), Kind: nodes.InUse, Err: errors.New("another run has it: " + refused.Text)}
	}
	return welcome, err
}

func (t *testbed) tell(m *member, text string) {
	t.stream.emit(event.NodeState{Node: m.name(), State: event.NodeConnected, Detail: text})
}

// forget ends the conversation with a member's agent.
func (t *testbed) forget(m *member) {
	m.mu.Lock()
	c := m.client
	m.client, m.welcome = nil, protocol.Welcome{}
	m.mu.Unlock()
	if c != nil {
		c.Close()
	}
}
