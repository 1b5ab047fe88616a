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
)

// reachLimit bounds a command that looks at all nodes.
const reachLimit = 3 * time.Minute

// atOnce bounds how many nodes are reached at the same time.
const atOnce = 16

func runNodes(ctx context.Context, a *app, args []string) error {
	f := a.flags("nodes", "FILE")
	file := f.file()
	rest, err := f.parse(args, 1, 1)
	if err != nil {
		return err
	}
	return a.onNodes(ctx, file, rest[0], func(ctx context.Context, _ *experiment.Plan, found []reached) error {
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

// reached is a node that was looked at.
type reached struct {
	target nodes.Target
	node   *nodes.Node // nil where err is not
	facts  nodes.Facts
	err    error
}

// onNodes reaches every node of an experiment, hands all of them to do, those
// that failed included, and fails with status 3 where any did.
func (a *app) onNodes(ctx context.Context, file *fileFlags, path string, do func(context.Context, *experiment.Plan, []reached) error) (err error) {
	e, inventory, err := file.load(a, path)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, reachLimit, fmt.Errorf("the nodes took longer than %v", reachLimit))
	defer cancel()
	m, err := machinesOf(ctx, e.Plan(), inventory)
	if err != nil {
		return withStatus(campaign.Unreachable, err)
	}
	defer func() { err = errors.Join(err, m.close()) }()

	found := make([]reached, len(m.targets))
	index := make([]int, len(m.targets))
	for i, t := range m.targets {
		found[i].target, index[i] = t, i
	}
	failed := nodes.Each(ctx, index, atOnce, func(ctx context.Context, i int) error {
		n := &found[i]
		if n.node, n.err = nodes.Dial(ctx, n.target); n.err == nil {
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
	if err := do(ctx, e.Plan(), found); err != nil {
		return err
	}
	return withStatus(campaign.Unreachable, failed)
}
