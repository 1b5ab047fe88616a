package main

import (
	"context"
	"fmt"

	"bela/report"
	"bela/store"
)

func runReport(_ context.Context, a *app, args []string) error {
	f := a.flags("report", "[RUN]")
	results := f.String("results", "results", "look for runs below this `DIR`")
	format := f.String("format", "text", "text|markdown|html; html writes report.html into the run directory")
	rest, err := f.parse(args, 0, 1)
	if err != nil {
		return err
	}
	r, err := a.open(rest, *results)
	if err != nil {
		return err
	}
	switch *format {
	case "text":
		return report.Text(a.out, r, a.reportOptions())
	case "markdown":
		return report.Markdown(a.out, r, a.reportOptions())
	case "html":
		path, err := report.WriteHTML(r, a.reportOptions())
		if err == nil {
			fmt.Fprintln(a.out, path)
		}
		return err
	}
	return usageError("report -format %q: text, markdown and html are known", *format)
}

// open opens the run that the arguments name, or the latest.
func (a *app) open(args []string, results string) (*store.Reader, error) {
	name := "latest"
	if len(args) > 0 {
		name = args[0]
	}
	r, err := store.Open(name, results)
	if err != nil {
		return nil, &statusError{statusUsage, err}
	}
	return r, nil
}

func (a *app) reportOptions() report.Options {
	return report.Options{Width: a.width(a.out), Color: a.color(a.out)}
}
