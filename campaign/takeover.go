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

// bringUp starts the agent that has been pushed, unless one of this run outlived
// its controller and is taken over.
func (t *testbed) bringUp(ctx context.Context, m *member) error {
	if taken, err := t.takeOver(ctx, m); taken || err != nil {
		return err
	}
	return t.start(ctx, m)
}

// takeOver looks for an agent of this run and takes it over: what it runs is
// ended, and it is asked for nothing that it measured, for that belongs to the
// attempt that the controller's end broke off. One of another build is stopped,
// and so is what an agent left that died. An agent of another run is an error,
// and left alone.
func (t *testbed) takeOver(ctx context.Context, m *member) (taken bool, err error) {
	running, err := provision.Running(ctx, m.ssh())
	if errors.Is(err, provision.ErrNoAgent) {
		return false, provision.Stop(ctx, m.ssh())
	}
	if err != nil {
		return false, err
	}
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
