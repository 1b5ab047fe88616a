package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"bela/campaign"
	"bela/export"
	"bela/influx"
	"bela/store"
)

// exportLimit is how long a server may take for the rest of an export's points.
const exportLimit = 5 * time.Minute

func runExport(ctx context.Context, a *app, args []string) error {
	f := a.flags("export", "[RUN]")
	results := f.String("results", "results", "look for runs below this `DIR`")
	format := f.String("format", "", "write the run in another `FORMAT`: "+strings.Join(export.Formats(), "|"))
	table := f.String("table", "", "only these `TABLES`, with commas between them: "+strings.Join(export.TableNames(), ","))
	output := f.String("o", "-", "write to this `FILE`, or directory where there is a file for each table; - is stdout")
	url := f.String("influx", "", "send the run's metrics to the InfluxDB at `URL`; the token is taken from INFLUX_TOKEN")
	bucket := f.String("bucket", "bela", "InfluxDB's bucket, or database/retention")
	org := f.String("org", "", "InfluxDB's organization")
	rest, err := f.parse(args, 0, 1)
	if err != nil {
		return err
	}
	r, err := a.open(rest, *results)
	if err != nil {
		return err
	}
	if r.Running {
		fmt.Fprintf(a.err, "bela: %s is still going: this is what is there so far\n", r.Dir)
	}
	switch {
	case *url != "":
		token, _ := a.env("INFLUX_TOKEN")
		return a.send(ctx, r.Dir, influx.Config{URL: *url, Org: *org, Bucket: *bucket, Token: token})
	case *format != "":
		return a.export(ctx, r, export.Options{Format: export.Format(*format), Tables: commas(*table), Output: *output, Stdout: a.out})
	case *table != "" || *output != "-":
		return usageError("export: -table and -o need -format: one of %s", strings.Join(export.Formats(), ", "))
	}
	if err := r.Rebuild(); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "cells.csv, components.csv and series.csv made again in %s\n", r.Dir)
	return nil
}

func commas(s string) []string {
	if s == "" || s == "all" {
		return nil
	}
	return strings.Split(s, ",")
}

// export writes the run; a Ctrl-C leaves no file that is not whole.
func (a *app) export(ctx context.Context, r *store.Reader, o export.Options) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	made, err := export.Write(ctx, r, o)
	for _, path := range made {
		if err == nil {
			fmt.Fprintln(a.out, path)
		}
	}
	switch {
	case errors.Is(err, export.ErrUsage):
		return &statusError{statusUsage, err}
	case err != nil && ctx.Err() != nil:
		return withStatus(campaign.Interrupted, err)
	}
	return err
}

// send sends a run's metrics. Points that are there already are written again
// with the same values, so it can be repeated.
func (a *app) send(ctx context.Context, dir string, cfg influx.Config) error {
	spool, err := influx.OpenSpool(filepath.Join(dir, "metrics.lp.gz"))
	if err != nil {
		return err
	}
	defer func() { _ = spool.Close() }() // only read
	w, err := influx.NewWriter(cfg)
	if err != nil {
		return &statusError{statusUsage, err}
	}
	if err := w.Check(ctx); err != nil {
		return withStatus(campaign.Unreachable, errors.Join(err, closed(ctx, w)))
	}
	follower, err := influx.NewFollower(spool, w, influx.Mark{})
	if err != nil {
		return err
	}
	whole := make(chan struct{})
	close(whole)
	if err := follower.Run(ctx, whole, func(influx.Mark) {}); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", dir, err), closed(ctx, w))
	}
	ctx, cancel := context.WithTimeout(ctx, exportLimit)
	defer cancel()
	s := w.Close(ctx)
	fmt.Fprintf(a.out, "%d points delivered, %d refused, %d not sent\n", s.Delivered, s.Failed, s.Pending)
	if s.Failed+s.Pending > 0 {
		return withStatus(campaign.Unreachable, s.Err)
	}
	return nil
}

// closed ends a writer whose points no longer matter.
func closed(ctx context.Context, w *influx.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	w.Close(ctx)
	return nil
}
