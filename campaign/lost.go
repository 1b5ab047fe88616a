package campaign

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"bela/agents/protocol"
	"bela/event"
	"bela/experiment"
	"bela/measure"
	"bela/nodes"
	"bela/provision"
	"bela/store"
)

// What a run does about nodes that were lost: it brings them back, or puts a spare
// in their place, or goes on without, as the experiment says.

// recover makes the testbed whole before a cell at a position. changed says that
// it is not the one that it was.
func (r *runner) recover(ctx context.Context, position int) (changed bool, err error) {
	gone := r.testbed.lost()
	if len(gone) == 0 {
		return false, nil
	}
	failed := make([]error, len(gone))
	index := make([]int, len(gone))
	for i := range index {
		index[i] = i
	}
	limited, cancel := context.WithTimeoutCause(ctx, openLimit, fmt.Errorf("bringing lost nodes back took longer than %v", openLimit))
	defer cancel()
	_ = nodes.Each(limited, index, fanOut, func(ctx context.Context, i int) error {
		failed[i] = r.testbed.bringBack(ctx, gone[i])
		return nil
	})
	for i, m := range gone {
		switch {
		case context.Cause(ctx) != nil:
			return changed, context.Cause(ctx)
		case failed[i] == nil:
			continue
		}
		if err := r.doWithout(ctx, m, position, failed[i]); err != nil {
			return changed, fmt.Errorf("the lost node did not come back: %w", err)
		}
		changed = true
	}
	if changed {
		return true, r.writeEnvironment()
	}
	return false, nil
}

// bringBack makes one lost node usable again.
func (t *testbed) bringBack(ctx context.Context, m *member) error {
	if err := m.broken(); err != nil {
		return err
	}
	t.stream.emit(event.NodeState{Node: m.name(), State: event.NodeConnecting, Detail: "after it was lost"})
	if err := t.recoverMember(ctx, m); err != nil {
		t.stream.emit(event.NodeState{Node: m.name(), State: event.NodeLost, Detail: err.Error()})
		return err
	}
	t.stream.emit(event.NodeState{Node: m.name(), State: event.NodeReady, Detail: "back again"})
	return nil
}

// doWithout puts a spare in the place of a node, or leaves the node out, as the
// experiment allows. Its error is why the node is needed.
func (r *runner) doWithout(ctx context.Context, m *member, position int, lost error) error {
	policy := r.Plan.OnNodeLost
	if policy == experiment.LossStop {
		return lost
	}
	for {
		spare, ok := r.testbed.takeSpare(m.target.Group)
		if !ok {
			break
		}
		err := r.replace(ctx, m, spare, position, lost)
		if err == nil || ctx.Err() != nil {
			return err
		}
		r.emit(event.Message{Level: "warn", Node: m.name(), Text: "a spare cannot be used: " + err.Error()})
	}
	if policy != experiment.LossWithout {
		return lost
	}
	var reduced []experiment.Cell
	for _, cell := range r.Plan.Cells {
		if cell.Position < position {
			continue
		}
		left, _, err := cell.Without(r.Plan.Groups, append(slices.Clone(r.testbed.removed), m.name()))
		if err != nil {
			return fmt.Errorf("%w; and the run cannot go on without it: %w", lost, err)
		}
		reduced = append(reduced, left)
	}
	maps.Copy(r.testbed.platform, platformNodes(reduced))
	r.testbed.retire(m)
	r.testbed.members = slices.DeleteFunc(r.testbed.members, func(o *member) bool { return o == m })
	r.testbed.removed = append(r.testbed.removed, m.name())
	r.note(store.NodeChange{Node: m.name(), What: "removed", Was: sshName(m.target), Position: position, Reason: lost.Error()})
	r.emit(event.NodeState{Node: m.name(), State: event.NodeRemoved, Detail: "the run goes on without it: " + lost.Error()})
	return nil
}

// takeSpare gives the next spare of a group.
func (t *testbed) takeSpare(group string) (nodes.Target, bool) {
	i := slices.IndexFunc(t.spares, func(s nodes.Target) bool { return s.Group == group })
	if i < 0 {
		return nodes.Target{}, false
	}
	spare := t.spares[i]
	t.spares = slices.Delete(t.spares, i, i+1)
	return spare, true
}

