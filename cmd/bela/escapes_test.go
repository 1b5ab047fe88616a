package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"bela/campaign"
	"bela/doctor"
	"bela/event"
	"bela/measure"
	"bela/nodes"
	"bela/nodes/sshdtest"
	"bela/report"
	"bela/store"
	"bela/tui"
)

// steering is text as a hostile machine would send it: a window title, a cleared
// screen, both forms of CSI and OSC, a direction override, an isolate and a carriage return.
const steering = "boom\x1b]0;title\x07\x1b[2J\u009b31m\u009d0;x\u009c\u202egpj\u2066\r\x7f\x00end"

// What nodes say stands in every view, and must steer the terminal of nobody who
// reads it there, nor show itself in another order than it has.
func TestNothingSteersTheTerminal(t *testing.T) {
	t.Parallel()
	run := steeredRun(t)
	view := func(events func(tui.View), make func(*bytes.Buffer) tui.View) string {
		var b bytes.Buffer
		v := make(&b)
		events(v)
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	render := func(write func(*bytes.Buffer) error) string {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	findings := &doctor.Report{Experiment: "e", Findings: []doctor.Finding{
		{Node: "worker-1", Check: "neighbours", Severity: doctor.Warning, What: steering, Why: steering, Fix: steering},
	}}
	for name, out := range map[string]string{
		"plain view":      view(steeredEvents, func(b *bytes.Buffer) tui.View { return tui.NewPlain(b, tui.Options{}) }),
		"json view":       view(steeredEvents, func(b *bytes.Buffer) tui.View { return tui.NewJSON(b, tui.Options{}) }),
		"report text":     render(func(b *bytes.Buffer) error { return report.Text(b, run, report.Options{}) }),
		"report markdown": render(func(b *bytes.Buffer) error { return report.Markdown(b, run, report.Options{}) }),
		"report html":     render(func(b *bytes.Buffer) error { return report.HTML(b, run, report.Options{}) }),
		"doctor":          render(func(b *bytes.Buffer) error { return doctor.Text(b, findings) }),
		"doctor json":     render(func(b *bytes.Buffer) error { return doctor.JSON(b, findings) }),
		"an error":        exitText(t, &nodes.Error{Node: "worker-1", Kind: nodes.CommandFailed, Err: &nodes.ExitError{Command: "x", Status: 1, Stderr: steering}}),
		"any other error": exitText(t, errors.New(steering)),
	} {
		if !strings.Contains(out, "boom") || !strings.Contains(out, "end") {
			t.Errorf("%s: the text itself is lost:\n%q", name, out)
		}
		harmlessOn(t, name, out)
	}
}

// harmlessOn demands that nothing in an output acts on a terminal.
func harmlessOn(t *testing.T, name, out string) {
	t.Helper()
	for i, r := range out {
		if unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r) {
			t.Errorf("%s: %U in %q", name, r, out[max(0, i-40):min(len(out), i+40)])
			return
		}
	}
}

// exitText is what the command prints when it ends with an error.
func exitText(t *testing.T, err error) string {
	t.Helper()
	file, ferr := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if ferr != nil {
		t.Fatal(ferr)
	}
	defer file.Close() //nolint:errcheck // read below
	a := &app{err: file, env: func(string) (string, bool) { return "", false }}
	a.exit(withStatus(campaign.Unreachable, err))
	text, ferr := os.ReadFile(file.Name())
	if ferr != nil {
		t.Fatal(ferr)
	}
	return string(text)
}

// steeredEvents tells a run in which every text of a node's is planted.
func steeredEvents(v tui.View) {
	ref := event.CellRef{Position: 1, Number: 1, Repetition: 1, Attempt: 1}
	for i, d := range []event.Data{
		event.RunStarted{Run: "r", Experiment: "e", Cells: []event.CellRef{ref}, Nodes: []event.NodeRef{{Name: "worker-1", Role: "worker", Address: steering}}},
		event.NodeState{Node: "worker-1", State: event.NodeConnected, Detail: steering},
		event.NodeState{Node: "worker-1", State: event.NodeLost, Detail: steering},
		event.CellStarted{Cell: ref},
		event.Waiting{Position: 1, Phase: event.PhaseStart, For: []string{steering}},
		event.ComponentState{Position: 1, Component: "broker", Instance: 1, Node: "worker-1", State: "exited", Detail: steering, Log: []string{steering}},
		event.FaultStarted{Fault: event.Fault{Position: 1, Name: "f", Does: "kill", Target: steering, Measured: []string{steering}}, Text: steering},
		event.Message{Level: "warn", Position: 1, Node: "worker-1", Text: steering, Next: steering},
		event.CellFinished{Cell: ref, Result: steeredCell()},
		event.RunFinished{Status: 4, Reason: steering, Directory: "d"},
	} {
		v.Handle(event.Event{Seq: uint64(i + 1), Time: time.Unix(1_800_000_000+int64(i), 0), Data: d})
	}
}

func steeredCell() measure.Cell {
	return measure.Cell{
		Position: 1, Number: 1, Repetition: 1, Attempt: 1, Verdict: measure.Invalid, Notes: []string{steering},
		Reasons:    []measure.Reason{{Code: "cell_failed", Verdict: measure.Invalid, Text: steering}},
		Components: []measure.Component{{Component: "broker", Instance: 1, Node: steering}},
	}
}

// steeredRun is a run directory in which they are planted.
func steeredRun(t *testing.T) *store.Reader {
	t.Helper()
	now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	run, err := store.Create(t.TempDir(), "e", now, "test", store.Inputs{
		Plan: map[string]any{"experiment": "e", "repetitions": 1, "cells": []map[string]any{{"position": 1, "cell": 1, "repetition": 1}}},
		Environment: store.Environment{BelaVersion: "1.0", Seed: 1, StartedAt: now, Nodes: []store.NodeEnvironment{{
			Name: "worker-1", Address: steering, SSH: steering, AgentVersion: steering, Host: store.Host{Kernel: steering, CPUModel: steering},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := run.WriteCell(store.CellResult{Cell: steeredCell()}); err != nil {
		t.Fatal(err)
	}
	if err := run.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := store.Open(run.Dir(), "")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A machine's own facts are its word too: bela nodes prints them.
func TestSteeringFacts(t *testing.T) {
	needAgents(t)
	t.Parallel()
	dir, bin := t.TempDir(), t.TempDir()
	const script = `#!/bin/sh
/usr/bin/sed "$@"
case "$*" in */osrelease*) printf 'kernel=6.1boom\033]0;t\007\302\233[2J\342\200\256end\n' ;; esac
`
	if err := os.WriteFile(filepath.Join(bin, "sed"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	f := well(sshdtest.Start(t, sshdtest.Options{Env: map[string]string{"PATH": bin + ":/usr/local/bin:/usr/bin:/bin"}}))
	write(t, filepath.Join(dir, "e.hcl"), f.experiment(t, dir))
	status, out := bela(t, dir, "nodes", "e.hcl")
	if status != 0 || !strings.Contains(out, "boom") {
		t.Fatalf("status %d\n%s", status, out)
	}
	harmlessOn(t, "bela nodes", out)
}
