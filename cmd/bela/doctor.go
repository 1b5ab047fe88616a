package main

import (
	"context"
	"fmt"
	"math"

	"bela/campaign"
	"bela/experiment"
	"bela/provision"
	"bela/provision/agentbin"
)

func runDoctor(ctx context.Context, a *app, args []string) error {
	f := a.flags("doctor", "FILE")
	file := f.file()
	rest, err := f.parse(args, 1, 1)
	if err != nil {
		return err
	}
	return a.onNodes(ctx, file, rest[0], func(ctx context.Context, plan *experiment.Plan, found []reached) error {
		lab, err := onLab(plan)
		if err != nil {
			return err
		}
		unfit := 0
		say := func(node, what string) {
			unfit++
			fmt.Fprintf(a.out, "✗ %s: %s\n", node, what)
		}
		for _, n := range found {
			if n.err != nil {
				say(n.target.Name, n.err.Error())
				continue
			}
			if err := provision.Check(ctx, n.node, n.facts, agentbin.For); err != nil {
				say(n.target.Name, err.Error())
			}
			left, err := provision.Leftovers(ctx, n.node)
			if err != nil {
				say(n.target.Name, err.Error())
			}
			for _, what := range left {
				say(n.target.Name, "left by an earlier run: "+what+"; `bela clean` removes it")
			}
		}
		for _, f := range plan.Check(factsOf(found, lab)) {
			say(f.Node, f.String())
		}
		if unfit > 0 {
			return withStatus(campaign.Unreachable, fmt.Errorf("%d findings on %d nodes", unfit, len(found)))
		}
		fmt.Fprintf(a.out, "✓ %d nodes are fit for %s\n", len(found), plan.Experiment)
		return nil
	})
}

// factsOf hands what the nodes said of themselves to the plan's check.
func factsOf(found []reached, shared bool) func(string) (experiment.Facts, bool) {
	return func(name string) (experiment.Facts, bool) {
		for _, n := range found {
			if n.target.Name == name && n.err == nil {
				files := int(n.facts.OpenFilesHard)
				if files < 0 { // unlimited
					files = math.MaxInt32
				}
				return experiment.Facts{
					OpenFiles:      files,
					EphemeralPorts: n.facts.LocalPorts[1] - n.facts.LocalPorts[0] + 1,
					MemoryBytes:    n.facts.MemoryAvailable, CPUs: n.facts.CPUs, Shared: shared,
				}, true
			}
		}
		return experiment.Facts{}, false
	}
}
