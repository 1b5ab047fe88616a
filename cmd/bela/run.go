package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"bela/campaign"
	"bela/experiment"
	"bela/influx"
	"bela/nodes/inventory"
	"bela/provision/agentbin"
	"bela/report"
	"bela/store"
	"bela/tui"
)

func runRun(ctx context.Context, a *app, args []string) error {
	f := a.flags("run", "FILE")
	file := f.file()
	results := f.String("results", "results", "write the run below this `DIR`")
	only := f.String("only", "", "run only the cells for which `EXPR` holds, as in 'cell.devices <= 100'")
	view := f.String("view", tui.ModeAuto, "how to show progress: "+strings.Join(tui.Modes(), "|"))
	dry := f.Bool("dry-run", false, "show what would be done and stop")
	keep := f.Bool("keep-agent", false, "leave the agent, and the built-in platform, on the nodes, so that the next run need not push them")
	page := f.web()
	rest, err := f.parse(args, 1, 1)
	if err != nil {
		return err
	}
	if !slices.Contains(tui.Modes(), *view) {
		return usageError("run: unknown view %q: use one of %s", *view, strings.Join(tui.Modes(), ", "))
	}
	e, machines, err := file.load(a, rest[0])
	if err != nil {
		return err
	}
	plan := e.Plan()
	if *only != "" {
		if plan, err = plan.Select(*only); err != nil {
			return &statusError{statusUsage, err}
		}
	}
	if err := a.check(plan); err != nil {
		return err
	}
	if *dry {
		return printPlan(a.out, plan)
	}
	call, err := invocation(rest[0], e, machines)
	if err != nil {
		return err
	}
	call.Only, call.KeepAgents = *only, *keep
	r := &run{app: a, experiment: e, plan: plan, inventory: machines, invocation: call, page: page}
	return r.do(ctx, *view, func() (*store.Run, error) { return r.create(*results) })
}

// invocation is how a run is called, for whoever goes on with it.
func invocation(path string, e *experiment.Experiment, inv *inventory.Inventory) (store.Invocation, error) {
	call := store.Invocation{Secrets: e.Secrets()}
	var err error
	if call.Experiment, err = filepath.Abs(path); err == nil && inv != nil {
		call.InventoryFormat = string(inv.Format)
		call.Inventory, err = filepath.Abs(inv.File)
	}
	return call, err
}

// run is a run of an experiment, being put together.
type run struct {
	*app
	experiment *experiment.Experiment
	plan       *experiment.Plan
	inventory  *inventory.Inventory
	invocation store.Invocation
	earlier    *campaign.Earlier // nil for a new run
	page       *webFlags
	// atOnce is what must be done even when the user wants to leave at once.
	atOnce []func()
}

// do carries the run out in the directory that open gives.
func (r *run) do(ctx context.Context, mode string, open func() (*store.Run, error)) (err error) {
	machines, err := machinesOf(ctx, r.plan, r.inventory)
	if err != nil {
		return withStatus(campaign.Unreachable, err)
	}
	defer func() { err = errors.Join(err, machines.close()) }()
	r.atOnce = append(r.atOnce, func() { _ = machines.close() })
	r.sayHostKeys(machines)

	dir, err := open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()

	ctx, interrupt, stop := r.interruptible(ctx)
	defer stop()
	control := new(campaign.Control)
	page, closePage, err := r.servePage(ctx, control)
	if err != nil {
		return err
	}
	defer closePage()
	view, err := tui.Auto(mode, r.in, r.out, tui.Options{Interrupt: interrupt, Control: control})
	if err != nil {
		return &statusError{statusUsage, err}
	}
	r.atOnce = append(r.atOnce, func() { _ = view.Close() })
	views := append(page, view)
	told, tell, err := r.notifier(r.plan.Notify)
	if err != nil {
		return err
	}
	defer tell()
	if r.earlier != nil {
		r.earlier.Views = views
	}
	summary, failure := campaign.Run(ctx, campaign.Config{
		Plan: r.plan, Expect: r.experiment.Expect, Targets: machines.targets, Spares: machines.spares, Lab: machines.lab != nil,
		Programs: agentbin.For, Store: dir, Environment: r.environment(), InfluxDB: influxConfig(r.plan.InfluxDB),
		Sinks: append(told, views...), Earlier: r.earlier, KeepAgents: r.invocation.KeepAgents, Control: control, Now: time.Now,
	})
	if cerr := view.Close(); cerr != nil {
		fmt.Fprintln(r.err, "bela: the view:", cerr)
	}
	r.sayInflux(summary.InfluxDB)
	if err := r.report(dir, mode); err != nil {
		return err
	}
	if summary.Status != campaign.Done {
		fmt.Fprintln(r.err, "bela:", printable(first(errorText(failure), summary.Reason)))
		if summary.Status == campaign.Unreachable {
			fmt.Fprintf(r.err, "bela: `bela doctor %s` looks at all nodes and says what to do\n", r.invocation.Experiment)
		}
		return quiet(summary.Status)
	}
	return nil
}

