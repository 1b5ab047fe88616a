package main

import (
	"context"
	"fmt"
)

func runValidate(_ context.Context, a *app, args []string) error {
	f := a.flags("validate", "FILE")
	file := f.file()
	rest, err := f.parse(args, 1, 1)
	if err != nil {
		return err
	}
	e, _, err := file.load(a, rest[0])
	if err != nil {
		return err
	}
	p := e.Plan()
	fmt.Fprintf(a.out, "%s is valid: experiment %q, %d cells, about %s\n", rest[0], p.Experiment, len(p.Cells), short(p.Expected))
	printFaults(a.out, p)
	return nil
}
