package main

import (
	"strconv"
	"strings"
	"time"

	"bela/measure"
	"bela/store"

	"github.com/rogpeppe/go-internal/testscript"
)

// storeRun makes a run directory below results/, as a run would leave it:
//
//	store-run ID REPETITIONS P50 [SETTING=VALUE…]
//
// Its cells are devices = 1 and 100, with a median latency of P50 ms, 2 % more
// in each repetition. The settings are rate (messages a second), dimension (its
// name), values (of the dimension, joined by a comma), codec, experiment and the
// minute at which it began.
func storeRun(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: store-run ID REPETITIONS P50 [SETTING=VALUE…]")
	}
	repetitions, err := strconv.Atoi(args[1])
	ts.Check(err)
	p50, err := strconv.ParseFloat(args[2], 64)
	ts.Check(err)
	set := map[string]string{"rate": "1", "dimension": "devices", "values": "1,100", "codec": "json", "experiment": "exp", "minute": "4"}
	for _, s := range args[3:] {
		name, value, ok := strings.Cut(s, "=")
		if !ok || set[name] == "" {
			ts.Fatalf("store-run: what is %q", s)
		}
		set[name] = value
	}
	dimensions := []string{set["dimension"]}
	var plan []map[string]any
	var cells []measure.Cell
	for repetition := 1; repetition <= repetitions; repetition++ {
		for i, value := range strings.Split(set["values"], ",") {
			at := []measure.Dimension{{Name: dimensions[0], Value: value}}
			plan = append(plan, map[string]any{
				"position": len(plan) + 1, "cell": i + 1, "repetition": repetition, "values": at,
				"devices":    map[string]any{"rate_msg_s": set["rate"]},
				"components": []any{map[string]any{"name": "gateway", "codec": set["codec"]}},
			})
			latency, none, rate := p50*(1+0.02*float64(repetition)), 0.0, 1.0
			cells = append(cells, measure.Cell{
				Position: len(plan), Number: i + 1, Repetition: repetition, Attempt: 1, Dimensions: at, Verdict: measure.Valid, MeasuredSeconds: 60,
				Latency: measure.Quantiles{Count: 1, P50: &latency}, DropsPer5Min: &none, DeliveredRate: &rate,
			})
		}
	}
	minute, err := strconv.Atoi(set["minute"])
	ts.Check(err)
	now := time.Date(2026, 1, 2, 15, minute, 5, 0, time.UTC)
	run, err := store.Create(ts.MkAbs("results"), set["experiment"], now, args[0], store.Inputs{
		Dimensions:  dimensions,
		Plan:        map[string]any{"experiment": set["experiment"], "repetitions": repetitions, "dimensions": dimensions, "cells": plan},
		Environment: store.Environment{BelaVersion: "1.0", Seed: 1, StartedAt: now},
	})
	ts.Check(err)
	for _, c := range cells {
		ts.Check(run.WriteCell(store.CellResult{Cell: c}))
	}
	ts.Check(run.Close())
}
