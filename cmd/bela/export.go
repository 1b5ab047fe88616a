package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"bela/campaign"
	"bela/influx"
)

// exportLimit is how long a server may take for the rest of an export's points.
const exportLimit = 5 * time.Minute

func runExport(ctx context.Context, a *app, args []string) error {
	f := a.flags("export", "[RUN]")
	results := f.String("results", "results", "look for runs below this `DIR`")
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
	if *url == "" {
		if err := r.Rebuild(); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "cells.csv, components.csv and series.csv made again in %s\n", r.Dir)
		return nil
	}
	token, _ := a.env("INFLUX_TOKEN")
	return a.send(ctx, r.Dir, influx.Config{URL: *url, Org: *org, Bucket: *bucket, Token: token})
}

// send sends a run's metrics. Points that are there already are written again
// with the same values, so it can be repeated.
func (a *app) send(ctx context.Context, dir string, cfg influx.Config) error {
	path := filepath.Join(dir, "metrics.lp.gz")
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	w, err := influx.NewWriter(cfg)
	if err != nil {
		return &statusError{statusUsage, err}
	}
	if err := w.Check(ctx); err != nil {
		return withStatus(campaign.Unreachable, errors.Join(err, closed(ctx, w)))
	}
	for line, err := range influx.ReadLines(file) {
		if err == nil {
			err = w.Send(ctx, append(line, '\n'))
		}
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", path, err), closed(ctx, w))
		}
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
