package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"bela/report"
	"bela/store"
)

func runHistory(_ context.Context, a *app, args []string) error {
	f := a.flags("history", "DIR")
	results := f.String("results", "results", "look for experiments below this `DIR`")
	metrics := f.String("metrics", "", "show these `METRICS`, columns of cells.csv and components.csv, or all; else "+strings.Join(report.HistoryMetrics(), ","))
	format := f.String("format", "text", "text|json|html")
	file := f.String("o", "", "write to this `FILE` instead of to the terminal")
	rest, err := f.parse(args, 1, 1)
	if err != nil {
		return err
	}
	if !slices.Contains([]string{"text", "json", "html"}, *format) {
		return usageError("history -format %q: text, json and html are known", *format)
	}
	names, err := metricNames("history", *metrics)
	if err != nil {
		return err
	}
	if names == nil {
		names = report.HistoryMetrics()
	}
	dir, listed, err := store.List(rest[0], *results)
	if err != nil {
		return &statusError{statusUsage, fmt.Errorf("history: %w", err)}
	}
	h, err := report.HistoryOf(dir, listed, names)
	if err != nil {
		return &statusError{statusUsage, fmt.Errorf("history: %w", err)}
	}
	if *file == "" {
		return writeHistory(a.out, *format, h, a.reportOptions())
	}
	var b bytes.Buffer
	if err := writeHistory(&b, *format, h, report.Options{}); err != nil {
		return err
	}
	if err := store.WriteFile(*file, b.Bytes()); err != nil {
		return &statusError{statusUsage, fmt.Errorf("history -o %s: %w", *file, err)}
	}
	return nil
}

func writeHistory(w io.Writer, format string, h report.History, o report.Options) error {
	switch format {
	case "json":
		return report.HistoryJSON(w, h)
	case "html":
		return report.HistoryHTML(w, h)
	}
	return report.HistoryText(w, h, o)
}
