package main

import (
	"context"
	"errors"
	"fmt"

	"bela/campaign"
	"bela/experiment"
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
		var errs []error
		for _, n := range found {
			if n.err != nil {
				continue // reported by the caller
			}
			left, err := provision.Leftovers(ctx, n.node)
			if err == nil {
				err = provision.Remove(ctx, n.node, provision.RemoveOptions{})
			}
			if err != nil {
				errs = append(errs, err)
				continue
			}
			fmt.Fprintf(a.out, "%s: clean, %d things removed\n", n.target.Name, len(left))
			for _, what := range left {
				fmt.Fprintf(a.out, "  %s\n", what)
			}
		}
		return withStatus(campaign.Unreachable, errors.Join(errs...))
	})
}
