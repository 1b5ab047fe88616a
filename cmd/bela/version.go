package main

import (
	"context"
	"fmt"
	"runtime"
)

func runVersion(_ context.Context, a *app, args []string) error {
	if _, err := a.flags("version", "").parse(args, 0, 0); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "bela %s %s %s/%s %s\n", version, first(commit, "(no commit)"), runtime.GOOS, runtime.GOARCH, runtime.Version())
	return nil
}