// replace opens a spare under the name of a lost node. One that cannot be opened
// is cleaned with the others in the end.
func (r *runner) replace(ctx context.Context, old *member, spare nodes.Target, position int, lost error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, openLimit, fmt.Errorf("opening a spare took longer than %v", openLimit))
	defer cancel()
	t := r.testbed
	was := spare.Name
	spare.Name, spare.Group, spare.Role = old.target.Name, old.target.Group, old.target.Role
	fresh := &member{target: spare, pool: old.pool, meter: nodeMeter{node: spare.Name}}
	depot := provision.NewDepot(r.Programs)
	defer depot.Close()
	err := t.openMember(ctx, fresh, depot, r.Programs)
	if err == nil {
		err = fresh.probe(ctx, probesAround)
	}
	if err != nil { // the lost one keeps its place, for the next spare
		t.retire(fresh)
		return err
	}
	t.retire(old)
	t.members[slices.Index(t.members, old)] = fresh
	r.calibrateOne(ctx, fresh)
	r.note(store.NodeChange{
		Node: spare.Name, What: "replaced", Was: sshName(old.target), By: sshName(spare),
		Position: position, Reason: lost.Error(),
	})
	r.emit(event.NodeState{Node: spare.Name, State: event.NodeReplaced, Detail: fmt.Sprintf("%s (%s) stands in for %s", was, sshName(spare), sshName(old.target))})
	r.emit(event.NodeState{Node: spare.Name, State: event.NodeReady, Detail: "a spare"})
	return nil
}

// retire ends the conversation with a node and keeps it for the release.
func (t *testbed) retire(m *member) {
	if c := m.link(); c != nil {
		c.Close()
	}
	t.retired = append(t.retired, m)
}

func sshName(t nodes.Target) string {
	return nodes.Host{User: t.User, Host: t.Host, Port: t.Port}.String()
}

// note keeps a change of the testbed for the record.
func (r *runner) note(c store.NodeChange) {
	c.At = r.Now().UTC()
	r.changes = append(r.changes, c)
}

// changedBefore is how many changes an earlier part of the run has written down.
func (r *runner) changedBefore() int {
	if r.Earlier == nil {
		return 0
	}
	return len(r.Earlier.Run.Environment.Changes)
}

// reduced is a cell as it runs on the nodes that are left, and what that changes.
func (r *runner) reduced(cell experiment.Cell) (experiment.Cell, []string, error) {
	var notes []string
	for _, c := range r.changes {
		if c.What == "replaced" && uses(cell, c.Node) {
			notes = append(notes, fmt.Sprintf("node %s is the spare %s since cell %d: %s was lost", c.Node, c.By, c.Position, c.Was))
		}
	}
	if len(r.testbed.removed) == 0 {
		return cell, notes, nil
	}
	cell, moved, err := cell.Without(r.Plan.Groups, r.testbed.removed)
	return cell, append(notes, moved...), err
}

// uses tells whether a cell has something on a node.
func uses(cell experiment.Cell, node string) bool {
	on := func(s experiment.Share) bool { return s.Node == node }
	return slices.ContainsFunc(cell.Devices.Shares, on) || slices.ContainsFunc(cell.Customers.Shares, on) ||
		slices.ContainsFunc(cell.Components, func(c experiment.Component) bool {
			return slices.ContainsFunc(c.Instances, func(i experiment.Instance) bool { return i.Node == node })
		})
}

// lostNode tells whether a cell failed because a node was lost.
func lostNode(failure error) bool {
	_, lost := errors.AsType[*lostError](failure)
	return lost
}

// permanent says why a failed cell would fail in the same way again; it is empty
// where another attempt may help.
func permanent(c measure.Cell, failure error) string {
	// Books that did not come, as those of an agent that was killed, leave the ledger
	// open too; nothing is wrong with the others.
	missing := slices.ContainsFunc(c.Reasons, func(r measure.Reason) bool { return r.Code == "books_missing" })
	for _, r := range c.Reasons {
		if r.Code == "ledger_open" && !missing || r.Code == "phantom" {
			return "the books are wrong (" + r.Code + "), which another attempt would only hide"
		}
	}
	if refused, ok := errors.AsType[*protocol.Error](failure); ok && refused.Code == "bad_request" {
		return "what was asked for cannot be done: " + refused.Text
	}
	if e, ok := errors.AsType[*nodes.Error](failure); ok && !e.Transient && slices.Contains([]nodes.Kind{
		nodes.HostKeyUnknown, nodes.HostKeyChanged, nodes.AuthRefused, nodes.NotLinux, nodes.NoSpace, nodes.Unsupported, nodes.BadConfig,
	}, e.Kind) {
		return strings.TrimSpace(string(e.Kind) + " on node " + e.Node)
	}
	return ""
}
