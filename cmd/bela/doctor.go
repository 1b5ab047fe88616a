package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bela/campaign"
	"bela/doctor"
	"bela/provision"
	"bela/provision/agentbin"
)

// doctorLimit bounds a doctor's whole visit.
const doctorLimit = 10 * time.Minute

func runDoctor(ctx context.Context, a *app, args []string) (err error) {
	f := a.flags("doctor", "FILE")
	file := f.file()
	asJSON := f.Bool("json", false, "print the report as JSON")
	fix := f.Bool("fix", false, "mend what is safe to mend: left-overs of dead runs and, as root, kernel limits on connections; writes down how to undo it")
	undo := f.Bool("undo", false, "put back what an earlier -fix changed, and do nothing else")
	undoFile := f.String("undo-file", "", "write the commands that undo -fix to `FILE`; by default the experiment's name with .undo.sh")
	rest, err := f.parse(args, 1, 1)
	if err != nil {
		return err
	}
	if *fix && *undo {
		return usageError("doctor: -fix and -undo are opposites: give one")
	}
	e, inventory, err := file.load(a, rest[0])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, doctorLimit, fmt.Errorf("the doctor took longer than %v", doctorLimit))
	defer cancel()
	plan := e.Plan()
	m, err := machinesOf(ctx, plan, inventory)
	if err != nil {
		return withStatus(campaign.Unreachable, err)
	}
	defer func() { err = errors.Join(err, m.close()) }()
	report, err := doctor.Run(ctx, doctor.Config{
		Plan: plan, Targets: m.targets, Spares: m.spares, Lab: m.lab != nil, Programs: agentbin.For,
		Fix: *fix, Undo: *undo, UndoFile: first(*undoFile, plan.Experiment+".undo.sh"), By: provision.Controller(),
	})
	if report == nil {
		return withStatus(campaign.Unreachable, err)
	}
	show := doctor.Text
	if *asJSON {
		show = doctor.JSON
	}
	return errors.Join(show(a.out, report), err, withStatus(campaign.Unreachable, report.Err()))
}
