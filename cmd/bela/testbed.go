package main

import (
	"context"
	"fmt"

	"bela/experiment"
	"bela/nodes"
	"bela/nodes/inventory"
	"bela/nodes/lab"
)

// machines are a plan's nodes and how to reach them.
type machines struct {
	targets []nodes.Target
	spares  []nodes.Target // for nodes that are lost
	lab     *lab.Lab       // nil for real machines
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
func machinesOf(ctx context.Context, plan *experiment.Plan, inv *inventory.Inventory) (*machines, error) {
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
			t, err := target(plan, g, g.NodeName(i), i, host, inv)
			if err != nil {
				return nil, err
			}
			m.targets = append(m.targets, t)
		}
		for i, host := range g.Spares {
			t, err := target(plan, g, g.SpareName(i), len(g.Hosts)+i, host, inv)
			if err != nil {
				return nil, err
			}
			m.spares = append(m.spares, t)
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

// sayHostKeys tells once of the lines in known_hosts files that say nothing.
func (a *app) sayHostKeys(m *machines) {
	if m.lab != nil {
		return
	}
	for _, line := range nodes.SkippedHostKeys(m.targets) {
		fmt.Fprintf(a.err, "bela: known hosts: %s; this line is skipped: correct or remove it\n", line)
	}
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