func errorText(err error) string {
	if err == nil || errors.Is(err, campaign.ErrInterrupted) {
		return ""
	}
	return err.Error()
}

// create makes the run directory.
func (r *run) create(results string) (*store.Run, error) {
	var machines []byte
	// Files of other kinds may hold passwords.
	if r.inventory != nil && r.inventory.Format == inventory.HCL {
		var err error
		if machines, err = os.ReadFile(r.invocation.Inventory); err != nil {
			return nil, &statusError{statusUsage, err}
		}
	}
	dir, err := store.Create(results, r.plan.Experiment, time.Now(), strings.ToLower(rand.Text()[:6]), store.Inputs{
		Experiment: r.experiment.Source(), Variables: r.experiment.Variables(), Plan: r.plan,
		Environment: r.environment(), Invocation: r.invocation, Inventory: machines, Dimensions: r.plan.Dimensions,
	})
	if err != nil {
		return nil, &statusError{statusUsage, err}
	}
	return dir, nil
}

// interruptible returns a context that the first Ctrl-C cancels; the second one
// ends the process at once. The returned func counts as one Ctrl-C.
func (r *run) interruptible(ctx context.Context) (context.Context, func(), func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			case <-signals:
			}
			if n > 0 {
				r.leave()
				fmt.Fprintln(r.err, "\nbela: ended at once; agents on real machines stop by themselves when their lease is over; `bela clean` removes them now")
				os.Exit(int(campaign.Interrupted))
			}
			cancel(campaign.ErrInterrupted)
		}
	}()
	interrupt := func() {
		select {
		case signals <- os.Interrupt:
		default:
		}
	}
	return ctx, interrupt, func() { signal.Stop(signals); close(done); cancel(nil) }
}

// leave restores the terminal and ends the lab, in at most three seconds.
func (r *run) leave() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, do := range slices.Backward(r.atOnce) {
			do()
		}
	}()
	select {
	case <-done:
	case <-time.After(3 * time.Second):
	}
}

func influxConfig(db *experiment.InfluxDB) *influx.Config {
	if db == nil {
		return nil
	}
	return &influx.Config{URL: db.URL, Org: db.Org, Bucket: db.Bucket, Token: db.Token.Reveal()}
}

func (r *run) sayInflux(s influx.Stats) {
	if s.Failed+s.Pending > 0 {
		fmt.Fprintf(r.err, "bela: InfluxDB has %d points; %d are missing there and are all in metrics.lp.gz: send them with `bela export latest -influx URL` (%v)\n",
			s.Delivered, s.Failed+s.Pending, s.Err)
	}
}

// environment is what is known of the run before its nodes are.
func (r *run) environment() store.Environment {
	return store.Environment{
		BelaVersion: version, Commit: commit, CommandLine: redacted(r.args), Seed: r.plan.Seed,
		StartedAt: time.Now().UTC(), Controller: campaign.Controller(),
	}
}

// redacted is the command line without the values of variables, which may be
// secrets; the values that are not stand in variables.json.
func redacted(args []string) []string {
	out := append([]string(nil), args...)
	for i, arg := range out {
		name, value, isVar := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case isVar && name == "var" && strings.HasPrefix(arg, "-"):
			v, _, _ := strings.Cut(value, "=")
			out[i] = "-var=" + v + "=…"
		case i > 0 && strings.TrimLeft(out[i-1], "-") == "var" && strings.HasPrefix(out[i-1], "-"):
			v, _, _ := strings.Cut(arg, "=")
			out[i] = v + "=…"
		}
	}
	return out
}

// report prints the run's tables, unless the output is for a program, and
// writes report.html.
func (r *run) report(dir *store.Run, mode string) error {
	reader, err := store.Open(dir.Dir(), "")
	if err != nil {
		return err
	}
	if _, err := report.WriteHTML(reader, r.reportOptions()); err != nil {
		return err
	}
	if mode == tui.ModeJSON || len(reader.Cells) == 0 {
		return nil
	}
	fmt.Fprintln(r.out)
	return report.Text(r.out, reader, r.reportOptions())
}
