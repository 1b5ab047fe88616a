package main

import (
	"context"
	"fmt"

	"bela/campaign"
	"bela/experiment"
	"bela/nodes"
	"bela/provision"
)

func runClean(ctx context.Context, a *app, args []string) error {
	f := a.flags("clean", "FILE")
	file := f.file()
	rest, err := f.parse(args, 1, 1)
	if err != nil {
		return err
	}
	return a.onNodes(ctx, file, rest[0], func(ctx context.Context, _ *experiment.Plan, found []reached) error {
		removed := make([][]string, len(found))
		index := make([]int, len(found))
		for i := range index {
			index[i] = i
		}
		err := nodes.Each(ctx, index, atOnce, func(ctx context.Context, i int) (err error) {
			n := found[i]
			if n.err != nil {
				return nil // reported by the caller
			}
			if removed[i], err = provision.Leftovers(ctx, n.node); err == nil {
				err = provision.Remove(ctx, n.node, provision.RemoveOptions{})
			}
			found[i].err = err
			return err
		})
		for i, n := range found {
			if n.err != nil {
				continue
			}
			fmt.Fprintf(a.out, "%s: clean, %d things removed\n", n.target.Name, len(removed[i]))
			for _, what := range removed[i] {
				fmt.Fprintf(a.out, "  %s\n", what)
			}
		}
		return withStatus(campaign.Unreachable, err)
	})
}
