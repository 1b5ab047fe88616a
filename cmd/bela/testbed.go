package main

import (
	"context"
	"fmt"

	"bela/experiment"
	"bela/nodes"
	"bela/nodes/lab"
)

// machines are a plan's nodes and how to reach them.
type machines struct {
	targets []nodes.Target
	lab     *lab.Lab // nil for real machines
}

// close ends the lab, if there is one.
func (m *machines) close() error {
	if m.lab == nil {
		return nil
	}
	return m.lab.Close()
}

// machinesOf gives each node of the plan a machine: those that the file or the
// inventory names, or a loopback lab.
func machinesOf(ctx context.Context, plan *experiment.Plan, inventory *nodes.Inventory) (*machines, error) {
	onLab, err := onLab(plan)
	if err != nil {
		return nil, err
	}
	if onLab {
		return labMachines(ctx, plan)
	}
	m := new(machines)
	for _, g := range plan.Groups {
		for i, host := range g.Hosts {
			t, err := target(plan, g, i, host, inventory)
			if err != nil {
				return nil, err
			}
			m.targets = append(m.targets, t)
		}
	}
	return m, nil
}

// onLab says whether the plan's nodes are the lab's. Lab nodes and machines
// cannot be mixed: a machine cannot reach a loopback address.
func onLab(plan *experiment.Plan) (bool, error) {
	var with, without string
	for _, g := range plan.Groups {
		if len(g.Hosts) > 0 {
			with = g.Name
		} else {
			without = g.Name
		}
	}
	if with != "" && without != "" {
		return false, usageError("node group %q has hosts and %q has none: give hosts to all groups, in the file or with -inventory, or to none for the loopback lab", with, without)
	}
	return with == "", nil
}

func labMachines(ctx context.Context, plan *experiment.Plan) (*machines, error) {
	var specs []lab.Spec
	for _, g := range plan.Groups {
		for i := range g.Count {
			specs = append(specs, lab.Spec{Name: g.NodeName(i), Group: g.Name, Role: string(g.Role)})
		}
	}
	if len(specs) > lab.MaxNodes {
		return nil, usageError("the loopback lab has room for %d nodes and the experiment wants %d: give real hosts, or lower the counts", lab.MaxNodes, len(specs))
	}
	l, err := lab.Start(ctx, specs, lab.Options{})
	if err != nil {
		return nil, fmt.Errorf("loopback lab: %w", err)
	}
	return &machines{targets: l.Targets(), lab: l}, nil
}

// target says how to reach one host: what the host's own text says comes first,
// then its group's settings, then the inventory's, then the file's ssh block.
func target(plan *experiment.Plan, g experiment.NodeGroup, i int, host string, inventory *nodes.Inventory) (nodes.Target, error) {
	h, err := nodes.ParseHost(host)
	if err != nil {
		return nodes.Target{}, usageError("node group %q: %v", g.Name, err)
	}
	s := plan.SSH
	t := nodes.Target{
		Name: g.NodeName(i), Group: g.Name, Role: string(g.Role),
		Host: h.Host, Port: first(h.Port, s.Port), User: first(h.User, g.User, s.User),
		SSH: nodes.Options{
			KeyFiles: s.KeyFiles, KnownHosts: s.KnownHosts, HostKeys: nodes.HostKeyPolicy(s.HostKeys),
			Fingerprints: s.Fingerprints, Jump: s.Jump, ConnectTimeout: s.ConnectTimeout,
			Keepalive: s.Keepalive, Retries: s.Retries,
		},
	}
	dir := s.Directory
	if inventory != nil {
		if group, ok := inventory.Group(g.Name); ok {
			t.User = first(h.User, group.User, t.User)
		}
		if s := inventory.SSH; s != nil {
			t.SSH = s.Options
			t.Port, t.User = first(t.Port, s.Port), first(t.User, s.User)
			dir = first(s.Directory, dir)
		}
	}
	// Nodes may share a machine and a login; each has a directory of its own,
	// and no parent that would have to stay.
	t.Directory = first(dir, nodes.DefaultDirectory) + "-" + t.Name
	return t, nil
}

// first gives the first value that is not its type's zero.
func first[T comparable](values ...T) T {
	var zero T
	for _, v := range values {
		if v != zero {
			return v
		}
	}
	return zero
}
