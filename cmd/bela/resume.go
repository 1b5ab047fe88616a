package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"bela/campaign"
	"bela/campaign/recorded"
	"bela/experiment"
	"bela/store"
	"bela/tui"
)

func runResume(ctx context.Context, a *app, args []string) error {
	f := a.flags("resume", "[RUN]")
	file := f.file()
	results := f.String("results", "results", "look for runs below this `DIR`")
	view := f.String("view", tui.ModeAuto, "how to show progress: "+strings.Join(tui.Modes(), "|"))
	ignore := f.Bool("ignore-changes", false, "go on with the run's own copy of the experiment file, though the file has changed")
	invalid := f.Bool("retry-invalid", false, "run the cells again that are invalid; the results that they have are kept as attempts")
	keep := f.Bool("keep-agent", false, "leave the agent, and the built-in platform, on the nodes; a run that began with it does so anyway")
	page := f.web()
	rest, err := f.parse(args, 0, 1)
	if err != nil {
		return err
	}
	if !slices.Contains(tui.Modes(), *view) {
		return usageError("resume: unknown view %q: use one of %s", *view, strings.Join(tui.Modes(), ", "))
	}
	reader, err := a.open(rest, *results)
	if err != nil {
		return err
	}
	if reader.Running {
		return &statusError{statusUsage, &store.LockedError{Dir: reader.Dir, Holder: *reader.Holder}}
	}
	earlier := &campaign.Earlier{Run: reader, RetryInvalid: *invalid}
	if end := earlier.End(); end != nil {
		fmt.Fprintf(a.out, "%s: nothing to resume: %s\n", reader.Dir, end.Reason)
		if end.Status == campaign.Done {
			return nil
		}
		return quiet(end.Status)
	}
	r, err := a.again(reader, file, *ignore)
	if err != nil {
		return err
	}
	r.earlier, r.page, r.invocation.KeepAgents = earlier, page, r.invocation.KeepAgents || *keep
	return r.do(ctx, *view, func() (*store.Run, error) { return r.reopen(reader.Dir) })
}

// again reads the experiment of a run.
func (a *app) again(reader *store.Reader, file *fileFlags, ignore bool) (*run, error) {
	other := *file.inventory != ""
	if !other {
		var err error
		if *file.inventory, err = recorded.Inventory(reader); err != nil {
			return nil, &statusError{statusUsage, err}
		}
	}
	env := reader.Environment
	var l *recorded.Loaded
	_, machines, err := file.read(a, func(in experiment.Inputs) (_ *experiment.Experiment, err error) {
		l, err = recorded.Load(reader, recorded.Options{
			Inputs: in, IgnoreChanges: ignore, OtherMachines: other, SameBela: env.BelaVersion == version && env.Commit == commit,
		})
		if err != nil {
			return nil, err
		}
		return l.Experiment, nil
	})
	if err != nil {
		return nil, err
	}
	for _, note := range l.Notes {
		fmt.Fprintln(a.err, "bela:", note)
	}
	return &run{app: a, experiment: l.Experiment, plan: l.Plan, inventory: machines, invocation: l.Invocation}, nil
}

// reopen opens the run's directory and reads it once more: nobody else writes
// to it from here on.
func (r *run) reopen(dir string) (*store.Run, error) {
	again, err := store.Reopen(dir)
	if err == nil {
		if r.earlier.Run, err = store.Open(dir, ""); err != nil {
			err = errors.Join(err, again.Close())
		}
	}
	if err != nil {
		return nil, &statusError{statusUsage, err}
	}
	return again, nil
}
