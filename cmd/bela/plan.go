package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/prometheus/procfs"

	"bela/experiment"
)

func runPlan(_ context.Context, a *app, args []string) error {
	f := a.flags("plan", "FILE")
	file := f.file()
	only := f.String("only", "", "plan only the cells for which `EXPR` holds")
	asJSON := f.Bool("json", false, "print the whole plan as JSON")
	rest, err := f.parse(args, 1, 1)
	if err != nil {
		return err
	}
	e, _, err := file.load(a, rest[0])
	if err != nil {
		return err
	}
	plan := e.Plan()
	if *only != "" {
		if plan, err = plan.Select(*only); err != nil {
			return &statusError{statusUsage, err}
		}
	}
	if *asJSON {
		text, err := planJSON(plan)
		if err != nil {
			return err
		}
		_, err = a.out.Write(append(text, '\n'))
		return err
	}
	if err := printPlan(a.out, plan); err != nil {
		return err
	}
	return a.check(plan)
}

func planJSON(p *experiment.Plan) ([]byte, error) { return json.MarshalIndent(p, "", "  ") }

// printPlan shows the cells in running order.
func printPlan(w io.Writer, p *experiment.Plan) error {
	fmt.Fprintf(w, "experiment %s: %d cells, about %s\n", p.Experiment, len(p.Cells), short(p.Expected))
	if p.Description != "" {
		fmt.Fprintf(w, "  %s\n", p.Description)
	}
	var groups []string
	for _, g := range p.Groups {
		where := "loopback lab"
		if len(g.Hosts) > 0 {
			where = strings.Join(g.Hosts, ", ")
		}
		groups = append(groups, fmt.Sprintf("%d %s (%s)", g.Count, g.Name, where))
	}
	fmt.Fprintf(w, "nodes: %s\n", strings.Join(groups, "; "))
	if len(p.Cells) > 0 {
		var parts []string
		for _, c := range p.Cells[0].Components {
			parts = append(parts, fmt.Sprintf("%s×%d", c.Name, len(c.Instances)))
		}
		fmt.Fprintf(w, "components: %s\n", strings.Join(parts, ", "))
	}
	fmt.Fprintf(w, "order: %s, seed %d, repetitions %d\n", p.Order, p.Seed, p.Repetitions)
	if p.Repeat != nil {
		fmt.Fprintf(w, "  repetitions: %s; cells and time are the most there can be\n", p.Repeat)
	}
	if p.Retry > 0 {
		fmt.Fprintf(w, "  an invalid cell runs again, at most %d times; the time is without that\n", p.Retry)
	}
	printFaults(w, p)
	fmt.Fprintln(w)

	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "#\tcell\trepetition")
	for _, d := range p.Dimensions {
		fmt.Fprintf(t, "\t%s", d)
	}
	fmt.Fprintln(t, "\tload msg/s\tabout")
	for _, c := range p.Cells {
		fmt.Fprintf(t, "%d\t%d\t%d", c.Position, c.Number, c.Repetition)
		for _, v := range c.Values {
			fmt.Fprintf(t, "\t%v", v.Value)
		}
		fmt.Fprintf(t, "\t%.4g\t%s\n", float64(c.Devices.Count)*c.Devices.Rate, short(c.Expected))
	}
	return t.Flush()
}

// check compares the plan with what is known of its nodes before a run: this
// machine where it is the lab, and what machines usually have elsewhere.
func (a *app) check(p *experiment.Plan) error {
	lab, err := onLab(p)
	if err != nil {
		return err
	}
	findings := p.Check(func(string) (experiment.Facts, bool) {
		if !lab {
			return experiment.Facts{}, false
		}
		return thisMachine(), true
	})
	if len(findings) == 0 {
		return nil
	}
	var lines []string
	for _, f := range findings {
		lines = append(lines, f.String())
	}
	return usageError("the plan does not fit its nodes:\n  %s", strings.Join(lines, "\n  "))
}

// thisMachine is what the lab's nodes share. What cannot be read is left 0,
// which is not checked.
func thisMachine() experiment.Facts {
	f := experiment.Facts{Shared: true}
	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) == nil {
		f.OpenFiles = int(min(files.Max, 1<<30))
	}
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		var low, high int
		if n, _ := fmt.Sscan(string(text), &low, &high); n == 2 {
			f.EphemeralPorts = high - low + 1
		}
	}
	if fs, err := procfs.NewDefaultFS(); err == nil {
		if m, err := fs.Meminfo(); err == nil && m.MemAvailableBytes != nil {
			f.MemoryBytes = int64(*m.MemAvailableBytes)
		}
	}
	return f
}

// short writes a length of time as people do: "2m30s", "1h5m".
func short(d time.Duration) string {
	if d >= time.Hour {
		d = d.Round(time.Minute)
	} else {
		d = d.Round(time.Second)
	}
	s := d.String()
	if d >= time.Hour {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	return s
}
