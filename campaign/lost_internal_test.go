package campaign

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bela/agents/client"
	"bela/agents/protocol"
	"bela/event"
	"bela/measure"
	"bela/nodes"
	"bela/provision"
)

// What became of a node decides what the operator has to do, so each end must have
// a name of its own.
func TestLostBy(t *testing.T) {
	t.Parallel()
	dial := &nodes.Error{Node: "iot-1", Kind: nodes.Unreachable, Err: errors.New("no answer within 5s"), Transient: true}
	rows := []struct {
		name  string
		err   error
		state string
		code  string
		words string
	}{
		{"the host does not answer", &client.AwayError{Away: 2 * time.Minute, Err: dial}, event.NodeLost, "node_lost", "node iot-1 is lost: out of reach for 2m0s"},
		{"the agent does not answer", &client.AwayError{Away: 2 * time.Minute, Err: fmt.Errorf("no answer to hello: %w for 5s", client.ErrSilent)}, event.NodeAgentLost, "agent_lost", "the agent of node iot-1 is lost"},
		{"there is no agent", &client.GoneError{Err: fmt.Errorf("reach the agent: %w", provision.ErrNoAgent)}, event.NodeAgentLost, "agent_lost", "no agent runs there"},
		{"there is another agent", &client.GoneError{Err: client.ErrReplaced}, event.NodeAgentLost, "agent_lost", "another agent"},
		{"the machine was started anew", compareBoots("a", "b"), event.NodeRebooted, "node_lost", "started anew: its boot id is b and was a"},
	}
	for _, row := range rows {
		got := lostError{node: "iot-1", state: lostState(row.err), err: row.err}
		if got.state != row.state || got.code() != row.code || !strings.Contains(got.Error(), row.words) {
			t.Errorf("%s: state %s, code %s: %v; want %s, %s, %q", row.name, got.state, got.code(), &got, row.state, row.code, row.words)
		}
	}
	if err := compareBoots("a", "a"); err != nil {
		t.Errorf("the same boot: %v", err)
	}
	if err := compareBoots("", "b"); err != nil {
		t.Errorf("a machine that told none: %v", err)
	}
}

// A cell must not be tried again where it would fail in the same way.
func TestPermanent(t *testing.T) {
	t.Parallel()
	reason := func(codes ...string) (c measure.Cell) {
		for _, code := range codes {
			c.Reasons = append(c.Reasons, measure.Reason{Code: code, Verdict: measure.Invalid})
		}
		return c
	}
	for _, row := range []struct {
		name    string
		cell    measure.Cell
		failure error
		never   bool
	}{
		{"a lost node", reason("node_lost"), &lostError{node: "iot-1", state: event.NodeLost, err: errors.New("away")}, false},
		{"a late generator", reason("generator_late"), nil, false},
		{"a component that ended before it was ready", reason("cell_failed"), &protocol.Error{Code: "component_failed"}, false},
		{"a component that cannot be run as it stands", reason("cell_failed"), fmt.Errorf("start: %w", &protocol.Error{Code: "bad_request"}), true},
		{"another host key", reason("cell_failed"), &nodes.Error{Kind: nodes.HostKeyChanged}, true},
		{"a link that broke", reason("cell_failed"), &nodes.Error{Kind: nodes.LinkLost, Transient: true}, false},
		{"books that do not close", reason("ledger_open"), nil, true},
		{"an agent that was killed with its books", reason("books_missing", "ledger_open"), &lostError{node: "iot-1", state: event.NodeAgentLost, err: errors.New("gone")}, false},
		{"messages of nobody beside books that did not come", reason("books_missing", "phantom", "ledger_open"), nil, true},
	} {
		if why := permanent(row.cell, row.failure); (why != "") != row.never {
			t.Errorf("%s: %q", row.name, why)
		}
	}
}

// A full disk must say whose it is: the controller's is freed elsewhere than a
// node's.
func TestControllersDiskIsFull(t *testing.T) {
	t.Parallel()
	full := &recordError{&fs.PathError{Op: "write", Path: "events.jsonl", Err: syscall.ENOSPC}}
	if text := full.Error(); !strings.Contains(text, "disk of the controller is full") || !strings.Contains(text, "bela resume") {
		t.Error(text)
	}
	if text := (&recordError{syscall.EIO}).Error(); strings.Contains(text, "full") {
		t.Error(text)
	}
}

