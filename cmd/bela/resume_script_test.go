package main

import (
	"bytes"
	"os"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"bela/store"
)

// resumeCommands are those of the scripts about runs that were broken off.
func resumeCommands() map[string]func(*testscript.TestScript, bool, []string) {
	var held *store.Run
	latest := func(ts *testscript.TestScript) string {
		run, err := store.Open("latest", ts.MkAbs("results"))
		ts.Check(err)
		return run.Dir
	}
	return map[string]func(*testscript.TestScript, bool, []string){
		"broken-off": brokenOff,
		"lock-run": func(ts *testscript.TestScript, _ bool, _ []string) {
			var err error
			held, err = store.Reopen(latest(ts))
			ts.Check(err)
		},
		"unlock-run": func(ts *testscript.TestScript, _ bool, _ []string) { ts.Check(held.Close()) },
		"corrupt-run": func(ts *testscript.TestScript, _ bool, args []string) {
			path := filepath.Join(latest(ts), args[0])
			text, err := os.ReadFile(path)
			ts.Check(err)
			ts.Check(os.WriteFile(path, append([]byte("{torn\n"), text...), 0o600))
		},
		"newer-run": func(ts *testscript.TestScript, _ bool, _ []string) {
			path := filepath.Join(ts.MkAbs("results"), "latest", "environment.json")
			text, err := os.ReadFile(path)
			ts.Check(err)
			ts.Check(os.WriteFile(path, bytes.Replace(text, []byte(`"format": 1`), []byte(`"format": 99`), 1), 0o600))
		},
	}
}

// brokenOff leaves the directory of a run of FILE that ended before its first
// cell: broken-off FILE [-var NAME=VALUE]...
func brokenOff(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: broken-off FILE [-var NAME=VALUE]...")
	}
	a := &app{err: os.Stderr, env: func(name string) (string, bool) { v := ts.Getenv(name); return v, v != "" }, args: []string{"bela", "run"}}
	f := a.flags("run", "FILE")
	file := f.file()
	_, err := f.parse(args, 1, 1)
	ts.Check(err)
	path := ts.MkAbs(args[0])
	e, inv, err := file.load(a, path)
	ts.Check(err)
	call, err := invocation(path, e, inv)
	ts.Check(err)
	r := &run{app: a, experiment: e, plan: e.Plan(), inventory: inv, invocation: call}
	dir, err := r.create(ts.MkAbs("results"))
	ts.Check(err)
	ts.Check(dir.Journal(store.Entry{Kind: store.RunStarted, Time: time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)}))
	ts.Check(dir.Close())
}
