package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"bela/experiment"
	"bela/report"
	"bela/store"
)

// mostRuns bounds how many runs one comparison takes.
const mostRuns = 100

func runCompare(_ context.Context, a *app, args []string) error {
	f := a.flags("compare", "RUN RUN…")
	results := f.String("results", "results", "look for runs below this `DIR`")
	metrics := f.String("metrics", "", "compare these `METRICS`, columns of cells.csv and components.csv, or all; else "+strings.Join(report.DefaultMetrics(), ",")+", or what published figures have")
	format := f.String("format", "text", "text|markdown|json|html")
	file := f.String("o", "", "write to this `FILE` instead of to the terminal")
	force := f.Bool("force", false, "compare also where load, measured length or testbed differ")
	rest, err := f.parse(args, 1, mostRuns)
	if err != nil {
		return err
	}
	if len(rest) < 2 {
		return usageError("compare needs two runs or more: usage: bela compare [FLAGS] RUN RUN…; the first is the base")
	}
	if !slices.Contains([]string{"text", "markdown", "json", "html"}, *format) {
		return usageError("compare -format %q: text, markdown, json and html are known", *format)
	}
	names, err := metricNames("compare", *metrics)
	if err != nil {
		return err
	}
	cs, err := compare(rest, *results, names)
	if err != nil {
		return &statusError{statusUsage, err}
	}
	if err := refused(cs); err != nil && !*force {
		return &statusError{statusUsage, err}
	}
	if *file == "" {
		return writeComparison(a.out, *format, cs, a.reportOptions())
	}
	var b bytes.Buffer
	if err := writeComparison(&b, *format, cs, report.Options{}); err != nil {
		return err
	}
	if err := store.WriteFile(*file, b.Bytes()); err != nil {
		return &statusError{statusUsage, fmt.Errorf("compare -o %s: %w", *file, err)}
	}
	return nil
}

func writeComparison(w io.Writer, format string, cs []report.Comparison, o report.Options) error {
	switch format {
	case "markdown":
		return report.CompareMarkdown(w, cs)
	case "html":
		return report.CompareHTML(w, cs)
	case "json":
		b, err := report.CompareJSON(cs)
		if err == nil {
			_, err = w.Write(b)
		}
		return err
	}
	return report.CompareText(w, cs, o)
}

// compare holds every other run against the first. Without metrics asked for
// they are the usual ones, or those that published figures have.
func compare(runs []string, results string, metrics []string) ([]report.Comparison, error) {
	sides, err := sidesOf(runs, results)
	if err != nil {
		return nil, err
	}
	var cs []report.Comparison
	for _, other := range sides[1:] {
		shown := metrics
		for _, side := range []report.Side{sides[0], other} {
			if metrics == nil && side.Metrics != nil {
				shown = side.Metrics
			}
		}
		if shown == nil {
			shown = report.DefaultMetrics()
		}
		c, err := report.Compare(sides[0], other, shown)
		if err != nil {
			return nil, err
		}
		cs = append(cs, c)
	}
	return cs, nil
}

// sidesOf opens runs and published figures; figures are those of the experiment
// of the first run.
func sidesOf(names []string, results string) ([]report.Side, error) {
	sides := make([]report.Side, len(names))
	experiment := ""
	for i, name := range names {
		if store.IsFigures(name, results) {
			continue
		}
		r, err := store.Open(name, results)
		if err != nil {
			return nil, err
		}
		if sides[i], err = report.SideOf(r); err != nil {
			return nil, err
		}
		if experiment == "" {
			experiment = r.Plan.Experiment
		}
	}
	for i, name := range names {
		if sides[i].Name != "" {
			continue
		}
		f, err := store.OpenFigures(name, results)
		if err != nil {
			return nil, err
		}
		sides[i] = report.SideOfFigures(f, experiment)
	}
	return sides, nil
}

// refused says why runs should not be compared; nil where nothing forbids it.
func refused(cs []report.Comparison) error {
	var why []string
	for _, c := range cs {
		for _, d := range c.Refused() {
			why = append(why, fmt.Sprintf("  %s: %s", c.Other, d))
		}
	}
	if len(why) == 0 {
		return nil
	}
	return errors.New("the runs answer different questions and are not compared; -force does it all the same:\n" + strings.Join(why, "\n"))
}

// metricNames reads a command's -metrics flag.
func metricNames(command, text string) ([]string, error) {
	known := report.MetricNames()
	switch text {
	case "":
		return nil, nil
	case "all":
		return known, nil
	}
	var names []string
	for name := range strings.SplitSeq(text, ",") {
		name = strings.TrimSpace(name)
		if !slices.Contains(known, name) {
			hint := ""
			if near := experiment.Nearest(name, known); near != "" {
				hint = fmt.Sprintf(": did you mean %q?", near)
			}
			return nil, usageError("%s -metrics: unknown metric %q%s; known are all, %s", command, name, hint, strings.Join(known, ", "))
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}