// While a link is lost, seconds must wait for the node's samples, and come in
// order and whole when they are there; a node that is only slow must not hold
// them up for ever.
func TestLoadMeterWaitsForALostLink(t *testing.T) {
	t.Parallel()
	const second = int64(time.Second)
	start := controllerClock() - 600*second
	m := newLoadMeter(1, 2, 1, start, 0, time.Hour)
	sample := func(s int64) protocol.Sample {
		return protocol.Sample{At: start + (s+1)*second, Devices: &protocol.DevicesSample{Sent: 10 * (s + 1)}}
	}
	var seconds []int
	take := func(node string, s int64) {
		for _, l := range m.add(node, sample(s)) {
			if l.Published != 20 && len(seconds) < 40 {
				t.Errorf("second %d has %v messages, want 20", l.T, l.Published)
			}
			if l.At.IsZero() {
				t.Errorf("second %d comes ten minutes late and does not say of when it is", l.T)
			}
			seconds = append(seconds, l.T)
		}
	}
	take("a", 0)
	take("b", 0)
	m.link("b", true)
	for s := int64(1); s < 40; s++ {
		take("a", s)
	}
	if len(seconds) != 1 {
		t.Fatalf("handed out without the lost node: %v", seconds)
	}
	m.link("b", false)
	for s := int64(1); s < 40; s++ {
		take("b", s)
	}
	if len(seconds) != 40 || seconds[39] != 39 {
		t.Errorf("the seconds are %v", seconds)
	}
	for s := int64(40); s < 60; s++ {
		take("a", s) // b is slow, and its link stands
	}
	if n := len(seconds); n != 60-patience {
		t.Errorf("%d seconds after one node fell behind by 20, want all but %d", n, patience)
	}
	if rest := m.flush(); len(rest) != patience {
		t.Errorf("%d seconds are left, want %d", len(rest), patience)
	}
}

// A reason and a warning are read in the night: neither may say a thing twice, and
// both have to say it.
func TestLossIsToldOnce(t *testing.T) {
	t.Parallel()
	away := &lostError{node: "worker-1", state: event.NodeLost, err: errors.New("out of reach for 12s")}
	for _, row := range []struct {
		lost *lostError
		e    func(text string) measure.Evidence
		want string
	}{
		{away, func(s string) measure.Evidence { return measure.Evidence{LostNodes: []string{s}} }, "lost worker-1: out of reach for 12s ("},
		{&lostError{node: "worker-1", state: event.NodeRebooted, err: errors.New("its boot id is b and was a")},
			func(s string) measure.Evidence { return measure.Evidence{LostNodes: []string{s}} }, "lost worker-1: it was started anew: its boot id is b and was a ("},
		{&lostError{node: "worker-1", state: event.NodeAgentLost, err: errors.New("no agent runs there")},
			func(s string) measure.Evidence { return measure.Evidence{LostAgents: []string{s}} }, "agent lost worker-1: no agent runs there ("},
	} {
		_, reasons := measure.Judge(row.e(row.lost.named()))
		if !slices.ContainsFunc(reasons, func(r measure.Reason) bool { return strings.HasPrefix(r.Text, row.want) }) {
			t.Errorf("want %q in %+v", row.want, reasons)
		}
	}
	other := errors.New("component hub-1: no answer")
	if got, want := eachOnce(errors.Join(away, away, other, away)), "node worker-1 is lost: out of reach for 12s; component hub-1: no answer"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// kept is a journal in memory.
type kept []event.Event

func (k *kept) Event(e event.Event) error {
	*k = append(*k, e)
	return nil
}

// A note on a program's way must have a level that the views know, or it stands
// there as any other line, and nobody sees that a copy was damaged.
func TestNotesOnTheWayAreWarnings(t *testing.T) {
	t.Parallel()
	var all kept
	b := &testbed{stream: &stream{now: time.Now, journal: &all}}
	b.watch(&member{target: nodes.Target{Name: "iot-1"}}).Note("the copy is damaged; copying it by SFTP")
	if m, ok := all[0].Data.(event.Message); !ok || m.Level != "warn" || m.Node != "iot-1" {
		t.Errorf("told %+v", all)
	}
}
