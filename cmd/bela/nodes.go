package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"bela/campaign"
	"bela/experiment"
	"bela/nodes"
	"bela/nodes/inventory"
)

// reachLimit bounds a command that looks at all nodes.
const reachLimit = 3 * time.Minute

// atOnce bounds how many nodes are worked on at the same time, so that some that do
// not answer keep nobody; nodes.Pool bounds the logins.
const atOnce = 64

func runNodes(ctx context.Context, a *app, args []string) error {
	f := a.flags("nodes", "FILE")
	file := f.file()
	rest, err := f.parse(args, 1, 1)
	if err != nil {
		return err
	}
	b, err := a.testbed(file, rest[0])
	if err != nil {
		return err
	}
	before := func(targets []nodes.Target) error { return a.printTestbed(b, targets) }
	return a.reachAll(ctx, b, before, func(ctx context.Context, _ *experiment.Plan, found []reached) error {
		t := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "node\trole\taddress\tlogin\tsystem\tkernel\tarch\tCPUs\tmemory MiB\tdisk free MiB\topen files")
		for _, n := range found {
			if n.err != nil {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", n.target.Name, n.target.Role, n.target.Host, nodes.KindOf(n.err))
				continue
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\n", n.target.Name, n.target.Role, n.node.Address(), n.facts.User,
				n.facts.Distribution, n.facts.Kernel, n.facts.GOARCH, n.facts.CPUs, n.facts.Memory>>20, n.facts.DiskFree>>20, n.facts.OpenFilesHard)
		}
		return t.Flush()
	})
}

// testbed is a plan's groups and the inventory that they were taken from.
type testbed struct {
	plan *experiment.Plan
	inv  *inventory.Inventory // nil where there is none
}

// testbed reads an experiment, or an inventory that comes without one.
func (a *app) testbed(file *fileFlags, path string) (testbed, error) {
	if *file.inventory != "" || !inventory.Is(path) {
		e, inv, err := file.load(a, path)
		if err != nil {
			return testbed{}, err
		}
		return testbed{e.Plan(), inv}, nil
	}
	inv, err := inventory.Read(path)
	if err != nil {
		return testbed{}, &statusError{statusUsage, err}
	}
	p, err := planOf(inv)
	return testbed{p, inv}, err
}

// printTestbed shows what is known before any machine was asked.
func (a *app) printTestbed(b testbed, targets []nodes.Target) error {
	if lab, err := onLab(b.plan); err != nil || lab {
		return err
	}
	if b.inv != nil {
		used := make(map[string]bool)
		for _, g := range b.plan.Groups {
			if taken, ok := b.inv.For(g.Name, string(g.Role)); ok {
				used[taken.Name] = true
			}
		}
		printInventory(a.out, b.inv, used)
		fmt.Fprintln(a.out)
	}
	if err := printRoutes(a.out, targets, b.inv); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	return nil
}

// reached is a node that was looked at.
type reached struct {
	target nodes.Target
	node   *nodes.Node // nil where err is not
	facts  nodes.Facts
	err    error
}

// onNodes reaches every node of an experiment, hands all of them to do, those
// that failed included, and fails with status 3 where any did.
func (a *app) onNodes(ctx context.Context, file *fileFlags, path string, do func(context.Context, *experiment.Plan, []reached) error) error {
	e, inv, err := file.load(a, path)
	if err != nil {
		return err
	}
	return a.reachAll(ctx, testbed{e.Plan(), inv}, nil, do)
}

// reachAll is onNodes for a testbed that is known already. before, where given,
// comes before any machine is asked.
func (a *app) reachAll(ctx context.Context, b testbed, before func([]nodes.Target) error, do func(context.Context, *experiment.Plan, []reached) error) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, reachLimit, fmt.Errorf("the nodes took longer than %v", reachLimit))
	defer cancel()
	m, err := machinesOf(ctx, b.plan, b.inv)
	if err != nil {
		return withStatus(campaign.Unreachable, err)
	}
	defer func() { err = errors.Join(err, m.close()) }()

	a.sayHostKeys(m)
	if before != nil {
		if err := before(m.targets); err != nil {
			return err
		}
	}
	// Spares are looked after like the others: a run may have used them.
	m.targets = append(m.targets, m.spares...)
	found := make([]reached, len(m.targets))
	index := make([]int, len(m.targets))
	for i, t := range m.targets {
		found[i].target, index[i] = t, i
	}
	pool := nodes.NewPool()
	failed := nodes.Each(ctx, index, atOnce, func(ctx context.Context, i int) error {
		n := &found[i]
		if n.node, n.err = pool.Dial(ctx, n.target); n.err == nil {
			n.facts, n.err = n.node.Facts(ctx)
		}
		return n.err
	})
	defer func() {
		for _, n := range found {
			if n.node != nil {
				_ = n.node.Close()
			}
		}
	}()
	if err := do(ctx, b.plan, found); err != nil {
		return err
	}
	return withStatus(campaign.Unreachable, failed)
}
